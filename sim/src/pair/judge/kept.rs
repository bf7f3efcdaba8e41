//! What goes of old messages, judged as in the first ring, and what is still known of it: a slave
//! may be sent, and a producer be answered, what the master has not any more.

use std::collections::BTreeMap;

use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use super::super::clock::Clocks;
use super::super::node::{Node, Shape};
use super::Verdict;
use crate::ledger::Ledger;
use crate::oracle::retention::Retention;
use crate::plan::Keeping;

/// The logs of all nodes.
pub(super) struct Kept {
    rules: Keeping,
    file_len: u64,
    retention: Retention,
    names: Vec<Text>,
    /// When files of the master's log became full, by where they begin: those that are gone, too.
    full: BTreeMap<u64, u64>,
    /// What was in them. It comes later, if it is staged.
    bytes: BTreeMap<u64, Vec<u8>>,
}

impl Kept {
    pub(super) fn new(shape: &Shape, slaves: usize, clocks: &Clocks, ledger: Ledger) -> Self {
        let (rules, file_len) = (shape.keep.clone(), shape.file_len);
        let short = u32::try_from(file_len).expect("a file is short");
        let mut kept = Self {
            retention: Retention::new(rules.clone(), short, ledger),
            rules,
            file_len,
            names: (0..=slaves).map(|at| format!("node {at}").into()).collect(),
            full: BTreeMap::new(),
            bytes: BTreeMap::new(),
        };
        (1..=slaves).filter(|at| clocks.are_apart(*at)).for_each(|at| kept.jumped(at));
        kept
    }

    /// Below it, messages of this node may be gone.
    pub(super) fn floor(&self, at: usize) -> u64 {
        self.retention.floor(&self.names[at])
    }

    /// A node's wall clock jumped. What is in a copy has its master's times.
    pub(super) fn jumped(&mut self, at: usize) {
        let misled = if at == 0 { &self.names[..] } else { &self.names[at..=at] };
        for name in misled {
            self.retention.jumped(name);
        }
    }

    /// A copy was given up, and begins here now.
    pub(super) fn anew(&mut self, at: usize, start: u64) {
        self.retention.anew(&self.names[at], start);
    }

    /// A broker has begun.
    pub(super) fn began(&mut self, now: u64, at: usize, node: &Node) -> Verdict {
        drop(node.medium.take_measures());
        let Some(broker) = &node.broker else { return Ok(()) };
        let store = broker.store();
        let (start, end) = (store.start().get(), store.written().end().get());
        if at == 0 {
            // The power may have taken it, and other bytes come there.
            let stays = |file: u64| file < start || file + self.file_len < end;
            self.full.retain(|file, _| stays(*file));
            self.bytes.retain(|file, _| *file < start);
            self.fill(now, node);
        }
        self.retention.began(&self.names[at], now, start, end)
    }

    /// A turn of a node is over, or its life.
    pub(super) fn turned(&mut self, now: u64, at: usize, wall: Wall, node: &Node) -> Verdict {
        let Some(broker) = &node.broker else { return Ok(()) };
        let store = broker.store();
        let (start, end) = (store.start().get(), store.written().end().get());
        if at == 0 {
            self.fill(now, node);
        } else {
            // What a copy has is as old as it is where it came from.
            let known = self.full.range(..end.saturating_sub(self.file_len));
            for (file, since) in known {
                self.retention.full_since(&self.names[at], *file, *since);
            }
        }
        for found in node.medium.take_measures() {
            self.retention.measured(&self.names[at], now, found);
        }
        let is_hour = self.rules.is_hour(wall.as_millis());
        self.retention.turned(&self.names[at], now, is_hour, (start, end))
    }

    /// Takes down what became full of the master's log.
    fn fill(&mut self, now: u64, node: &Node) {
        let Some(broker) = &node.broker else { return };
        let (store, len) = (broker.store(), self.file_len);
        let start = store.start().get();
        let first = self.full.last_key_value().map_or(0, |(file, _)| file + len).max(start);
        let files = |first: u64, end: u64| {
            (first..end)
                .step_by(usize::try_from(len).expect("short"))
                .filter(move |f| f + len < end)
        };
        self.full.extend(files(first, store.written().end().get()).map(|file| (file, now)));
        let first = self.bytes.last_key_value().map_or(0, |(file, _)| file + len).max(start);
        for file in files(first, store.committed().end().get()) {
            if let Some((_, bytes)) = node.log_file(file, len) {
                self.bytes.insert(file, bytes);
            }
        }
    }

    /// The file of the master's log that holds byte `at`, and where it begins: as processes see it,
    /// or as it was when it went.
    pub(super) fn master_file(&self, node: &Node, at: u64) -> Option<(u64, Vec<u8>)> {
        let start = at / self.file_len * self.file_len;
        if start < self.floor(0)
            && let Some(bytes) = self.bytes.get(&start)
        {
            return Some((start, bytes.clone()));
        }
        node.log_file(at, self.file_len)
    }
}
