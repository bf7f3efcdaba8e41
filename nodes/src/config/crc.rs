//! The keys about the CRCs of records.

use hotfire_storage::record::PropCrc;

use super::value::switch;
use super::{BrokerConf, Key, row};

/// What an operator may set of CRCs.
#[derive(Clone, Debug)]
pub struct CrcConf {
    /// Does recovery compare them?
    pub verify: bool,
    /// Do records end in one over all of their bytes?
    pub append: bool,
    /// Does recovery demand that one of each record?
    pub force: bool,
}

impl Default for CrcConf {
    fn default() -> Self {
        Self { verify: true, append: true, force: false }
    }
}

impl CrcConf {
    /// The settings of the store that this is about.
    pub(super) fn apply(&self, settings: &mut hotfire_storage::Settings) {
        settings.verify_crc = self.verify;
        settings.prop_crc = if self.append { PropCrc::Append } else { PropCrc::Omit };
        settings.force_prop_crc = self.force;
    }
}

pub(super) const KEYS: &[Key<BrokerConf>] = &[
    row!("checkCRCOnRecover", crcs.verify, switch, "Compare the CRCs of what a recovery reads."),
    row!(
        "enabledAppendPropCRC",
        crcs.append,
        switch,
        "End each record in a CRC over all of it, without which a recovery takes no such record \
         for good. Apache's default is `false`."
    ),
    row!(
        "forceVerifyPropCRC",
        crcs.force,
        switch,
        "Take no record without that CRC for good, whoever wrote it."
    ),
];
