//! What becomes of logs when their brokers die, stop, begin over and are given up.

use hotfire_storage::Parting;

use super::super::node::Node;
use super::{Acked, Fate, Judge, Link, Verdict};
use crate::oracle::image::Image;
use crate::ring::Violation;

impl Judge {
    /// A process died: its sends are not answered any more.
    pub(in super::super) fn died(&mut self, at: usize, power: bool) {
        self.fates[at].power |= power;
        self.walked[at] = 0;
        self.links[at] = Link::default();
        if at == 0 {
            self.links.fill(Link::default());
            for (number, _) in std::mem::take(&mut self.asked) {
                self.statuses.insert(number, None);
            }
        }
    }

    /// A slave's log was given up, and begins at `start` now.
    pub(in super::super) fn wiped(&mut self, at: usize, start: u64) {
        self.held[at] = 0;
        self.lacks[at] = start;
        self.kept.anew(at, start);
        self.acked.iter_mut().for_each(|acked| acked.copies[at] = false);
    }

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
        if at == 0 {
            return self.master_began(is_excused, nodes);
        }
        let (file_len, floor) = (self.shape.file_len, self.kept.floor(at));
        for acked in self.acked.iter_mut().filter(|acked| acked.copies[at]) {
            if !has(&nodes[at], acked, file_len) {
                if !is_excused && acked.at >= floor {
                    let detail = format!(
                        "slave {at} held send {} at {}, and lost it",
                        acked.number, acked.at
                    );
                    return Err(Violation::new("what was copied stays", detail));
                }
                acked.copies[at] = false;
            }
        }
        let end = nodes[at].broker.as_ref().map_or(0, |b| b.store().written().end().get());
        self.held[at] = self.held[at].min(end);
        Ok(())
    }

    fn master_began(&mut self, is_excused: bool, nodes: &[Node]) -> Verdict {
        let (file_len, floor) = (self.shape.file_len, self.kept.floor(0));
        // What is seen and what slaves hold is in files: a kill takes neither.
        let is_lost = |acked: &&Acked| acked.at >= floor && !has(&nodes[0], acked, file_len);
        if let Some(lost) = self.acked.iter().find(is_lost)
            && !is_excused
        {
            let detail =
                format!("send {} at {} was acknowledged and is gone", lost.number, lost.at);
            return Err(Violation::new("what was acknowledged stays", detail));
        }
        self.acked.retain(|acked| has(&nodes[0], acked, file_len));
        let stays = |(at, bytes): (&u64, &Vec<u8>)| {
            nodes[0].bytes(*at, bytes.len(), file_len).as_ref() == Some(bytes)
        };
        if let Some((at, _)) = self.seen.range(floor..).find(|of| !stays(*of))
            && !is_excused
        {
            let detail = format!("the record at {at} was seen and is gone");
            return Err(Violation::new("what was seen stays", detail));
        }
        self.seen.retain(|at, bytes| stays((at, bytes)));
        self.grown.clear();
        // What was copied of what is gone is nobody's.
        let end = nodes[0].broker.as_ref().map_or(0, |b| b.store().written().end().get());
        self.held.iter_mut().for_each(|held| *held = (*held).min(end));
        self.ever.iter_mut().for_each(|ever| *ever = (*ever).min(end));
        Ok(())
    }
}

fn has(node: &Node, acked: &Acked, file_len: u64) -> bool {
    node.bytes(acked.at, acked.bytes.len(), file_len).as_ref() == Some(&acked.bytes)
}
