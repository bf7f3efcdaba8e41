//! The extension of an ordinary queue: what does not fit into twenty bytes (store.md 5.3). All
//! integers big-endian.
//!
//! ```text
//!  0      2           10           18           20
//!  | size | tags code | store time | map length | bitmap |  …  | -1 |       end of a file
//! ```
//!
//! A unit is found by its address, `i64::MIN` + its position in the chain, which stands in the
//! queue's unit where the tags code would. An address is never a hash, and never a time. What the
//! extension says is derived from the log, as the queue is, but for the bitmaps: they are Apache's
//! SQL filters' and come back only where filters do.

use crate::chain::Chain;
use crate::queue::Rest;
use crate::seam::{Disk, Fault, FileId, Memory, Op, sync_each};
use crate::time::Wall;

/// Bytes of a unit without a bitmap.
pub(crate) const UNIT_LEN: u64 = 20;
const BYTES: usize = 20;
/// Bytes of the largest unit: its size is a signed short.
const UNIT_MAX: u64 = i16::MAX.cast_unsigned() as u64;
/// Bytes that every file keeps free for the mark of its end.
const END_LEN: u64 = 4;
/// The mark itself.
const END: [u8; 2] = [0xFF, 0xFF];
/// The greatest number that is an address: below every hash.
const ADDRESS_MAX: i64 = i32::MIN as i64 - 1;
/// The smallest file that holds a unit.
pub(crate) const FILE_MIN: u32 = 24;

/// What the extension says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtUnit<'a> {
    /// The tags' hash, or a time of delivery.
    pub(crate) tags_code: i64,
    /// When the record was stored.
    pub(crate) stored: Wall,
    /// Which filters want it; empty if nobody asked.
    pub(crate) bitmap: &'a [u8],
}

/// What is read of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// The tags' hash, or a time of delivery.
    pub(crate) tags_code: i64,
    /// When the record was stored.
    pub(crate) stored: Wall,
    /// Bytes of the unit.
    len: u64,
}

impl ExtUnit<'_> {
    fn len(&self) -> u64 {
        UNIT_LEN + self.bitmap.len() as u64
    }
}

/// Does a unit hold an address in the place of its tags code?
pub(crate) const fn is_address(tags_code: i64) -> bool {
    tags_code <= ADDRESS_MAX
}

fn address_of(position: u64) -> i64 {
    i64::MIN.wrapping_add_unsigned(position)
}

fn position_of(address: i64) -> u64 {
    address.wrapping_sub(i64::MIN).cast_unsigned()
}

#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) chain: Chain,
    /// Position behind the last unit.
    end: u64,
    /// Units below this position are on the medium.
    synced: u64,
    /// Recovery found an address that leads nowhere.
    is_lost: bool,
}

impl Extension {
    pub(crate) fn new(chain: Chain) -> Self {
        let start = chain.start();
        Self { chain, end: start, synced: start, is_lost: false }
    }

    /// One whose files were found on disk: full and on the medium until recovery says otherwise.
    pub(crate) fn found(chain: Chain) -> Self {
        let end = chain.room_end();
        Self { end, synced: end, ..Self::new(chain) }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Where a unit of `len` bytes goes: behind the last one, or to the next file.
    fn place(&self, len: u64) -> u64 {
        let next_file = self.chain.file_start(self.end) + self.chain.file_len();
        if self.end + len + END_LEN <= next_file { self.end } else { next_file }
    }

    /// Units without bitmaps for which there are files.
    pub(crate) fn room(&self) -> u64 {
        let first = self.place(UNIT_LEN);
        let units = |bytes: u64| bytes.saturating_sub(END_LEN) / UNIT_LEN;
        let file_len = self.chain.file_len();
        let Some(left) = self.chain.room_end().checked_sub(first) else { return 0 };
        left / file_len * units(file_len) + units(left % file_len)
    }

    /// Is the last file half full?
    pub(crate) fn is_short(&self) -> bool {
        let room = self.chain.room_end().saturating_sub(self.end);
        self.end > self.chain.start() && room <= self.chain.file_len() / 2
    }

    /// Writes a unit, for which the caller saw [`room`](Self::room), and tells its address.
    pub(crate) fn append(&mut self, memory: &mut impl Memory, unit: &ExtUnit<'_>) -> i64 {
        let (len, at) = (unit.len(), self.place(unit.len()));
        assert!(len <= UNIT_MAX, "a bitmap is at most {UNIT_MAX} bytes long");
        if at != self.end {
            self.slot(memory, self.end, END.len()).copy_from_slice(&END);
        }
        let short = |number: u64| i16::try_from(number).expect("at most UNIT_MAX").to_be_bytes();
        let slot = self.slot(memory, at, usize::try_from(len).expect("a unit is small"));
        slot[..2].copy_from_slice(&short(len));
        slot[2..10].copy_from_slice(&unit.tags_code.to_be_bytes());
        slot[10..18].copy_from_slice(&unit.stored.as_millis().to_be_bytes());
        slot[18..20].copy_from_slice(&short(unit.bitmap.len() as u64));
        slot[20..].copy_from_slice(unit.bitmap);
        self.end = at + len;
        address_of(at)
    }

    fn slot<'a>(&self, memory: &'a mut impl Memory, at: u64, len: usize) -> &'a mut [u8] {
        let (file, at) = self.chain.locate(at).expect("the caller saw room");
        memory.slot(file, at, len)
    }

    /// The unit at an address; `None` if there is none, or none any more.
    pub(crate) fn get(&self, memory: &impl Memory, address: i64) -> Option<Read> {
        self.read(memory, position_of(address)).filter(|_| is_address(address))
    }

    /// Does the address lie in a file that was not deleted with what the log forgot?
    pub(crate) fn holds(&self, address: i64) -> bool {
        position_of(address) >= self.chain.start()
    }

    /// The unit at a position below the end.
    fn read(&self, memory: &impl Memory, at: u64) -> Option<Read> {
        let (file, within) = self.chain.locate(at)?;
        let left = (self.end.checked_sub(at)?).min(self.chain.file_len() - within);
        if left < UNIT_LEN {
            return None;
        }
        let mut bytes = [0; BYTES];
        memory.copy(file, within, &mut bytes);
        let short = |at: usize| u64::try_from(i16::from_be_bytes([bytes[at], bytes[at + 1]])).ok();
        let (len, bitmap) = (short(0)?, short(18)?);
        let long = |at| i64::from_be_bytes(*bytes[at..].first_chunk().expect("eight bytes of 20"));
        let (tags_code, stored) = (long(2), Wall::from_millis(long(10)));
        (len == UNIT_LEN + bitmap && len <= left).then_some(Read { tags_code, stored, len })
    }

    /// Takes the first file out, to be deleted, if the queue's first address lies behind it.
    pub(crate) fn take_spent(&mut self, first: i64) -> Option<(String, FileId)> {
        let end = self.chain.start() + self.chain.file_len();
        let is_spent = is_address(first) && end <= position_of(first) && end <= self.synced;
        is_spent.then(|| self.chain.take_first())
    }

    pub(crate) fn unsynced(&self) -> (u64, u64) {
        (self.synced, self.end)
    }

    /// Everything below `position` is on the medium.
    pub(crate) fn set_synced(&mut self, position: u64) {
        self.synced = self.synced.max(position.min(self.end));
    }

    pub(crate) fn verify(&self) {
        assert!(self.chain.start() <= self.end && self.synced <= self.end);
        assert!(self.end <= self.chain.room_end(), "units below the end are in files");
    }
}

/// What recovery does to an extension. Nothing else runs meanwhile.
impl Extension {
    /// Ends behind the unit at an address, the queue's last.
    pub(crate) fn end_behind(&mut self, memory: &impl Memory, address: i64) {
        self.end = self.chain.room_end();
        let unit = self.get(memory, address);
        let end = unit.map(|unit| position_of(address) + unit.len);
        self.set_end(end.unwrap_or(self.chain.start()));
        self.is_lost = end.is_none();
    }

    /// Ends where its units do, as far as they can be read: the queue has pointed elsewhere for
    /// so long that its last address is not worth the search.
    pub(crate) fn end_as_read(&mut self, memory: &impl Memory) {
        self.end = self.chain.room_end();
        let (start, file_len) = (self.chain.start(), self.chain.file_len());
        let mut file = self.end;
        let mut end = start;
        while file > start && end == start {
            file -= file_len;
            let mut at = file;
            while let Some(unit) = self.read(memory, at) {
                at += unit.len;
            }
            end = if at > file { at } else { start };
        }
        self.set_end(end);
    }

    /// Nothing points here.
    pub(crate) fn clear(&mut self) {
        self.set_end(self.chain.start());
    }

    fn set_end(&mut self, end: u64) {
        self.end = end;
        self.synced = self.synced.min(end);
        self.is_lost = false;
    }

    /// Allocates on the spot what the next unit needs.
    pub(crate) fn make_room<D: Disk>(&mut self, disk: &mut D) -> Result<(), Fault> {
        while self.room() == 0 {
            self.chain.grow(disk)?;
        }
        Ok(())
    }

    /// Makes what follows the end read as zero, deletes the files behind, and syncs what recovery
    /// wrote: Apache reads units from the first file on until one has no size, and stumbles over
    /// bytes that are none.
    pub(crate) fn settle<D: Disk>(&mut self, disk: &mut D, rest: Rest) -> Result<(), Fault> {
        self.chain.cut(disk, self.end)?;
        let is_synced = rest == Rest::Read || (rest == Rest::Known && self.synced == self.end);
        if is_synced && !self.has_rest(disk, rest) {
            return Ok(());
        }
        let tail: Vec<_> = self.chain.parts(self.end, self.chain.room_end()).collect();
        for (file, from, to) in tail {
            disk.perform(Op::Zero { file, from, to })?;
        }
        self.sync(disk, self.chain.room_end())
    }

    /// Does anything follow the last unit, as far as one has to look?
    pub(crate) fn has_rest(&self, memory: &impl Memory, rest: Rest) -> bool {
        let is_known = rest == Rest::Known && self.synced == self.end;
        let to = if is_known { self.end + UNIT_LEN } else { self.chain.room_end() };
        let mut parts = self.chain.parts(self.end, to);
        parts.any(|(file, from, to)| !memory.is_zero(file, from, to))
    }

    /// Makes durable on the spot what lies below `to` and is not. Boot and stop only.
    pub(crate) fn sync<D: Disk>(&mut self, disk: &mut D, to: u64) -> Result<(), Fault> {
        let parts: Vec<_> = self.chain.parts(self.synced, to).collect();
        sync_each(disk, parts)?;
        self.synced = self.end;
        Ok(())
    }
}
