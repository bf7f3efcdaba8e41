//! How groups get on: codes 208, 317 (requests.md C).

use bytes::Bytes;
use hotfire_core::domain::{BrokerRequest, BrokerResponse, ConsumeStats, GroupStats, Lag, Text};
use hotfire_storage::position::QueueOffset;
use hotfire_storage::time::Wall;
use serde::{Deserialize, Serialize};

use super::queues::{ByQueue, write_by_queue};
use super::{DecodeError, GET_CONSUME_STATS};
use crate::codec::body;
use crate::head_writer::{Body, HeadWriter};
use crate::header::Header;

pub(super) fn decode(header: &Header) -> Result<BrokerRequest, DecodeError> {
    let fields = &header.fields;
    if header.code != GET_CONSUME_STATS {
        let only_ordered = fields.truth_if("isOrder").unwrap_or(false);
        return Ok(BrokerRequest::AllConsumeStats { only_ordered });
    }
    let named = |name: &&str| !name.trim().is_empty();
    let many = fields.get("topicList").into_iter().flat_map(|list| list.split(';'));
    let mut topics: Vec<Text> = many.filter(named).map(|topic| topic.trim().into()).collect();
    if topics.is_empty() {
        topics.extend(fields.get("topic").filter(named).map(Text::from));
    }
    Ok(BrokerRequest::ConsumeStats { group: fields.text("consumerGroup")?, topics })
}

pub(super) fn put(head: &mut HeadWriter<'_>, request: &BrokerRequest) {
    match request {
        BrokerRequest::AllConsumeStats { only_ordered } => {
            head.show("isOrder", only_ordered);
        }
        BrokerRequest::ConsumeStats { group, topics } => {
            head.field("consumerGroup", group);
            if !topics.is_empty() {
                let topics: Vec<&str> = topics.iter().map(Text::as_str).collect();
                head.field("topicList", &topics.join(";"));
            }
        }
        other => unreachable!("{other:?} asks for no figures"),
    }
}

pub(super) fn stats_body(stats: &ConsumeStats) -> Body {
    let mut json = Vec::new();
    write_stats(stats, &mut json);
    json.into()
}

pub(super) fn all_body(broker_addr: &Text, groups: &[GroupStats]) -> Body {
    let mut json = b"{\"brokerAddr\":".to_vec();
    json.extend(body::write(broker_addr));
    json.extend(b",\"consumeStatsList\":[");
    for (number, GroupStats { group, topics }) in groups.iter().enumerate() {
        json.extend(if number > 0 { &b",{"[..] } else { b"{" });
        json.extend(body::write(group));
        json.extend(b":[");
        for (number, stats) in topics.iter().enumerate() {
            json.extend(if number > 0 { &b","[..] } else { b"" });
            write_stats(stats, &mut json);
        }
        json.extend(b"]}");
    }
    let queues = || groups.iter().flat_map(|of| &of.topics).flat_map(|stats| &stats.queues);
    let lag: u64 = queues().map(|lag| lag.end.get().saturating_sub(lag.next.get())).sum();
    let flying: u64 = queues().map(|lag| lag.pulled.get().saturating_sub(lag.next.get())).sum();
    json.extend(format!("],\"totalDiff\":{lag},\"totalInflightDiff\":{flying}}}").into_bytes());
    json.into()
}

fn write_stats(stats: &ConsumeStats, json: &mut Vec<u8>) {
    #[allow(clippy::cast_precision_loss)]
    let per_second = stats.messages_per_minute as f64 / 60.0;
    json.extend(b"{\"consumeTps\":");
    json.extend(body::write(&per_second));
    json.extend(b",\"offsetTable\":");
    write_by_queue(stats.queues.iter().map(|lag| (&lag.queue, Offsets::from(lag))), json);
    json.push(b'}');
}

pub(super) fn decode_stats(json: &Bytes) -> Result<BrokerResponse, DecodeError> {
    let stats: Stats = body::parse(json, "how a group gets on")?;
    Ok(BrokerResponse::ConsumeStats(Box::new(stats.into())))
}

pub(super) fn decode_all(json: &Bytes) -> Result<BrokerResponse, DecodeError> {
    let all: All = body::parse(json, "how groups get on")?;
    let groups = all.consume_stats_list.into_iter().flatten();
    let of_group = |(group, topics): (Text, Vec<Stats>)| GroupStats {
        group,
        topics: topics.into_iter().map(ConsumeStats::from).collect(),
    };
    Ok(BrokerResponse::AllConsumeStats {
        broker_addr: all.broker_addr,
        groups: groups.map(of_group).collect(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct All {
    broker_addr: Text,
    consume_stats_list: Vec<std::collections::BTreeMap<Text, Vec<Stats>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    consume_tps: f64,
    offset_table: ByQueue<Offsets>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Offsets {
    broker_offset: u64,
    consumer_offset: u64,
    #[serde(default)]
    last_timestamp: i64,
    #[serde(default)]
    pull_offset: u64,
}

impl From<&Lag> for Offsets {
    fn from(lag: &Lag) -> Self {
        Self {
            broker_offset: lag.end.get(),
            consumer_offset: lag.next.get(),
            last_timestamp: lag.consumed.map_or(0, Wall::as_millis),
            pull_offset: lag.pulled.get(),
        }
    }
}

impl From<Stats> for ConsumeStats {
    fn from(stats: Stats) -> Self {
        let ByQueue(rows) = stats.offset_table;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let messages_per_minute = (stats.consume_tps * 60.0).round() as u64;
        let queues = rows.into_iter().map(|(queue, offsets)| Lag {
            queue,
            end: QueueOffset::new(offsets.broker_offset),
            next: QueueOffset::new(offsets.consumer_offset),
            pulled: QueueOffset::new(offsets.pull_offset),
            consumed: (offsets.last_timestamp > 0)
                .then(|| Wall::from_millis(offsets.last_timestamp)),
        });
        Self { messages_per_minute, queues: queues.collect() }
    }
}
