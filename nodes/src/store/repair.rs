//! A start, rehearsed on a copy of what it writes, told, and then performed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use hotfire_storage::audit::Topics as _;
use hotfire_storage::mapped::{Change, MappedDisk};
use hotfire_storage::seam::{Disk, Fault};
use hotfire_storage::{Opened as Found, Settings, Store};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::opened::{Opened, Topics, unreadable};
use crate::cli::RepairArgs;
use crate::opening::Opening;
use crate::{Failure, refusal};

pub(super) fn run(args: &RepairArgs) -> Result<ExitCode, Failure> {
    let Opened { disk, settings, topics, .. } = Opened::open(&args.store, false)?;
    let root = disk.root().to_owned();
    let settings = Settings {
        accept_rot: args.accept_rot,
        process: std::process::id(),
        rebuild: args.rebuild,
        ..settings
    };
    let (found, disk) = start(disk, &settings, &topics, &root)?;
    let changes = disk.changes().map_err(|fault| unreadable(&root, &fault))?;
    drop(disk);
    if args.store.json {
        crate::say(
            &json!({ "changes": changes.iter().map(as_json).collect::<Vec<_>>() }).to_string(),
        );
    } else {
        crate::say(&as_text(&changes, &found, &root));
    }
    if changes.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes && !asked()? {
        crate::say("nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    let disk = MappedDisk::open(&root, || {}).map_err(|why| refusal::of_lock(&why))?;
    start(disk, &settings, &topics, &root)?;
    if !args.store.json {
        crate::say("done: the store is as an orderly stop leaves it");
    }
    Ok(ExitCode::SUCCESS)
}

/// A start, and an orderly stop.
fn start<D: Disk>(
    disk: D,
    settings: &Settings,
    topics: &Topics,
    root: &Path,
) -> Result<(Found, D), Failure> {
    let mut opening = Opening::begin();
    let is_batch = |topic: &str| topics.is_batch(topic);
    let started = Store::open_watched(disk, settings.clone(), is_batch, &mut opening);
    let (mut store, found) = started.map_err(|why| refusal::of_store(&why, root))?;
    let closed = store.close();
    closed.map_err(|fault: Fault| {
        let root = root.display();
        Failure::new(format!("the store {root} was not closed, the next start repairs it: {fault}"))
    })?;
    Ok((found, store.into_disk()))
}

fn asked() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("nothing was changed: --yes does it without being asked"));
    }
    let mut out = std::io::stdout();
    let _ = write!(out, "do this? [y/N] ");
    let _ = out.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn as_text(changes: &[Change], found: &Found, root: &Path) -> String {
    let Found { end, records, dispatched, cut, clean, .. } = found;
    let stop = if *clean { "in order" } else { "not in order" };
    let cut = cut.map_or_else(String::new, |damage| format!("; what follows is cut: {damage}"));
    let mut lines = vec![format!(
        "the store {} was stopped {stop}; its log ends at {end}{cut}; {records} records were read, \
         {dispatched} of them for queues that lack them",
        root.display()
    )];
    if changes.is_empty() {
        lines.push("a start changes nothing".to_owned());
    } else {
        lines.push("a start would:".to_owned());
        lines.extend(changes.iter().map(|change| format!("  {}", describe(change))));
    }
    lines.join("\n")
}

fn describe(change: &Change) -> String {
    match change {
        Change::Created { path, len, used } => {
            format!("create   {path}, {} of which {used} bytes hold something", HumanBytes(*len))
        }
        Change::Deleted { path, len } => format!("delete   {path}, {len} bytes"),
        Change::Replaced { path, before: None, .. } => format!("write    {path}"),
        Change::Replaced { path, .. } => format!("replace  {path}, keeping it as {path}.bak"),
        Change::Written { path, from, to, bytes } => {
            format!("rebuild  {path}, {bytes} bytes in {from}..{to}")
        }
        Change::Zeroed { path, from, to, bytes } => {
            format!("zero     {path}, {bytes} bytes that are not, in {from}..{to}")
        }
    }
}

fn as_json(change: &Change) -> Value {
    match change {
        Change::Created { path, len, used } => {
            json!({ "do": "create", "file": path, "bytes": len, "used": used })
        }
        Change::Deleted { path, len } => json!({ "do": "delete", "file": path, "bytes": len }),
        Change::Replaced { path, .. } => json!({ "do": "replace", "file": path }),
        Change::Written { path, from, to, bytes } => {
            json!({ "do": "rebuild", "file": path, "from": from, "to": to, "bytes": bytes })
        }
        Change::Zeroed { path, from, to, bytes } => {
            json!({ "do": "zero", "file": path, "from": from, "to": to, "bytes": bytes })
        }
    }
}
