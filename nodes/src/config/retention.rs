//! The keys that say what becomes of old messages, and of a disk that fills.

use std::time::Duration;

use hotfire_core::broker::{Hours, RetentionPolicy};

use super::host;
use super::value::Millis;

/// When files of the log go, in a file's units.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Hours after which a file expires.
    pub reserved_hours: u32,
    /// Hours at which expired files are deleted.
    pub when: String,
    /// Per cent of the disk above which they are at any hour.
    pub max_used: u32,
    /// Per cent above which files go that have not expired.
    pub forcibly: u32,
    /// Do they?
    pub force: bool,
    /// Per cent above which no sends are taken.
    pub warning: u32,
    /// Between two deletions.
    pub between: Millis,
    /// Most files of a round.
    pub most: u32,
    /// Between two rounds.
    pub every: Millis,
}

impl Default for Retention {
    fn default() -> Self {
        let policy = RetentionPolicy::default();
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            reserved_hours: 72,
            when: "04".into(),
            max_used: policy.max_used,
            forcibly: policy.forcibly,
            force: policy.force,
            warning: policy.warning,
            between: Millis(millis(policy.between)),
            most: policy.most,
            every: Millis(millis(policy.every)),
        }
    }
}

impl Retention {
    /// The settings of the machine. Hours are those of this machine's time zone, as it is now.
    pub fn policy(&self) -> RetentionPolicy {
        let hours = self.when.split(';').filter_map(|hour| hour.trim().parse().ok());
        RetentionPolicy {
            reserved: Duration::from_secs(u64::from(self.reserved_hours) * 3600),
            when: Hours::of(hours),
            zone_ms: host::zone_ms(),
            max_used: self.max_used,
            forcibly: self.forcibly,
            force: self.force,
            warning: self.warning,
            between: self.between.into(),
            most: self.most,
            every: self.every.into(),
        }
    }

    /// Before sends are refused files go: a broker that waits for an operator must have tried.
    pub fn check(&self) -> Result<(), String> {
        let Self { forcibly, warning, .. } = self;
        if forcibly <= warning {
            return Ok(());
        }
        Err(format!(
            "diskSpaceWarningLevelRatio = {warning} must not lie below \
             diskSpaceCleanForciblyRatio = {forcibly}"
        ))
    }
}

/// The rows of a table for `$conf`, which has them in its field `retention`.
macro_rules! retention_keys {
    ($conf:ty) => {
        &[
            key!(
                $conf,
                "deleteWhen",
                retention.when,
                value::hours,
                "Hours of the day, `;` between them, at which expired files are deleted; in the \
                 machine's time zone at the start."
            ),
            key!(
                $conf,
                "fileReservedTime",
                retention.reserved_hours,
                whole(1..=1 << 20),
                "Hours after which a file of the CommitLog to which nothing is written expires."
            ),
            key!(
                $conf,
                "diskMaxUsedSpaceRatio",
                retention.max_used,
                whole(10..=95),
                "Per cent of the disk above which expired files are deleted at any hour."
            ),
            key!(
                $conf,
                "diskSpaceCleanForciblyRatio",
                retention.forcibly,
                whole(30..=95),
                "Per cent above which the oldest files go although they have not expired: as \
                 many as are above it."
            ),
            key!($conf, "cleanFileForciblyEnable", retention.force, switch, "Whether they do."),
            key!(
                $conf,
                "diskSpaceWarningLevelRatio",
                retention.warning,
                whole(35..=99),
                "Per cent above which sends are refused with SERVICE_NOT_AVAILABLE."
            ),
            key!(
                $conf,
                "deleteCommitLogFilesInterval",
                retention.between,
                millis(1..=3_600_000),
                "Between two deletions."
            ),
            key!(
                $conf,
                "deleteFileBatchMax",
                retention.most,
                whole(1..=1000),
                "Most files of the CommitLog deleted in a round."
            ),
            key!(
                $conf,
                "cleanResourceInterval",
                retention.every,
                millis(100..=3_600_000),
                "Between two rounds, each of which begins with a look at the disk."
            ),
        ]
    };
}
pub(super) use retention_keys;
