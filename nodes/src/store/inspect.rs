//! What is in a store.

use std::fmt::Write as _;
use std::process::ExitCode;

use hotfire_storage::audit::{Audit, Depth, QueueFacts};
use hotfire_storage::checkpoint::Checkpoint;
use hotfire_storage::position::Physical;
use hotfire_storage::seam::{Disk as _, Entry};
use hotfire_storage::time::Wall;
use hotfire_storage::{Kind, Settings};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::opened::Opened;
use super::{or_dash, table, time};
use crate::Failure;
use crate::cli::InspectArgs;

pub(super) fn run(args: &InspectArgs) -> Result<ExitCode, Failure> {
    let mut opened = Opened::open(&args.store, args.no_lock)?;
    let mut audit = opened.audit(Depth::Ends)?;
    if let Some(topic) = &args.topic {
        audit.queues.retain(|queue| queue.topic == *topic);
        if audit.queues.is_empty() {
            return Err(Failure::new(format!("no queue of topic {topic} is in this store")));
        }
    }
    let index = files(&mut opened, "index");
    let state = state_files(&mut opened);
    crate::say(&if args.store.json {
        as_json(&audit, &opened.settings, &index, &state).to_string()
    } else {
        as_text(&audit, &opened, &index, &state)
    });
    Ok(ExitCode::SUCCESS)
}

/// A state file with the version that it holds.
struct State {
    path: String,
    len: u64,
    version: Option<(i64, i64)>,
}

fn files(opened: &mut Opened, dir: &str) -> Vec<Entry> {
    let entries = opened.disk.list(dir).unwrap_or_default();
    entries.into_iter().filter(|entry| !entry.is_dir).collect()
}

fn state_files(opened: &mut Opened) -> Vec<State> {
    let entries = files(opened, "config").into_iter();
    let state = entries.map(|entry| {
        let path = format!("config/{}", entry.name);
        let bytes = opened.disk.read(&path).ok().flatten();
        State { version: bytes.as_deref().and_then(version), path, len: entry.len }
    });
    state.collect()
}

/// `counter` and `timestamp` of a document's `dataVersion`.
fn version(bytes: &[u8]) -> Option<(i64, i64)> {
    let strict = hotfire_storage::dialect::to_strict(bytes).ok()?;
    let value: Value = serde_json::from_slice(&strict).ok()?;
    let version = value.get("dataVersion")?;
    Some((version.get("counter")?.as_i64()?, version.get("timestamp")?.as_i64()?))
}

fn as_text(audit: &Audit, opened: &Opened, index: &[Entry], state: &[State]) -> String {
    let mut text = String::new();
    let root = opened.disk.root().display();
    let _ = writeln!(text, "store {root}");
    let _ = writeln!(text, "  sizes       {}", opened.sizes);
    let stop = match &audit.abort {
        None => "in order: there is no abort file".to_owned(),
        Some(process) => format!(
            "not in order, or a broker runs: there is an abort file (of process \"{process}\")"
        ),
    };
    let _ = writeln!(text, "  last stop   {stop}");
    let (start, end) = (audit.start.get(), audit.end.get());
    let (len, files) = (HumanBytes(audit.log_file_len), audit.log_files.len());
    let span = HumanBytes(end - start);
    let _ = writeln!(text, "  log         {start} to {end}: {span} in {files} files of {len}");
    let _ = writeln!(text, "  newest      {}", or_dash(audit.last_stored));
    text.push_str(&checkpoint(audit.checkpoint.as_ref()));
    text.push_str(&log_files(audit));
    text.push_str(&queues(&audit.queues));
    if !index.is_empty() {
        let rows = index.iter().map(|file| vec![file.name.clone(), file.len.to_string()]);
        let _ = write!(text, "\nindex\n{}\n", table(&["file", "bytes"], rows));
    }
    if !state.is_empty() {
        let rows = state.iter().map(|file| {
            let (counter, changed) = match file.version {
                Some((counter, at)) => (counter.to_string(), time(Wall::from_millis(at))),
                None => ("-".to_owned(), "-".to_owned()),
            };
            vec![file.path.clone(), file.len.to_string(), counter, changed]
        });
        let head = ["file", "bytes", "data version", "last change"];
        let _ = write!(text, "\nstate\n{}\n", table(&head, rows));
    }
    if !audit.findings.is_empty() {
        let count = audit.findings.len();
        let _ = write!(text, "\n{count} things are worth a look: hotfire store verify {root}\n");
    }
    text.trim_end().to_owned()
}

fn checkpoint(checkpoint: Option<&Checkpoint>) -> String {
    let Some(checkpoint) = checkpoint else {
        return "\ncheckpoint: none that can be read\n".to_owned();
    };
    let mut rows = vec![
        ("physic", "records stored until then are on the medium", time(checkpoint.physic)),
        ("logics", "and so are their queue units", time(checkpoint.logics)),
        ("index", "end of the newest full index file", time(checkpoint.index)),
        ("masterFlushed", "kept for Apache's replication", checkpoint.master_flushed.to_string()),
        ("confirm", "where the last record begins", checkpoint.confirm.to_string()),
    ];
    match checkpoint.durable {
        Some(durable) => {
            let checked = durable.checked.map_or("nowhere".to_owned(), |at| at.to_string());
            rows.extend([
                ("flushed", "the log is on the medium below", durable.flushed.to_string()),
                ("queued", "queue units are on the medium below", durable.queued.to_string()),
                ("indexed", "index items are on the medium below", durable.indexed.to_string()),
                ("checked", "every record has its own CRC from", checked),
            ]);
        }
        None => rows.push(("positions", "none: Apache's broker wrote last", "-".to_owned())),
    }
    let lines = rows.iter().map(|(name, words, value)| format!("  {name:<14}{words:<45}{value}\n"));
    format!("\ncheckpoint\n{}", lines.collect::<String>())
}

fn log_files(audit: &Audit) -> String {
    let rows = audit.log_files.iter().map(|file| {
        let used = audit.end.get().saturating_sub(file.start.get()).min(audit.log_file_len);
        vec![file.path.clone(), used.to_string(), or_dash(file.first_stored)]
    });
    format!("\nlog\n{}\n", table(&["file", "bytes used", "first message stored"], rows))
}

fn queues(queues: &[QueueFacts]) -> String {
    let rows = queues.iter().map(|queue| {
        vec![
            queue.topic.clone(),
            queue.id.to_string(),
            kind(queue.kind).to_owned(),
            queue.range.min.get().to_string(),
            queue.range.max.get().to_string(),
            queue.units.to_string(),
            or_dash(queue.first_stored),
            or_dash(queue.last_stored),
        ]
    });
    let head = ["topic", "queue", "kind", "min", "max", "units", "first stored", "last stored"];
    format!("\nqueues\n{}\n", table(&head, rows))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Batch => "batch",
        Kind::Simple => "simple",
    }
}

fn as_json(audit: &Audit, settings: &Settings, index: &[Entry], state: &[State]) -> Value {
    let millis = |wall: Option<Wall>| wall.map(Wall::as_millis);
    let log_files = audit.log_files.iter().map(|file| {
        json!({ "path": file.path, "start": file.start.get(),
                "firstStored": millis(file.first_stored) })
    });
    let queues = audit.queues.iter().map(|queue| {
        json!({
            "topic": queue.topic, "queueId": queue.id, "kind": kind(queue.kind),
            "min": queue.range.min.get(), "max": queue.range.max.get(), "units": queue.units,
            "files": queue.files, "firstStored": millis(queue.first_stored),
            "lastStored": millis(queue.last_stored),
        })
    });
    let checkpoint = audit.checkpoint.map(|checkpoint| {
        json!({
            "physicMsgTimestamp": checkpoint.physic.as_millis(),
            "logicsMsgTimestamp": checkpoint.logics.as_millis(),
            "indexMsgTimestamp": checkpoint.index.as_millis(),
            "masterFlushedOffset": checkpoint.master_flushed,
            "confirmPhyOffset": checkpoint.confirm,
            "flushed": checkpoint.durable.map(|durable| durable.flushed.get()),
            "queued": checkpoint.durable.map(|durable| durable.queued.get()),
            "indexed": checkpoint.durable.map(|durable| durable.indexed.get()),
            "checked": checkpoint.durable.and_then(|durable| durable.checked).map(Physical::get),
        })
    });
    let state = state.iter().map(|file| {
        json!({ "path": file.path, "bytes": file.len,
                "dataVersion": file.version.map(|(counter, at)| {
                    json!({ "counter": counter, "timestamp": at })
                }) })
    });
    let index = index.iter().map(|file| json!({ "name": file.name, "bytes": file.len }));
    json!({
        "clean": audit.clean, "abort": audit.abort,
        "sizes": {
            "mappedFileSizeCommitLog": settings.commit_log_file,
            "mappedFileSizeConsumeQueue": settings.consume_queue_file,
            "mapperFileSizeBatchConsumeQueue": settings.batch_queue_file,
        },
        "log": { "start": audit.start.get(), "end": audit.end.get(),
                 "newestStored": millis(audit.last_stored),
                 "files": log_files.collect::<Vec<_>>() },
        "checkpoint": checkpoint,
        "queues": queues.collect::<Vec<_>>(),
        "index": index.collect::<Vec<_>>(),
        "state": state.collect::<Vec<_>>(),
        "findings": audit.findings.len(),
    })
}
