//! The index, compared with the log: item by item, chain by chain. Reads everything; for tests and
//! for an operator who asks.

use super::{Behind, Index, IndexFile, Item, Shape, keys_of, seconds};
use crate::commit_log::CommitLog;
use crate::position::Physical;
use crate::record::{Crc, Verdict};
use crate::seam::Memory;
use crate::time::Wall;

/// A key as the log has it: its hash, where its record lies and when that was stored.
type Key = (u32, Physical, Wall);

impl Index {
    /// Recomputes every item from the log; the first file that differs, and how. Items of records
    /// that the log no longer holds are not compared.
    pub(crate) fn check(
        &self,
        memory: &impl Memory,
        log: &CommitLog,
    ) -> Result<(), (String, String)> {
        let Some(shape) = self.shape else { return Ok(()) };
        let mut keys = self.keys(memory, log);
        for file in &self.files {
            let differs = |what: String| Err((format!("{}/{}", self.dir, file.name), what));
            if let Err(what) = file.check(memory, shape) {
                return differs(what.to_owned());
            }
            let items = (1..file.header.next).map(|number| file.item(memory, shape, number));
            for item in items.filter(|item| item.at >= log.start()) {
                let expected = keys.next().map(|(hash, at, stored)| {
                    let seconds = seconds(file.header.begin, stored);
                    Item { hash, at, seconds, previous: item.previous }
                });
                if expected != Some(item) {
                    return differs(format!("the log says {expected:?}, the file {item:?}"));
                }
            }
        }
        match keys.next() {
            Some(key) => Err((self.dir.clone(), format!("there is no item for {key:?}"))),
            None => Ok(()),
        }
    }

    /// Every key that is indexed, in the order of the log.
    fn keys<'a>(
        &'a self,
        memory: &'a impl Memory,
        log: &'a CommitLog,
    ) -> impl Iterator<Item = Key> + 'a {
        let end = log.written().end();
        let Behind { at: upto, done } = self.behind.unwrap_or(Behind::from(end));
        let mut at = log.start();
        let records = std::iter::from_fn(move || {
            let here = at;
            let (len, keys, stored) = match log.verdict(memory, here, Crc::Skip)? {
                Verdict::Good(record) if here < end => {
                    (u64::from(record.size()), keys_of(&record), record.store_time())
                }
                Verdict::Blank { len } => (u64::from(len), Vec::new(), Wall::default()),
                Verdict::Bad(_) | Verdict::Good(_) => {
                    let file_len = log.chain.file_len();
                    (file_len - here.get() % file_len, Vec::new(), Wall::default())
                }
            };
            at = here.plus(len);
            let indexed = match here.cmp(&upto) {
                std::cmp::Ordering::Less => keys.len(),
                std::cmp::Ordering::Equal => done,
                std::cmp::Ordering::Greater => 0,
            };
            Some(keys.into_iter().take(indexed).map(move |hash| (hash, here, stored)))
        });
        records.flatten()
    }
}

impl IndexFile {
    /// Compares the file with what its items say it should be; what differs is named.
    pub(crate) fn check(&self, memory: &impl Memory, shape: Shape) -> Result<(), &'static str> {
        if !self.is_sane(memory, shape) {
            return Err("its header does not fit its items");
        }
        let mut slots = vec![0_u32; shape.slots() as usize];
        let mut used = 0;
        let (mut chains, mut order) = (true, true);
        let mut last = self.header.first;
        self.each_item(memory, shape, self.header.next, |number, item| {
            let slot = &mut slots[shape.slot_of(item.hash) as usize];
            used += u32::from(*slot == 0);
            chains &= item.previous == *slot;
            *slot = number;
            order &= last <= item.at;
            last = item.at;
            true
        });
        let same = |(slot, number): (u32, &u32)| self.slot(memory, slot) == *number;
        let slots = (0..).zip(&slots).all(same) && used == self.header.used;
        let checks = [
            (chains, "a chain is broken"),
            (order && last == self.header.last, "its items are not in the order of the log"),
            (slots, "a slot does not hold its newest item"),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what))
    }
}
