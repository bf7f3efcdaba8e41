//! The index, item by item, against the keys of the records that the walk meets.
//!
//! Items lie in the order of the log, so one cursor over all files finds at each record the items
//! that it should have. A file that contradicts itself ends the comparison: what lies behind it
//! cannot be told.

use super::{Audit, Weight, What};
use crate::chain::open;
use crate::checkpoint::Durable;
use crate::index::{Header, ITEM_LEN, IndexFile, Item, Name, Shape, keys_of, seconds};
use crate::position::Physical;
use crate::record::Record;
use crate::seam::{Disk, Fault, Memory, Op};
use crate::settings::Settings;
use crate::time::Wall;

/// The files, and how far they were compared.
pub(super) struct Items {
    dir: String,
    shape: Option<Shape>,
    files: Vec<IndexFile>,
    /// The next item: its file, its number there.
    file: usize,
    number: u32,
    /// Files that could not be compared follow.
    is_cut: bool,
    /// Records without items, one behind the other: the first of them, how many.
    missing: Option<(Physical, u64)>,
    durable: Option<Durable>,
    clean: bool,
}

impl Items {
    pub(super) fn load<D: Disk>(
        disk: &mut D,
        settings: &Settings,
        audit: &mut Audit,
    ) -> Result<Self, Fault> {
        let shape = Shape::new(settings.index_slots, settings.index_items);
        let mut items = Self {
            dir: settings.index_dir.clone(),
            shape: shape.filter(|_| settings.index),
            files: Vec::new(),
            file: 0,
            number: 1,
            is_cut: false,
            missing: None,
            durable: audit.checkpoint.and_then(|checkpoint| checkpoint.durable),
            clean: audit.clean,
        };
        let Some(shape) = items.shape else { return Ok(items) };
        for (name, len) in names(disk, &items.dir)? {
            let path = format!("{}/{name}", items.dir);
            let found = if len == shape.file_len() {
                let file = open(disk, Op::Open { path: &path })?;
                let file = IndexFile::found(disk, name, file);
                let sound = file.check(disk, shape);
                let weight = items.weight(file.header.last);
                // One without items is made ahead of need; the cursor stands at items only.
                if sound.is_ok() && !file.is_empty() {
                    items.files.push(file);
                }
                sound.map_err(|why| (weight, why.to_owned()))
            } else {
                let why = format!("it is {len} bytes long, not {}", shape.file_len());
                Err((Weight::Damage, why))
            };
            if let Err((weight, why)) = found {
                audit.find(&path, 0, weight, What::Files(why));
                items.is_cut = true;
                break;
            }
        }
        Ok(items)
    }

    /// How bad it is that an item of the record at `at` is not what it should be: after a crash
    /// nothing is promised of those that no checkpoint covers.
    fn weight(&self, at: Physical) -> Weight {
        let is_promised = self.durable.is_some_and(|durable| at < durable.indexed);
        if self.clean || is_promised { Weight::Damage } else { Weight::Note }
    }

    /// The item at the cursor.
    fn peek(&self, disk: &impl Memory) -> Option<Item> {
        let file = self.files.get(self.file)?;
        let shape = self.shape.filter(|_| self.number < file.header.next)?;
        Some(file.item(disk, shape, self.number))
    }

    /// Goes on behind the item at the cursor, or to the next file.
    fn step(&mut self) {
        self.number += 1;
        if self.files.get(self.file).is_some_and(|file| self.number >= file.header.next) {
            (self.file, self.number) = (self.file + 1, 1);
        }
    }

    /// A record was read: its items should be next.
    pub(super) fn meet(&mut self, disk: &impl Memory, record: &Record<'_>, audit: &mut Audit) {
        if self.shape.is_none() || (self.is_cut && self.file >= self.files.len()) {
            return;
        }
        let (at, keys) = (record.physical(), keys_of(record));
        self.pass(disk, at, audit);
        let (mut found, mut differs) = (0, None);
        let begun = (self.file, self.number);
        while let Some(item) = self.peek(disk).filter(|item| item.at == at) {
            if keys.get(found) != Some(&item.hash) || !self.is_timed(&item, record.store_time()) {
                differs.get_or_insert((self.file, self.number));
            }
            found += 1;
            self.step();
        }
        if let Some(place) = differs.or_else(|| (0 < found && found < keys.len()).then_some(begun))
        {
            // Behind the last item of all a crash, or a full disk, may have left some out.
            let is_last = self.peek(disk).is_none() && found < keys.len();
            let weight = if is_last { Weight::Note } else { self.weight(at) };
            self.find(place, weight, What::ItemsDiffer { at }, audit);
        } else if found < keys.len() {
            self.missing.get_or_insert((at, 0)).1 += 1;
            return;
        }
        if found > 0 {
            self.tell_missing(audit);
        }
    }

    /// Does the item at the cursor, and the header with it, say when its record was stored?
    fn is_timed(&self, item: &Item, stored: Wall) -> bool {
        let Some(header) = self.files.get(self.file).map(|file| &file.header) else { return false };
        let (is_first, is_last) = (self.number == 1, self.number + 1 == header.next);
        let begins = !is_first || header.begin == stored;
        let ends = !is_last || header.end == stored;
        // Apache counts the first item of a file from the end of the file before.
        let is_apaches = is_first && self.durable.is_none();
        begins && ends && (is_apaches || item.seconds == seconds(header.begin, stored))
    }

    /// Items of records before `at` that the walk did not meet.
    fn pass(&mut self, disk: &impl Memory, at: Physical, audit: &mut Audit) {
        while let Some(item) = self.peek(disk).filter(|item| item.at < at) {
            if item.at >= audit.start {
                let place = (self.file, self.number);
                self.find(place, self.weight(item.at), What::ItemStray { at: item.at }, audit);
            }
            self.step();
        }
    }

    /// The log is over: what is left points nowhere.
    pub(super) fn finish(mut self, disk: &impl Memory, audit: &mut Audit) {
        self.tell_missing(audit);
        self.pass(disk, Physical::new(u64::MAX), audit);
    }

    fn tell_missing(&mut self, audit: &mut Audit) {
        let Some((at, records)) = self.missing.take() else { return };
        // Apache's brokers give up keys after a crash, and may have been told to keep none.
        let is_promised = self.durable.is_some_and(|durable| at < durable.indexed);
        let weight = if is_promised { Weight::Damage } else { Weight::Note };
        audit.find(&self.dir, 0, weight, What::KeysMissing { at, records });
    }

    fn find(&self, (file, number): (usize, u32), weight: Weight, what: What, audit: &mut Audit) {
        let (Some(file), Some(shape)) = (self.files.get(file), self.shape) else { return };
        audit.find(&format!("{}/{}", self.dir, file.name), shape.item_at(number), weight, what);
    }
}

/// The slots and items of a store's index files, as their bytes betray them: the file itself does
/// not say. `None` if there is no file, or none with a key in it.
pub fn index_shape<D: Disk>(disk: &mut D, dir: &str) -> Result<Option<(u32, u32)>, Fault> {
    for (name, len) in names(disk, dir)? {
        let file = open(disk, Op::Open { path: &format!("{dir}/{name}") })?;
        if len < Shape::FILE_MIN {
            continue;
        }
        let file = IndexFile::found(disk, name, file);
        if let Some(shape) = shape_of(disk, &file, len) {
            return Ok(Some(shape));
        }
    }
    Ok(None)
}

/// Its first and last item are where its header says, and the last one is the newest of its slot.
fn shape_of(memory: &impl Memory, file: &IndexFile, len: u64) -> Option<(u32, u32)> {
    let Header { first, last, next, .. } = file.header;
    let fits = |(slots, items): &(u32, u32)| {
        let Some(shape) = Shape::new(*slots, *items) else { return false };
        if next < 2 || next > *items || shape.file_len() != len {
            return false;
        }
        let newest = file.item(memory, shape, next - 1);
        newest.at == last
            && file.item(memory, shape, 1).at == first
            && file.slot(memory, shape.slot_of(newest.hash)) == next - 1
    };
    let usual = Settings::default();
    let words = (len.checked_sub(Shape::FILE_MIN)?) / 4;
    let of_slots = |slots: u64| {
        let items = (len - Shape::slot_at(u32::try_from(slots).ok()?)) / ITEM_LEN;
        Some((u32::try_from(slots).ok()?, u32::try_from(items).ok()?))
    };
    let all = (1..=words + 1).filter_map(of_slots);
    std::iter::once((usual.index_slots, usual.index_items)).chain(all).find(fits)
}

/// Names and lengths of index files, oldest first.
fn names<D: Disk>(disk: &mut D, dir: &str) -> Result<Vec<(Name, u64)>, Fault> {
    let files = disk.list(dir)?.into_iter().filter(|entry| !entry.is_dir);
    let mut names: Vec<_> =
        files.filter_map(|entry| Some((Name::parse(&entry.name)?, entry.len))).collect();
    names.sort();
    Ok(names)
}
