//! Configuration: properties text in, typed settings out, and one clear line for what is wrong.
//!
//! | room | what |
//! |---|---|
//! | [`properties`] | `key=value` text as Java reads it, each value with its line |
//! | [`value`] | words that become numbers, switches and addresses, or say what was expected |
//! | [`broker`], [`namesrv`] | the known keys, as tables: name, default, meaning, field |
//! | [`acting`] | the keys of groups that act for their master |
//! | [`ha`] | the keys of replication |
//! | [`connections`] | the keys that both have: bounds of connections |
//! | [`memory`] | how a broker's CommitLog lies in memory |
//! | [`retention`] | the keys that say what becomes of old messages |
//! | [`ignored`] | Apache's other keys: they are warned about, never refused |
//! | [`host`] | what the machine says of itself: its name, its address |
//!
//! A bad value is an error with its line. An unknown key is a warning that names the nearest known
//! one; a key of Apache's that has no effect here is a warning too: an existing file works.

pub mod acting;
pub mod broker;
pub mod connections;
mod crc;
pub mod ha;
pub mod host;
pub mod ignored;
pub mod memory;
pub mod namesrv;
mod pool;
pub mod properties;
mod queues;
pub mod retention;
pub mod value;

use std::fmt;
use std::path::Path;

pub use broker::BrokerConf;
pub use namesrv::NamesrvConf;

/// A key that is understood: one row of a table.
pub struct Key<T> {
    /// Its name in the file.
    pub name: &'static str,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// Shown by `-m`?
    pub important: bool,
    /// Its default as the documentation says it, where the machine decides.
    pub default: Option<&'static str>,
    /// Takes a value, or says what was expected.
    pub set: fn(&mut T, &str) -> Result<(), String>,
    /// The present value.
    pub show: fn(&T) -> String,
}

impl<T> Key<T> {
    /// The same key, shown by `-m`.
    const fn important(mut self) -> Self {
        self.important = true;
        self
    }

    /// The same key; its default is described instead of printed.
    const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }
}

/// A row whose value is parsed by `$parse` into the field `$field`.
macro_rules! key {
    ($conf:ty, $name:literal, $($field:ident).+, $parse:expr, $meaning:literal) => {
        Key {
            name: $name,
            meaning: $meaning,
            important: false,
            default: None,
            set: |conf: &mut $conf, text| {
                conf.$($field).+ = ($parse)(text)?;
                Ok(())
            },
            show: |conf: &$conf| conf.$($field).+.to_string(),
        }
    };
}
use key;

/// The same of a broker's.
macro_rules! row {
    ($($part:tt)*) => { $crate::config::key!($crate::config::BrokerConf, $($part)*) };
}
use row;

/// Settings that a table describes.
pub trait Settings: Sized + 'static {
    /// The understood keys, in tables.
    const KEYS: &'static [&'static [Key<Self>]];
    /// Apache's keys that have no effect here: lists of names, blanks between them.
    const IGNORED: &'static [&'static str];

    /// Relations between keys; the error names both.
    fn check(&self) -> Result<(), String>;
}

/// Why a configuration was refused. Prints as one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A line has a value that its key cannot take.
    #[error("{file}:{line}: {key} = \"{value}\": expected {expected}")]
    Bad {
        /// The file, as it was named.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The key.
        key: String,
        /// What stood there.
        value: String,
        /// What could have.
        expected: String,
    },
    /// Two keys contradict each other.
    #[error("{file}: {why}")]
    Contradiction {
        /// The file, as it was named.
        file: String,
        /// Both keys, and what is wrong with them.
        why: String,
    },
    /// The text is not a properties file.
    #[error("{file}:{line}: {why}")]
    Syntax {
        /// The file, as it was named.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The file could not be read.
    #[error("cannot read the configuration file {file}: {why}")]
    Unreadable {
        /// The file, as it was named.
        file: String,
        /// The system's own words.
        why: String,
    },
}

/// Something an operator should know, which stops nothing. Prints as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// `file:line`.
    pub at: String,
    /// The key.
    pub key: String,
    /// What about it.
    pub what: What,
}

/// What about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Apache knows it; here it has no effect.
    Ignored,
    /// Set before; the later line counts.
    Repeated,
    /// Known to nobody; perhaps this one was meant.
    Unknown(Option<&'static str>),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, key, what } = self;
        match what {
            What::Ignored => write!(f, "{at}: \"{key}\" has no effect in this broker; ignored"),
            What::Repeated => write!(f, "{at}: \"{key}\" was set before; this line counts"),
            What::Unknown(None) => write!(f, "{at}: unknown key \"{key}\""),
            What::Unknown(Some(near)) => {
                write!(f, "{at}: unknown key \"{key}\" (did you mean \"{near}\"?)")
            }
        }
    }
}

/// Reads `path` over `conf`.
pub fn load<T: Settings>(path: &Path, conf: &mut T) -> Result<Vec<Warning>, ConfigError> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|why| ConfigError::Unreadable { file: file.clone(), why: why.to_string() })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| ConfigError::Unreadable { file: file.clone(), why: "not UTF-8".into() })?;
    apply(&file, &text, conf)
}

/// Applies the properties in `text`, which came from `file`, to `conf`.
pub fn apply<T: Settings>(
    file: &str,
    text: &str,
    conf: &mut T,
) -> Result<Vec<Warning>, ConfigError> {
    let properties = properties::parse(text).map_err(|bad| ConfigError::Syntax {
        file: file.into(),
        line: bad.line,
        why: bad.why.into(),
    })?;
    let mut warnings = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for property in &properties {
        let key = property.key.as_str();
        let mut warn = |what| {
            let at = format!("{file}:{}", property.line);
            warnings.push(Warning { at, key: key.into(), what });
        };
        if !seen.insert(key) {
            warn(What::Repeated);
        }
        let Some(known) = keys::<T>().find(|known| known.name == key) else {
            warn(what_about_unknown::<T>(key));
            continue;
        };
        (known.set)(conf, property.value.trim()).map_err(|expected| ConfigError::Bad {
            file: file.into(),
            line: property.line,
            key: key.into(),
            value: property.value.escape_debug().to_string(),
            expected,
        })?;
    }
    conf.check().map_err(|why| ConfigError::Contradiction { file: file.into(), why })?;
    Ok(warnings)
}

/// `key = value` lines of the settings in force; `important` alone, or all.
pub fn print<T: Settings>(conf: &T, important: bool) -> String {
    let shown = keys::<T>().filter(|key| key.important || !important);
    let lines: Vec<_> = shown.map(|key| format!("{}={}", key.name, (key.show)(conf))).collect();
    lines.join("\n")
}

fn what_about_unknown<T: Settings>(key: &str) -> What {
    if ignored_names::<T>().any(|name| name == key) {
        return What::Ignored;
    }
    let names = keys::<T>().map(|known| known.name);
    let names = names.chain(ignored_names::<T>());
    let nearest = names.map(|name| (distance(key, name), name)).min();
    // A third of the letters wrong is a typo; more is another word.
    What::Unknown(nearest.filter(|(far, _)| far * 3 <= key.chars().count()).map(|(_, name)| name))
}

/// Every understood key.
fn keys<T: Settings>() -> impl Iterator<Item = &'static Key<T>> {
    T::KEYS.iter().copied().flatten()
}

/// Apache's keys without effect.
fn ignored_names<T: Settings>() -> impl Iterator<Item = &'static str> {
    T::IGNORED.iter().flat_map(|list| list.split_whitespace())
}

/// Insertions, deletions and replacements between two words, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
