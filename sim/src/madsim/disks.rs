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

use crate::disk::{Medium, SimDisk};

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
    taken: Arc<AtomicBool>,
    sick: Arc<AtomicBool>,
}

/// Drops behind the disk it is a field next to.
struct Taken(Arc<AtomicBool>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Berth {
    pub(super) fn new(medium: Medium) -> Self {
        Self { medium, taken: Arc::default(), sick: Arc::default() }
    }

    pub(super) fn medium(&self) -> &Medium {
        &self.medium
    }

    /// Is there no process that has the disk?
    pub(super) fn is_free(&self) -> bool {
        !self.taken.load(Ordering::Relaxed)
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
            sick: Arc::clone(&self.sick),
            _taken: Taken(Arc::clone(&self.taken)),
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

    pub(super) fn verify(&self) {
        self.disk.verify();
    }
}

impl Memory for NodeDisk {
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        self.disk.bytes(file, at, len)
    }

    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        self.disk.slot(file, at, len)
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
        self.disk.perform(op)
    }

    fn submit(&mut self, token: Token, op: Op<'_>) {
        // A latency counts from now, not from the last completion.
        self.disk.medium().advance(rt::now().mono);
        if let Op::Sync { .. } = op {
            self.syncs.insert(token);
        }
        self.disk.submit(token, op);
        self.changed.notify_one();
    }

    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        let (token, outcome) = self.disk.poll()?;
        self.changed.notify_one();
        if self.syncs.remove(&token) && outcome.is_err() {
            self.sick.store(true, Ordering::Relaxed);
        }
        Some((token, outcome))
    }
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
