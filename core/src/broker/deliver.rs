//! Delayed messages: how they wait in the schedule topic, and how they are delivered once they are
//! due (broker-behaviour.md 4.1, 4.2).
//!
//! A message is due when the clock says so by which its time was reckoned. If that was set back,
//! messages do not wait for as long as it went back, and do not come at once, either, as they do
//! from the original.
//!
//! No message blocks those behind it. One whose record is gone, or says of no topic where it
//! belongs, is passed over; one whose topic is gone brings it back, since it was acknowledged.

use std::time::Duration;

use bytes::Bytes;
use hotfire_storage::AppendError;
use hotfire_storage::position::{Physical, QueueOffset, Span};
use hotfire_storage::record::properties::{
    self, DELAY, MULTI_DISPATCH, MULTI_QUEUE_OFFSET, NAME_END, SCHEDULE_TOPIC, VALUE_END,
    delivery_time,
};
use hotfire_storage::record::{Draft, Record};
use hotfire_storage::seam::{Disk, Fault};
use hotfire_storage::time::{Mono, Now, Wall};

use super::delays::DelayLevel;
use super::{Broker, names, state};
use crate::domain::QueueRef;

/// Where a message that waits belongs.
const REAL_TOPIC: &str = "REAL_TOPIC";
const REAL_QUEUE: &str = "REAL_QID";
/// Properties by which a message asks to wait until a time: a delay level counts for more.
pub(super) const TIMERS: [&str; 3] = ["TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"];
/// Most messages that a turn delivers: the others are there for more than that.
const TURN_MAX: usize = 64;
/// How often is looked whether the clock was set forward.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When to look again after the disk had no room, or a topic was not ready.
const AGAIN: Duration = Duration::from_millis(100);

/// The properties of a message that is to wait.
pub(super) fn waiting(level: DelayLevel, to: &QueueRef, raw: &str) -> String {
    let [seconds, millis, time] = TIMERS;
    let kept = without(raw.as_bytes(), [DELAY, REAL_TOPIC, REAL_QUEUE, seconds, millis, time]);
    let kept = String::from_utf8(kept).expect("text without some of its parts is text");
    let (is, end) = (char::from(NAME_END), char::from(VALUE_END));
    let (level, QueueRef { topic, queue }) = (level.get(), to);
    format!("{kept}{DELAY}{is}{level}{end}{REAL_TOPIC}{is}{topic}{end}{REAL_QUEUE}{is}{queue}{end}")
}

/// Properties without those of these names.
pub(super) fn without<const N: usize>(raw: &[u8], names: [&str; N]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(raw.len() + 1);
    let is_kept = |name: &[u8]| !names.iter().any(|other| other.as_bytes() == name);
    for (name, value) in properties::iter(raw).filter(|(name, _)| is_kept(name)) {
        kept.extend_from_slice(name);
        kept.push(NAME_END);
        kept.extend_from_slice(value);
        kept.push(VALUE_END);
    }
    kept
}

/// Where a message belongs that has waited. Clients cannot send to topics of the broker's own, so
/// none of theirs belongs there.
fn belongs_to(record: &Record<'_>) -> Option<QueueRef> {
    let found = properties::find_all(record.properties(), [REAL_TOPIC, REAL_QUEUE]);
    let [topic, queue] = found.map(|value| value.and_then(|value| str::from_utf8(value).ok()));
    let (topic, queue) = (topic?, queue?.parse().ok()?);
    names::check_topic(topic).ok()?;
    names::check_not_barred(topic).ok()?;
    Some(QueueRef { topic: topic.into(), queue })
}

/// What came of looking at a level.
enum Seen {
    /// The message before this offset is done with.
    Passed(QueueOffset),
    /// Nothing is to be done before; `None`: before something arrives.
    Waits(Option<Mono>),
}

impl<D: Disk> Broker<D> {
    /// Is it this broker that delivers?
    fn delivers(&self) -> bool {
        !self.ha.is_slave() && self.closed_for_sends.is_none()
    }

    /// When there is something to deliver, or to look at.
    pub(super) fn delivery_deadline(&self) -> Option<Mono> {
        self.delays.deadline().filter(|_| self.delivers())
    }

    /// Delivers what is due, and may be.
    pub(super) fn deliver(&mut self, now: Now) {
        let mut delivered = 0;
        while self.delivers()
            && delivered < TURN_MAX
            && let Some((level, next)) = self.delays.due(now.mono)
        {
            match self.look_at(now, level, next) {
                Seen::Passed(next) => {
                    self.delays.passed(level, next);
                    delivered += 1;
                }
                Seen::Waits(until) => self.delays.wait(level, until),
            }
        }
    }

    fn look_at(&mut self, now: Now, level: DelayLevel, next: QueueOffset) -> Seen {
        let of = level.queue();
        let range = self.visible(&of).unwrap_or_default();
        if next < range.min {
            let (level, from) = (level.get(), range.min);
            tracing::warn!(level, %next, %from, "delayed messages grew old before their time");
            return Seen::Passed(range.min);
        }
        if next >= range.max {
            return Seen::Waits(None);
        }
        let view = self.store.queue_view(&of.topic, of.queue);
        let unit = view.as_ref().and_then(|view| view.get(next));
        let Some(unit) = unit else { return Seen::Passed(QueueOffset::new(next.get() + 1)) };
        let due = view.and_then(|view| view.tags_code(&unit)).map(Wall::from_millis);
        let Some((bytes, due)) = self.waited(level, unit.span, due) else {
            tracing::warn!(level = level.get(), %next, "a delayed message is gone");
            return Seen::Passed(unit.next());
        };
        match self.waits(now, level, due) {
            Some(until) => Seen::Waits(Some(until)),
            None => self.deliver_one(now, &bytes, unit.next()),
        }
    }

    /// A message that waits, and when it is due.
    fn waited(&self, level: DelayLevel, span: Span, due: Option<Wall>) -> Option<(Bytes, Wall)> {
        let bytes = self.points_at_record(span).then(|| self.store.lease(span))?;
        let stored = Record::parse(&bytes).ok()?.store_time();
        Some((bytes, due.unwrap_or_else(|| self.due(level, stored))))
    }

    /// When a message of a level is due that was stored then.
    fn due(&self, level: DelayLevel, stored: Wall) -> Wall {
        let levels = &self.store.settings().delay_levels;
        Wall::from_millis(delivery_time(level.get().unsigned_abs().into(), stored, levels))
    }

    /// Until when a level's next message waits, which is due then by the clock; `None`: no longer.
    ///
    /// One that is due later than its delay from now was stored before the clock was set back: no
    /// later than when the first of these was met.
    fn waits(&mut self, now: Now, level: DelayLevel, due: Wall) -> Option<Mono> {
        let left = u64::try_from(due.as_millis().saturating_sub(now.wall.as_millis()));
        let left = left.ok().filter(|left| *left > 0).map(Duration::from_millis)?;
        let delay = self.due(level, Wall::default()).as_millis().unsigned_abs();
        let delay = Duration::from_millis(delay);
        let until = if left > delay {
            self.delays.odd_since(now.mono, level).after(delay)
        } else {
            self.delays.not_odd(level);
            now.mono.after(left)
        };
        // It may be set forward meanwhile.
        (until > now.mono).then(|| until.min(now.mono.after(LOOK_EVERY)))
    }

    /// Stores a message that is due where it belongs.
    fn deliver_one(&mut self, now: Now, bytes: &Bytes, next: QueueOffset) -> Seen {
        let record = Record::parse(bytes).expect("it was just read");
        let at = record.physical();
        let Some(to) = belongs_to(&record) else {
            tracing::error!(%at, "a delayed message does not say where it belongs");
            return Seen::Passed(next);
        };
        let again = Seen::Waits(Some(now.mono.after(AGAIN)));
        if self.refuse_if_full().is_err() || self.refuse_if_overloaded().is_err() {
            return again;
        }
        let (to, since) = self.topics.for_delivery(now.wall, &to);
        if self.must_wait(&to.topic, since) {
            return again;
        }
        let mut stored = self.store_delivered(now, &record, &to, record.properties());
        if let Err(AppendError::LightName { .. } | AppendError::LightQueues { .. }) = stored {
            // It is in its own queue at least: the message was acknowledged.
            let plain = without(record.properties(), [MULTI_DISPATCH, MULTI_QUEUE_OFFSET]);
            stored = self.store_delivered(now, &record, &to, &plain);
        }
        match stored {
            Ok(()) => Seen::Passed(next),
            Err(AppendError::NotReady | AppendError::Full(_)) => again,
            Err(why) => {
                tracing::error!(%at, topic = %to.topic, %why, "a delayed message is not delivered");
                Seen::Passed(next)
            }
        }
    }

    fn store_delivered(
        &mut self,
        now: Now,
        record: &Record<'_>,
        to: &QueueRef,
        properties: &[u8],
    ) -> Result<(), AppendError> {
        let raw = [properties];
        let draft = Draft {
            topic: &to.topic,
            queue_id: to.queue,
            flag: record.flag(),
            sys_flag: record.sys_flag(),
            born: record.born(),
            born_host: record.born_host(),
            store_host: self.config.store_host,
            reconsume_times: record.reconsume_times(),
            prepared: Physical::ZERO,
            body: record.body(),
            properties: &raw,
        };
        let appended = self.store.append(now.wall, &draft)?;
        let lights = self.light_queues_of(&to.topic, properties);
        self.arrived(to.clone(), &appended, lights);
        self.flush.wrote(now.mono, self.store.written());
        Ok(())
    }

    /// The log is durable below `flushed`, and with it what was delivered there. Of a slave's that
    /// is known once it was compared with its master's: until then something else may lie there.
    pub(super) fn settle_deliveries(&mut self, flushed: Physical) {
        if !self.ha.is_slave() || self.has_master() {
            self.delays.settle(flushed);
        }
    }

    /// The end of an orderly stop. If the log is durable, so is all that was delivered.
    pub(super) fn save_deliveries(&mut self, now: Now, is_durable: bool) -> Result<(), Fault> {
        if is_durable {
            let end = self.store.written().end();
            self.settle_deliveries(end);
            self.delays.mark(now.wall, end);
            self.settle_deliveries(end);
        }
        let is_kept = self.delays.is_kept();
        if is_kept { state::save_delays(self.store.disk_mut(), &self.delays) } else { Ok(()) }
    }

    /// A queue got messages that may be seen: are they such that wait? `None`: any may have got
    /// some.
    pub(super) fn delay_arrived(&mut self, queue: Option<&QueueRef>) {
        match queue {
            _ if self.ha.is_slave() => {}
            Some(queue) if *queue.topic == *SCHEDULE_TOPIC => self.delays.arrived(queue.queue),
            Some(_) => {}
            None => self.delays.any_arrived(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_waits_says_where_it_belongs_and_keeps_the_rest() {
        let level = DelayLevel::asked("99", 18).expect("a number").expect("a level");
        let to = QueueRef { topic: "t".into(), queue: 3 };
        let raw = "KEYS\u{1}k\u{2}DELAY\u{1}99\u{2}TIMER_DELAY_MS\u{1}7\u{2}REAL_TOPIC\u{1}x";
        let waiting = waiting(level, &to, raw);
        let all = properties::iter(waiting.as_bytes()).map(|(name, value)| {
            (str::from_utf8(name).expect("text"), str::from_utf8(value).expect("text"))
        });
        let wanted = [("KEYS", "k"), ("DELAY", "18"), ("REAL_TOPIC", "t"), ("REAL_QID", "3")];
        assert_eq!(all.collect::<Vec<_>>(), wanted);
    }
}
