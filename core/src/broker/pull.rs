//! Pulls: looked up, filtered, answered or held (broker-behaviour.md 5).

use std::time::Duration;

use hotfire_storage::QueueRange;
use hotfire_storage::position::{QueueOffset, Span};
use hotfire_storage::record::properties;
use hotfire_storage::seam::Disk;
use hotfire_storage::time::{Mono, Now, Wall};

use super::Broker;
use super::arrivals::Wake;
use super::hold::{Held, Holds};
use super::names::{self, Refusal};
use crate::domain::{
    BrokerResponse, Caller, Code, Pull, PullStatus, Pulled, QueueRef, Subscription,
};

/// Most bytes of one answer; the first message always goes.
const BYTES_MAX: u32 = 256 * 1024;
/// Most messages of one answer.
const MESSAGES_MAX: i32 = 1024;
/// A pull is held this long at most, whatever its client asks: official ones ask for 15 to 30 s.
const HOLD_MAX: Duration = Duration::from_secs(120);
/// Most queue entries looked at for one answer.
const SCAN_MAX: u64 = 800;

/// Which messages a subscription wants, as far as the queue can tell.
enum Filter {
    All,
    Codes(Vec<i32>),
}

impl Filter {
    /// `*`, or `TagA || TagB`.
    fn parse(expression: &str) -> Self {
        let tags = || expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        if tags().next().is_none() || tags().any(|tag| tag == "*") {
            return Self::All;
        }
        Self::Codes(tags().map(properties::java_hash).collect())
    }

    fn of(subscription: &Subscription) -> Self {
        if subscription.codes.is_empty() || &*subscription.expression == "*" {
            return Self::All;
        }
        Self::Codes(subscription.codes.clone())
    }

    /// A message whose tags code is not known goes: the client compares the text.
    fn wants(&self, tags_code: impl FnOnce() -> Option<i64>) -> bool {
        match self {
            Self::All => true,
            Self::Codes(codes) => tags_code()
                .is_none_or(|tags_code| codes.iter().any(|code| i64::from(*code) == tags_code)),
        }
    }
}

impl<D: Disk> Broker<D> {
    /// A pull arrived.
    pub(super) fn pull(&mut self, now: Now, caller: Caller, pull: Box<Pull>) {
        if let Err((code, remark)) = self.admit_pull(now.wall, &pull) {
            return self.refuse(caller, code, remark);
        }
        if let Some(offset) = pull.commit.and_then(|offset| u64::try_from(offset).ok()) {
            let next = QueueOffset::new(offset);
            self.offsets.commit(&pull.group, &pull.from, caller.conn, next);
        }
        let patience = pull.hold_ms.map(|ms| {
            if self.config.long_polling {
                Duration::from_millis(ms).min(HOLD_MAX)
            } else {
                self.config.short_polling
            }
        });
        let deadline = patience.map(|patience| now.mono.after(patience));
        self.serve_pull(caller, pull, deadline);
    }

    /// Everything that can be said without the queue (5.1).
    fn admit_pull(&mut self, wall: Wall, pull: &Pull) -> Result<(), Refusal> {
        let topic = &pull.from.topic;
        if self.config.permission & 4 == 0 {
            let remark = format!(
                "the broker[{}] pulling message is forbidden: brokerPermission has no read bit",
                self.config.identity.broker_name
            );
            return Err((Code::NoPermission, remark));
        }
        self.groups.check_pull(wall, &pull.group)?;
        let Some(config) = self.topics.get(topic) else {
            let remark = format!("topic[{topic}] not exist: create it, or send to it first");
            return Err((Code::TopicNotExist, remark));
        };
        if !config.readable() {
            let remark = format!("the topic[{topic}] pulling message is forbidden");
            return Err((Code::NoPermission, remark));
        }
        super::topics::check_queue(&pull.from, config.read_queues)?;
        self.filter_of(pull).map(|_| ())
    }

    fn filter_of(&self, pull: &Pull) -> Result<Filter, Refusal> {
        let topic = &pull.from.topic;
        if pull.expression_type.as_deref().is_some_and(|kind| !kind.is_empty() && kind != "TAG") {
            let remark = "The broker does not support consumer to filter message by SQL92 yet; \
                          subscribe by tags";
            return Err((Code::SystemError, remark.to_owned()));
        }
        if topic.starts_with(names::RETRY_PREFIX) {
            return Ok(Filter::All);
        }
        if let Some(expression) = &pull.subscription {
            return Ok(Filter::parse(expression));
        }
        let group = self.clients.consumer_group(&pull.group);
        let Some(subscription) = group.and_then(|group| group.subscription(topic)) else {
            let remark = format!(
                "the consumer's subscription not exist: no heartbeat of the group {} subscribes \
                 to {topic}",
                pull.group
            );
            return Err((Code::SubscriptionNotExist, remark));
        };
        if subscription.version < pull.sub_version {
            let remark = "the consumer's subscription not latest".to_owned();
            return Err((Code::SubscriptionNotLatest, remark));
        }
        Ok(Filter::of(subscription))
    }

    /// Answers, or holds until `deadline` if there is nothing yet.
    fn serve_pull(&mut self, caller: Caller, pull: Box<Pull>, deadline: Option<Mono>) {
        let filter = match self.filter_of(&pull) {
            Ok(filter) => filter,
            Err((code, remark)) => return self.refuse(caller, code, remark),
        };
        let Pull { group, from, offset, .. } = &*pull;
        if let Some(next) = self.offsets.moved(group, from, caller.conn, *offset) {
            let moved = self.moved_to(from, next);
            return self.answer(caller, BrokerResponse::Pulled(Box::new(moved)));
        }
        let (mut pulled, messages) = self.look(&pull, &filter);
        self.consumption.pulled(&pull, messages);
        self.direct(&pull, &mut pulled);
        let Some(deadline) = deadline.filter(|_| pulled.code == Code::PullNotFound) else {
            return self.answer(caller, BrokerResponse::Pulled(Box::new(pulled)));
        };
        if caller.oneway {
            return;
        }
        if self.holds.len() >= self.config.limits.waiting_pulls {
            let remark = format!(
                "[OVERLOAD]system busy, start flow control for a while: {} pulls are held",
                self.holds.len()
            );
            return self.refuse(caller, Code::SystemBusy, remark);
        }
        // Held for long: the header it came in must not be.
        let pull = Box::new(pull.detached());
        self.holds.hold(Held { caller, pull, deadline });
    }

    /// An operator has set where the group goes on.
    fn moved_to(&self, of: &QueueRef, next: QueueOffset) -> Pulled {
        let zero = QueueOffset::ZERO;
        let (min, max) = self.visible(of).map_or((zero, zero), |range| (range.min, range.max));
        let (status, code) = (PullStatus::OffsetReset, Code::PullOffsetMoved);
        Pulled { status, code, next, min, max, suggest: 0, spans: Vec::new() }
    }

    /// Whom the consumer is to ask the next time (5.2): one that is far behind a slave, one that
    /// came to a slave its master, as soon as that is back.
    ///
    /// A slave moves nobody: what it lacks, at its end or in front of its beginning, its master may
    /// have (`offsetCheckInSlave`, which is off). Until then the consumer waits where it is.
    fn direct(&self, pull: &Pull, pulled: &mut Pulled) {
        let seen = pulled.spans.last().map(|span| span.end());
        let lacks = seen.map_or(0, |seen| self.store.written().end().since(seen));
        let (near, far) = self.groups.served_by(&pull.group);
        let is_moved = pulled.code == Code::PullOffsetMoved && self.ha.is_slave();
        if let Some(asked) = u64::try_from(pull.offset).ok().filter(|_| is_moved) {
            (pulled.code, pulled.next) = (Code::PullNotFound, QueueOffset::new(asked));
        }
        if self.config.far_behind.is_some_and(|most| lacks > most) {
            pulled.suggest = far;
        } else if self.ha.is_slave() {
            // Who still knows this slave as its master would come back at once.
            let is_known = self.acting.is_shown_as_master();
            if self.has_master() && !is_known && pulled.code != Code::Success {
                pulled.code = Code::PullRetryImmediately;
            }
        } else {
            pulled.suggest = near;
        }
    }

    /// What the queue holds for this pull, now (5.2), and how many messages that is.
    fn look(&self, pull: &Pull, filter: &Filter) -> (Pulled, u64) {
        let zero = QueueOffset::ZERO;
        let range = self.visible(&pull.from);
        let (min, max) = range.map_or((zero, zero), |range| (range.min, range.max));
        let asked = u64::try_from(pull.offset).unwrap_or(0);
        let moved_unless_zero =
            if pull.offset == 0 { Code::PullNotFound } else { Code::PullOffsetMoved };
        let (status, code, next) = if max == zero {
            (PullStatus::NoMessageInQueue, moved_unless_zero, zero)
        } else if pull.offset < 0 || asked < min.get() {
            (PullStatus::OffsetTooSmall, Code::PullOffsetMoved, min)
        } else if asked == max.get() {
            (PullStatus::OffsetOverflowOne, Code::PullNotFound, max)
        } else if asked > max.get() {
            (PullStatus::OffsetOverflowBadly, Code::PullOffsetMoved, max)
        } else {
            return self.collect(pull, filter, RangeAsked { min, max, from: asked });
        };
        (Pulled { status, code, next, min, max, suggest: 0, spans: Vec::new() }, 0)
    }

    fn collect(&self, pull: &Pull, filter: &Filter, range: RangeAsked) -> (Pulled, u64) {
        let RangeAsked { min, max, from } = range;
        let most = u64::from(pull.max_messages.clamp(1, MESSAGES_MAX).unsigned_abs());
        let bytes_max = pull
            .max_bytes
            .and_then(|bytes| u32::try_from(bytes).ok())
            .map_or(BYTES_MAX, |bytes| bytes.min(BYTES_MAX));
        let scan_end = max.get().min(from + SCAN_MAX.max(most));
        let (mut spans, mut found, mut bytes) = (Vec::<Span>::new(), 0, 0_u32);
        let (mut next, mut removed) = (from, false);
        let queue = self.store.queue_view(&pull.from.topic, pull.from.queue);
        while next < scan_end && found < most {
            let unit = queue.as_ref().and_then(|queue| queue.get(QueueOffset::new(next)));
            // A unit of an inner batch stands for several offsets.
            next = unit.map_or(next + 1, |unit| unit.next().get());
            // A unit whose record is gone, or that points at none, is passed over.
            let Some(unit) = unit.filter(|unit| self.points_at_record(unit.span)) else {
                removed = true;
                continue;
            };
            if filter.wants(|| queue.as_ref()?.tags_code(&unit)) {
                let count = u64::from(unit.count);
                let is_long = bytes.saturating_add(unit.span.len) > bytes_max;
                if found > 0 && (found + count > most || is_long) {
                    next = unit.first.get();
                    break;
                }
                bytes = bytes.saturating_add(unit.span.len);
                found += count;
                merge(&mut spans, unit.span);
            }
        }
        let (status, code) = match (found, removed) {
            (0, true) => (PullStatus::MessageWasRemoving, Code::PullRetryImmediately),
            (0, false) => (PullStatus::NoMatchedMessage, Code::PullRetryImmediately),
            _ => (PullStatus::Found, Code::Success),
        };
        let next = QueueOffset::new(next);
        (Pulled { status, code, next, min, max, suggest: 0, spans }, found)
    }

    pub(super) fn points_at_record(&self, span: Span) -> bool {
        self.store.record(span.at).is_some_and(|record| record.size() == span.len)
    }

    /// The part of a queue that consumers may see: below the confirmed position.
    pub(super) fn visible(&self, of: &QueueRef) -> Option<QueueRange> {
        let range = self.store.queue(&of.topic, of.queue)?;
        let confirmed = self.confirmed;
        let seen = |offset: u64| {
            let unit = self.store.unit(&of.topic, of.queue, QueueOffset::new(offset));
            unit.is_none_or(|unit| confirmed.covers(unit.span.end()))
        };
        let (mut low, mut high) = (range.min.get(), range.max.get());
        if high > low && !seen(high - 1) {
            // Positions grow along a queue: find the first that is not confirmed.
            while low < high {
                let middle = low + (high - low) / 2;
                if seen(middle) { low = middle + 1 } else { high = middle }
            }
        }
        Some(QueueRange { min: range.min, max: QueueOffset::new(high) })
    }

    /// Wakes pulls whose queue got messages that may be seen now.
    pub(super) fn wake_arrivals(&mut self) {
        let confirmed = self.confirmed;
        while let Some(wake) = self.arrivals.next(confirmed) {
            match wake {
                Wake::All => {
                    self.delay_arrived(None);
                    self.wake_where(Holds::take_all);
                }
                Wake::Queue(queue) => {
                    self.delay_arrived(Some(&queue));
                    self.wake(&queue);
                }
            }
        }
    }

    /// Serves what is held on this queue again.
    pub(super) fn wake(&mut self, queue: &QueueRef) {
        self.wake_where(|holds, woken| holds.take_queue(queue, woken));
    }

    fn wake_where(&mut self, take: impl FnOnce(&mut Holds, &mut Vec<Held>)) {
        let mut woken = std::mem::take(&mut self.woken);
        take(&mut self.holds, &mut woken);
        for Held { caller, pull, deadline } in woken.drain(..) {
            self.serve_pull(caller, pull, Some(deadline));
        }
        self.woken = woken;
    }

    /// Answers what was held long enough.
    pub(super) fn expire_holds(&mut self, now: Mono) {
        while let Some(Held { caller, pull, .. }) = self.holds.take_late(now) {
            self.serve_pull(caller, pull, None);
        }
    }

    /// Answers everything that is held: the broker stops.
    pub(super) fn release_holds(&mut self) {
        while let Some(Held { caller, pull, .. }) = self.holds.take_any() {
            self.serve_pull(caller, pull, None);
        }
    }
}

/// Where a pull begins in what it may see.
#[derive(Clone, Copy)]
struct RangeAsked {
    min: QueueOffset,
    max: QueueOffset,
    from: u64,
}

/// Appends a span, as part of the last one if they touch: fewer slices to write.
fn merge(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut() {
        Some(last) if last.end() == span.at => last.len += span.len,
        _ => spans.push(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_expression_names_the_codes_it_wants() {
        let wants = |filter: &Filter, code| filter.wants(|| Some(code));
        assert!(wants(&Filter::parse("*"), 0) && wants(&Filter::parse(""), 7));
        let filter = Filter::parse("TagA || TagB");
        assert!(wants(&filter, 2_598_919) && wants(&filter, 2_598_920));
        assert!(!wants(&filter, 0) && !wants(&filter, 2_598_921));
        assert!(filter.wants(|| None), "it lies in an extension that is not here");
    }
}
