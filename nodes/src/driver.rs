//! What turns a machine: it waits, hands in what happened, and does what is asked. It decides
//! nothing.
//!
//! ```text
//! wait: stop? requests? a wake-up (disk, name server)? a deadline?
//!   └► handle what is ready ─► poll until there is nothing ─► wait
//! ```
//!
//! A turn takes what is ready at once, up to a bound, so an idle broker answers at once and a busy
//! one amortises; connections are woken once a turn. All on one thread, and, since only
//! [`hotfire_net::rt`] names a runtime, the very same code runs in the simulator.

mod broker;
mod fetcher;
mod namesrv;
mod registrar;
mod shares;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use hotfire_core::machine::Machine;
use hotfire_net::rt;
use hotfire_net::server::Server;
use hotfire_storage::time::Mono;
use tokio::sync::Notify;

pub use broker::{BrokerEdges, run_broker};
pub use namesrv::{NamesrvEdges, run_namesrv};

/// How long a stopping node waits for its peers to read what it wrote. A restart should not take
/// longer than people wait.
const GRACE: Duration = Duration::from_secs(3);

/// What a turn takes in, at most. Were it all that is there, everybody would wait for everybody: a
/// master for its slave, which waits for the master's next turn. Measured.
const TURN_MAX: usize = 64;

/// A machine with its edges.
trait Node {
    type Machine: Machine;
    /// What its server reads.
    type Request: 'static;

    fn machine(&self) -> &Self::Machine;
    fn machine_mut(&mut self) -> &mut Self::Machine;
    fn server(&self) -> &Server<Self::Request>;
    /// The next thing that happened, if anything did.
    fn next_input(&mut self) -> Option<<Self::Machine as Machine>::Input>;
    /// Is it to be stopped, by its own word?
    fn is_done(&self) -> bool {
        false
    }
    /// Does what the machine asks.
    fn act(&mut self, effect: <Self::Machine as Machine>::Effect);
}

/// Turns the machine until `stop` ends, or until it is done.
async fn turns<N: Node>(node: &mut N, wake: &Notify, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    loop {
        let is_over = turn(node);
        if node.is_done() {
            return;
        }
        if !is_over {
            // Slaves and clients get what this turn has for them while the next one runs.
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = rt::yield_now() => continue,
            }
        }
        let deadline = node.machine().deadline();
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = node.server().inbox().ready() => {}
            () = wake.notified() => {}
            () = until(deadline) => {}
        }
    }
}

/// One turn: what is ready in, then everything out. Is nothing left?
fn turn<N: Node>(node: &mut N) -> bool {
    let now = rt::now();
    let mut taken = 0;
    while taken < TURN_MAX
        && let Some(input) = node.next_input()
    {
        node.machine_mut().handle(now, input);
        taken += 1;
    }
    while let Some(effect) = node.machine_mut().poll(now) {
        node.act(effect);
    }
    if cfg!(any(debug_assertions, madsim)) {
        node.machine().verify();
    }
    taken < TURN_MAX
}

async fn until(deadline: Option<Mono>) {
    match deadline {
        Some(deadline) => rt::sleep_to(deadline).await,
        None => std::future::pending().await,
    }
}
