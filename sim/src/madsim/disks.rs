//! Disks of simulated nodes.
//!
//! ```text
//! kill ─► SimDisks::reset_node ─► the medium: this process is dead     (at once)
//!                                 its futures are dropped              (later, when scheduled)
//!                                 the crash image is made              (then)
//! ```
//!
//! madsim drops a dead node's futures late, so destructors of a dead process run after its death.
//! The medium fences them off; and the next process waits in its `init` until the disk of the one
//! before is gone ([`Berth::free`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hotfire_core::machine::Digest;
use hotfire_net::rt;
use hotfire_storage::seam::{Disk, Done, Entry, Fault, FileId, Memory, Op, Token};
use hotfire_storage::time::Mono;
use madsim::Config;
use madsim::plugin::Simulator;
use madsim::rand::GlobalRng;
use madsim::task::NodeId;
use madsim::time::TimeHandle;
use tokio::sync::Notify;

use super::view::View;
use crate::disk::{Medium, SimDisk};

/// Where logs lie.
const LOG: &str = "commitlog/";

/// The plug-in that hears of deaths.
#[derive(Default)]
pub(super) struct SimDisks(Mutex<BTreeMap<NodeId, Slot>>);

struct Slot {
    medium: Medium,
    /// The next death takes the power with it.
    power: bool,
}

impl SimDisks {
    /// From now on `node` has this medium.
    pub(super) fn give(&self, node: NodeId, medium: Medium) {
        self.with(|slots| slots.insert(node, Slot { medium, power: false }));
    }

    /// The next death of `node` is a power failure.
    pub(super) fn arm_power(&self, node: NodeId) {
        self.with(|slots| slots.get_mut(&node).expect("it has a medium").power = true);
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<NodeId, Slot>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Simulator for SimDisks {
    fn new(_: &GlobalRng, _: &TimeHandle, _: &Config) -> Self {
        Self::default()
    }

    fn reset_node(&self, id: NodeId) {
        self.with(|slots| {
            let Some(slot) = slots.get_mut(&id) else { return };
            if std::mem::take(&mut slot.power) {
                slot.medium.power_fail();
            } else {
                slot.medium.kill();
            }
        });
    }
}

/// Where the processes of one node mount its medium, one after the other.
#[derive(Clone)]
pub(super) struct Berth {
    medium: Medium,
    view: View,
    taken: Arc<AtomicBool>,
    sick: Arc<AtomicBool>,
}

/// Drops behind the disk it is a field next to.
struct Taken(Arc<AtomicBool>, View);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
        // The pages are the medium's again.
        self.1.clear();
    }
}

impl Berth {
    pub(super) fn new(medium: Medium) -> Self {
        Self { medium, view: View::default(), taken: Arc::default(), sick: Arc::default() }
    }

    pub(super) fn medium(&self) -> &Medium {
        &self.medium
    }

    /// Is there no process that has the disk?
    pub(super) fn is_free(&self) -> bool {
        !self.taken.load(Ordering::Relaxed)
    }

    /// The file of the log that begins at `start`, as processes see it.
    pub(super) fn log_file(&self, start: u64) -> Option<Vec<u8>> {
        let path = format!("{LOG}{start:020}");
        let mapped = self.view.file(&path);
        mapped.or_else(|| self.medium.seen_where(|known| known == path).remove(&path))
    }

    /// Counts changes of the log while a process has it.
    pub(super) fn changes(&self) -> u64 {
        self.view.changes()
    }

    /// Waits until the disk of the process before is dropped.
    pub(super) async fn free(&self) {
        while !self.is_free() {
            rt::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Was a sync of the present process told that it failed? Then the broker takes no more
    /// messages, and its operator has to see to it.
    pub(super) fn is_sick(&self) -> bool {
        self.sick.load(Ordering::Relaxed)
    }

    /// The disk of a new process, and what must run beside it.
    pub(super) fn mount(&self) -> (NodeDisk, Pump) {
        let changed = Arc::new(Notify::new());
        let disk = NodeDisk {
            disk: self.medium.mount(),
            changed: Arc::clone(&changed),
            syncs: BTreeSet::new(),
            opening: BTreeMap::new(),
            lent: None,
            view: self.view.clone(),
            sick: Arc::clone(&self.sick),
            _taken: Taken(Arc::clone(&self.taken), self.view.clone()),
        };
        self.taken.store(true, Ordering::Relaxed);
        self.sick.store(false, Ordering::Relaxed);
        (disk, Pump { medium: self.medium.clone(), changed })
    }
}

/// A [`SimDisk`] that follows the simulation's clock, and whose completions are told.
pub(super) struct NodeDisk {
    disk: SimDisk,
    changed: Arc<Notify>,
    /// Syncs under way.
    syncs: BTreeSet<Token>,
    /// Files of the log that are being opened.
    opening: BTreeMap<Token, String>,
    /// What was lent to be written, and is not in the view yet.
    lent: Option<(FileId, u64, usize)>,
    view: View,
    sick: Arc<AtomicBool>,
    _taken: Taken,
}

impl NodeDisk {
    /// What this process sees: every path and its bytes.
    pub(super) fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        self.disk.seen()
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        self.disk.digest(into);
    }

    /// What was lent has been written.
    fn settle(&mut self) {
        if let Some((file, at, len)) = self.lent.take() {
            self.show(file, at, len);
        }
    }

    /// Shows bytes of a file, if it is one of the log. Those that a dead process wrote are not
    /// there.
    fn show(&self, file: FileId, at: u64, len: usize) {
        if self.view.has(file) {
            self.view.wrote(file, at, self.disk.bytes(file, at, len));
        }
    }

    fn opened(&self, path: Option<String>, outcome: &Result<Done, Fault>) {
        if let (Some(path), Ok(Done::Opened { file, len })) = (path, outcome) {
            let len = usize::try_from(*len).expect("simulated files are short");
            self.view.opened(*file, path, self.disk.bytes(*file, 0, len).to_vec());
        }
    }

    pub(super) fn verify(&self) {
        self.disk.verify();
    }
}

impl Memory for NodeDisk {
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        self.disk.bytes(file, at, len)
    }

    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        self.settle();
        self.lent = Some((file, at, len));
        self.disk.slot(file, at, len)
    }

    fn write(&mut self, file: FileId, at: u64, bytes: &[u8]) {
        self.settle();
        self.disk.write(file, at, bytes);
        self.show(file, at, bytes.len());
    }

    fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes {
        self.disk.lease(file, at, len)
    }
}

impl Disk for NodeDisk {
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, Fault> {
        self.disk.list(dir)
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.disk.read(path)
    }

    fn perform(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        self.settle();
        self.view.asked(op);
        let outcome = self.disk.perform(op);
        self.opened(log_of(op), &outcome);
        if let Op::Zero { file, from, to } = op {
            self.show(file, from, usize::try_from(to - from).expect("simulated files are short"));
        }
        outcome
    }

    fn submit(&mut self, token: Token, op: Op<'_>) {
        self.settle();
        self.view.asked(op);
        self.opening.extend(log_of(op).map(|path| (token, path)));
        // A latency counts from now, not from the last completion.
        self.disk.medium().advance(rt::now().mono);
        if let Op::Sync { .. } = op {
            self.syncs.insert(token);
        }
        self.disk.submit(token, op);
        self.changed.notify_one();
    }

    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        self.settle();
        let (token, outcome) = self.disk.poll()?;
        let path = self.opening.remove(&token);
        self.opened(path, &outcome);
        self.changed.notify_one();
        if self.syncs.remove(&token) && outcome.is_err() {
            self.sick.store(true, Ordering::Relaxed);
        }
        Some((token, outcome))
    }
}

/// The file of the log that is to be opened, if one is.
fn log_of(op: Op<'_>) -> Option<String> {
    let (Op::Allocate { path, .. } | Op::Open { path }) = op else { return None };
    path.starts_with(LOG).then(|| path.to_owned())
}

/// What turns due operations into wake-ups of the driver, as the disk's thread does in production.
pub(super) struct Pump {
    medium: Medium,
    changed: Arc<Notify>,
}

impl Pump {
    /// Runs as long as the process. Each completion is told once: a driver that misses a wake-up
    /// hangs here as it would in production.
    pub(super) async fn run(self, wake: Arc<Notify>) {
        let mut told = Mono::ZERO;
        loop {
            let due = self.medium.next_due().filter(|due| *due > told);
            let Some(due) = due else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = rt::sleep_to(due) => {
                    told = rt::now().mono;
                    self.medium.advance(told);
                    wake.notify_one();
                }
            }
        }
    }
}
