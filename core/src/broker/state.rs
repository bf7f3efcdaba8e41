//! What a broker keeps besides messages, and the files it is kept in (store.md 3).

use std::collections::{BTreeMap, BTreeSet};

use hotfire_storage::documents::{
    self, DelayOffsetTable, Document, GroupTable, OffsetTable, Perm, TopicConfig, TopicTable,
};
use hotfire_storage::position::QueueOffset;
use hotfire_storage::seam::{Disk, Fault, Op};
use hotfire_storage::text::Text;
use hotfire_storage::time::Now;
use hotfire_storage::{LoadError, Loaded};

use super::BrokerConfig;
use super::delays::Delays;
use super::groups::Groups;
use super::offsets::{ByGroup, Kept, Offsets};
use super::topics::{Topic, Topics};

pub(super) use hotfire_storage::documents::{
    DELAY_OFFSETS, GROUPS, LIGHT_OFFSETS, OFFSETS, TOPICS,
};

/// Why a broker does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A state file is lost.
    #[error(transparent)]
    State(#[from] LoadError),
    /// The store is not to be served.
    #[error(transparent)]
    Store(#[from] hotfire_storage::OpenError),
}

/// What was kept.
pub(super) struct State {
    pub(super) topics: Topics,
    pub(super) groups: Groups,
    pub(super) offsets: Offsets,
    pub(super) delays: Delays,
}

/// Reads the four files. A damaged one falls back to the version before.
///
/// With light queues consumer offsets are kept in another file than without. Whoever turns them
/// on, or off, for the first time finds the offsets of before, where Apache's broker would start
/// without any.
pub(super) fn load<D: Disk>(
    disk: &mut D,
    config: &BrokerConfig,
    now: Now,
) -> Result<State, OpenError> {
    let light = config.light_queues;
    let topics: TopicTable = document(disk, TOPICS)?.unwrap_or_default();
    let groups: GroupTable = document(disk, GROUPS)?.unwrap_or_default();
    let offsets: OffsetTable = match document(disk, documents::offsets_path(light))? {
        Some(offsets) => offsets,
        None => document(disk, documents::offsets_path(!light))?.unwrap_or_default(),
    };
    let delays: Option<DelayOffsetTable> = document(disk, DELAY_OFFSETS)?;
    let table = topics.topic_config_table.into_iter().map(|(name, kept)| (name, topic_of(kept)));
    let table = table.collect();
    let kept = Kept {
        table: offsets_of(&offsets.offset_table),
        resets: offsets_of(&offsets.reset_offset_table),
        light: offsets.lmq_offset_table,
        version: offsets.data_version,
    };
    Ok(State {
        topics: Topics::restore(table, topics.data_version, config, now.wall),
        groups: Groups::restore(groups, config),
        offsets: Offsets::restore(kept, light),
        delays: Delays::restore(delays),
    })
}

fn document<D: Disk, T: Document>(disk: &mut D, path: &str) -> Result<Option<T>, LoadError> {
    let loaded = hotfire_storage::load(disk, path, |bytes| T::parse(bytes).is_ok())?;
    let bytes = match loaded {
        Loaded::Absent => return Ok(None),
        Loaded::Fresh(bytes) => bytes,
        Loaded::FromBackup(bytes) => {
            tracing::warn!(path, "the file is damaged or absent: its previous version is used");
            bytes
        }
    };
    Ok(Some(T::parse(&bytes).expect("the loader only returns what parses")))
}

/// Everything but what speaks of the log, now: an orderly stop.
pub(super) fn save_all<D: Disk>(
    disk: &mut D,
    topics: &Topics,
    groups: &Groups,
    offsets: &Offsets,
) -> Result<(), Fault> {
    let files = [
        (TOPICS, topics_json(topics)),
        (GROUPS, groups_json(groups)),
        (offsets.path(), offsets_json(offsets)),
    ];
    for (path, bytes) in files {
        disk.perform(Op::Replace { path, bytes: &bytes })?;
    }
    Ok(())
}

/// How far delayed messages are delivered, now.
pub(super) fn save_delays<D: Disk>(disk: &mut D, delays: &Delays) -> Result<(), Fault> {
    let bytes = delays.document().to_json();
    disk.perform(Op::Replace { path: DELAY_OFFSETS, bytes: &bytes }).map(drop)
}

pub(super) fn topics_json(topics: &Topics) -> Vec<u8> {
    let table = topics.iter().map(|(name, topic)| (name.clone(), config_of(name, topic)));
    TopicTable { data_version: topics.version().now(), topic_config_table: table.collect() }
        .to_json()
}

pub(super) fn groups_json(groups: &Groups) -> Vec<u8> {
    GroupTable {
        data_version: groups.version().now(),
        forbidden_table: groups.forbidden().clone(),
        subscription_group_table: groups.table().clone(),
    }
    .to_json()
}

pub(super) fn offsets_json(offsets: &Offsets) -> Vec<u8> {
    let mut topics_of: BTreeMap<Text, BTreeSet<Text>> = BTreeMap::new();
    for (topic, group) in offsets.table().keys() {
        topics_of.entry(group.clone()).or_default().insert(topic.clone());
    }
    OffsetTable {
        data_version: offsets.version(),
        group_topic_map: topics_of,
        lmq_offset_table: offsets.light().clone(),
        offset_table: numbers(offsets.table(), |known| known.next),
        reset_offset_table: numbers(&offsets.resets(), |next| *next),
    }
    .to_json()
}

/// A table of offsets as it is kept.
fn numbers<T>(
    table: &ByGroup<T>,
    offset: impl Fn(&T) -> QueueOffset,
) -> BTreeMap<Text, BTreeMap<i32, i64>> {
    let number = |of: &T| i64::try_from(offset(of).get()).expect("offsets stay far below 2^63");
    let queues =
        |queues: &BTreeMap<i32, T>| queues.iter().map(|(queue, of)| (*queue, number(of))).collect();
    let keyed =
        table.iter().map(|((topic, group), all)| (OffsetTable::key(topic, group), queues(all)));
    keyed.collect()
}

/// A key without `@`, or a negative offset, was never written by a broker: it is left out.
pub(super) fn offsets_of(kept: &BTreeMap<Text, BTreeMap<i32, i64>>) -> ByGroup<QueueOffset> {
    let mut table = BTreeMap::new();
    for (key, queues) in kept {
        let Some((topic, group)) = key.rsplit_once('@') else { continue };
        let queues = queues.iter().filter_map(|(queue, next)| {
            u64::try_from(*next).ok().map(|next| (*queue, QueueOffset::new(next)))
        });
        table.insert((topic.into(), group.into()), queues.collect());
    }
    table
}

pub(super) fn topic_of(kept: TopicConfig) -> Topic {
    Topic {
        read_queues: kept.read_queue_nums,
        write_queues: kept.write_queue_nums,
        perm: kept.perm.bits(),
        sys_flag: kept.topic_sys_flag,
        order: kept.order,
        filter: kept.topic_filter_type,
        attributes: kept.attributes,
        since: 0,
    }
}

fn config_of(name: &Text, topic: &Topic) -> TopicConfig {
    TopicConfig {
        topic_name: name.clone(),
        read_queue_nums: topic.read_queues,
        write_queue_nums: topic.write_queues,
        perm: Perm::from_bits(topic.perm),
        topic_sys_flag: topic.sys_flag,
        order: topic.order,
        topic_filter_type: topic.filter,
        attributes: topic.attributes.clone(),
    }
}
