//! What another log begins with: is it a record?
//!
//! A copy that begins anew gives up what it holds, so what makes it do so must be more than a
//! number: a file begins with a record, whose header says where it lies and whose body has a CRC.

use crate::position::Physical;
use crate::record::{BLANK_HEADER, Crc, Damage, MAGIC_BLANK, MAGIC_V1, MAGIC_V2, Verdict, check};

/// Why bytes are not what a log begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOpening {
    /// A blank record. No record is longer than a file, so no file is blank from its first byte;
    /// and a blank record says neither where it lies nor what is in it.
    #[error("a file that is blank from its first byte")]
    Blank,
    /// No record.
    #[error("no record: {0}")]
    Damaged(#[from] Damage),
    /// It says that it is longer than a record can be, or than is looked at.
    #[error("a record of {0} bytes, as it says: that is too long to be looked at")]
    TooLong(u32),
}

/// Do `bytes`, the first of a file that lies at `at`, begin with a record of no more than `most`
/// bytes that belongs there? `None`: it is not all there, and may be one.
pub fn opening(bytes: &[u8], at: Physical, most: u64) -> Option<Result<(), NoOpening>> {
    let header = bytes.first_chunk::<{ BLANK_HEADER as usize }>()?;
    let word = |from: usize| u32::from_be_bytes(*header[from..].first_chunk().expect("two words"));
    let (size, magic) = (word(0), word(4));
    match magic {
        MAGIC_V1 | MAGIC_V2 if u64::from(size) > most => {
            return Some(Err(NoOpening::TooLong(size)));
        }
        MAGIC_V1 | MAGIC_V2 => {}
        MAGIC_BLANK => return Some(Err(NoOpening::Blank)),
        _ => return Some(Err(Damage::Magic.into())),
    }
    let record = bytes.get(..size as usize)?;
    Some(match check(record, at, Crc::Verify) {
        Verdict::Good(_) => Ok(()),
        Verdict::Bad(damage) => Err(damage.into()),
        Verdict::Blank { .. } => Err(NoOpening::Blank),
    })
}
