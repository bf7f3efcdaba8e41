//! The CommitLog: every message of the broker, one behind the other (store.md 4).
//!
//! ```text
//!  | record | record | … | blank |   | record | …   written          room_end
//!  '---------- file -------------'   '------- file ----^---------------'
//! ```
//!
//! A record never crosses a file's end: what does not fit, eight bytes for the blank record
//! included, goes to the next file. That file is allocated while the current one still has room,
//! so that rolling is a store to memory. The records of a turn are [`Staged`], and go to their file
//! in one write. Behind `written` may lie, if the log is a copy, the beginning of a record; other
//! bytes there are nobody's.

use bytes::Bytes;

use crate::chain::{Ahead, Chain};
use crate::position::{Committed, Physical, Span, Written};
use crate::record::{BLANK_HEADER, Crc, MAGIC_BLANK, Record, Verdict, check};
use crate::seam::{Fault, Memory};
use crate::staged::Staged;

/// Bytes of a record that is not in the log yet, though all of it may have come, which are not in
/// its file either: a start after a crash takes what is there for the log's.
const UNFINISHED_MOST: u64 = 8 << 20;
/// Files up to this size are small enough to roll within one turn: the next one is always asked
/// for at once. Larger ones are asked for when the current one is half full.
const EAGER_FILE_MAX: u64 = 64 * 1024;

/// Where the next bytes can go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind the last record.
    Here,
    /// To the beginning of the next file, which is ready.
    Next,
    /// Behind the last record, once what is staged is committed.
    Pool,
    /// To a next file that is not there yet.
    Wait,
    /// To a next file that could not be allocated.
    Full(Fault),
}

#[derive(Debug)]
pub(crate) struct CommitLog {
    pub(crate) chain: Chain,
    written: u64,
    /// So many bytes behind `written` came of a record that is not whole.
    unfinished: u64,
    staged: Staged,
}

impl CommitLog {
    pub(crate) fn new(chain: Chain) -> Self {
        let written = chain.start();
        Self { chain, written, unfinished: 0, staged: Staged::new(written) }
    }

    /// From here on records wait for a commit, `most` bytes of them at once.
    pub(crate) fn pool(&mut self, most: usize) {
        self.staged.pool(most);
    }

    /// Up to where bytes are in files.
    pub(crate) fn committed(&self) -> Committed {
        Committed::upto(Physical::new(self.staged.base().min(self.written)))
    }

    /// Moves what is staged into its file.
    pub(crate) fn commit(&mut self, memory: &mut impl Memory) {
        self.commit_upto(memory, self.received());
    }

    fn commit_upto(&mut self, memory: &mut impl Memory, end: u64) {
        let base = self.staged.base();
        if end <= base {
            return;
        }
        let len = usize::try_from(end - base).expect("no more than is staged");
        let (file, at) = self.chain.locate(base).expect("what is staged has a file");
        memory.write(file, at, &self.staged.bytes()[..len]);
        self.staged.committed(end);
    }

    /// A turn is over: what waits for nothing else is committed.
    pub(crate) fn end_turn(&mut self, memory: &mut impl Memory) {
        if !self.staged.is_pool() {
            self.commit_upto(memory, self.written);
        }
    }

    pub(crate) fn start(&self) -> Physical {
        Physical::new(self.chain.start())
    }

    pub(crate) fn written(&self) -> Written {
        Written::upto(Physical::new(self.written))
    }

    /// Recovery found the end.
    pub(crate) fn set_end(&mut self, end: Physical) {
        assert!(self.staged.bytes().is_empty(), "recovery stages nothing");
        (self.written, self.unfinished) = (end.get(), 0);
        self.staged.restarted(self.written);
    }

    /// Can a file hold `len` bytes and the blank record behind them?
    pub(crate) fn fits_a_file(&self, len: u64) -> bool {
        len + u64::from(BLANK_HEADER) <= self.chain.file_len()
    }

    /// Where `len` bytes can go. A turn that has become long makes room for them.
    pub(crate) fn make_place(&mut self, memory: &mut impl Memory, len: u32) -> Place {
        if !self.staged.takes(len as usize) {
            self.end_turn(memory);
        }
        self.place(len)
    }

    fn place(&self, len: u32) -> Place {
        let need = u64::from(len) + u64::from(BLANK_HEADER);
        let left = self.left();
        let file_len = self.chain.file_len();
        if need <= left && !self.staged.takes(len as usize) {
            return Place::Pool;
        }
        match (need <= left, self.chain.room_end() - self.written) {
            (true, _) => Place::Here,
            (false, room) if left > 0 && room >= left + file_len => Place::Next,
            _ => match self.chain.ahead() {
                Ahead::Failed(fault) => Place::Full(fault.clone()),
                Ahead::Asked | Ahead::Idle => Place::Wait,
            },
        }
    }

    /// Is it time to have the next file allocated?
    pub(crate) fn wants_room(&self) -> bool {
        let (file_len, room) = (self.chain.file_len(), self.chain.room_end() - self.written);
        let half_full = room <= file_len / 2;
        let eager = file_len <= EAGER_FILE_MAX && room <= file_len;
        half_full || eager
    }

    /// Closes the current file with a blank record.
    pub(crate) fn roll(&mut self, memory: &mut impl Memory) {
        self.commit(memory);
        let left = u32::try_from(self.left()).expect("a file is shorter than 4 GiB");
        assert!(left >= BLANK_HEADER, "eight bytes are always kept free");
        let (file, at) = self.chain.locate(self.written).expect("there is a current file");
        let slot = memory.slot(file, at, BLANK_HEADER as usize);
        slot[..4].copy_from_slice(&left.to_be_bytes());
        slot[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
        self.written += u64::from(left);
        self.staged.restarted(self.written);
    }

    /// Behind all that came of a log that is copied.
    pub(crate) fn received(&self) -> u64 {
        self.written + self.unfinished
    }

    /// So many bytes of what came are in no record.
    pub(crate) fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// Takes bytes of a log that is copied, in a file that there is.
    pub(crate) fn receive(&mut self, memory: &mut impl Memory, bytes: &[u8]) {
        assert!(!self.staged.is_pool(), "a copy is told of when it is in files");
        let begins_file = self.received().is_multiple_of(self.chain.file_len());
        if begins_file || !self.staged.takes(bytes.len()) {
            let is_held = self.unfinished + bytes.len() as u64 <= UNFINISHED_MOST;
            let end = if is_held { self.written } else { self.received() };
            self.commit_upto(memory, end);
        }
        self.staged.push(bytes);
        self.unfinished += bytes.len() as u64;
    }

    /// What came of the next record lies in one place, in its file if it was too much to be staged.
    pub(crate) fn gather(&mut self, memory: &mut impl Memory) {
        if self.staged.base() > self.written {
            self.commit(memory);
        }
    }

    /// What came and is in no record is not wanted any more. Behind the log's end lie zeros, as
    /// ever.
    pub(crate) fn forget_unfinished(&mut self, memory: &mut impl Memory) {
        let base = self.staged.base();
        if let Some(len) = self.written.checked_sub(base) {
            self.staged.truncate(usize::try_from(len).expect("no more than is staged"));
        } else {
            for (file, from, to) in self.chain.parts(self.written, base) {
                let len = usize::try_from(to - from).expect("a file can be mapped");
                memory.slot(file, from, len).fill(0);
            }
            self.staged.restarted(self.written);
        }
        self.unfinished = 0;
    }

    /// What came makes a blank record.
    pub(crate) fn pass_blank(&mut self, len: u32) {
        assert_eq!(u64::from(len), self.left(), "a blank record fills its file");
        self.pass(len);
    }

    /// What came makes a record of so many bytes.
    pub(crate) fn pass_record(&mut self, len: u32) {
        assert!(u64::from(len) < self.left(), "a record ends in its file");
        self.pass(len);
    }

    fn pass(&mut self, len: u32) {
        let (end, base) = (self.written + u64::from(len), self.staged.base());
        assert!(end <= base || base <= self.written, "a record is staged, or is in its file");
        self.unfinished = self.unfinished.checked_sub(u64::from(len)).expect("all of it came");
        self.written = end;
    }

    /// Where the next `len` bytes go; the caller found [`Place::Here`].
    pub(crate) fn slot(&mut self, len: u32) -> &mut [u8] {
        assert_eq!(self.unfinished, 0, "a log that is copied gets no records of its own");
        self.staged.slot(len as usize)
    }

    /// Those bytes are a record now.
    pub(crate) fn publish(&mut self, len: u32) {
        assert!(u64::from(len) < self.left(), "a record ends in its file");
        self.written += u64::from(len);
    }

    pub(crate) fn view<'a>(&'a self, memory: &'a impl Memory, span: Span) -> &'a [u8] {
        assert!(self.written().covers(span.end()), "only what was written is read");
        if let Some(staged) = self.staged_from(span.at) {
            return &staged[..span.len as usize];
        }
        let (file, at) = self.chain.locate(span.at.get()).expect("the span lies in the log");
        memory.bytes(file, at, span.len as usize)
    }

    /// Bytes of the log that are in files, to be kept for a while.
    pub(crate) fn lease(&self, memory: &impl Memory, span: Span) -> Bytes {
        assert!(self.committed().covers(span.end()), "only what is in files is given away");
        let len = span.len as usize;
        self.staged.recent(span.at.get(), len).unwrap_or_else(|| {
            let (file, at) = self.chain.locate(span.at.get()).expect("the span lies in the log");
            memory.lease(file, at, len)
        })
    }

    /// Is the span a record's: written, in one file, as long as its first bytes say?
    pub(crate) fn holds(&self, memory: &impl Memory, span: Span) -> bool {
        let end = span.at.get().checked_add(u64::from(span.len));
        if span.len < BLANK_HEADER || end.is_none_or(|end| end > self.written) {
            return false;
        }
        let rest = self.rest(memory, span.at).unwrap_or_default();
        let word = |at: usize| Some(u32::from_be_bytes(*rest.get(at..)?.first_chunk()?));
        let is_blank = word(4) == Some(MAGIC_BLANK);
        word(0) == Some(span.len) && !is_blank && rest.len() >= span.len as usize
    }

    fn staged_from(&self, at: Physical) -> Option<&[u8]> {
        self.staged.from(at.get())
    }

    /// The rest of the file at `at`, as far as bytes are allocated; as far as they are written, if
    /// they are staged.
    pub(crate) fn rest<'a>(&'a self, memory: &'a impl Memory, at: Physical) -> Option<&'a [u8]> {
        if let Some(staged) = self.staged_from(at) {
            return Some(staged);
        }
        let (file, at) = self.chain.locate(at.get())?;
        let len = usize::try_from(self.chain.file_len() - at).expect("a file can be mapped");
        Some(memory.bytes(file, at, len))
    }

    /// The record at `at`, lengths and position checked, if there is one below `written`.
    pub(crate) fn record<'a>(
        &'a self,
        memory: &'a impl Memory,
        at: Physical,
    ) -> Option<Record<'a>> {
        match self.verdict(memory, at, Crc::Skip)? {
            Verdict::Good(record) if self.written().covers(at.plus(u64::from(record.size()))) => {
                Some(record)
            }
            Verdict::Bad(_) | Verdict::Blank { .. } | Verdict::Good(_) => None,
        }
    }

    /// Where the next file begins, if a blank record lies at `at`.
    pub(crate) fn behind_blank(&self, memory: &impl Memory, at: Physical) -> Option<Physical> {
        match self.verdict(memory, at, Crc::Skip)? {
            Verdict::Blank { len } if at < self.written().end() => Some(at.plus(u64::from(len))),
            Verdict::Bad(_) | Verdict::Blank { .. } | Verdict::Good(_) => None,
        }
    }

    /// What lies at `at`; `None` beyond the last file.
    pub(crate) fn verdict<'a>(
        &'a self,
        memory: &'a impl Memory,
        at: Physical,
        crc: Crc,
    ) -> Option<Verdict<'a>> {
        Some(check(self.rest(memory, at)?, at, crc))
    }

    /// Bytes left in the current file; 0 if there is none.
    pub(crate) fn left(&self) -> u64 {
        if self.written >= self.chain.room_end() {
            return 0;
        }
        self.chain.file_len() - self.written % self.chain.file_len()
    }

    pub(crate) fn verify(&self) {
        assert!(self.chain.start() <= self.written, "the end lies behind the beginning");
        assert!(self.written <= self.chain.room_end(), "what is written is allocated");
        self.staged.verify(self.received());
    }
}
