//! How far the routed group is, by what brokers were told and have said.
//!
//! - **A broker knows what it was told last**, while its process lives; after a death, what its
//!   medium holds; never less, but for the end of its queue when it starts.
//! - **A slave takes its master's word**, and keeps what it was told itself until the master is as
//!   far.
//! - **A master that acts in a group takes back** what a slave says, as far as its queue goes, and
//!   goes back to less for nobody but a consumer.
//! - **In peace a slave knows**, when its master dies, what that was told 8 s before; and a master
//!   that returns says nothing less than its slaves know.
//! - **What a slave of such a group was told comes back**: 75 s after the last fault the master has
//!   heard it from the slave, or knows as much. In a group without acting masters nobody promises
//!   that.

use super::super::work::TOPICS;
use super::consumer::GROUP;
use crate::ring::Violation;

const ORACLE: &str = "what was committed stays";
/// In peace a slave has asked its master for what that knew so long ago.
const FOLLOWED: u64 = 8_000_000;

/// A commit, or what is known of several.
#[derive(Clone, Copy, Debug)]
struct Known {
    next: u64,
    /// It was said by a consumer to this broker.
    is_own: bool,
}

/// Of each topic.
pub(super) type Ends = [u64; TOPICS.len()];

/// What each broker knows at least.
#[derive(Debug)]
pub(super) struct Committed {
    acting: bool,
    known: Vec<[Option<Known>; TOPICS.len()]>,
    /// What a slave was told and its master does not know.
    promised: Vec<[Option<u64>; TOPICS.len()]>,
    /// What the master was told since it began: when, of which topic.
    said: Vec<(u64, usize, u64)>,
}

/// What a table of offsets says of a topic.
pub(super) fn in_table(json: &[u8], of: usize) -> Option<u64> {
    let text = std::str::from_utf8(json).ok()?;
    let key = format!("\"{}@{GROUP}\"", TOPICS[of]);
    let (_, rest) = text.split_once(&key)?;
    let row = rest.split_once('{')?.1.split_once('}')?.0;
    row.split(',').find_map(|pair| {
        let (queue, next) = pair.split_once(':')?;
        let is_it = queue.trim().trim_matches('"') == "0";
        is_it.then(|| next.trim().parse().ok())?
    })
}

impl Committed {
    pub(super) fn new(brokers: usize, acting: bool) -> Self {
        let (known, promised) = (vec![[None; TOPICS.len()]; brokers], vec![[None; 2]; brokers]);
        Self { acting, known, promised, said: Vec::new() }
    }

    /// A broker is handed a commit: from now on it may know that, though it be less.
    pub(super) fn handed(&mut self, at: usize, of: usize, next: u64) {
        if let Some(known) = &mut self.known[at][of] {
            known.next = known.next.min(next);
        }
        if let Some(promised) = &mut self.promised[at][of] {
            *promised = next.min(*promised);
        }
    }

    /// ... and acknowledges it.
    pub(super) fn acknowledged(&mut self, now: u64, at: usize, of: usize, next: u64) {
        self.known[at][of] = Some(Known { next, is_own: true });
        if at == 0 {
            self.said.push((now, of, next));
        } else if self.acting {
            self.promised[at][of] = Some(next);
        }
    }

    /// A slave hears its master's word.
    pub(super) fn follows(&mut self, at: usize, json: &[u8]) {
        for of in 0..TOPICS.len() {
            let Some(next) = in_table(json, of) else { continue };
            if self.promised[at][of].is_some_and(|promised| promised <= next) {
                self.promised[at][of] = None;
            }
            let known = self.known[at][of].get_or_insert(Known { next, is_own: false });
            if !self.acting {
                known.next = known.next.max(next);
            } else if !known.is_own || known.next <= next {
                *known = Known { next, is_own: false };
            }
        }
    }

    /// A master hears a slave's.
    pub(super) fn takes_back(&mut self, from: usize, json: &[u8], ends: Ends) {
        for (of, end) in ends.into_iter().enumerate() {
            let said = in_table(json, of);
            if self.promised[from][of].is_some_and(|promised| said >= Some(promised)) {
                self.promised[from][of] = None;
            }
            let Some(next) = said.map(|next| next.min(end)).filter(|next| *next > 0) else {
                continue;
            };
            let known = self.known[0][of].get_or_insert(Known { next, is_own: false });
            known.next = known.next.max(next);
        }
    }

    /// A broker begins, with what its medium holds. `asks`: those that it asks in peace.
    pub(super) fn began(&mut self, at: usize, kept: Option<&[u8]>, ends: Ends, asks: &[usize]) {
        for (of, end) in ends.into_iter().enumerate() {
            let next = kept.and_then(|json| in_table(json, of)).map(|next| next.min(end));
            self.known[at][of] = next.map(|next| Known { next, is_own: true });
            self.promised[at][of] =
                self.promised[at][of].and_then(|promised| Some(promised.min(next?)));
            if at > 0 {
                continue;
            }
            // What the master has lost is to be consumed again.
            for promised in self.promised.iter_mut().filter_map(|slave| slave[of].as_mut()) {
                *promised = end.min(*promised);
            }
            let told = asks.iter().filter_map(|slave| self.known[*slave][of]);
            if let Some(most) = told.map(|known| known.next.min(end)).max() {
                let known = self.known[0][of].get_or_insert(Known { next: most, is_own: false });
                known.next = known.next.max(most);
            }
        }
        if at == 0 {
            self.said.clear();
        }
    }

    /// The master dies. `follow`: slaves that have followed it in peace.
    pub(super) fn master_died(&mut self, now: u64, follow: &[usize]) {
        for (of, slave) in (0..TOPICS.len()).flat_map(|of| follow.iter().map(move |at| (of, *at))) {
            let of_topic = || self.said.iter().filter(|(_, topic, _)| *topic == of);
            let is_old = |(when, ..): &&(u64, usize, u64)| when + FOLLOWED < now;
            let Some((_, _, last)) = of_topic().rfind(is_old) else { continue };
            let later = of_topic().filter(|said| !is_old(said)).map(|(_, _, next)| *next).min();
            let next = later.map_or(*last, |later| later.min(*last));
            let known = self.known[slave][of].get_or_insert(Known { next, is_own: false });
            known.next = known.next.max(next);
        }
    }

    /// A broker says how far the group is.
    pub(super) fn check(&self, at: usize, of: usize, said: u64) -> Result<(), Violation> {
        match self.known[at][of] {
            Some(known) if said < known.next => {
                let topic = TOPICS[of];
                let detail = format!("broker {at} says {said} of {topic}, and has known {known:?}");
                Err(Violation::new(ORACLE, detail))
            }
            _ => Ok(()),
        }
    }

    /// What slaves were told and the master does not know yet, that says this of each topic.
    pub(super) fn owed(&self, said: [Option<u64>; TOPICS.len()]) -> Option<String> {
        self.promised.iter().enumerate().find_map(|(at, promised)| {
            let of = (0..TOPICS.len()).find(|of| promised[*of] > said[*of])?;
            let (told, said, topic) = (promised[of], said[of], TOPICS[of]);
            Some(format!("broker {at} was told {told:?} of {topic}, and the master says {said:?}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_is_written() {
        let table = br#"{"offsetTable":{"one@routed":{0:7},"two@routed":{ "0" : 12 }}}"#;
        assert_eq!((in_table(table, 0), in_table(table, 1)), (Some(7), Some(12)));
        assert_eq!(in_table(br#"{"offsetTable":{"one@other":{0:7}}}"#, 0), None);
    }
}
