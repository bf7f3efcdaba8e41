//! What becomes of logs when their brokers die, stop, begin over and are given up.

use hotfire_storage::Parting;

use super::super::node::Node;
use super::{Fate, Judge, Link, Verdict};
use crate::oracle::audit::{Audit, Entry};
use crate::oracle::image::Image;
use crate::ring::Violation;

impl Judge {
    /// A process died.
    pub(in super::super) fn died(&mut self, at: usize, power: bool) {
        self.fates[at].power |= power;
        self.stopped(at);
    }

    /// A slave's log was given up, and begins at `start` now.
    pub(in super::super) fn wiped(&mut self, at: usize, start: u64) {
        self.held[at] = 0;
        self.lacks[at] = start;
        self.kept.anew(at, start);
        self.acked[at] = Audit::default();
    }

    /// A process ended: what it was asked is not answered any more.
    pub(in super::super) fn stopped(&mut self, at: usize) {
        self.walked[at] = 0;
        self.links[at] = Link::default();
        if at == 0 {
            self.links.fill(Link::default());
            for (number, _) in std::mem::take(&mut self.asked) {
                self.statuses.insert(number, None);
            }
        }
    }

    /// A slave's log is to be parted, as it says; its process has ended. If it begins anew, then
    /// where its master's log does, of which it has nothing.
    pub(in super::super) fn parts(&mut self, at: usize, how: Parting, nodes: &[Node]) -> Verdict {
        let Parting::Begin(start) = how else { return Ok(()) };
        let (start, floor) = (start.get(), self.kept.floor(0));
        let end = Image::read(&nodes[at].medium.seen()).end;
        if !start.is_multiple_of(self.shape.file_len) || start > floor || start < end {
            let detail = format!(
                "slave {at}, whose log ends at {end}, begins at {start}; of its master's log goes \
                 what lies below {floor}"
            );
            return Err(Violation::new("a slave begins where its master does", detail));
        }
        self.wiped(at, start);
        Ok(())
    }

    /// A broker is back: does it have what it should?
    pub(in super::super) fn began(&mut self, now: u64, at: usize, nodes: &[Node]) -> Verdict {
        self.began[at] = now;
        let Fate { power } = std::mem::take(&mut self.fates[at]);
        self.kept.began(now, at, &nodes[at])?;
        let waits = if at == 0 { self.shape.sync_flush } else { self.shape.slaves_sync };
        // A disk whose syncs fail keeps what it likes of what nobody waited for.
        let is_excused = !waits && (power || nodes[at].fails());
        let (held, floor) = (nodes[at].held(), self.kept.floor(at));
        let may_lack = |said: &Entry| is_excused || said.at < floor;
        let stays = if at == 0 { "what was acknowledged stays" } else { "what was copied stays" };
        judge(&mut self.acked[at], stays, &held, may_lack)?;
        let end = nodes[at].broker.as_ref().map_or(0, |b| b.store().written().end().get());
        if at > 0 {
            self.held[at] = self.held[at].min(end);
            return Ok(());
        }
        // What is seen and what slaves hold is in files: a kill takes neither.
        judge(&mut self.seen, "what was seen stays", &held, may_lack)?;
        self.grown.clear();
        // What was copied of what is gone is nobody's.
        let (kept, copies) = self.acked.split_first_mut().expect("there is a master");
        for copied in copies {
            copied.keep(kept.entries());
        }
        self.held.iter_mut().for_each(|held| *held = (*held).min(end));
        self.ever.iter_mut().for_each(|ever| *ever = (*ever).min(end));
        Ok(())
    }
}

/// Holds what lies in a log against what is known of it, and forgets what may be lost.
fn judge(
    audit: &mut Audit,
    oracle: &str,
    held: &[Entry],
    may_lack: impl Fn(&Entry) -> bool,
) -> Verdict {
    audit.judge_but(held, may_lack).map_err(|wrong| Violation::new(oracle, wrong))?;
    audit.keep(held);
    Ok(())
}
