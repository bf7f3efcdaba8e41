//! Keeps a broker registered: one task and one connection for each name server.
//!
//! Each call of [`Registrar::register`] brings one outcome of each name server, unless a newer
//! call overtakes it. A registration that failed, or whose connection ended (a name server takes
//! that for the broker's death), is repeated with back-off until it succeeds; repetitions bring no
//! outcome. People are told when a name server's state changes, not at each attempt.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hotfire_core::domain::{BrokerIdentity, DataVersion, NameRequest, NameResponse, Registration};
use hotfire_net::client::{Client, ClientError, Options};
use hotfire_net::rt;
use tokio::sync::Notify;

/// How long a name server may take to answer.
const ANSWER: Duration = Duration::from_secs(6);
/// The first pause after a failure; each further one is twice as long.
const PAUSE_LEAST: Duration = Duration::from_millis(200);
/// The longest pause; the broker's own period is longer.
const PAUSE_MOST: Duration = Duration::from_secs(10);
/// How long taking leave may hold up a stop. Name servers notice a closed connection anyway.
const LEAVE: Duration = Duration::from_secs(1);

/// What became of a registration: the version sent, and the answer, if one came.
pub(super) type Outcome = (DataVersion, Option<NameResponse>);

/// The tasks' common end.
pub(super) struct Registrar {
    shared: Rc<Shared>,
}

struct Shared {
    latest: RefCell<Option<Rc<Registration>>>,
    /// Counts calls of `register`.
    round: Cell<u64>,
    outcomes: RefCell<VecDeque<Outcome>>,
    leaving: RefCell<Option<BrokerIdentity>>,
    /// Something of the above is new to the tasks.
    changed: Notify,
    /// Wakes the broker's turn.
    wake: Arc<Notify>,
    tasks: Cell<usize>,
    left: Notify,
}

impl Registrar {
    /// Starts a task for each name server; none registers before it is told what.
    pub(super) fn start(name_servers: Vec<String>, wake: Arc<Notify>) -> Self {
        let shared = Rc::new(Shared {
            latest: RefCell::default(),
            round: Cell::new(0),
            outcomes: RefCell::default(),
            leaving: RefCell::default(),
            changed: Notify::new(),
            wake,
            tasks: Cell::new(name_servers.len()),
            left: Notify::new(),
        });
        for addr in name_servers {
            let link = Link { addr, client: None, state: State::Unknown };
            rt::spawn_local(keep_registered(Rc::clone(&shared), link));
        }
        Self { shared }
    }

    /// Sends this to every name server.
    pub(super) fn register(&self, registration: Registration) {
        *self.shared.latest.borrow_mut() = Some(Rc::new(registration));
        self.shared.round.set(self.shared.round.get() + 1);
        self.shared.changed.notify_waiters();
    }

    /// What became of a registration, if any of it is new.
    pub(super) fn next_outcome(&self) -> Option<Outcome> {
        self.shared.outcomes.borrow_mut().pop_front()
    }

    /// Registers no more, and takes its leave of every name server that can be reached in time.
    pub(super) fn leave(&self, broker: BrokerIdentity) -> impl Future<Output = ()> + use<> {
        let shared = Rc::clone(&self.shared);
        *shared.leaving.borrow_mut() = Some(broker);
        shared.changed.notify_waiters();
        async move {
            let all_left = async {
                while shared.tasks.get() > 0 {
                    shared.left.notified().await;
                }
            };
            if rt::within(LEAVE, all_left).await.is_err() {
                tracing::warn!("a name server did not take leave; it will notice by itself");
            }
        }
    }
}

/// A name server as its task knows it.
struct Link {
    addr: String,
    client: Option<Client>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Refused,
    Registered,
    Unknown,
    Unreachable,
}

async fn keep_registered(shared: Rc<Shared>, mut link: Link) {
    let mut done = 0;
    let mut pause = PAUSE_LEAST;
    while !shared.is_leaving() {
        let round = shared.round.get();
        let Some(registration) = shared.latest.borrow().clone() else {
            shared.changed.notified().await;
            continue;
        };
        let version = registration.data_version;
        let request = NameRequest::Register(Box::new(registration.as_ref().clone()));
        let outcome = tokio::select! {
            biased;
            () = shared.to_leave() => break,
            outcome = link.ask(&request) => outcome,
        };
        link.note(&outcome);
        let failed = outcome.is_err();
        if round > done {
            done = round;
            shared.outcomes.borrow_mut().push_back((version, outcome.ok()));
            shared.wake.notify_one();
        }
        let again = async {
            match &link.client {
                Some(client) if !failed => {
                    client.closed().await;
                    // One that closes whatever it is told is not told in a loop.
                    rt::sleep(PAUSE_LEAST).await;
                }
                _ => rt::sleep(pause).await,
            }
        };
        tokio::select! {
            biased;
            () = shared.newer_than(done) => {}
            () = again => {}
        }
        pause = if failed { PAUSE_MOST.min(pause * 2) } else { PAUSE_LEAST };
    }
    let broker = shared.leaving.borrow().clone();
    if let (Some(broker), Some(client)) = (broker, &link.client) {
        // Whatever comes of it: the connection's end says the same.
        let _ = client.ask_name_server(&NameRequest::Unregister(broker), LEAVE).await;
    }
    shared.tasks.set(shared.tasks.get() - 1);
    shared.left.notify_one();
}

impl Shared {
    fn is_leaving(&self) -> bool {
        self.leaving.borrow().is_some()
    }

    async fn to_leave(&self) {
        while !self.is_leaving() {
            self.changed.notified().await;
        }
    }

    async fn newer_than(&self, done: u64) {
        while self.round.get() <= done && !self.is_leaving() {
            self.changed.notified().await;
        }
    }
}

impl Link {
    async fn ask(&mut self, request: &NameRequest) -> Result<NameResponse, ClientError> {
        let client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => Client::connect(&self.addr, Options::default()).await?.0,
        };
        let answer = client.ask_name_server(request, ANSWER).await;
        // A connection that lets a request time out is not trusted with the next.
        if answer.is_ok() {
            self.client = Some(client);
        }
        answer
    }

    fn note(&mut self, outcome: &Result<NameResponse, ClientError>) {
        let state = match outcome {
            Ok(NameResponse::Refused { .. }) => State::Refused,
            Ok(_) => State::Registered,
            Err(_) => State::Unreachable,
        };
        if std::mem::replace(&mut self.state, state) == state {
            return;
        }
        let name_server = &self.addr;
        match outcome {
            Ok(NameResponse::Refused { remark, .. }) => {
                tracing::warn!(name_server, remark, "the name server refuses this broker");
            }
            Ok(_) => tracing::info!(name_server, "registered"),
            Err(error) => {
                tracing::warn!(name_server, %error, "cannot register, trying again");
            }
        }
    }
}
