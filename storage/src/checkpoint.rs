//! The checkpoint: what earlier syncs made durable (store.md 2), when and where.
//!
//! ```text
//!  0        8         16       24              32             40            48        56
//!  | physic | logics  | index  | masterFlushed | confirm      | "HOTFIRE2"  | flushed | queued |
//!  64        72        80          88                     96
//!  | indexed | checked | last item | CRC of bytes 0 to 40  | CRC of 40 to 96
//!  104       112
//!  | ends    | CRC of 40 to 112, zeros to 4096
//! ```
//!
//! Apache reads the first 40 bytes, which say *when*; a clock that jumped makes them guess. The
//! rest of the file is ours and says *where*. Apache rewrites its own part and leaves the rest as
//! it is: the CRC of that part no longer matches then, and ours is ignored. (A sum or a difference
//! of times would not do: an orderly stop makes two of them equal, Apache's as well as ours.)
//!
//! What lies behind the second CRC can be done without: without it a start has more to look at.
//!
//! The mark is a name and the version of our part. A later one is refused, never ignored: what it
//! was written for may be needed to read the store at all.

use crate::position::Physical;
use crate::time::Wall;

/// Where the checkpoint lies.
pub(crate) const PATH: &str = "checkpoint";
/// Where its previous version lies, for a crash between the two renames of a replacement.
pub(crate) const BACKUP: &str = "checkpoint.bak";
/// Bytes of the file.
pub(crate) const LEN: usize = 4096;
/// The version of our part that is written, and the only one that is read.
pub const VERSION: u8 = 2;
/// How much older than its time stamps Apache takes a checkpoint to be, in milliseconds.
const MARGIN_MS: i64 = 3000;
/// Whose the part behind Apache's is; a digit follows.
const NAME: &[u8; 7] = b"HOTFIRE";
/// Where our part begins.
const OWN: usize = 40;
/// Where the CRC of Apache's part lies, the last field of ours.
const TIMES_CRC: usize = 88;
/// Where the CRC of our part lies.
const OWN_CRC: usize = 96;
/// Where queues ended; its CRC, which covers our part as well.
const ENDS: usize = 104;
const ENDS_CRC: usize = 112;
/// What stands for no position.
const NOWHERE: u64 = u64::MAX;

/// Positions that only Hotfire writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// Every byte of the log below is on the medium.
    pub flushed: Physical,
    /// Of every record below, every queue unit is on the medium.
    pub queued: Physical,
    /// Of every record below, every index item is on the medium.
    pub indexed: Physical,
    /// From here on each record ends in a CRC over all of its bytes; `None`: no such position.
    /// Who lets a record without one into the log takes this back first, durably.
    pub checked: Option<Physical>,
    /// Of the records below `indexed`, the last one that has an index item; `None`: none has.
    pub last_item: Option<Physical>,
    /// One number for where every queue ended that had a unit of a record below `queued`, when the
    /// log ended there; `None`: nobody counted.
    pub ends: Option<u64>,
}

/// Why a checkpoint says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The file is short, or its CRC is wrong.
    #[error("the checkpoint is damaged")]
    Damaged,
    /// A later version of Hotfire wrote it.
    #[error("version {version} of the checkpoint, this is version {VERSION}")]
    Newer {
        /// The version of its part that only Hotfire writes.
        version: u8,
    },
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
    /// Reads a checkpoint. What Apache wrote last has times and no positions.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let bytes = bytes.get(..LEN).ok_or(Unreadable::Damaged)?;
        let durable = own_part(bytes)?.filter(|_| times_are_ours(bytes));
        Ok(Self { durable, ..times(bytes) })
    }

    /// Reads a checkpoint that Apache did not write last. Times that are not ours are damage then,
    /// and say nothing, while our part still does; and damage it is if that is not there, and
    /// something else in its place.
    pub(crate) fn decode_own(bytes: &[u8]) -> Result<Self, Unreadable> {
        let sound = Self::decode(bytes)?;
        if sound.durable.is_some() {
            return Ok(sound);
        }
        match own_part(&bytes[..LEN])? {
            None if bytes[OWN..LEN].iter().any(|byte| *byte != 0) => Err(Unreadable::Damaged),
            // Apache's, as it was when a process of ours took over.
            None => Ok(sound),
            durable => Ok(Self { durable, ..Self::default() }),
        }
    }

    /// The file's bytes.
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let (physic, logics) = (self.physic.as_millis(), self.logics.as_millis());
        let times = [physic, logics, self.index.as_millis(), self.master_flushed, self.confirm];
        for (slot, value) in bytes.chunks_exact_mut(8).zip(times) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
        if let Some(Durable { flushed, queued, indexed, checked, last_item, ends }) = self.durable {
            let times = u64::from(crc32fast::hash(&bytes[..OWN]));
            let [checked, item] = [checked, last_item].map(|at| at.map_or(NOWHERE, Physical::get));
            let own = [flushed.get(), queued.get(), indexed.get(), checked, item, times];
            bytes[OWN..OWN + 7].copy_from_slice(NAME);
            bytes[OWN + 7] = b'0' + VERSION;
            for (slot, value) in bytes[OWN + 8..OWN_CRC].chunks_exact_mut(8).zip(own) {
                slot.copy_from_slice(&value.to_be_bytes());
            }
            let crc = crc32fast::hash(&bytes[OWN..OWN_CRC]);
            bytes[OWN_CRC..OWN_CRC + 4].copy_from_slice(&crc.to_be_bytes());
            if let Some(ends) = ends {
                bytes[ENDS..ENDS_CRC].copy_from_slice(&ends.to_be_bytes());
                let crc = crc32fast::hash(&bytes[OWN..ENDS_CRC]);
                bytes[ENDS_CRC..ENDS_CRC + 4].copy_from_slice(&crc.to_be_bytes());
            }
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

/// Apache's part.
fn times(bytes: &[u8]) -> Checkpoint {
    let int = |at: usize| i64::from_be_bytes(*bytes[at..].first_chunk().expect("inside"));
    Checkpoint {
        physic: Wall::from_millis(int(0)),
        logics: Wall::from_millis(int(8)),
        index: Wall::from_millis(int(16)),
        master_flushed: int(24),
        confirm: int(32),
        durable: None,
    }
}

/// Was Apache's part, too, written by who wrote ours?
fn times_are_ours(bytes: &[u8]) -> bool {
    let crc = u64::from_be_bytes(*bytes[TIMES_CRC..].first_chunk().expect("inside"));
    crc == u64::from(crc32fast::hash(&bytes[..OWN]))
}

/// Our part, if there is one.
fn own_part(bytes: &[u8]) -> Result<Option<Durable>, Unreadable> {
    const OURS: u8 = b'0' + VERSION;
    let version = match bytes[OWN..].split_first_chunk::<7>() {
        Some((name, rest)) if name == NAME => rest[0],
        _ => return Ok(None),
    };
    let mut crc = crc32fast::Hasher::new_with_initial(crc32fast::hash(NAME));
    crc.update(&[OURS]);
    crc.update(&bytes[OWN + 8..OWN_CRC]);
    let is_sound = bytes[OWN_CRC..].starts_with(&crc.finalize().to_be_bytes());
    match version {
        OURS if is_sound => {}
        // Nobody writes half of it: the file is damaged, and its times prove nothing either. Or
        // all is as we wrote it, but for the version: a later one covers its own with its CRC.
        OURS => return Err(Unreadable::Damaged),
        _ if is_sound => return Err(Unreadable::Damaged),
        b'0'..=b'9' if version > OURS => {
            return Err(Unreadable::Newer { version: version - b'0' });
        }
        _ => return Ok(None),
    }
    let int = |at: usize| u64::from_be_bytes(*bytes[at..].first_chunk().expect("inside"));
    let ends_crc = u32::from_be_bytes(*bytes[ENDS_CRC..].first_chunk().expect("inside"));
    let has_ends = ends_crc == crc32fast::hash(&bytes[OWN..ENDS_CRC]);
    let position = |at| Physical::new(int(at));
    let position_if = |at| Some(position(at)).filter(|at| at.get() != NOWHERE);
    Ok(Some(Durable {
        flushed: position(OWN + 8),
        queued: position(OWN + 16),
        indexed: position(OWN + 24),
        checked: position_if(OWN + 32),
        last_item: position_if(OWN + 40),
        ends: has_ends.then(|| int(ENDS)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        Checkpoint {
            physic: Wall::from_millis(10_000),
            logics: Wall::from_millis(9_000),
            index: Wall::from_millis(1),
            master_flushed: 2,
            confirm: 3,
            durable: Some(Durable {
                flushed: Physical::new(900),
                queued: Physical::new(800),
                indexed: Physical::new(700),
                checked: Some(Physical::new(600)),
                last_item: Some(Physical::new(500)),
                ends: Some(400),
            }),
        }
    }

    #[test]
    fn a_checkpoint_reads_back_and_is_three_seconds_older_than_it_says() {
        let mut sample = sample();
        assert_eq!(Checkpoint::decode(&sample.encode()), Ok(sample));
        assert_eq!(sample.safe_time(), Wall::from_millis(6_000));
        assert_eq!(Checkpoint::default().safe_time(), Wall::from_millis(0));
        let durable = sample.durable.as_mut().expect("a sample");
        (durable.checked, durable.last_item, durable.ends) = (None, None, None);
        let without = sample.encode();
        assert_eq!(Checkpoint::decode(&without), Ok(sample));
        // Of another version of the file it says nothing.
        sample.durable.as_mut().expect("a sample").ends = Some(400);
        let mut other = self::sample().encode();
        other[..OWN_CRC + 4].copy_from_slice(&without[..OWN_CRC + 4]);
        assert_eq!(Checkpoint::decode(&other), Checkpoint::decode(&without));
        assert_eq!(Checkpoint::decode(b""), Err(Unreadable::Damaged));
    }

    #[test]
    fn positions_are_forgotten_once_apache_wrote_the_times() {
        let mut bytes = sample().encode();
        bytes[..8].copy_from_slice(&12_000_i64.to_be_bytes());
        let read = Checkpoint::decode(&bytes).expect("sound");
        assert_eq!((read.physic, read.durable), (Wall::from_millis(12_000), None));
        bytes[OWN + 9] ^= 1;
        assert_eq!(Checkpoint::decode(&bytes), Err(Unreadable::Damaged));
    }

    /// An orderly stop leaves two equal times, of whoever it was: their difference says nothing.
    #[test]
    fn positions_are_forgotten_although_apache_left_equal_times_as_we_did() {
        let (before, after) = (Wall::from_millis(10_000), Wall::from_millis(99_000));
        let stopped = Checkpoint { physic: before, logics: before, ..sample() };
        let mut bytes = stopped.encode();
        for at in [0, 8] {
            bytes[at..at + 8].copy_from_slice(&after.as_millis().to_be_bytes());
        }
        let read = Checkpoint::decode(&bytes).expect("sound");
        assert_eq!((read.physic, read.logics, read.durable), (after, after, None));
    }

    #[test]
    fn a_later_version_is_told_and_an_earlier_one_is_nobodys() {
        let mut bytes = sample().encode();
        let versions = [b'3', b'0', b'1', b'x', 0].map(|version| {
            bytes[OWN + 7] = version;
            let crc = crc32fast::hash(&bytes[OWN..OWN_CRC]);
            bytes[OWN_CRC..OWN_CRC + 4].copy_from_slice(&crc.to_be_bytes());
            Checkpoint::decode(&bytes).map(|read| read.durable)
        });
        let later = Err(Unreadable::Newer { version: 3 });
        assert_eq!(versions, [later, Ok(None), Ok(None), Ok(None), Ok(None)]);
    }

    /// Of a process of ours that died it is known that Apache did not write behind it.
    #[test]
    fn what_has_rotted_is_not_taken_for_a_later_versions_or_for_apaches() {
        let (sample, sound) = (sample(), sample().encode());
        assert_eq!(Checkpoint::decode_own(&sound), Ok(sample));
        let apaches = Checkpoint { durable: None, ..sample };
        assert_eq!(Checkpoint::decode_own(&apaches.encode()), Ok(apaches));
        let untimed = Ok(Checkpoint { durable: sample.durable, ..Checkpoint::default() });
        for bit in 0..8 * (OWN_CRC + 4) {
            let mut bytes = sound;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit / 8 < OWN { untimed } else { Err(Unreadable::Damaged) };
            assert_eq!(Checkpoint::decode_own(&bytes), expected, "{bit}");
            let taken = Checkpoint::decode(&bytes).map(|read| read.durable);
            assert!(matches!(taken, Ok(None) | Err(Unreadable::Damaged)), "{bit}");
        }
    }
}
