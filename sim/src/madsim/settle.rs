//! The end of a run: all is put right, and everything promised must come true in bounded time.
//!
//! Then name servers are asked who lives, brokers for what groups have committed, and every server
//! is stopped in order. The power is cut, and the stores are opened once more and judged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hotfire_core::domain::{BrokerRequest, BrokerResponse, NameRequest, NameResponse, QueueRef};
use hotfire_core::machine::Digest;
use hotfire_net::client::{Client, ClientError, Options};
use hotfire_net::rt;
use hotfire_storage::text::Text;

use super::brokers::reopened;
use super::faults::Faults;
use super::nodes::{Host, Last};
use super::peace::{self, Watch};
use super::world::World;
use crate::ledger::Strike;
use crate::oracle::Verdict;
use crate::oracle::metadata::check_offset;
use crate::oracle::routes::{check_brokers, check_topic};
use crate::ring::Violation;
use crate::trace::Mark;
use crate::workload::message::Lane;

/// Between two looks at the world.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// So long nothing new must have happened: longer than a pull is held, a consumer waits for its
/// answer, and a name server needs to hear of a broker again.
const QUIET: Duration = Duration::from_secs(45);
/// So long where a write in the background failed that nobody was told of: brokers sync their
/// queues once a minute, and the next sync of such a file fails.
const QUIET_UNTOLD: Duration = Duration::from_secs(65);
/// So long after the last fault everything has come to rest: a name server forgets a silent broker
/// after two minutes, and a socket that takes nothing is given up meanwhile.
const REST_MAX: Duration = Duration::from_secs(400);
/// So long a stop may take: its grace, and the leave of the name servers.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How long a question may take when nothing fails.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// Waits until nothing happens any more.
pub(super) async fn rest(world: &Arc<World>, faults: &mut Faults) -> Verdict {
    world.calm_down();
    faults.heal();
    world.say(Mark::Note, format_args!("healed"));
    let start = world.now();
    let (mut facts, mut since, mut watch) = ((0, false), start, Watch::new(start));
    loop {
        rt::sleep(LOOK).await;
        faults.keep_up();
        world.look_at_logs();
        world.judge().so_far()?;
        let (now, len) = (world.now(), world.judge().history.len());
        let level = watch.look(world, faults, now)?;
        let served = world.with_logs().all(|host| host.is_up() && !host.berth().is_sick());
        let done = level && served && world.guests().all(|guest| guest.model().is_done());
        // A sync that is told of a failure may have it on the way for a while.
        let untold = world.with_logs().any(|host| host.berth().medium().has_failed_untold());
        if (len, untold) != facts || !done {
            (facts, since) = ((len, untold), now);
        }
        if now.since(since) > if untold { QUIET_UNTOLD } else { QUIET } {
            return Ok(());
        }
        if now.since(start) > REST_MAX {
            let states = world.guests().map(|guest| guest.model().state());
            let states: Vec<String> = states.chain([world.judge().copies.all_ends()]).collect();
            return Err(Violation::new("everything comes to rest", states.join("; ")));
        }
    }
}

/// Asks servers what they know. Runs on a client's node.
pub(super) async fn ask_around(world: &World) -> Verdict {
    let alive: BTreeSet<Text> = world.brokers.iter().map(|host| host.name.clone()).collect();
    for (number, names) in world.names.iter().enumerate() {
        let client = connect(names).await?;
        let answer = client.ask_name_server(&NameRequest::ClusterInfo, ANSWER).await;
        let NameResponse::ClusterInfo(listed) = answered(answer)? else {
            return Err(Violation::new("a name server answers", "what it was not asked"));
        };
        check_brokers(number, &listed, &alive)?;
        peace::check_members(world, number, &listed)?;
        for broker in &world.brokers {
            let topics = world.judge().topics(&broker.name);
            for topic in topics {
                let request = NameRequest::Route { topic: topic.clone() };
                let answer = answered(client.ask_name_server(&request, ANSWER).await)?;
                let route =
                    if let NameResponse::Route(route) = &answer { Some(route) } else { None };
                check_topic(number, &topic, &broker.name, route)?;
            }
        }
    }
    for broker in &world.brokers {
        ask_offsets(world, broker).await?;
    }
    peace::ask(world).await
}

async fn ask_offsets(world: &World, broker: &Host) -> Verdict {
    let client = connect(broker).await?;
    let groups: Vec<Text> = world.judge().oracles.delivery.groups().cloned().collect();
    let queues = i32::try_from(world.run.plan.cluster.queues).expect("few");
    for (group, topic) in groups.iter().flat_map(|g| world.topics.iter().map(move |t| (g, t))) {
        for queue in 0..queues {
            let of = QueueRef { topic: topic.clone(), queue };
            let group = group.clone();
            let request =
                BrokerRequest::QueryOffset { group: group.clone(), of, zero_if_absent: None };
            let reply = answered(client.ask_broker(&request, ANSWER).await)?;
            let BrokerResponse::Offset(known) = reply.response else { continue };
            let lane = Lane { broker: broker.name.clone(), topic: topic.clone(), queue };
            let what = format!("{group} at {lane}");
            let judge = world.judge();
            check_offset(&what, known, judge.oracles.delivery.committed(&group, &lane))?;
        }
    }
    Ok(())
}

pub(super) async fn connect(host: &Host) -> Result<Client, Violation> {
    answered(Client::connect(&host.addr, Options::default()).await).map(|(client, _)| client)
}

pub(super) fn answered<T>(answer: Result<T, ClientError>) -> Result<T, Violation> {
    answer.map_err(|error| Violation::new("a server answers in peace", error))
}

/// Stops every server in order, and judges what is left. Folds all of it in.
pub(super) async fn stop(world: &World, faults: &mut Faults, digest: &mut Digest) -> Verdict {
    let mut images = BTreeMap::new();
    for (server, host) in world.hosts().enumerate() {
        let last = stopped(world, faults, server, host).await?;
        digest.number(last.digest);
        if let Some(image) = last.image {
            images.insert(host.name.clone(), image);
        }
    }
    world.judge().so_far()?;
    let (now, mut judge) = (world.now(), world.judge());
    judge.copies.agree(now)?;
    let (copies, originals) = images.into_iter().partition(|(name, _)| is_slave(world, name));
    let (mut images, copies): (BTreeMap<_, _>, BTreeMap<_, _>) = (originals, copies);
    judge.oracles.quiet(&images, &judge.history)?;
    drop(judge);
    images.extend(copies);
    for host in world.with_logs() {
        // A file whose deletion failed may be back.
        let again = reopened(world, host)?.from(images[&host.name].start);
        if again != images[&host.name] {
            let (before, after) = (images[&host.name].end, again.end);
            let detail = format!("{}: its log ended at {before}, and does at {after}", host.name);
            return Err(Violation::new("a stop in peace loses nothing", detail));
        }
        host.berth().medium().digest(digest);
    }
    Ok(())
}

fn is_slave(world: &World, name: &Text) -> bool {
    world.slaves.iter().any(|slave| slave.name == *name)
}

/// Stops a server. A page whose spontaneous writeback failed before all was healed is told of by
/// the next sync, which may be one of the stop's: then the server is started and stopped again. A
/// stop ends with the first that it is told of.
async fn stopped(
    world: &World,
    faults: &mut Faults,
    server: usize,
    host: &Host,
) -> Result<Last, Violation> {
    let untold = world.run.ledger.count(Strike::DiskWritebackFailed);
    for _ in 0..=untold {
        host.ask_to_stop();
        let start = world.now();
        while !host.has_exited.load(Ordering::Relaxed) {
            rt::sleep(LOOK).await;
            if world.now().since(start) > STOP_MAX {
                return Err(Violation::new("a stop ends", format!("{} still runs", host.name)));
            }
        }
        if let Some(last) = host.take_last() {
            return Ok(last);
        }
        faults.start(server);
        while !host.is_up.load(Ordering::Relaxed) && !host.has_exited.load(Ordering::Relaxed) {
            rt::sleep(LOOK).await;
        }
    }
    let why = format!("{}: failed, and again for each of {untold} failed writebacks", host.name);
    Err(Violation::new("a stop in peace succeeds", why))
}
