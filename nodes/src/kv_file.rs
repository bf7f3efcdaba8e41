//! The file of a name server's KV configuration: `{"configTable":{namespace:{key:value}}}`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hotfire_core::namesrv::KvConfig;
use hotfire_storage::text::Text;
use serde::{Deserialize, Serialize};

use crate::Failure;

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    #[serde(default)]
    config_table: BTreeMap<Text, BTreeMap<Text, Text>>,
}

/// Where the table is kept. Replaced as a whole: a crash leaves the old version or the new one.
#[derive(Clone, Debug)]
pub struct KvFile {
    path: PathBuf,
}

impl KvFile {
    /// The file at `path`, and the table in it; an absent file is an empty table. Its directory
    /// is made, so that a start fails rather than the first save.
    pub fn open(path: &Path) -> Result<(Self, KvConfig), Failure> {
        let fail = |what: &str, path: &Path, why: &dyn std::fmt::Display| {
            Failure::new(format!("cannot {what} {}: {why}", path.display()))
        };
        let dir = path.parent().unwrap_or(Path::new(""));
        if !dir.as_os_str().is_empty() {
            fs::create_dir_all(dir).map_err(|why| fail("create the directory", dir, &why))?;
        }
        let content = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|why| fail("understand the KV configuration in", path, &why))?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(why) => return Err(fail("read", path, &why)),
        };
        Ok((Self { path: path.to_owned() }, KvConfig::new(content.config_table)))
    }

    /// Replaces the table: a temporary file, synced, renamed, its directory synced.
    pub fn save(&self, kv: &KvConfig) -> io::Result<()> {
        let bytes = serde_json::to_vec(&Content { config_table: kv.table().clone() })?;
        let temporary = self.path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl fmt::Display for KvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_saved_is_there_at_the_next_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep").join("kvConfig.json");
        let (file, kv) = KvFile::open(&path).expect("made");
        assert_eq!(kv, KvConfig::default());
        let table = BTreeMap::from([("topic".into(), "broker-a:4".into())]);
        let kv = KvConfig::new(BTreeMap::from([("ORDER_TOPIC_CONFIG".into(), table)]));
        file.save(&kv).expect("saved");
        let (_, found) = KvFile::open(&path).expect("readable");
        assert_eq!(found, kv);
        let text = fs::read_to_string(&path).expect("there");
        let expected = r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"topic":"broker-a:4"}}}"#;
        assert_eq!(text, expected);
        fs::write(&path, "{").expect("written");
        let failure = KvFile::open(&path).expect_err("no JSON").to_string();
        assert!(failure.starts_with("cannot understand the KV configuration in "), "{failure}");
    }
}
