//! Since when nothing was wrong but with the master, which may be gone.

/// Before that much time has passed in peace, what follows from it is not demanded.
const CALM: u64 = 25_000_000;
/// A slave acts at the latest so long after its master is gone.
const ACTS: u64 = 30_000_000;

/// Who lives, and since when.
#[derive(Debug)]
pub(super) struct Peace {
    /// When something other than the master's life changed last.
    broken: u64,
    /// When the master began, or ended.
    master: u64,
    /// Since when each broker is up.
    up: Vec<Option<u64>>,
}

impl Peace {
    pub(super) fn new(brokers: usize) -> Self {
        Self { broken: 0, master: 0, up: vec![None; brokers] }
    }

    /// Something is wrong, up to then.
    pub(super) fn break_until(&mut self, until: u64) {
        self.broken = self.broken.max(until);
    }

    pub(super) fn began(&mut self, now: u64, at: usize) {
        self.up[at] = Some(now);
        self.changed(now, at);
    }

    pub(super) fn ended(&mut self, now: u64, at: usize) {
        self.up[at] = None;
        self.changed(now, at);
    }

    fn changed(&mut self, now: u64, at: usize) {
        if at == 0 {
            self.master = now;
        } else {
            self.break_until(now);
        }
    }

    /// Slaves that live, if there has been peace long enough.
    pub(super) fn slaves(&self, now: u64) -> Vec<usize> {
        if self.broken + CALM >= now {
            return Vec::new();
        }
        (1..self.up.len()).filter(|at| self.up[*at].is_some()).collect()
    }

    /// Has the master, which lives, lived for as long as that?
    pub(super) fn has_master(&self, now: u64) -> bool {
        self.up[0].is_some() && self.master + CALM < now
    }

    /// Whoever must act for the master by now.
    pub(super) fn acts(&self, now: u64) -> Option<usize> {
        let is_gone = self.up[0].is_none() && self.master + ACTS < now;
        self.slaves(now).first().copied().filter(|_| is_gone)
    }
}
