//! Stores as they lie, looked through before any start.

use super::*;
use crate::audit::{Audit, Depth, Topics, Weight, audit};

struct Known;

impl Topics for Known {
    fn is_batch(&self, topic: &str) -> bool {
        topic == "batch"
    }

    fn is_known(&self, _: &str) -> bool {
        true
    }
}

fn extended() -> Settings {
    Settings { queue_ext: true, queue_ext_file: 50, ..settings() }
}

fn looked(disk: &mut PlainDisk) -> Audit {
    audit(disk, &extended(), &Known, Depth::All, &mut ()).expect("a disk in memory does not fail")
}

/// Records with keys and tags in several files of everything; some found by light queues.
fn filled() -> Store<PlainDisk> {
    let store = Store::open(PlainDisk::default(), extended(), |topic| topic == "batch");
    let mut store = store.expect("an empty disk").0;
    for n in 0..24_u8 {
        let topic = ["t", "u"][usize::from(n % 2)];
        let own = format!("TAGS\u{1}tag{n}\u{2}KEYS\u{1}key{n}\u{2}");
        append(&mut store, &draft(topic, &[n; 20], &[own.as_bytes()]));
        drop(events(&mut store));
    }
    store
}

fn paths(disk: &PlainDisk) -> Vec<String> {
    disk.paths().map(str::to_owned).collect()
}

#[test]
fn a_store_that_was_closed_or_killed_is_sound() {
    let mut killed = filled().into_disk().reopened();
    assert_eq!(looked(&mut killed).findings, []);
    let mut store = filled();
    store.close().expect("a clean stop");
    let found = looked(&mut store.into_disk().reopened());
    assert_eq!((found.findings, found.records), (vec![], 24));
}

/// Apache's broker makes an index file ahead of need; the items behind it were not looked at.
#[test]
fn an_index_file_without_items_hides_none_behind_it() {
    let mut store = filled();
    store.close().expect("a clean stop");
    let mut disk = store.into_disk().reopened();
    let first = paths(&disk).into_iter().find(|path| path.starts_with("index/")).expect("one");
    let len = disk.file(&first).expect("listed").len();
    disk.put_file("index/19700101000000000", vec![0; len]);
    assert_eq!(looked(&mut disk).findings, []);
}

/// The bytes of a file of which a change is not found, as ranges.
fn unseen(disk: &PlainDisk, path: &str) -> Vec<std::ops::Range<usize>> {
    let sound = disk.file(path).expect("listed").to_vec();
    let mut unseen: Vec<std::ops::Range<usize>> = Vec::new();
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x41;
        let mut disk = disk.reopened();
        disk.put_file(path, bytes);
        let found = looked(&mut disk);
        if found.findings.iter().any(|finding| finding.weight == Weight::Damage) {
            continue;
        }
        match unseen.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => unseen.push(at..at + 1),
        }
    }
    unseen
}

/// Of a store that was closed in order: whichever byte changes, it is found, but for those that may
/// be anything, and nothing makes the search panic.
#[test]
fn whatever_byte_changes_is_found() {
    let mut store = filled();
    store.close().expect("a clean stop");
    let disk = store.into_disk().reopened();
    let unseen = paths(&disk).into_iter().map(|path| (unseen(&disk, &path), path));
    let unseen: Vec<_> = unseen
        .flat_map(|(ranges, path)| ranges.into_iter().map(move |r| format!("{path} {r:?}")))
        .collect();
    let mut free: Vec<String> = [
        // Whoever changes Apache's part makes it Apache's checkpoint.
        "checkpoint 0..47",
        "checkpoint 100..4096",
        "checkpoint.bak 0..4096",
        // Blank records say how long they are; the rest is anything.
        "commitlog/00000000000000000000 920..1024",
        "commitlog/00000000000000001024 924..1024",
        "commitlog/00000000000000002048 932..1024",
    ]
    .map(str::to_owned)
    .into();
    // Behind the last unit of each file, which nothing points at.
    for topic in ["t", "u"] {
        let file = |n: u64| format!("consumequeue_ext/{topic}/0/{:020}", n * 50);
        free.extend((0..6).map(|n| format!("{} 40..50", file(n))));
        free.push(format!("{} 0..50", file(6)));
    }
    // The item 0 is never used, nor are those behind the last.
    let items =
        ["19700101001640000 72..92", "19700101001640001 72..92", "19700101001640001 472..672"];
    free.extend(items.map(|range| format!("index/{range}")));
    assert_eq!(unseen, free);
}
