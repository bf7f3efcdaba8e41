//! The store alone: records appended into fresh files by one thread.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hotfire_storage::mapped::MappedDisk;
use hotfire_storage::position::Physical;
use hotfire_storage::record::{Draft, SysFlag};
use hotfire_storage::time::Wall;
use hotfire_storage::{AppendError, Settings, Store};

use super::report::{AppendReport, Percentiles};
use crate::Failure;
use crate::cli::AppendArgs;

/// Records between two looks at what the disk has to say: a turn of a busy broker.
const TURN: u64 = 64;
/// Latencies are counted up to this, in microseconds.
const LONGEST: u64 = 60_000_000;

/// Measures.
pub fn run(args: &AppendArgs) -> Result<AppendReport, Failure> {
    let settings = Settings { commit_log_file: args.file_mib << 20, ..Settings::default() };
    let scratch = Scratch::new(&args.dir)?;
    let disk = MappedDisk::open(&scratch.0, || {}).map_err(Failure::new)?;
    let (mut store, _) = Store::open(disk, settings, |_| false).map_err(Failure::new)?;
    let host = SocketAddr::from(([127, 0, 0, 1], 10911));
    let body = vec![b'x'; args.size as usize];
    let draft = Draft {
        topic: "Append",
        queue_id: 0,
        flag: 0,
        sys_flag: SysFlag::NONE,
        born: Wall::default(),
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared: Physical::ZERO,
        body: &body,
        properties: &[],
    };
    let mut turns = Histogram::new_with_bounds(1, LONGEST, 3).map_err(Failure::new)?;
    let begun = Instant::now();
    let mut turn = begun;
    for number in 1..=args.records {
        append(&mut store, &draft)?;
        if number % TURN == 0 {
            store.end_turn();
            while store.poll().is_some() {}
            let took = u64::try_from(turn.elapsed().as_micros()).unwrap_or(LONGEST);
            turns.saturating_record(took);
            pace(begun, number, args.rate);
            turn = Instant::now();
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(AppendReport {
        records: args.records,
        size: args.size,
        file_mib: args.file_mib,
        rate: args.rate,
        seconds,
        turn_us: Percentiles::of(&turns),
    })
}

/// Waits until so many records may have been appended. A sleep would be longer than a turn.
fn pace(begun: Instant, records: u64, rate: Option<u64>) {
    let Some(rate) = rate else { return };
    let due = begun + Duration::from_nanos(records.saturating_mul(1_000_000_000) / rate);
    while Instant::now() < due {
        std::thread::yield_now();
    }
}

fn append(store: &mut Store<MappedDisk>, draft: &Draft<'_>) -> Result<(), Failure> {
    loop {
        match store.append(Wall::from_millis(1), draft) {
            Ok(_) => return Ok(()),
            Err(AppendError::NotReady) => {
                while store.poll().is_some() {}
                std::thread::yield_now();
            }
            Err(why) => return Err(Failure::new(why)),
        }
    }
}

/// A directory of our own, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(format!("hotfire-append-{}", std::process::id()));
        let made = fs::create_dir(&path);
        made.map_err(|why| Failure::new(format!("cannot create {}: {why}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
