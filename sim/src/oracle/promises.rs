//! I1, I5, I6: what was acknowledged is in the store at its (topic, queue, offset), byte for byte;
//! what a consumer has seen stays; no offset of a queue ever names two messages.
//!
//! Excused: what a power failure could lose by the loss contract (see [`super`]). Whether it was
//! lost is looked up when the broker is back: what is still there is on the medium from then on,
//! and is promised like everything else; what is gone frees its offset. Excused, too: what lay
//! below the log's beginning, as far as that was allowed to move (see [`super::retention`]); its
//! offset is not free.

use std::collections::BTreeMap;

use hotfire_core::domain::SendStatus;
use hotfire_storage::text::Text;

use super::Verdict;
use super::image::Image;
use crate::ring::Violation;
use crate::workload::history::{Fact, History};
use crate::workload::message::{Id, Lane};

/// What a place in a queue was said to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Promise {
    id: Id,
    at: u64,
    /// Not even a power failure may take it.
    strict: bool,
    /// A power failure may have taken it.
    doubtful: bool,
    /// Who said so, of those who promised most: for the report.
    seen: bool,
}

/// What is promised.
#[derive(Debug)]
pub struct Promises {
    sync_flush: bool,
    /// Of each broker: its process now, and of each power failure which process it ended and what
    /// was on the medium.
    lives: BTreeMap<Text, (u32, Vec<(u32, u64)>)>,
    lanes: BTreeMap<Lane, BTreeMap<u64, Promise>>,
}

impl Promises {
    /// No promise yet.
    pub fn new(sync_flush: bool) -> Self {
        Self { sync_flush, lives: BTreeMap::new(), lanes: BTreeMap::new() }
    }

    /// Takes a fact in.
    pub fn follow(&mut self, fact: &Fact, history: &History) -> Verdict {
        match fact {
            Fact::Acked { life, status, ids, offset, at } => {
                for (id, (offset, at)) in ids.iter().zip((*offset..).zip(at)) {
                    let message = &history.messages()[id];
                    let ok = *status == SendStatus::Ok;
                    let strict = self.sync_flush && message.promised && ok;
                    let promise =
                        Promise { id: *id, at: *at, strict, doubtful: false, seen: false };
                    self.promise(&message.lane, *life, offset, promise)?;
                }
                if ids.len() == at.len() {
                    return Ok(());
                }
                let detail = format!("{ids:?} were sent, and {at:?} answered");
                Err(Violation::new("an acknowledgement speaks of what was sent", detail))
            }
            Fact::Consumed { life, lane, offset, at, id, body, .. } => {
                let known = id.filter(|id| history.may_be_in(lane, *id));
                let is_it = |id: &Id| history.messages()[id].body == *body;
                let Some(id) = known.filter(is_it) else {
                    let detail = format!("{lane} offset {offset}: {id:?}, position {at}");
                    return Err(Violation::new("nothing is consumed that was not sent", detail));
                };
                let strict = self.sync_flush;
                let promise = Promise { id, at: *at, strict, doubtful: false, seen: true };
                self.promise(lane, *life, *offset, promise)
            }
            Fact::Died { broker, durable } => {
                self.died(broker, *durable);
                Ok(())
            }
            Fact::Began { broker, life } => {
                self.lives.entry(broker.clone()).or_default().0 = *life;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Somebody was told what lies at an offset, by process `life` of the broker.
    fn promise(&mut self, lane: &Lane, life: u32, offset: u64, new: Promise) -> Verdict {
        let (_, powers) = self.lives.entry(lane.broker.clone()).or_default();
        // Said before a power failure that may have taken it, heard after: nothing can be held
        // against the broker, unless it was a promise for all cases.
        let lost = powers.iter().any(|(of, durable)| *of >= life && new.at >= *durable);
        if lost && !new.strict {
            return Ok(());
        }
        let places = self.lanes.entry(lane.clone()).or_default();
        match places.get_mut(&offset) {
            None => _ = places.insert(offset, new),
            Some(old) if old.id == new.id && old.at == new.at => {
                if new.strict && !old.strict {
                    (old.strict, old.seen) = (true, new.seen);
                }
            }
            Some(old) => {
                let detail = format!("{lane} offset {offset} was {old:?} and is {new:?}");
                return Err(Violation::new("an offset names one message", detail));
            }
        }
        Ok(())
    }

    /// Messages that are promised to lie in this part of a broker's log, and where.
    pub fn placed(&self, broker: &Text, from: u64, to: u64) -> impl Iterator<Item = (u64, Id)> {
        let of = self.lanes.iter().filter(move |(lane, _)| lane.broker == *broker);
        let all = of.flat_map(|(_, places)| places.values());
        let here = all.filter(move |promise| (from..to).contains(&promise.at));
        here.map(|promise| (promise.at, promise.id))
    }

    fn died(&mut self, broker: &Text, durable: Option<u64>) {
        let Some(durable) = durable else { return };
        let (life, powers) = self.lives.entry(broker.clone()).or_default();
        powers.push((*life, durable));
        let of = self.lanes.iter_mut().filter(|(lane, _)| lane.broker == *broker);
        for promise in of.flat_map(|(_, places)| places.values_mut()) {
            promise.doubtful |= !promise.strict && promise.at >= durable;
        }
    }

    /// The broker is back: what is there is there, and what is gone must have been doubtful.
    /// Below `floor` messages may have been deleted.
    pub fn began(
        &mut self,
        broker: &Text,
        image: &Image,
        history: &History,
        floor: u64,
    ) -> Verdict {
        for (lane, places) in self.lanes.iter_mut().filter(|(lane, _)| lane.broker == *broker) {
            let mut verdict = Ok(());
            places.retain(|offset, promise| {
                let judged = judge(lane, *offset, promise, image, history, floor);
                if judged.is_ok() {
                    promise.doubtful = false;
                    return true;
                }
                if !promise.doubtful && verdict.is_ok() {
                    verdict = judged;
                }
                false
            });
            verdict?;
        }
        Ok(())
    }

    /// Everything promised is there, unless it was deleted, as may be below `floor`.
    pub fn check(&self, broker: &Text, image: &Image, history: &History, floor: u64) -> Verdict {
        for (lane, places) in self.lanes.iter().filter(|(lane, _)| lane.broker == *broker) {
            for (offset, promise) in places {
                judge(lane, *offset, promise, image, history, floor)?;
            }
        }
        Ok(())
    }
}

fn judge(
    lane: &Lane,
    offset: u64,
    promise: &Promise,
    image: &Image,
    history: &History,
    floor: u64,
) -> Verdict {
    if promise.at < image.start.min(floor) {
        return Ok(());
    }
    let body = &history.messages()[&promise.id].body;
    let found = image.get(&lane.topic, lane.queue, offset);
    if found.is_some_and(|f| f.id == Some(promise.id) && f.body == *body && f.at == promise.at) {
        return Ok(());
    }
    let what = if promise.seen { "seen" } else { "acknowledged" };
    let found = found.map(|f| (f.id, f.at));
    let end = image.end;
    Err(Violation::new(
        &format!("{what} messages stay"),
        format!("{lane} offset {offset}: {promise:?}, found {found:?}, the log ends at {end}"),
    ))
}
