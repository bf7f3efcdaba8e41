//! Masters and their slaves once faults have stopped: slaves catch up in bounded time, sends are
//! answered SEND_OK, connections stay, and slaves know what their masters do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use hotfire_core::domain::{
    BrokerId, BrokerRequest, BrokerResponse, ClusterInfo, HaStatus, QueueRef, Send, SendStatus,
};
use hotfire_net::client::Client;
use hotfire_net::rt;
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::faults::Faults;
use super::nodes::Host;
use super::settle::{ANSWER, answered, connect};
use super::world::World;
use crate::oracle::Verdict;
use crate::oracle::metadata::check_offset;
use crate::ring::Violation;
use crate::workload::message::Lane;

const GOES_ON: &str = "once faults stop, replication goes on";
/// So long after the last fault, or the last start of a broker, slaves lag no more: a slave that
/// started before its master hears of it half a minute later, when it registers again.
const CATCH_UP: Duration = Duration::from_secs(120);
/// ... and so long after it operators look at slaves.
const OPERATOR: Duration = Duration::from_secs(30);
/// Between two looks of theirs.
const OPERATOR_LOOKS: Duration = Duration::from_secs(2);
/// So long no connection of a slave must end: heartbeats pass three times each way.
const STAYS: Duration = Duration::from_secs(15);
/// A send in peace is in all slaves' logs after so long.
const SOON: Duration = Duration::from_secs(5);

/// How often a send in peace is tried, and after how long again.
const PROBES: u32 = 10;
const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// Links on a message's way and its answer's: to the master and its slave and back.
const WAYS: u32 = 4;
/// What disks and a link's least delays may add.
const DISKS: Duration = Duration::from_millis(100);

/// Where nobody else sends.
const PROBE: &str = "probe";

/// Looks after slaves since faults stopped.
pub(super) struct Watch {
    healed: Mono,
    looked: Mono,
}

impl Watch {
    pub(super) fn new(now: Mono) -> Self {
        Self { healed: now, looked: now }
    }

    /// Are all slaves where their masters are? They must not take too long for that.
    pub(super) fn look(
        &mut self,
        world: &World,
        faults: &mut Faults,
        now: Mono,
    ) -> Result<bool, Violation> {
        let judge = world.judge();
        if world.slaves.is_empty() || judge.copies.are_level() {
            return Ok(true);
        }
        let calm = now.since(self.healed.max(judge.copies.restarted()));
        if calm > CATCH_UP
            && let Some(why) = judge.copies.late(now)
        {
            return Err(Violation::new(GOES_ON, why));
        }
        if calm < OPERATOR || now.since(self.looked) < OPERATOR_LOOKS {
            return Ok(false);
        }
        self.looked = now;
        let strangers = judge.copies.strangers();
        drop(judge);
        for name in strangers {
            faults.give_up(&name);
        }
        Ok(false)
    }
}

/// Everything that can be asked of masters and slaves.
pub(super) async fn ask(world: &World) -> Verdict {
    if world.slaves.is_empty() {
        return Ok(());
    }
    let before = all_links(world).await?;
    for master in &world.brokers {
        probe(world, master).await?;
    }
    rt::sleep(SOON).await;
    let now = world.now();
    world.judge().copies.look(now);
    if !world.judge().copies.are_level() {
        let why = world.judge().copies.all_ends();
        return Err(Violation::new(GOES_ON, format!("a message is not copied: {why}")));
    }
    for slave in &world.slaves {
        compare_offsets(world, slave).await?;
    }
    rt::sleep(STAYS).await;
    let after = all_links(world).await?;
    if before != after {
        let detail = format!("{before:?} were connected, then {after:?}");
        return Err(Violation::new("a slave stays connected in peace", detail));
    }
    world.judge().copies.rest();
    Ok(())
}

/// Sends a message to a master until it is taken as it promises, and then another, which has to
/// wait for no more than the way there and back. Others before were refused, or nobody was waited
/// for, as things stood then.
async fn probe(world: &World, master: &Host) -> Verdict {
    let client = connect(master).await?;
    let mut last = send(&client).await?;
    for _ in 0..PROBES {
        if is_ok(&last) {
            break;
        }
        rt::sleep(PROBE_AGAIN).await;
        last = send(&client).await?;
    }
    let asked = world.now();
    if is_ok(&last) {
        last = send(&client).await?;
    }
    if !is_ok(&last) {
        let why = world.judge().copies.all_ends();
        let detail = format!("{}: a send is answered {last:?}: {why}", master.name);
        return Err(Violation::new(GOES_ON, detail));
    }
    let (took, way) = (world.now().since(asked), world.run.plan.net.latency_max_us);
    if took > WAYS * Duration::from_micros(way) + DISKS {
        let detail = format!("{}: it took {took:?}, and a way takes {way} us", master.name);
        return Err(Violation::new("a send in peace is answered at once", detail));
    }
    Ok(())
}

async fn send(client: &Client) -> Result<BrokerResponse, Violation> {
    let to = QueueRef { topic: PROBE.into(), queue: 0 };
    let send = Send { default_queues: 1, ..Send::new("probe", to, vec![7; 20]) };
    let request = BrokerRequest::Send(Box::new(send));
    Ok(answered(client.ask_broker(&request, ANSWER).await)?.response)
}

fn is_ok(response: &BrokerResponse) -> bool {
    matches!(response, BrokerResponse::Sent(sent) if sent.status == SendStatus::Ok)
}

/// The connections of slaves, by master.
async fn all_links(world: &World) -> Result<BTreeMap<Text, BTreeSet<SocketAddr>>, Violation> {
    let mut all = BTreeMap::new();
    for master in &world.brokers {
        let client = connect(master).await?;
        let reply = answered(client.ask_broker(&BrokerRequest::HaStatus, ANSWER).await)?;
        let BrokerResponse::HaStatus(status) = reply.response else {
            return Err(Violation::new(GOES_ON, format!("{}: {:?}", master.name, reply.response)));
        };
        let HaStatus::Master { links, .. } = *status else {
            return Err(Violation::new(GOES_ON, format!("{}: it is no master", master.name)));
        };
        let peers: BTreeSet<SocketAddr> = links.iter().map(|link| link.peer).collect();
        let wanted = world.slaves.iter().filter(|slave| slave.group == master.name);
        let wanted: BTreeSet<Text> = wanted.map(|slave| slave.ip()).collect();
        let found: BTreeSet<Text> =
            peers.iter().map(|peer| Text::from(peer.ip().to_string())).collect();
        if found != wanted || peers.len() != wanted.len() {
            let detail = format!("{}: {peers:?} are connected, not {wanted:?}", master.name);
            return Err(Violation::new(GOES_ON, detail));
        }
        all.insert(master.name.clone(), peers);
    }
    Ok(all)
}

/// A slave says of groups what its master does, or what it was told of them before.
async fn compare_offsets(world: &World, slave: &Host) -> Verdict {
    let master = world.brokers.iter().find(|master| master.name == slave.group);
    let master = connect(master.expect("a slave has a master")).await?;
    let copy = connect(slave).await?;
    let groups: Vec<Text> = world.judge().oracles.delivery.groups().cloned().collect();
    for (group, topic) in groups.iter().flat_map(|g| world.topics.iter().map(move |t| (g, t))) {
        for queue in 0..i32::try_from(world.run.plan.cluster.queues).expect("few") {
            let of = QueueRef { topic: topic.clone(), queue };
            let theirs = offset_of(&master, group, &of).await?;
            let ours = offset_of(&copy, group, &of).await?;
            let lane = Lane { broker: slave.group.clone(), topic: topic.clone(), queue };
            let what = format!("{group} at {lane}, of {}", slave.name);
            if theirs > 0 && ours < theirs {
                let detail = format!("{what}: {ours}, its master says {theirs}");
                return Err(Violation::new("a slave knows what was committed", detail));
            }
            let judge = world.judge();
            let committed = || judge.oracles.delivery.committed(group, &lane);
            let taken_back = u64::try_from(ours).ok().filter(|ours| {
                let is_end = judge.copies.has_ended_at(slave, topic, queue, *ours);
                is_end && committed().any(|next| next > *ours)
            });
            check_offset(&what, ours, committed().chain(taken_back))?;
        }
    }
    Ok(())
}

/// How far a group is, as a broker says; 0: it does not know.
async fn offset_of(client: &Client, group: &Text, of: &QueueRef) -> Result<i64, Violation> {
    let (group, of) = (group.clone(), of.clone());
    let request = BrokerRequest::QueryOffset { group, of, zero_if_absent: None };
    match answered(client.ask_broker(&request, ANSWER).await)?.response {
        BrokerResponse::Offset(known) => Ok(known),
        _ => Ok(0),
    }
}

/// Checks that a name server lists each broker under its number in its group.
pub(super) fn check_members(world: &World, number: usize, listed: &ClusterInfo) -> Verdict {
    for master in &world.brokers {
        let of_group = world.with_logs().filter(|host| host.group == master.name);
        let wanted: BTreeMap<BrokerId, Text> =
            of_group.map(|host| (BrokerId(i64::from(host.number)), host.addr.clone())).collect();
        let found = listed.brokers.get(&master.name).map(|group| &group.addrs);
        if found != Some(&wanted) {
            let detail = format!("name server {number} lists {found:?}, alive are {wanted:?}");
            return Err(Violation::new("routes say who lives", detail));
        }
    }
    Ok(())
}
