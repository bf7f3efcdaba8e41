//! Files: names, contents on the medium, contents in the page cache, and the ways between them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use hotfire_core::machine::Digest;

use super::faults::{Fate, Luck};
use super::names::{Change, Inode, Names};
use super::page::{self, Cache, Page, Pages};
use crate::choose::Choose;
use crate::ledger::Strike;

/// So many blocks of deleted files are remembered.
const GRAVES: usize = 32;

/// The content of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) media: Pages,
    /// The page cache; `None` while a process has it mapped, and after a power failure.
    pub(super) cache: Option<Cache>,
    pub(super) mapped: bool,
    /// A writeback failed, and nobody has been told.
    error: bool,
}

/// All files of one medium.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) names: Names,
    nodes: BTreeMap<Inode, Node>,
    last: u32,
    /// What blocks hold that belong to nobody.
    graves: VecDeque<Page>,
    /// What has rotted: paths, and bytes of them.
    pub(super) rotten: Vec<(String, Range<u64>)>,
}

impl Files {
    /// Is there a file that has an error to tell?
    pub(super) fn has_failed_untold(&self) -> bool {
        self.nodes.values().any(|node| node.error)
    }

    pub(super) fn find(&self, path: &str) -> Option<Inode> {
        self.names.live.paths.get(path).copied()
    }

    pub(super) fn node(&mut self, inode: Inode) -> &mut Node {
        self.nodes.get_mut(&inode).expect("a file that is mapped or named has a content")
    }

    /// Its length, as processes see it.
    pub(super) fn len(&self, inode: Inode) -> u64 {
        self.names.live.len(inode)
    }

    /// Bytes of all files, those included that only a mapping keeps.
    pub(super) fn used(&self) -> u64 {
        self.nodes.keys().map(|inode| self.len(*inode)).sum()
    }

    /// Makes an empty file.
    pub(super) fn create(&mut self, path: &str) -> Inode {
        self.last += 1;
        let inode = Inode(self.last);
        let cache = Some(Cache::default());
        self.nodes.insert(inode, Node { cache, ..Node::default() });
        self.names.change(Change::Link { path: path.to_owned(), inode });
        self.sweep();
        inode
    }

    /// Reserves blocks, which read as zeros without having been written.
    pub(super) fn reserve(&mut self, inode: Inode, len: u64) {
        self.cached(inode).bytes.resize(page::size(len), 0);
        self.names.change(Change::Length { inode, len });
    }

    /// Gives an empty file its content, in the page cache.
    pub(super) fn write(&mut self, inode: Inode, bytes: &[u8]) {
        let len = bytes.len() as u64;
        self.reserve(inode, len);
        let cache = self.cached(inode);
        cache.bytes.copy_from_slice(bytes);
        cache.touch(0, len);
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.names.change(Change::Rename { from: from.to_owned(), to: to.to_owned() });
        self.sweep();
    }

    /// Gives a file, if it is there, a second name.
    pub(super) fn link(&mut self, path: &str, second: &str) {
        if let Some(inode) = self.find(path) {
            self.names.change(Change::Link { path: second.to_owned(), inode });
            self.sweep();
        }
    }

    pub(super) fn unlink(&mut self, path: &str) {
        self.names.change(Change::Unlink { path: path.to_owned() });
        self.sweep();
    }

    /// Syncs directories.
    pub(super) fn commit(&mut self) {
        self.names.commit();
        self.sweep();
    }

    /// The content in memory, read from the medium if it is not there yet.
    pub(super) fn cached(&mut self, inode: Inode) -> &mut Cache {
        let len = self.len(inode);
        let node = self.node(inode);
        assert!(!node.mapped || node.cache.is_some(), "a process has it");
        let Node { cache, media, .. } = node;
        cache.get_or_insert_with(|| Cache::clean(media.load(len)))
    }

    /// Syncs some pages of a file. `false`: the sync says that it failed.
    pub(super) fn settle(
        &mut self,
        inode: Inode,
        pages: Range<u32>,
        fate: Fate,
        path: &str,
        luck: &mut Luck,
    ) -> bool {
        if fate == Fate::Lies {
            luck.strike(Strike::DiskSyncLied, path);
            return true;
        }
        let dirty: Vec<u32> = self.cached(inode).dirty.range(pages).copied().collect();
        let node = self.node(inode);
        for page in dirty {
            node.leave_cache(page, fate == Fate::Fails, luck);
        }
        if fate == Fate::Fails {
            luck.strike(Strike::DiskSyncFailed, path);
            // One report is enough for everything that went wrong before it.
            node.error = false;
            return false;
        }
        let untold = std::mem::take(&mut node.error);
        self.names.commit_length(inode);
        !untold
    }

    /// The kernel writes a dirty page on its own.
    pub(super) fn write_back(&mut self, inode: Inode, page: u32, path: &str, luck: &mut Luck) {
        let fails = luck.dice.chance(luck.faults.writeback_fails, "disk.writeback.fails");
        let strike = if fails { Strike::DiskWritebackFailed } else { Strike::DiskWriteback };
        luck.strike(strike, format_args!("{path} page {page}"));
        let node = self.node(inode);
        node.leave_cache(page, fails, luck);
        node.error |= fails;
    }

    /// The power fails: dirty pages are kept, dropped or torn, changes of names are kept up to
    /// some point, and memory is gone.
    pub(super) fn power_failed(&mut self, luck: &mut Luck) {
        let style = Style::draw(luck);
        let lost = match style {
            Style::Kind => 0,
            Style::Merciless => self.names.pending(),
            Style::Pages { .. } => luck.dice.index(self.names.pending() + 1, "disk.names.lost"),
        };
        self.names.power_failed(self.names.pending() - lost);
        let graves = self.graves.make_contiguous();
        for (inode, node) in &mut self.nodes {
            node.power_failed(*inode, style, graves, luck);
            node.media.truncate(self.names.live.len(*inode));
        }
        self.sweep();
    }

    /// Some bytes on the medium are no longer what was written: a bit, or a sector.
    pub(super) fn rot(&mut self, luck: &mut Luck) {
        let Self { names, nodes, rotten, .. } = self;
        let paths = names.durable.paths.iter();
        let full = paths.filter(|(_, inode)| nodes[inode].media.iter().next().is_some());
        let full: Vec<(String, Inode)> = full.map(|(path, inode)| (path.clone(), *inode)).collect();
        if full.is_empty() {
            return;
        }
        let (path, inode) = &full[luck.dice.index(full.len(), "disk.rot.file")];
        let node = nodes.get_mut(inode).expect("it has a name");
        let Some(range) = node.media.rot(luck) else { return };
        luck.strike(Strike::DiskRotted, format_args!("{path} {range:?}"));
        // A file that is being replaced has two names.
        let named = full.iter().filter(|(_, other)| other == inode);
        rotten.extend(named.map(|(path, _)| (path.clone(), range.clone())));
    }

    /// Checks that memory and medium differ only where they are known to.
    pub(super) fn verify(&self) {
        for (inode, node) in &self.nodes {
            let Some(cache) = &node.cache else { continue };
            verify(cache, &node.media, *inode);
        }
    }

    /// Checks a cache that a process has, likewise.
    pub(super) fn verify_mapped(&self, inode: Inode, cache: &Cache) {
        verify(cache, &self.nodes[&inode].media, inode);
    }

    /// What is durable: every path and its bytes.
    pub(super) fn durable(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<u8>> {
        let table = &self.names.durable;
        let paths = table.paths.iter().filter(|(path, _)| wanted(path));
        paths
            .map(|(path, inode)| (path.clone(), self.nodes[inode].media.load(table.len(*inode))))
            .collect()
    }

    /// A part of what is durable of one file.
    pub(super) fn durable_part(&self, path: &str, from: u64, len: usize) -> Option<Vec<u8>> {
        let table = &self.names.durable;
        let inode = table.paths.get(path)?;
        let end = (from + len as u64).min(table.len(*inode));
        let media = &self.nodes[inode].media;
        let mut part = Vec::with_capacity(len);
        let mut at = from;
        while at < end {
            let (page, inside) = (at / page::PAGE as u64, page::size(at % page::PAGE as u64));
            let page = media.get(u32::try_from(page).expect("a simulated file has few pages"));
            let to = page::PAGE.min(inside + page::size(end - at));
            part.extend_from_slice(&page[inside..to]);
            at += (to - inside) as u64;
        }
        Some(part)
    }

    /// What processes see, as far as no process has it mapped.
    pub(super) fn seen(&mut self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<u8>> {
        let paths = self.names.live.paths.iter();
        let at_home = paths.filter(|(path, inode)| wanted(path) && !self.nodes[inode].mapped);
        let at_home: Vec<_> = at_home.map(|(path, inode)| (path.clone(), *inode)).collect();
        at_home.into_iter().map(|(path, inode)| (path, self.cached(inode).bytes.clone())).collect()
    }

    /// Folds in both images: the medium's pages, and those pages of memory that differ.
    pub(super) fn digest(&self, into: &mut Digest) {
        for table in [&self.names.live, &self.names.durable] {
            into.number(table.paths.len() as u64);
            for (path, inode) in &table.paths {
                into.bytes(path.as_bytes());
                into.number(u64::from(inode.0));
                into.number(table.len(*inode));
            }
        }
        for node in self.nodes.values() {
            for (page, bytes) in node.media.iter() {
                into.number(u64::from(page));
                into.bytes(bytes);
            }
            node.cache.iter().for_each(|cache| digest(cache, into));
        }
    }

    /// Forgets contents that nothing refers to.
    fn sweep(&mut self) {
        let Self { names, nodes, graves, .. } = self;
        nodes.retain(|inode, node| {
            let stays = node.mapped || names.knows(*inode);
            if !stays {
                names.forget(*inode);
                graves.extend(node.media.blocks());
            }
            stays
        });
        let old = graves.len().saturating_sub(GRAVES);
        graves.drain(..old);
    }
}

/// Folds in what of a cache is not on the medium.
pub(super) fn digest(cache: &Cache, into: &mut Digest) {
    for page in cache.dirty.iter().chain(&cache.stale) {
        into.number(u64::from(*page));
        into.bytes(cache.page(*page));
    }
}

fn verify(cache: &Cache, media: &Pages, inode: Inode) {
    assert!(cache.dirty.is_disjoint(&cache.stale), "a page that is written again is not stale");
    for page in page::pages(0, cache.bytes.len() as u64) {
        let known = cache.dirty.contains(&page) || cache.stale.contains(&page);
        let (memory, medium) = (cache.page(page), media.get(page));
        let same = *memory == medium[..memory.len()];
        assert!(same || known, "page {page} of {inode:?} differs from the medium, and is clean");
    }
}

impl Node {
    /// A dirty page goes on its way to the medium, and arrives, or fails to. Linux marks it clean
    /// either way; if it failed, the medium has the old content or the new one.
    fn leave_cache(&mut self, page: u32, fails: bool, luck: &mut Luck) {
        let cache = self.cache.as_mut().expect("dirty pages are in memory");
        assert!(cache.dirty.remove(&page), "only dirty pages are written");
        if fails && luck.dice.chance(500, "disk.failed.old") {
            cache.stale.insert(page);
        } else {
            self.media.put(page, cache.page(page));
        }
    }

    fn power_failed(&mut self, inode: Inode, style: Style, graves: &[Page], luck: &mut Luck) {
        assert!(!self.mapped || self.cache.is_some(), "mappings are handed back before");
        (self.mapped, self.error) = (false, false);
        let Some(cache) = self.cache.take() else { return };
        let stale = if graves.is_empty() { 0 } else { luck.faults.stale };
        for page in &cache.dirty {
            let (new, on) = (cache.page(*page), format!("inode {} page {page}", inode.0));
            let fate = match style {
                Style::Kind => 0,
                Style::Merciless => 1,
                Style::Pages { torn } => luck.dice.below(2 + u64::from(torn), "disk.page"),
            };
            if fate > 0 && !self.media.has(*page) && luck.dice.chance(stale, "disk.stale") {
                // The blocks were given to the file before its bytes arrived in them.
                luck.strike(Strike::DiskPageStale, &on);
                let grave = luck.dice.index(graves.len(), "disk.stale.which");
                self.media.put(*page, &graves[grave][..new.len()]);
            }
            match fate {
                0 => self.media.put(*page, new),
                1 => luck.strike(Strike::DiskPageDropped, on),
                _ => {
                    let old = &self.media.get(*page)[..new.len()];
                    let mixed = page::torn(old, new, &on, luck);
                    self.media.put(*page, &mixed);
                }
            }
        }
    }
}

/// How one power failure treats what was not synced.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// It loses nothing.
    Kind,
    /// It loses everything.
    Merciless,
    /// Each page has its own fate.
    Pages {
        /// Can that be to arrive in part?
        torn: bool,
    },
}

impl Style {
    fn draw(luck: &mut Luck) -> Self {
        if luck.dice.chance(luck.faults.kind, "disk.power.kind") {
            luck.strike(Strike::DiskPowerFailedKindly, "everything was written just in time");
            Self::Kind
        } else if luck.dice.chance(luck.faults.merciless, "disk.power.merciless") {
            Self::Merciless
        } else {
            let torn = luck.faults.torn && luck.dice.chance(500, "disk.power.torn");
            Self::Pages { torn }
        }
    }
}
