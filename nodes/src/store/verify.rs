//! Every invariant of the formats. Each finding comes with what a start would do about it, which
//! is not guessed: a start is rehearsed, and what it leaves is looked at again.

use std::process::ExitCode;

use hotfire_storage::audit::{Audit, Depth, Finding, Topics as _, Weight};
use hotfire_storage::{Settings, Store};
use serde_json::json;

use super::opened::Opened;
use crate::cli::VerifyArgs;
use crate::opening::Opening;
use crate::{Failure, refusal};

pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let mut opened = Opened::open(&args.store, args.no_lock)?;
    let audit = opened.audit(Depth::All)?;
    let after = if audit.findings.is_empty() { Start::Unneeded } else { rehearse(opened)? };
    let is_damaged = audit.is_damaged();
    crate::say(&if args.store.json { as_json(&audit, &after) } else { as_text(&audit, &after) });
    Ok(if is_damaged { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// What came of a start.
enum Start {
    /// It opens, and this would still be wrong.
    Opens(Vec<Finding>),
    /// It refuses to, in its own words.
    Refuses(String),
    /// Nothing is wrong.
    Unneeded,
}

impl Start {
    fn about(&self, finding: &Finding) -> String {
        match self {
            Self::Opens(left) if left.contains(finding) => "a start does not notice it".to_owned(),
            Self::Opens(_) => "a start mends it".to_owned(),
            Self::Refuses(_) => "a start refuses the store".to_owned(),
            Self::Unneeded => String::new(),
        }
    }
}

fn rehearse(opened: Opened) -> Result<Start, Failure> {
    let Opened { disk, settings, topics, sizes } = opened;
    let root = disk.root().to_owned();
    let settings = Settings { process: std::process::id(), ..settings };
    let mut opening = Opening::begin();
    let is_batch = |topic: &str| topics.is_batch(topic);
    let started = Store::open_watched(disk, settings.clone(), is_batch, &mut opening);
    let disk = match started {
        Ok((mut store, _)) => match store.close() {
            Ok(()) => store.into_disk(),
            Err(fault) => return Ok(Start::Refuses(fault.to_string())),
        },
        Err(why) => return Ok(Start::Refuses(refusal::of_store(&why, &root).to_string())),
    };
    drop(opening);
    let mut opened = Opened { disk, settings, topics, sizes };
    Ok(Start::Opens(opened.audit(Depth::All)?.findings))
}

fn as_text(audit: &Audit, after: &Start) -> String {
    let mut lines: Vec<String> = Vec::new();
    for finding in &audit.findings {
        let weight = if finding.weight == Weight::Damage { "DAMAGE" } else { "note" };
        let Finding { path, at, what, .. } = finding;
        lines.push(format!("{weight:<7} {path}:{at}: {what}; {}", after.about(finding)));
    }
    if audit.more > 0 {
        lines.push(format!("... and {} more", audit.more));
    }
    match after {
        Start::Refuses(why) => lines.push(format!("a start: {why}")),
        Start::Opens(left) if left.iter().any(|finding| finding.weight == Weight::Damage) => {
            let line = "what a start leaves damaged: hotfire store repair --rebuild";
            lines.push(line.to_owned());
        }
        Start::Opens(_) | Start::Unneeded => {}
    }
    let units: u64 = audit.queues.iter().map(|queue| queue.units).sum();
    let (start, end, records, queues) = (audit.start, audit.end, audit.records, audit.queues.len());
    let damages = audit.findings.iter().filter(|finding| finding.weight == Weight::Damage).count();
    let verdict = match (damages, audit.clean) {
        (0, true) => "sound".to_owned(),
        (0, false) => "sound; its broker did not stop in order, so a start recovers it".to_owned(),
        (1, _) => "DAMAGED in 1 place".to_owned(),
        (places, _) => format!("DAMAGED in {places} places"),
    };
    lines.push(format!(
        "log {start} to {end}: {records} records; {queues} queues: {units} units: {verdict}"
    ));
    lines.join("\n")
}

fn as_json(audit: &Audit, after: &Start) -> String {
    let findings = audit.findings.iter().map(|finding| {
        json!({
            "file": finding.path, "offset": finding.at, "what": finding.what.to_string(),
            "damage": finding.weight == Weight::Damage, "start": after.about(finding),
        })
    });
    let refusal = match after {
        Start::Refuses(why) => Some(why),
        Start::Opens(_) | Start::Unneeded => None,
    };
    json!({
        "sound": !audit.is_damaged(), "clean": audit.clean,
        "log": { "start": audit.start.get(), "end": audit.end.get(), "records": audit.records },
        "queues": audit.queues.len(),
        "findings": findings.collect::<Vec<_>>(), "more": audit.more, "refusal": refusal,
    })
    .to_string()
}
