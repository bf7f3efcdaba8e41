//! A disk that loses power: what was not synced comes back page by page, or not at all.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use hotfire_storage::plain::PlainDisk;
use hotfire_storage::seam::{Disk, Done, Entry, Fault, FileId, Memory, Op, Token};

/// Bytes that are written or lost as one. Small, so that small files tear too.
const PAGE: usize = 64;

/// A few random bits, the same in every run.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Files: as the medium holds them, and as the next process reads them. They differ where the
/// machine lived on and kept unsynced pages in memory.
#[derive(Debug, Default)]
pub struct Medium {
    durable: BTreeMap<String, Vec<u8>>,
    live: BTreeMap<String, Vec<u8>>,
}

/// Where a disk leaves its medium when its owner is gone: killed, or without power.
pub type Estate = Rc<RefCell<Medium>>;

/// An operation that outlives its submission.
#[derive(Clone, Debug)]
enum Owned {
    Allocate(String, u64),
    Measure(String),
    Open(String),
    Remove(String),
    Rename(FileId, String),
    Replace(String, Vec<u8>),
    Sync(FileId, u64, u64),
    Zero(FileId, u64, u64),
}

/// Live bytes in a [`PlainDisk`], durable ones beside it.
#[derive(Debug)]
pub struct CrashDisk {
    live: PlainDisk,
    durable: BTreeMap<String, Vec<u8>>,
    names: BTreeMap<FileId, String>,
    waiting: VecDeque<(Token, Owned)>,
    /// Over, and not polled.
    over: VecDeque<(Token, Result<Done, Fault>)>,
    /// Operations until the power fails.
    fuse: Option<u64>,
    dead: bool,
    dice: Dice,
    estate: Estate,
}

impl CrashDisk {
    pub fn on(medium: Medium, seed: u64) -> Self {
        let mut live = PlainDisk::default();
        medium.live.into_iter().for_each(|(path, bytes)| live.put_file(&path, bytes));
        let durable = medium.durable;
        let (names, waiting, over) = (BTreeMap::new(), VecDeque::new(), VecDeque::new());
        let (dice, estate) = (Dice::new(seed), Estate::default());
        Self { live, durable, names, waiting, over, fuse: None, dead: false, dice, estate }
    }

    /// The power fails at the `operations`th operation from now.
    pub fn fail_after(&mut self, operations: Option<u64>) {
        self.fuse = operations;
    }

    pub fn is_dead(&self) -> bool {
        self.dead
    }

    pub fn estate(&self) -> Estate {
        Rc::clone(&self.estate)
    }

    /// What the next process finds.
    fn medium(&mut self) -> Medium {
        if !self.dead && self.dice.below(3) == 0 {
            let live = |path: &String| (path.clone(), self.live.file(path).unwrap().to_vec());
            let live = self.durable.keys().map(live).collect();
            return Medium { durable: std::mem::take(&mut self.durable), live };
        }
        let mut medium = BTreeMap::new();
        for (path, mut bytes) in std::mem::take(&mut self.durable) {
            let live = self.live.file(&path).unwrap_or_default();
            let keep = self.dice.below(3);
            for (page, live) in bytes.chunks_mut(PAGE).zip(live.chunks(PAGE)) {
                // Nothing, everything, or any subset of the unsynced pages got through.
                if keep == 1 || (keep == 2 && self.dice.below(2) == 0) {
                    page.copy_from_slice(live);
                }
            }
            medium.insert(path, bytes);
        }
        Medium { durable: medium.clone(), live: medium }
    }

    fn own(&mut self, op: Op<'_>) -> Owned {
        match op {
            Op::Allocate { path, len } => Owned::Allocate(path.to_owned(), len),
            Op::Delete { file } => Owned::Remove(self.names.remove(&file).expect("open")),
            Op::Measure { dir } => Owned::Measure(dir.to_owned()),
            Op::Open { path } => Owned::Open(path.to_owned()),
            Op::Remove { path } => Owned::Remove(path.to_owned()),
            Op::Rename { file, to } => Owned::Rename(file, to.to_owned()),
            Op::Replace { path, bytes } => Owned::Replace(path.to_owned(), bytes.to_vec()),
            Op::Sync { file, from, to } => Owned::Sync(file, from, to),
            Op::Zero { file, from, to } => Owned::Zero(file, from, to),
        }
    }

    /// Runs an operation, or dies before, after, or in its middle.
    fn run(&mut self, op: Owned) -> Result<Done, Fault> {
        if self.dead {
            return Err(Fault::Crashed);
        }
        self.fuse = self.fuse.map(|left| left.saturating_sub(1));
        if self.fuse == Some(0) {
            self.dead = true;
            match self.dice.below(3) {
                0 => {}
                1 => drop(self.effect(op)),
                _ => self.half(op),
            }
            return Err(Fault::Crashed);
        }
        self.effect(op)
    }

    fn effect(&mut self, op: Owned) -> Result<Done, Fault> {
        match op {
            Owned::Allocate(path, len) => {
                let done = self.live.perform(Op::Allocate { path: &path, len })?;
                self.durable.insert(path.clone(), self.live.file(&path).expect("made").to_vec());
                Ok(self.named(path, done))
            }
            Owned::Measure(dir) => self.live.perform(Op::Measure { dir: &dir }),
            Owned::Open(path) => {
                let done = self.live.perform(Op::Open { path: &path })?;
                Ok(self.named(path, done))
            }
            Owned::Remove(path) => {
                self.durable.remove(&path);
                self.live.perform(Op::Remove { path: &path })
            }
            Owned::Rename(file, to) => {
                let path = self.names.remove(&file).expect("open");
                let durable = self.durable.remove(&path).expect("it was allocated");
                self.durable.insert(to.clone(), durable);
                self.live.perform(Op::Rename { file, to: &to })
            }
            Owned::Replace(path, bytes) => {
                if let Some(old) = self.durable.insert(path.clone(), bytes.clone()) {
                    self.durable.insert(format!("{path}.bak"), old);
                }
                self.live.perform(Op::Replace { path: &path, bytes: &bytes })
            }
            Owned::Sync(file, from, to) => {
                // A file that was deleted meanwhile has nothing to sync.
                let Some(path) = self.names.get(&file) else { return Ok(Done::Finished) };
                let (from, to) = (usize::try_from(from).unwrap(), usize::try_from(to).unwrap());
                let live = self.live.file(path).expect("open");
                let durable = self.durable.get_mut(path).expect("open");
                durable[from..to].copy_from_slice(&live[from..to]);
                Ok(Done::Finished)
            }
            Owned::Zero(file, from, to) => self.live.perform(Op::Zero { file, from, to }),
        }
    }

    fn half(&mut self, op: Owned) {
        match op {
            Owned::Allocate(path, _) => drop(self.durable.insert(path, Vec::new())),
            Owned::Replace(path, _) => {
                // Renames are whole or not at all, in memory as on the medium.
                if let Some(old) = self.durable.remove(&path) {
                    let backup = format!("{path}.bak");
                    self.live.take_file(&path);
                    self.live.put_file(&backup, old.clone());
                    self.durable.insert(backup, old);
                }
            }
            Owned::Sync(file, from, to) => {
                let middle = from + self.dice.below(to - from + 1);
                drop(self.effect(Owned::Sync(file, from, middle)));
            }
            Owned::Zero(file, from, to) => {
                let middle = from + self.dice.below(to - from + 1);
                drop(self.effect(Owned::Zero(file, from, middle)));
            }
            Owned::Measure(_) | Owned::Open(_) | Owned::Remove(_) | Owned::Rename(..) => {}
        }
    }

    fn named(&mut self, path: String, done: Done) -> Done {
        if let Done::Opened { file, .. } = done {
            self.names.insert(file, path);
        }
        done
    }
}

impl Drop for CrashDisk {
    fn drop(&mut self) {
        let medium = self.medium();
        *self.estate.borrow_mut() = medium;
    }
}

impl Memory for CrashDisk {
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        self.live.bytes(file, at, len)
    }

    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        self.live.slot(file, at, len)
    }

    fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes {
        self.live.lease(file, at, len)
    }
}

impl Disk for CrashDisk {
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, Fault> {
        self.live.list(dir)
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.live.read(path)
    }

    fn perform(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        while let Some((token, earlier)) = self.waiting.pop_front() {
            let outcome = self.run(earlier);
            self.over.push_back((token, outcome));
        }
        let op = self.own(op);
        self.run(op)
    }

    fn submit(&mut self, token: Token, op: Op<'_>) {
        let op = self.own(op);
        self.waiting.push_back((token, op));
    }

    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        if self.dead {
            return None;
        }
        if let Some(over) = self.over.pop_front() {
            return Some(over);
        }
        let (token, op) = self.waiting.pop_front()?;
        let outcome = self.run(op);
        (!self.dead).then_some((token, outcome))
    }
}
