//! Pages: a sparse image of a file on the medium, and how a page gets there in part.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::faults::Luck;
use crate::choose::{Choose, mixed};
use crate::ledger::Strike;

/// The unit of the page cache.
pub(super) const PAGE: usize = 4096;
/// The unit that a medium writes whole, if all is well.
const SECTOR: usize = 512;

/// The bytes of a page. Shared with snapshots, which are many, until one of them changes it.
pub(super) type Page = Arc<[u8; PAGE]>;

/// What a medium holds of one file. A page that is absent was never written: it reads as zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages(BTreeMap<u32, Page>);

impl Pages {
    pub(super) fn get(&self, page: u32) -> &[u8; PAGE] {
        const ZEROS: &[u8; PAGE] = &[0; PAGE];
        self.0.get(&page).map_or(ZEROS, |bytes| bytes)
    }

    /// Writes a page; the last one of a file may be short.
    pub(super) fn put(&mut self, page: u32, bytes: &[u8]) {
        let page = self.0.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
        Arc::make_mut(page)[..bytes.len()].copy_from_slice(bytes);
    }

    /// The whole file: the one place where the medium becomes memory. A medium that rots, or
    /// fails to read, will do so here.
    pub(super) fn load(&self, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; size(len)];
        for (page, content) in &self.0 {
            let here = span(*page, bytes.len());
            let len = here.len();
            bytes[here].copy_from_slice(&content[..len]);
        }
        bytes
    }

    /// Forgets what lies behind `len`.
    pub(super) fn truncate(&mut self, len: u64) {
        let len = size(len);
        self.0.retain(|page, content| {
            let kept = span(*page, len).len();
            if kept < PAGE {
                Arc::make_mut(content)[kept..].fill(0);
            }
            kept > 0
        });
    }

    /// Was the page ever written?
    pub(super) fn has(&self, page: u32) -> bool {
        self.0.contains_key(&page)
    }

    /// Its pages, to be remembered when the file is gone.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Page> {
        self.0.values().cloned()
    }

    /// A bit flips, or a sector is lost, somewhere in what was written. Says where.
    pub(super) fn rot(&mut self, luck: &mut Luck) -> Option<Range<u64>> {
        let which = luck.dice.index(self.0.len().max(1), "disk.rot.page");
        let (number, page) = self.0.iter_mut().nth(which)?;
        let used = page.iter().rposition(|byte| *byte != 0)? + 1;
        let at = luck.dice.index(used, "disk.rot.at");
        let page = Arc::make_mut(page);
        let start = u64::from(*number) * PAGE as u64;
        let how = luck.dice.below(3, "disk.rot.how");
        if how == 0 {
            page[at] ^= 1 << luck.dice.below(8, "disk.rot.bit");
            return Some(start + at as u64..start + at as u64 + 1);
        }
        let sector = at / SECTOR * SECTOR..at / SECTOR * SECTOR + SECTOR;
        for byte in sector.clone() {
            page[byte] = if how == 1 { 0 } else { mixed(byte as u64).to_le_bytes()[0] };
        }
        Some(start + sector.start as u64..start + sector.end as u64)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8; PAGE])> {
        self.0.iter().map(|(page, bytes)| (*page, &**bytes))
    }
}

/// A file's bytes as processes see them, and how they differ from the medium's.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    pub(super) bytes: Vec<u8>,
    /// Pages written since they were last on their way to the medium.
    pub(super) dirty: BTreeSet<u32>,
    /// Pages whose way to the medium failed. They count as clean, and no sync will write them
    /// unless they are written again.
    pub(super) stale: BTreeSet<u32>,
}

impl Cache {
    pub(super) const fn clean(bytes: Vec<u8>) -> Self {
        Self { bytes, dirty: BTreeSet::new(), stale: BTreeSet::new() }
    }

    pub(super) fn page(&self, page: u32) -> &[u8] {
        &self.bytes[span(page, self.bytes.len())]
    }

    /// Marks the pages of bytes `from..to` as written.
    pub(super) fn touch(&mut self, from: u64, to: u64) {
        for page in pages(from, to) {
            self.dirty.insert(page);
            self.stale.remove(&page);
        }
    }
}

/// The pages that hold bytes `from..to`.
pub(super) fn pages(from: u64, to: u64) -> Range<u32> {
    let number = |page: u64| u32::try_from(page).expect("a simulated file has few pages");
    if from == to {
        return 0..0;
    }
    number(from / PAGE as u64)..number(to.div_ceil(PAGE as u64))
}

/// The bytes of a page, in a file of `len` bytes.
fn span(page: u32, len: usize) -> Range<usize> {
    let start = page as usize * PAGE;
    start.min(len)..(start + PAGE).min(len)
}

pub(super) fn size(len: u64) -> usize {
    usize::try_from(len).expect("a simulated file fits in memory")
}

/// What is on the medium if the power fails while `new` is being written over `old`.
///
/// Sectors are independent of each other: a device reorders them. Within a sector each byte is
/// the old one or the new one, or, if garbage is on, anything. Bytes that were not being changed
/// stay what they are, garbage or not (the literature's *powersafe overwrite*): without this no
/// log that appends within a page could promise anything about the record before.
pub(super) fn torn(old: &[u8], new: &[u8], on: &str, luck: &mut Luck) -> Vec<u8> {
    luck.strike(Strike::DiskPageTorn, on);
    let mut result = new.to_vec();
    for (sector, old) in result.chunks_mut(SECTOR).zip(old.chunks(SECTOR)) {
        let differ = |at: &usize| sector[*at] != old[*at];
        let Some(first) = (0..old.len()).find(differ) else { continue };
        let last = (0..old.len()).rev().find(differ).expect("there is a first one");
        // A cut that separates no changed byte from another is one of the two whole ones.
        let cuts = last - first;
        let kinds = 2 + u64::from(cuts > 0) + u64::from(luck.faults.garbage);
        match luck.dice.below(kinds, "disk.sector") {
            0 => {}
            1 => sector.copy_from_slice(old),
            2 if cuts > 0 => {
                let cut = first + 1 + luck.dice.index(cuts, "disk.sector.cut");
                sector[cut..].copy_from_slice(&old[cut..]);
            }
            _ => {
                luck.strike(Strike::DiskSectorGarbage, on);
                let pattern = luck.dice.below(256, "disk.sector.garbage");
                for (at, (byte, old)) in sector.iter_mut().zip(old).enumerate() {
                    if byte != old {
                        *byte = mixed(pattern << 32 | at as u64).to_le_bytes()[0];
                    }
                }
            }
        }
    }
    result
}
