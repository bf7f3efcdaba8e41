//! Messages, as they lie in the log.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use hotfire_storage::audit::LogView;
use hotfire_storage::position::Physical;
use hotfire_storage::record::{Record, offset_message_id};
use serde_json::{Value, json};

use super::opened::{Opened, unreadable};
use super::time;
use crate::Failure;
use crate::cli::DumpArgs;

pub(super) fn run(args: &DumpArgs) -> Result<ExitCode, Failure> {
    let mut opened = Opened::open(&args.store, args.no_lock)?;
    let root = opened.disk.root().to_owned();
    let log = LogView::open(&mut opened.disk, &opened.settings);
    let log = log.map_err(|fault| unreadable(&root, &fault))?;
    let log = log.map_err(|why| Failure::new(format!("cannot read the log: {why}")))?;
    let mut at = Physical::new(args.from);
    if at < log.start() || at >= log.room_end() {
        let (start, end) = (log.start(), log.room_end());
        return Err(Failure::new(format!("--from {at}: the log's files span {start} to {end}")));
    }
    let mut out = std::io::stdout().lock();
    for _ in 0..args.count {
        let Some(record) = log.record_from(&opened.disk, at) else { break };
        let line =
            if args.store.json { as_json(&record, args.body) } else { as_text(&record, args.body) };
        // Whoever reads may have had enough.
        if writeln!(out, "{line}").is_err() {
            break;
        }
        at = record.physical().plus(u64::from(record.size()));
    }
    Ok(ExitCode::SUCCESS)
}

fn properties(record: &Record<'_>) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(record.properties()).into_owned();
    let pairs = text.split('\u{2}').filter_map(|pair| pair.split_once('\u{1}'));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn as_json(record: &Record<'_>, with_body: bool) -> String {
    let mut line = json!({
        "offset": record.physical().get(),
        "size": record.size(),
        "topic": record.topic(),
        "queueId": record.queue_id(),
        "queueOffset": record.queue_offset().get(),
        "flag": record.flag(),
        "sysFlag": record.sys_flag().bits(),
        "bornTimestamp": record.born().as_millis(),
        "bornHost": record.born_host().to_string(),
        "storeTimestamp": record.store_time().as_millis(),
        "storeHost": record.store_host().to_string(),
        "reconsumeTimes": record.reconsume_times(),
        "preparedTransactionOffset": record.prepared().get(),
        "offsetMsgId": offset_message_id(record.store_host(), record.physical()).to_string(),
        "bodyLength": record.body().len(),
        "bodyCRC": record.body_crc(),
        "properties": properties(record),
    });
    if with_body {
        match std::str::from_utf8(record.body()) {
            Ok(text) => line["body"] = Value::from(text),
            Err(_) => line["bodyHex"] = Value::from(hex(record.body())),
        }
    }
    line.to_string()
}

fn as_text(record: &Record<'_>, with_body: bool) -> String {
    let properties = properties(record);
    let property = |key: &str| properties.get(key).map(|value| format!(" {key}={value}"));
    let named = ["UNIQ_KEY", "TAGS", "KEYS"].iter().filter_map(|key| property(key));
    let mut line = format!(
        "{:>12} {:>8} {}/{}:{} {}{}",
        record.physical().get(),
        record.size(),
        record.topic(),
        record.queue_id(),
        record.queue_offset().get(),
        time(record.store_time()),
        named.collect::<String>(),
    );
    if with_body {
        line.push(' ');
        line.extend(String::from_utf8_lossy(record.body()).escape_debug());
    }
    line
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
