//! What becomes of old messages in this world, told to the oracle that judges it.

use hotfire_core::broker::RetentionPolicy;

use super::World;
use crate::oracle::Verdict;

impl World<'_> {
    pub(super) fn retention_policy(&self) -> RetentionPolicy {
        self.run.plan.keep.policy()
    }

    /// The oracle looks at where a broker's log begins. To be called at the end of each turn, and
    /// of each life.
    pub(super) fn look_at_log(&mut self, at: usize) -> Verdict {
        let node = &self.brokers[at];
        let Some(broker) = &node.broker else { return Ok(()) };
        let retention = &mut self.oracles.retention;
        let wall_ms = node.clock.now(self.now).wall.as_millis();
        let is_hour = self.run.plan.keep.is_hour(wall_ms);
        for found in node.medium.take_measures() {
            retention.measured(&node.name, self.now, found);
        }
        let store = broker.store();
        let (start, end) = (store.start().get(), store.written().end().get());
        retention.turned(&node.name, self.now, is_hour, (start, end))
    }

    /// A broker has begun.
    pub(super) fn log_began(&mut self, at: usize) -> Verdict {
        let node = &self.brokers[at];
        drop(node.medium.take_measures());
        let store = node.broker.as_ref().expect("it has just started").store();
        let (start, end) = (store.start().get(), store.written().end().get());
        self.oracles.retention.began(&node.name, self.now, start, end)
    }
}
