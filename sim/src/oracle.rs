//! Oracles: what must be true of every run, each in a file of its own.
//!
//! | oracle | invariant |
//! |---|---|
//! | [`audit`] | what was acknowledged is at its place, and nowhere else; of real processes, too |
//! | [`promises`] | I1, I5, I6: what was acknowledged or seen stays where it was |
//! | [`honest`] | I2: an acknowledgement under SYNC_FLUSH speaks of bytes that are on the medium |
//! | [`order`] | I16: a producer's messages lie in a queue in the order of sending |
//! | [`delivery`] | I10: what survives is delivered, nothing committed passes what is not |
//! | [`derived`] | I7: queues are a function of the log |
//! | [`light`] | messages are in the light queues that they name, and can be pulled from there |
//! | [`holds`] | every request is answered once; no pull waits in front of a message |
//! | [`keys`] | what lies in the log is found by its key |
//! | [`locks`] | I16: a queue is locked for one client of a group at a time |
//! | [`metadata`] | I15: acknowledged topics survive, offsets are never more than was committed |
//! | [`resets`] | a group goes where an operator sends it |
//! | [`retention`] | I20: only the oldest files go, and only those that may |
//! | [`retries`] | I10: what a consumer sent back comes again, or is a dead letter |
//! | [`routes`] | I19: name servers list who lives, and not for long who does not |
//! | [`timers`] | I13: what waits for its time is delivered, not early, and not twice for nothing |
//!
//! **The loss contract.** A kill loses nothing that was acknowledged. A power failure loses nothing
//! that was acknowledged `Ok` under SYNC_FLUSH to a sender who waited, and nothing that lay below
//! the position up to which the log was on the medium at that moment; the medium is asked, not the
//! broker. Everything else it may lose.
//!
//! Oracles read the [`History`] and the stores' bytes. They do not know how a node is driven.

pub mod audit;
pub mod delivery;
pub mod derived;
pub mod holds;
pub mod honest;
pub mod image;
pub mod keys;
pub mod light;
pub mod locks;
pub mod metadata;
pub mod order;
pub mod promises;
pub mod resets;
pub mod retention;
pub mod retries;
pub mod routes;
pub mod timers;

use std::collections::BTreeMap;

use hotfire_storage::text::Text;

use crate::ledger::Ledger;
use crate::plan::Keeping;
use crate::ring::Violation;
use crate::workload::history::History;
use image::Image;

/// What an oracle says.
pub type Verdict = Result<(), Violation>;

/// The oracles that follow the history.
#[derive(Debug)]
pub struct Oracles {
    read: usize,
    /// What is promised, and where.
    pub promises: promises::Promises,
    /// What was delivered, and committed.
    pub delivery: delivery::Delivery,
    /// Who holds which queue.
    pub locks: locks::Locks,
    /// Which topics exist.
    pub metadata: metadata::Metadata,
    /// What may be gone.
    pub retention: retention::Retention,
    /// Where groups were sent.
    pub resets: resets::Resets,
    /// What was sent back.
    pub retries: retries::Retries,
    /// What waits for its time.
    pub timers: timers::Timers,
}

impl Oracles {
    /// Oracles of brokers that flush as `sync_flush` says, and whose logs are kept like this.
    pub fn new(sync_flush: bool, keeping: Keeping, file_len: u32, ledger: Ledger) -> Self {
        Self {
            read: 0,
            promises: promises::Promises::new(sync_flush),
            delivery: delivery::Delivery::default(),
            locks: locks::Locks::default(),
            metadata: metadata::Metadata::default(),
            resets: resets::Resets::default(),
            retries: retries::Retries::new(sync_flush),
            timers: timers::Timers::new(ledger.clone()),
            retention: retention::Retention::new(keeping, file_len, ledger),
        }
    }

    /// Reads what the history has to say since the last time.
    pub fn follow(&mut self, history: &History) -> Verdict {
        for (now, fact) in history.since(self.read) {
            self.promises.follow(fact, history)?;
            self.delivery.follow(fact, history)?;
            self.locks.follow(*now, fact)?;
            self.metadata.follow(fact, history);
            self.resets.follow(fact);
            self.retries.follow(fact);
            self.timers.follow(fact);
        }
        self.read = history.len();
        Ok(())
    }

    /// A broker has started, over this image of its store.
    pub fn began(&mut self, broker: &Text, life: u32, image: &Image, history: &History) -> Verdict {
        let floor = self.retention.floor(broker);
        self.promises.began(broker, image, history, floor)?;
        self.delivery.began(broker, life, image);
        light::check(broker, image, history)?;
        order::check(broker, image, history)
    }

    /// All is quiet: everything holds that can be asked of the stores, by broker.
    pub fn quiet(&self, images: &BTreeMap<Text, Image>, history: &History) -> Verdict {
        for (broker, image) in images {
            self.promises.check(broker, image, history, self.retention.floor(broker))?;
            self.delivery.check(broker, image)?;
            self.resets.check(broker, image, &self.delivery)?;
            let floor = self.retention.passed_over(broker, image.end);
            self.timers.check(broker, image, history, floor)?;
            self.retries.check(broker, image, history)?;
            light::check(broker, image, history)?;
            order::check(broker, image, history)?;
        }
        Ok(())
    }
}
