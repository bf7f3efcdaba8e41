//! Names: what a directory says, what it will say after a power failure, and the journal between.
//!
//! As in journalling file systems, changes of names and lengths reach the medium in the order in
//! which they were made: a power failure keeps some first part of the journal. A sync of any
//! directory commits all of it (as in ext4 and XFS, which have one journal).

use std::collections::BTreeMap;

use hotfire_storage::seam::Entry;

/// Names a file's content, whatever the file is called. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(pub(super) u32);

/// A change of names or lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Length { inode: Inode, len: u64 },
    Link { path: String, inode: Inode },
    Rename { from: String, to: String },
    Unlink { path: String },
}

/// One state of all directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) paths: BTreeMap<String, Inode>,
    pub(super) lens: BTreeMap<Inode, u64>,
}

impl Table {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Length { inode, len } => {
                self.lens.insert(*inode, *len);
            }
            Change::Link { path, inode } => {
                self.paths.insert(path.clone(), *inode);
            }
            Change::Rename { from, to } => {
                if let Some(inode) = self.paths.remove(from) {
                    self.paths.insert(to.clone(), inode);
                }
            }
            Change::Unlink { path } => {
                self.paths.remove(path);
            }
        }
    }

    pub(super) fn len(&self, inode: Inode) -> u64 {
        self.lens.get(&inode).copied().unwrap_or(0)
    }
}

/// Both states, and what lies between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) live: Table,
    pub(super) durable: Table,
    journal: Vec<Change>,
}

impl Names {
    pub(super) fn change(&mut self, change: Change) {
        self.live.apply(&change);
        self.journal.push(change);
    }

    /// Everything changed so far is durable.
    pub(super) fn commit(&mut self) {
        self.keep(self.journal.len());
    }

    /// A file's own sync makes its length durable, and not its name.
    pub(super) fn commit_length(&mut self, inode: Inode) {
        self.journal.retain(|c| !matches!(c, Change::Length { inode: of, .. } if *of == inode));
        self.durable.lens.insert(inode, self.live.len(inode));
    }

    /// Changes that a power failure could undo.
    pub(super) fn pending(&self) -> usize {
        self.journal.len()
    }

    /// The power failed: of what was pending, the first `kept` changes stay.
    pub(super) fn power_failed(&mut self, kept: usize) {
        self.keep(kept);
        self.journal.clear();
        self.live = self.durable.clone();
    }

    /// Can anything still refer to this content?
    pub(super) fn knows(&self, inode: Inode) -> bool {
        let mut tables = [&self.live, &self.durable].into_iter();
        tables.any(|table| table.paths.values().any(|of| *of == inode))
            || self
                .journal
                .iter()
                .any(|c| matches!(c, Change::Link { inode: of, .. } if *of == inode))
    }

    pub(super) fn forget(&mut self, inode: Inode) {
        self.live.lens.remove(&inode);
        self.durable.lens.remove(&inode);
    }

    /// What processes see in `dir`. Directories are the prefixes of paths: an empty one is gone.
    pub(super) fn list(&self, dir: &str) -> Vec<Entry> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let mut entries = BTreeMap::new();
        for (path, inode) in self.live.paths.range(prefix.clone()..) {
            let Some(name) = path.strip_prefix(&prefix) else { break };
            let (name, is_dir) = name.split_once('/').map_or((name, false), |(dir, _)| (dir, true));
            let len = if is_dir { 0 } else { self.live.len(*inode) };
            entries.insert(name, Entry { name: name.to_owned(), len, is_dir });
        }
        entries.into_values().collect()
    }

    fn keep(&mut self, kept: usize) {
        for change in self.journal.drain(..kept) {
            self.durable.apply(&change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_failure_keeps_the_first_part_of_the_journal() {
        let replaced = |kept| {
            let mut names = Names::default();
            names.change(Change::Link { path: "a".into(), inode: Inode(1) });
            names.commit();
            names.change(Change::Link { path: "a.tmp".into(), inode: Inode(2) });
            names.change(Change::Rename { from: "a".into(), to: "a.bak".into() });
            names.change(Change::Rename { from: "a.tmp".into(), to: "a".into() });
            names.power_failed(kept);
            assert_eq!((names.pending(), &names.live), (0, &names.durable));
            let paths = names.live.paths.iter();
            paths.map(|(path, inode)| format!("{path}={}", inode.0)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(replaced(0), "a=1");
        assert_eq!(replaced(1), "a=1 a.tmp=2");
        assert_eq!(replaced(2), "a.bak=1 a.tmp=2");
        assert_eq!(replaced(3), "a=2 a.bak=1");
    }

    #[test]
    fn a_listing_shows_one_level_in_order() {
        let mut names = Names::default();
        for (number, path) in ["d/z", "d/b/x", "d/b/y", "d2", "e"].into_iter().enumerate() {
            let inode = Inode(u32::try_from(number).expect("there are five"));
            names.change(Change::Link { path: path.into(), inode });
            names.change(Change::Length { inode, len: 7 });
        }
        let say = |e: &Entry| format!("{}:{}:{}", e.name, e.len, e.is_dir);
        let list = |dir| names.list(dir).iter().map(say).collect::<Vec<_>>().join(" ");
        assert_eq!(list("d"), "b:0:true z:7:false");
        assert_eq!(list(""), "d:0:true d2:7:false e:7:false");
        assert_eq!(list("nowhere"), "");
    }
}
