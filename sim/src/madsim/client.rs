//! Turns a client model: the models of ring 1, over the product's own client.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hotfire_net::rt;
use hotfire_storage::time::Mono;

use super::links::{Call, Links};
use super::world::World;
use crate::choose::{Choose, Concern};
use crate::ledger::Strike;
use crate::ring::Violation;
use crate::trace::{Column, Mark};
use crate::workload::{Act, Client, Event};

/// A client, its model shared with the world, which asks how far it is.
pub(super) struct Guest {
    model: Mutex<Box<dyn Client + Send>>,
    /// Does it write JSON headers?
    pub(super) json: bool,
    pub(super) log: Column,
}

impl Guest {
    pub(super) fn new(model: Box<dyn Client + Send>, json: bool, log: Column) -> Self {
        Self { model: Mutex::new(model), json, log }
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Box<dyn Client + Send>> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client's process.
pub(super) async fn run(world: Arc<World>, guest: Arc<Guest>) {
    let (mut links, mut news) = Links::new(Arc::clone(&world), guest.json);
    let mut work = world.run.chance.of(Concern::Work);
    let mut net = world.run.chance.of(Concern::Net);
    let mut first = None;
    loop {
        while let Some(one) = first.take().or_else(|| news.try_recv().ok()) {
            match links.take(one).await {
                Ok(event) => event.into_iter().for_each(|event| tell(&world, &guest, event)),
                Err(error) => {
                    world.judge().violated(Violation::new("an answer can be read", error));
                    return;
                }
            }
        }
        while let Some(act) = next_act(&world, &guest, &mut work) {
            match act {
                Act::Close(peer) => _ = links.close(&peer),
                Act::Call { id, peer, ask, oneway } => {
                    links.call(peer.clone(), Call { id, ask, oneway }).await;
                    let cuts = if world.is_calm() { 0 } else { world.run.plan.net.cut };
                    if net.chance(cuts, "net.cut") && links.close(&peer) {
                        world.run.ledger.hit(Strike::NetCut);
                        guest.log.say(Mark::Fault, format_args!("cut {peer:?}"));
                        tell(&world, &guest, Event::Closed(peer));
                    }
                }
            }
        }
        let wake = guest.model().wake();
        tokio::select! {
            biased;
            one = news.recv() => first = one,
            () = until(wake) => {}
        }
    }
}

async fn until(wake: Mono) {
    // A model with nothing to do but wait has no time to name.
    match wake.as_micros() {
        u64::MAX => std::future::pending().await,
        _ => rt::sleep_to(wake).await,
    }
}

fn tell(world: &World, guest: &Guest, event: Event) {
    guest.log.say(Mark::Received, format_args!("{event:.200?}"));
    let now = world.now();
    let mut judge = world.judge();
    guest.model().event(now, event, &mut judge.history);
    judge.follow();
}

fn next_act(world: &World, guest: &Guest, work: &mut crate::choose::Stream) -> Option<Act> {
    let now = world.now();
    let act = guest.model().act(now, work, &mut world.judge().history)?;
    guest.log.say(Mark::Sent, format_args!("{act:?}"));
    Some(act)
}
