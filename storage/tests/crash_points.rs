//! The power fails at every kind of moment, recovery included. Afterwards: what was synced is
//! there, what is there was appended, queues and index follow the log, and nothing that was cut
//! ever comes back.

mod support;

use std::collections::BTreeMap;

use hotfire_storage::position::Physical;
use hotfire_storage::record::{Draft, SysFlag};
use hotfire_storage::seam::Fault;
use hotfire_storage::time::Wall;
use hotfire_storage::{AppendError, OpenError, Settings, Store, StoreEvent};
use support::{CrashDisk, Dice, Estate, Medium};

const SEEDS: u64 = 250;
const LIVES: u64 = 8;
const STEPS: u64 = 60;
const TOPICS: [&str; 3] = ["a", "b", "c"];

/// What was appended and neither cut nor deleted.
#[derive(Default)]
struct Model {
    /// Bodies, by position.
    records: BTreeMap<Physical, Vec<u8>>,
    /// Where each lies in which queue.
    places: BTreeMap<Physical, (usize, u64)>,
    /// What each queue has counted at least, whatever was deleted.
    counted: [u64; 3],
    /// The log begins here at least, and here at most.
    start: (Physical, Physical),
}

/// Every other store has extensions of its queues, two units a file.
fn settings(seed: u64) -> Settings {
    Settings {
        commit_log_file: 1024,
        consume_queue_file: 200,
        queue_ext: seed.is_multiple_of(2),
        queue_ext_file: 50,
        index_slots: 3,
        index_items: 7,
        max_message_size: 600,
        ..Settings::default()
    }
}

/// Opens the store, dying now and then on the way, and once more when it did open: recovery may
/// be repeated, whatever it found.
fn open(mut medium: Medium, dice: &mut Dice, seed: u64) -> (Store<CrashDisk>, Estate) {
    for attempt in 0.. {
        let mut disk = CrashDisk::on(medium, dice.below(u64::MAX));
        // Sooner or later the power stays on.
        let is_last = attempt > 4;
        disk.fail_after((!is_last).then(|| 1 + dice.below(40)));
        let estate = disk.estate();
        match Store::open(disk, settings(seed), |_| false) {
            Ok((store, _)) if is_last => return (store, estate),
            Ok((store, _)) => store.verify_all().expect("queues follow the log"),
            Err(OpenError::Disk(Fault::Crashed)) => {}
            Err(error) => panic!("refused: {error}"),
        }
        medium = estate.take();
    }
    unreachable!("the loop ends when a store opens")
}

/// A broker's life, as far as its store sees it. Ends when the power fails or the steps do.
struct Life<'a> {
    store: Store<CrashDisk>,
    model: &'a mut Model,
    dice: &'a mut Dice,
    flushed: Physical,
    number: &'a mut u64,
}

impl Life<'_> {
    fn step(&mut self) {
        match self.dice.below(12) {
            0..5 => self.append(),
            10 => self.retire(),
            11 => {
                self.store.follow_log_start();
                self.store.follow_some(2);
            }
            5 if !self.store.is_syncing() => {
                let written = self.store.committed();
                self.store.sync(self.flushed, written);
            }
            6 => self.store.sync_queues(),
            _ => self.poll(),
        }
        self.store.verify();
    }

    /// The oldest file goes, if it may.
    fn retire(&mut self) {
        if let Ok(file) = self.store.delete_oldest_log_file() {
            self.model.start.1 = file.end;
        }
    }

    fn append(&mut self) {
        let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
        let topic = self.dice.below(3);
        // No two bodies are equal: what comes back from the dead is recognised. Few lengths, so
        // that a new record often ends where a record of an earlier life began.
        *self.number += 1;
        let mut body = self.number.to_be_bytes().to_vec();
        body.resize(8 + usize::try_from(self.dice.below(3) * 91).expect("small"), 7);
        // The clock runs backwards now and then.
        let wall = Wall::from_millis(i64::try_from(self.dice.below(100_000)).expect("small"));
        let unique = format!("UNIQ_KEY\u{1}{}\u{2}", self.number);
        let properties = match self.dice.below(4) {
            0 => String::new(),
            1 => unique,
            2 => unique + "KEYS\u{1}a b\u{2}",
            _ => unique + "TAGS\u{1}t\u{2}",
        };
        let draft = Draft {
            topic: TOPICS[usize::try_from(topic).expect("small")],
            queue_id: 0,
            flag: 0,
            sys_flag: SysFlag::NONE,
            born: wall,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared: Physical::ZERO,
            body: &body,
            properties: &[properties.as_bytes()],
        };
        match self.store.append(wall, &draft) {
            Ok(appended) => {
                self.store.end_turn();
                let (at, topic) = (appended.span.at, usize::try_from(topic).expect("small"));
                self.model.records.insert(at, body);
                self.model.places.insert(at, (topic, appended.queue_offset.get()));
            }
            Err(AppendError::NotReady) => self.poll(),
            Err(error) => panic!("{error}"),
        }
    }

    fn poll(&mut self) {
        self.store.tend_index();
        while let Some(event) = self.store.poll() {
            match event {
                StoreEvent::Synced(outcome) => {
                    self.flushed = outcome.expect("this disk dies, it does not fail").end();
                }
                StoreEvent::LogFileDeleted { outcome, .. } => {
                    outcome.expect("this disk dies, it does not fail");
                    self.model.start.0 = self.store.start();
                }
                _ => {}
            }
        }
    }

    /// Stops in order, if the power lasts.
    fn close(&mut self) {
        self.poll();
        if !self.store.disk().is_dead() && self.store.close().is_ok() {
            self.flushed = self.store.written().end();
        }
    }
}

fn check(store: &Store<CrashDisk>, model: &mut Model, flushed: Physical, seed: u64) {
    let end = store.written().end();
    assert!(end >= flushed, "seed {seed}: synced up to {flushed}, recovered up to {end}");
    assert_eq!(store.flushed().end(), end, "seed {seed}");
    let start = store.start();
    let (least, most) = model.start;
    assert!(least <= start && start <= most, "seed {seed}: begins at {start}, {least} to {most}");
    model.start = (start, start);
    for (at, (topic, offset)) in &model.places {
        if *at < flushed {
            model.counted[*topic] = model.counted[*topic].max(offset + 1);
        }
    }
    for (topic, counted) in TOPICS.iter().zip(model.counted) {
        let next = store.next_offset(topic, 0).get();
        assert!(next >= counted, "seed {seed}: {topic} counted {counted}, and is at {next}");
    }
    model.places.retain(|at, _| *at < end);
    let model = &mut model.records;
    model.retain(|at, _| start <= *at && *at < end);
    let found = store.records_from(store.start());
    let found: BTreeMap<_, _> = found.map(|r| (r.physical(), r.body().to_vec())).collect();
    assert_eq!(found.len(), model.len(), "seed {seed}");
    assert!(found == *model, "seed {seed}: records differ from what was appended");
    assert_eq!(store.indexed_upto(), end, "seed {seed}");
    if let Err(divergence) = store.verify_all() {
        panic!("seed {seed}: {divergence}");
    }
}

#[test]
fn whatever_the_moment_what_was_synced_is_there_and_nothing_else_comes_back() {
    for seed in 0..SEEDS {
        let mut dice = Dice::new(seed + 1);
        let (mut model, mut medium, mut number) = (Model::default(), Medium::default(), 0);
        let mut flushed = Physical::ZERO;
        for _ in 0..LIVES {
            let (mut store, estate) = open(medium, &mut dice, seed);
            check(&store, &mut model, flushed, seed);
            flushed = store.flushed().end();
            store.disk_mut().fail_after(Some(1 + dice.below(60)));
            let (model, number) = (&mut model, &mut number);
            let mut life = Life { store, model, dice: &mut dice, flushed, number };
            // Short lives end where stale bytes of the life before still lie behind the end.
            let steps = if life.dice.below(2) == 0 { 6 } else { STEPS };
            for _ in 0..steps {
                if life.store.disk().is_dead() {
                    break;
                }
                life.step();
            }
            if life.dice.below(3) == 0 {
                life.close();
            }
            flushed = life.flushed;
            drop(life);
            medium = estate.take();
        }
    }
}
