//! `hotfire store`: what is in a store, what is wrong with it, and what a start would do about it.
//!
//! | room | what |
//! |---|---|
//! | `opened` | the store, read and not changed: sizes of its files, its topics |
//! | `inspect` | what is in it, as tables or JSON |
//! | `verify` | every invariant of the formats; each finding with what a start would do |
//! | `dump` | messages, as they lie in the log |
//! | `repair` | a start, rehearsed, told, and then performed |
//!
//! Everything but the last step of a repair reads a
//! [`Rehearsal`](hotfire_storage::mapped::Rehearsal), which opens no file for writing.

mod dump;
mod inspect;
mod opened;
mod repair;
mod verify;

use std::process::ExitCode;

use hotfire_storage::time::Wall;

use crate::Failure;
use crate::cli::Store;

/// Runs one command. The exit code is 1 for a store that is damaged.
pub fn run(command: &Store) -> Result<ExitCode, Failure> {
    match command {
        Store::Dump(args) => dump::run(args),
        Store::Inspect(args) => inspect::run(args),
        Store::Repair(args) => repair::run(args),
        Store::Verify(args) => verify::run(args),
    }
}

/// A time of a store, for people.
fn time(wall: Wall) -> String {
    let millis = wall.as_millis();
    let since = u64::try_from(millis).ok().map(std::time::Duration::from_millis);
    match since.and_then(|since| std::time::UNIX_EPOCH.checked_add(since)) {
        // The year 10000 is where the format ends.
        Some(at) if millis > 0 && millis < 253_402_300_800_000 => {
            humantime::format_rfc3339_millis(at).to_string()
        }
        _ => millis.to_string(),
    }
}

fn or_dash(wall: Option<Wall>) -> String {
    wall.map_or_else(|| "-".to_owned(), time)
}

/// A table without borders but for one line below its head.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset("     --            ").set_header(head);
    rows.for_each(|row| {
        table.add_row(row);
    });
    for (column, name) in table.column_iter_mut().zip(head) {
        column.set_padding((0, 2));
        let is_word = ["topic", "kind", "first", "last", "file"].iter().any(|w| name.contains(w));
        if !is_word {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
