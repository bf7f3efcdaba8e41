//! After the last fault: everything comes right in time.

use hotfire_core::domain::SendStatus;

use super::{SETTLE, World, judge};
use crate::ring::Violation;

impl World<'_> {
    fn is_ok(&self, number: i32) -> bool {
        self.judge.status(number) == Some(SendStatus::Ok)
    }

    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        // What was held back before the last fault comes when its time has come.
        let calm = self.names.as_mut().map_or(self.now, |names| names.quiet(self.now));
        let end = calm + SETTLE;
        let (mut probe, mut next, mut unsettled, mut look) = (None, self.now, None, self.now);
        while self.now < end {
            let is_settled = judge::is_settled(&self.nodes);
            if is_settled && probe.is_some_and(|number| self.is_ok(number)) && look <= self.now {
                unsettled = self.names_unsettled()?;
                look = self.now + 1_000_000;
                if unsettled.is_none() {
                    return self.judge.check_all(&self.nodes);
                }
            }
            let is_due =
                probe.is_none_or(|number| self.judge.is_answered(number) && !self.is_ok(number));
            if is_settled && is_due && next <= self.now {
                probe = Some(self.judge.next());
                next = self.now + 1_000_000;
                self.send_one()?;
            }
            self.step()?;
        }
        if let Some(unsettled) = unsettled {
            return Err(unsettled);
        }
        let detail = self.judge.why_unsettled(&self.nodes);
        Err(Violation::new("once faults stop, replication goes on", detail))
    }
}
