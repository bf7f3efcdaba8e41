//! How far a start has come, for whoever waits for it.
//!
//! Recovery knows no clock: it tells at bounded distances of work, and the listener decides what
//! is worth saying, and when.

/// What a start is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reads the log's records; counted in bytes.
    Check,
    /// Puts keys into the index from the log; counted in bytes.
    Index,
    /// Opens the files of queues; counted in queues, of an unknown total.
    Load,
    /// Computes queues anew from the log; counted in bytes.
    Rebuild,
    /// Ends queues where the log does, and makes them durable; counted in queues.
    Settle,
}

/// Where a start stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it does.
    pub stage: Stage,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do, at most; 0 if nobody knows.
    pub total: u64,
    /// Good records read so far.
    pub records: u64,
}

/// Listens while a store opens. `()` does not listen.
pub trait Watch {
    /// The start stands here now. Called often: keep it cheap.
    fn at(&mut self, progress: Progress);
}

impl Watch for () {
    fn at(&mut self, _: Progress) {}
}

/// Bytes of the log, or queues, between two calls.
const BYTES: u64 = 1 << 20;
const QUEUES: u64 = 256;

/// Tells a listener at the distances above.
pub(crate) struct Teller<'a> {
    watch: &'a mut dyn Watch,
    stage: Stage,
    total: u64,
    /// Worth telling from here on.
    next: u64,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(watch: &'a mut dyn Watch) -> Self {
        Self { watch, stage: Stage::Load, total: 0, next: QUEUES }
    }

    /// Another stage begins.
    pub(crate) fn begin(&mut self, stage: Stage, total: u64, records: u64) {
        (self.stage, self.total, self.next) = (stage, total, 0);
        self.done(0, records);
    }

    /// So much of the stage is done.
    pub(crate) fn done(&mut self, done: u64, records: u64) {
        if done < self.next {
            return;
        }
        self.next = done
            + match self.stage {
                Stage::Check | Stage::Index | Stage::Rebuild => BYTES,
                Stage::Load | Stage::Settle => QUEUES,
            };
        let (stage, total) = (self.stage, self.total);
        self.watch.at(Progress { stage, done, total, records });
    }
}
