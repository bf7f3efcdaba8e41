//! The small files: checkpoint and state.

use super::{Audit, Weight, What};
use crate::checkpoint::{self, Checkpoint};
use crate::dialect::to_strict;
use crate::seam::{Disk, Fault};

/// Where state files lie.
const CONFIG: &str = "config";

pub(super) fn checkpoint<D: Disk>(disk: &mut D, audit: &mut Audit) -> Result<(), Fault> {
    let path = checkpoint::PATH;
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(Fault::Io { why, .. }) => {
            audit.find(path, 0, Weight::Damage, What::Checkpoint(why));
            return Ok(());
        }
        Err(fault) => return Err(fault),
    };
    match bytes.as_deref().map(Checkpoint::decode) {
        None => {
            let why = "there is none: a start trusts nothing and reads the whole log";
            audit.find(path, 0, Weight::Note, What::Checkpoint(why.to_owned()));
        }
        Some(Err(why)) => {
            audit.find(path, 0, Weight::Damage, What::Checkpoint(why.to_string()));
        }
        Some(Ok(checkpoint)) => audit.checkpoint = Some(checkpoint),
    }
    Ok(())
}

/// What it promises is there.
pub(super) fn check_checkpoint(audit: &mut Audit) {
    let Some(checkpoint) = audit.checkpoint else { return };
    let end = audit.end;
    if let Some(durable) = checkpoint.durable {
        for (name, promised) in
            [("flushed", durable.flushed), ("queued", durable.queued), ("indexed", durable.indexed)]
        {
            if promised > end {
                let why = format!("{name} is {promised}, but the log ends at {end}");
                audit.find(checkpoint::PATH, 0, Weight::Damage, What::Checkpoint(why));
            }
        }
    }
    let newest = audit.last_stored.unwrap_or_default();
    for (name, time) in [("physic", checkpoint.physic), ("logics", checkpoint.logics)] {
        if time > newest {
            let (time, newest) = (time.as_millis(), newest.as_millis());
            let why = format!(
                "{name} is {time}, but the newest record was stored at {newest} (a clock that \
                 jumped, or records that are gone)"
            );
            audit.find(checkpoint::PATH, 0, Weight::Note, What::Checkpoint(why));
        }
    }
}

/// Each is JSON, in Apache's dialect at least.
pub(super) fn state_files<D: Disk>(disk: &mut D, audit: &mut Audit) -> Result<(), Fault> {
    let entries = match disk.list(CONFIG) {
        Ok(entries) => entries,
        Err(Fault::Io { why, .. }) => {
            audit.find(CONFIG, 0, Weight::Damage, What::State(why));
            return Ok(());
        }
        Err(fault) => return Err(fault),
    };
    for entry in entries {
        let name = entry.name.strip_suffix(".bak");
        let (name, is_backup) = name.map_or((&entry.name[..], false), |name| (name, true));
        if name.rsplit_once('.').is_none_or(|(_, kind)| kind != "json") {
            continue;
        }
        let path = format!("{CONFIG}/{}", entry.name);
        let why = match disk.read(&path) {
            Ok(None) => continue,
            Ok(Some(bytes)) => match parse(&bytes) {
                Ok(()) => continue,
                Err(why) => why,
            },
            Err(Fault::Io { why, .. }) => why,
            Err(fault) => return Err(fault),
        };
        // Nobody needs a backup as long as the file itself is well, which is said of itself.
        let weight = if is_backup { Weight::Note } else { Weight::Damage };
        audit.find(&path, 0, weight, What::State(why));
    }
    Ok(())
}

fn parse(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let strict = to_strict(bytes).map_err(|why| format!("not JSON: {why}"))?;
    let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(&strict);
    parsed.map(drop).map_err(|why| format!("not JSON: {why}"))
}
