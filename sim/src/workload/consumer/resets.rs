//! A member plays the operator: it sends its group back to an offset that it has passed.

use hotfire_core::domain::{BrokerRequest, ResetOffsets, ResetTo};
use hotfire_storage::time::Mono;

use super::{Consumer, What};
use crate::choose::{Choose as _, Stream};
use crate::workload::Act;
use crate::workload::history::{Fact, History};
use crate::workload::message::Lane;

impl Consumer {
    /// Asks that a queue which is this member's be consumed again from somewhere on. Backwards
    /// only: nothing is passed over.
    pub(super) fn send_back_group(
        &mut self,
        now: Mono,
        lane: &Lane,
        dice: &mut Stream,
        history: &mut History,
    ) -> Option<Act> {
        let held = self.lanes.get_mut(lane)?;
        let passed = held.next;
        // Only where there is something to do: a world that has come to rest stays so.
        let is_busy = std::mem::take(&mut held.has_found);
        if !is_busy || passed == 0 || self.resets == 0 || !dice.chance(100, "work.reset") {
            return None;
        }
        self.resets -= 1;
        let to = dice.below(passed, "work.reset_to");
        let number = history.len();
        let (group, topic) = (self.group.clone(), lane.topic.clone());
        history.add(now, Fact::Resetting { number, group: group.clone(), lane: lane.clone(), to });
        let request = BrokerRequest::ResetOffsets(Box::new(ResetOffsets {
            group,
            topic,
            queue: Some(lane.queue),
            to: ResetTo::Offset(i64::try_from(to).expect("offsets are small")),
            is_forced: dice.chance(500, "work.reset_forced"),
        }));
        let what = What::Reset { lane: lane.clone(), number };
        Some(self.call(now, &lane.broker, request, what))
    }

    /// It will be.
    pub(super) fn group_sent_back(
        &mut self,
        now: Mono,
        lane: &Lane,
        number: usize,
        history: &mut History,
    ) {
        history.add(now, Fact::Reset { number });
        if let Some(held) = self.lanes.get_mut(lane) {
            (held.is_asked, held.again) = (false, now);
        }
    }
}
