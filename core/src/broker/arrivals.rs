//! Queues that got records which may not be seen yet: pulls on them wake when they may.

use std::collections::VecDeque;

use hotfire_storage::position::{Confirmed, Physical};

use crate::domain::QueueRef;

/// Who is to be woken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// All pulls that are held.
    All,
    /// Those on this queue.
    Queue(QueueRef),
}

/// Arrivals in the order of the log. Only so many are remembered one by one: when replicas hold
/// back for seconds what may be seen, there may be millions. Of the rest it is known where they
/// end, and then everybody is woken.
#[derive(Debug)]
pub(super) struct Arrivals {
    known: VecDeque<(Physical, QueueRef)>,
    most: usize,
    rest: Option<Physical>,
}

impl Arrivals {
    pub(super) fn new(most: usize) -> Self {
        Self { known: VecDeque::new(), most, rest: None }
    }

    /// A record of this queue ends at `end`.
    pub(super) fn push(&mut self, end: Physical, queue: QueueRef) {
        let last = self.rest.or_else(|| self.known.back().map(|(end, _)| *end));
        assert!(last.is_none_or(|last| last <= end), "records arrive in order");
        if self.rest.is_some() || self.known.len() >= self.most {
            self.rest = Some(end);
        } else {
            self.known.push_back((end, queue));
        }
    }

    /// As many as [`behind`](Self::behind) can say at most, without looking for them.
    pub(super) fn most_behind(&self) -> usize {
        if self.rest.is_some() { self.known.len().max(self.most) } else { self.known.len() }
    }

    /// Those that end behind `upto`; of the rest it is not known how many they are.
    pub(super) fn behind(&self, upto: Physical) -> usize {
        let known = self.known.len() - self.known.partition_point(|(end, _)| *end <= upto);
        if self.rest.is_some_and(|rest| rest > upto) { known.max(self.most) } else { known }
    }

    /// The next to be woken, if there is any.
    pub(super) fn next(&mut self, confirmed: Confirmed) -> Option<Wake> {
        if let Some((_, queue)) = self.known.pop_front_if(|(end, _)| confirmed.covers(*end)) {
            return Some(Wake::Queue(queue));
        }
        let is_due = |rest: &mut Physical| confirmed.covers(*rest);
        self.rest.take_if(is_due).map(|_| Wake::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(end: u64) -> Physical {
        Physical::new(end)
    }

    fn queue(topic: &str) -> QueueRef {
        QueueRef { topic: topic.into(), queue: 0 }
    }

    #[test]
    fn beyond_the_limit_everybody_is_woken() {
        let mut arrivals = Arrivals::new(2);
        for (end, topic) in [(10, "a"), (20, "b"), (30, "c"), (40, "d")] {
            arrivals.push(at(end), queue(topic));
        }
        assert_eq!((arrivals.behind(at(10)), arrivals.behind(at(40))), (2, 0));
        assert_eq!(arrivals.most_behind(), 2);
        let mut woken = |upto| arrivals.next(Confirmed::upto(at(upto)));
        assert_eq!(woken(5), None);
        assert_eq!(woken(35), Some(Wake::Queue(queue("a"))));
        assert_eq!((woken(35), woken(35)), (Some(Wake::Queue(queue("b"))), None));
        assert_eq!((arrivals.behind(at(35)), arrivals.most_behind()), (2, 2));
        let mut woken = |upto| arrivals.next(Confirmed::upto(at(upto)));
        assert_eq!((woken(40), woken(40)), (Some(Wake::All), None));
        assert_eq!(arrivals.most_behind(), 0);
        arrivals.push(at(50), queue("e"));
        assert_eq!(arrivals.next(Confirmed::upto(at(50))), Some(Wake::Queue(queue("e"))));
    }
}
