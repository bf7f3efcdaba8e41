//! How replication stands: code 907 (requests.md D.1), and where a master's log is: code 906
//! (requests.md D). What the original calls by a name has it here; `behindMillis` and
//! `maxFlushedOffset` are ours.

use std::time::Duration;

use bytes::Bytes;
use hotfire_core::domain::{BrokerRequest, BrokerResponse, HaInfo, HaLink, HaStatus, Text};
use hotfire_storage::position::{Flushed, Physical, Written};
use hotfire_storage::time::Wall;
use serde::{Deserialize, Serialize};

use super::DecodeError;
use crate::codec::body;
use crate::head_writer::{Body, HeadWriter};
use crate::header::Fields;

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Runtime {
    ha_client_runtime_info: Client,
    ha_connection_info: Vec<Connection>,
    in_sync_slave_nums: usize,
    master: bool,
    master_commit_log_max_offset: u64,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Client {
    activated: bool,
    last_read_timestamp: i64,
    last_write_timestamp: i64,
    master_addr: Option<Text>,
    master_flush_offset: u64,
    max_flushed_offset: u64,
    max_offset: u64,
    transferred_byte_in_second: u64,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Connection {
    addr: String,
    behind_millis: u64,
    diff: u64,
    in_sync: bool,
    slave_ack_offset: u64,
    transfer_from_where: u64,
    transferred_byte_in_second: u64,
}

pub(super) fn body(status: &HaStatus) -> Body {
    let runtime = match status {
        HaStatus::Master { written, in_sync, links } => Runtime {
            ha_connection_info: links.iter().map(connection).collect(),
            in_sync_slave_nums: *in_sync,
            master: true,
            master_commit_log_max_offset: written.end().get(),
            ..Runtime::default()
        },
        HaStatus::Slave { master, follows, written, flushed, heard } => Runtime {
            ha_client_runtime_info: Client {
                activated: *follows,
                last_read_timestamp: heard.as_millis(),
                last_write_timestamp: heard.as_millis(),
                master_addr: master.clone(),
                max_flushed_offset: flushed.end().get(),
                max_offset: written.end().get(),
                ..Client::default()
            },
            ..Runtime::default()
        },
    };
    body::write(&runtime).into()
}

fn connection(link: &HaLink) -> Connection {
    Connection {
        addr: link.peer.to_string(),
        behind_millis: u64::try_from(link.behind.as_millis()).unwrap_or(u64::MAX),
        diff: link.lacks,
        in_sync: link.in_sync,
        slave_ack_offset: link.acked.get(),
        transfer_from_where: link.from.get(),
        transferred_byte_in_second: 0,
    }
}

pub(super) fn decode(json: &Bytes) -> Result<BrokerResponse, DecodeError> {
    let runtime = body::parse::<Runtime>(json, "an HARuntimeInfo")?;
    let written = |end| Written::upto(Physical::new(end));
    let status = if runtime.master {
        HaStatus::Master {
            written: written(runtime.master_commit_log_max_offset),
            in_sync: runtime.in_sync_slave_nums,
            links: runtime.ha_connection_info.iter().map(link).collect::<Result<_, _>>()?,
        }
    } else {
        let client = runtime.ha_client_runtime_info;
        HaStatus::Slave {
            master: client.master_addr,
            follows: client.activated,
            written: written(client.max_offset),
            flushed: Flushed::upto(Physical::new(client.max_flushed_offset)),
            heard: Wall::from_millis(client.last_read_timestamp),
        }
    };
    Ok(BrokerResponse::HaStatus(Box::new(status)))
}

fn link(of: &Connection) -> Result<HaLink, DecodeError> {
    Ok(HaLink {
        peer: of.addr.parse().map_err(|_| DecodeError::Missing("addr"))?,
        from: Physical::new(of.transfer_from_where),
        acked: Physical::new(of.slave_ack_offset),
        lacks: of.diff,
        behind: Duration::from_millis(of.behind_millis),
        in_sync: of.in_sync,
    })
}

pub(super) fn decode_info(fields: &Fields) -> BrokerRequest {
    let told = fields.text_if("masterHaAddress").filter(|addr| !addr.is_empty());
    BrokerRequest::HaInfo { told }
}

pub(super) fn put_info(head: &mut HeadWriter<'_>, info: Option<&HaInfo>) {
    let Some(HaInfo { ha_addr, addr, begun }) = info else { return };
    head.field("masterHaAddress", ha_addr)
        .show("masterFlushOffset", begun)
        .field("masterAddress", addr);
}

/// A slave's answer has no fields.
pub(super) fn decode_info_answer(fields: &Fields) -> Result<BrokerResponse, DecodeError> {
    let Some(ha_addr) = fields.text_if("masterHaAddress") else {
        return Ok(BrokerResponse::HaInfo(None));
    };
    let begun = Physical::new(fields.number("masterFlushOffset")?);
    let info = HaInfo { ha_addr, addr: fields.text("masterAddress")?, begun };
    Ok(BrokerResponse::HaInfo(Some(Box::new(info))))
}
