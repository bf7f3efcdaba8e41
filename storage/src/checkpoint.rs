//! The checkpoint: what earlier syncs made durable (store.md 2), when and where.
//!
//! ```text
//!  0        8         16       24              32             40            56        64
//!  | physic | logics  | index  | masterFlushed | confirm      | "HOTFIRE1"  | flushed | queued |
//!  64..72   72..76                                            (40..48)      (48..56)  (56..64)
//!  | copy of physic ^ logics | crc |  zeros to 4096
//! ```
//!
//! Apache reads the first 40 bytes, which say *when*; a clock that jumped makes them guess. The
//! rest of the file is ours and says *where*. Whoever rewrites only Apache's part (Apache does)
//! breaks the copy, and our part is ignored.

use crate::position::Physical;
use crate::time::Wall;

/// Where the checkpoint lies.
pub(crate) const PATH: &str = "checkpoint";
/// Where its previous version lies, for a crash between the two renames of a replacement.
pub(crate) const BACKUP: &str = "checkpoint.bak";
/// Bytes of the file.
pub(crate) const LEN: usize = 4096;
/// How much older than its time stamps Apache takes a checkpoint to be, in milliseconds.
const MARGIN_MS: i64 = 3000;
const MARK: &[u8; 8] = b"HOTFIRE1";
const OWN: usize = 40;
const OWN_END: usize = 76;

/// Positions that only Hotfire writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// Every byte of the log below is on the medium.
    pub flushed: Physical,
    /// Of every record below, every queue unit is on the medium.
    pub queued: Physical,
}

/// The checkpoint's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Store time of the newest record known to be on the medium.
    pub physic: Wall,
    /// The same of the newest record whose queue units are.
    pub logics: Wall,
    /// End of the newest index file that is full and on the medium.
    pub index: Wall,
    /// Apache's HA start-up position; kept as found.
    pub master_flushed: i64,
    /// Where Apache's last valid record begins.
    pub confirm: i64,
    /// Where, instead of when; `None` if Apache wrote last.
    pub durable: Option<Durable>,
}

impl Checkpoint {
    /// Reads a checkpoint; a short, damaged or absent one says nothing at all.
    pub fn decode(bytes: &[u8]) -> Self {
        Self::sound(bytes).unwrap_or_default()
    }

    /// Reads a checkpoint, unless it is short or damaged.
    pub(crate) fn sound(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..LEN)?;
        let int = |at: usize| i64::from_be_bytes(*bytes[at..].first_chunk().expect("inside"));
        let position = |at| Physical::new(u64::from_be_bytes(i64::to_be_bytes(int(at))));
        let (physic, logics) = (int(0), int(8));
        let crc = u32::from_be_bytes(*bytes[OWN_END - 4..].first_chunk().expect("inside"));
        let is_marked = &bytes[OWN..OWN + 8] == MARK;
        if is_marked && crc != crc32fast::hash(&bytes[OWN..OWN_END - 4]) {
            // Nobody writes half of it: the file is damaged, and its times prove nothing either.
            return None;
        }
        let is_ours = is_marked && int(OWN + 24) == physic ^ logics;
        Some(Self {
            physic: Wall::from_millis(physic),
            logics: Wall::from_millis(logics),
            index: Wall::from_millis(int(16)),
            master_flushed: int(24),
            confirm: int(32),
            durable: is_ours
                .then(|| Durable { flushed: position(OWN + 8), queued: position(OWN + 16) }),
        })
    }

    /// The file's bytes.
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let (physic, logics) = (self.physic.as_millis(), self.logics.as_millis());
        let times = [physic, logics, self.index.as_millis(), self.master_flushed, self.confirm];
        for (slot, value) in bytes.chunks_exact_mut(8).zip(times) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
        if let Some(durable) = self.durable {
            bytes[OWN..OWN + 8].copy_from_slice(MARK);
            bytes[OWN + 8..OWN + 16].copy_from_slice(&durable.flushed.get().to_be_bytes());
            bytes[OWN + 16..OWN + 24].copy_from_slice(&durable.queued.get().to_be_bytes());
            bytes[OWN + 24..OWN + 32].copy_from_slice(&(physic ^ logics).to_be_bytes());
            let crc = crc32fast::hash(&bytes[OWN..OWN_END - 4]);
            bytes[OWN_END - 4..OWN_END].copy_from_slice(&crc.to_be_bytes());
        }
        bytes
    }

    /// Records stored up to this time are on the medium, units included, as far as Apache can
    /// say. Not positive: nothing is known.
    pub fn safe_time(&self) -> Wall {
        let oldest = self.physic.min(self.logics).as_millis();
        Wall::from_millis(oldest.saturating_sub(MARGIN_MS).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        let durable = Durable { flushed: Physical::new(900), queued: Physical::new(800) };
        Checkpoint {
            physic: Wall::from_millis(10_000),
            logics: Wall::from_millis(9_000),
            index: Wall::from_millis(1),
            master_flushed: 2,
            confirm: 3,
            durable: Some(durable),
        }
    }

    #[test]
    fn a_checkpoint_reads_back_and_is_three_seconds_older_than_it_says() {
        assert_eq!(Checkpoint::decode(&sample().encode()), sample());
        assert_eq!(sample().safe_time(), Wall::from_millis(6_000));
        assert_eq!(Checkpoint::decode(b"").safe_time(), Wall::from_millis(0));
    }

    #[test]
    fn positions_are_forgotten_once_apache_wrote_the_times() {
        let mut bytes = sample().encode();
        bytes[..8].copy_from_slice(&12_000_i64.to_be_bytes());
        let read = Checkpoint::decode(&bytes);
        assert_eq!((read.physic, read.durable), (Wall::from_millis(12_000), None));
        bytes[OWN + 9] ^= 1;
        assert_eq!(Checkpoint::decode(&bytes), Checkpoint::default());
    }
}
