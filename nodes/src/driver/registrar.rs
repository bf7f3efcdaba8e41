//! Keeps a broker registered: one task and one connection for each name server. In a group with
//! acting masters it also says on that connection that the broker lives, and asks for its group.
//!
//! When a registration is said, and said again, is for [`hotfire_core::registrar`] to decide.
//! People are told when a name server's state changes, not at each attempt.
//!
//! There is never a second connection to a name server: it takes the end of the one that brought
//! the registration for the broker's death.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hotfire_core::domain::{BrokerIdentity, DataVersion, NameRequest, NameResponse, Registration};
use hotfire_core::registrar::{Next, Registrar};
use hotfire_net::client::{Client, ClientError, Options};
use hotfire_net::codec::namesrv;
use hotfire_net::rt;
use tokio::sync::{Mutex, Notify};

/// How long a name server may take to answer.
const ANSWER: Duration = Duration::from_secs(6);
/// How long taking leave may hold up a stop. Name servers notice a closed connection anyway.
const LEAVE: Duration = Duration::from_secs(1);

/// What became of a registration: the version sent, and the answer, if one came.
pub(super) type Outcome = (DataVersion, Option<NameResponse>);

/// Who is in the group: which name server says so, and what it says.
pub(super) type Members = (usize, Option<NameResponse>);

/// The tasks' common end.
pub(super) struct Registrars {
    shared: Rc<Shared>,
    links: Vec<Rc<Link>>,
}

struct Shared {
    latest: RefCell<Option<Rc<Registration>>>,
    /// Counts calls of `register`.
    round: Cell<u64>,
    outcomes: RefCell<VecDeque<Outcome>>,
    members: RefCell<VecDeque<Members>>,
    leaving: RefCell<Option<BrokerIdentity>>,
    /// Something of the above is new to the tasks.
    changed: Notify,
    /// Wakes the broker's turn.
    wake: Arc<Notify>,
    tasks: Cell<usize>,
    left: Notify,
}

impl Registrars {
    /// Starts a task for each name server; none registers before it is told what.
    pub(super) fn start(name_servers: Vec<String>, wake: Arc<Notify>) -> Self {
        let shared = Rc::new(Shared {
            latest: RefCell::default(),
            round: Cell::new(0),
            outcomes: RefCell::default(),
            members: RefCell::default(),
            leaving: RefCell::default(),
            changed: Notify::new(),
            wake,
            tasks: Cell::new(name_servers.len()),
            left: Notify::new(),
        });
        let links: Vec<Rc<Link>> =
            name_servers.into_iter().map(|addr| Rc::new(Link::new(addr))).collect();
        for link in &links {
            rt::spawn_local(keep_registered(Rc::clone(&shared), Rc::clone(link)));
        }
        Self { shared, links }
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

    /// Says to every name server that there is a connection to that this broker lives.
    pub(super) fn beat(&self, broker: &BrokerIdentity) {
        let (addr, cluster) = (broker.addr.clone(), broker.cluster.clone());
        let beat = NameRequest::BrokerHeartbeat { addr, cluster };
        for client in self.links.iter().filter_map(|link| link.known()) {
            // One that takes no more bytes is found by who waits for its answers.
            let _ = client.tell(|ask, into| namesrv::encode_request(ask, &beat, into));
        }
    }

    /// Asks a name server, by its number, who is in the group.
    pub(super) fn watch(&self, name_server: usize, broker: &BrokerIdentity) {
        let (shared, link) = (Rc::clone(&self.shared), Rc::clone(&self.links[name_server]));
        let (cluster, broker_name) = (broker.cluster.clone(), broker.broker_name.clone());
        let request = NameRequest::MemberGroup { cluster, broker_name };
        rt::spawn_local(async move {
            let answer = if shared.is_leaving() { None } else { link.ask(&request).await.ok() };
            if answer.is_none() {
                link.lost.notify_one();
            }
            shared.members.borrow_mut().push_back((name_server, answer));
            shared.wake.notify_one();
        });
    }

    /// What a name server said, if any of it is new.
    pub(super) fn next_members(&self) -> Option<Members> {
        self.shared.members.borrow_mut().pop_front()
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
    client: RefCell<Option<Client>>,
    /// One at a time connects.
    connecting: Mutex<()>,
    /// Another than the task found the connection dead.
    lost: Notify,
    state: Cell<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Refused,
    Registered,
    Unknown,
    Unreachable,
}

async fn keep_registered(shared: Rc<Shared>, link: Rc<Link>) {
    let (mut registrar, mut next, mut seen) = (Registrar::default(), Next::Rest, 0);
    while !shared.is_leaving() {
        let latest = shared.latest.borrow().clone().filter(|_| shared.round.get() > seen);
        if let Some(latest) = latest {
            seen = shared.round.get();
            next = registrar.register(latest);
        }
        next = match next {
            Next::Say(round, registration) => {
                let version = registration.data_version;
                let request = NameRequest::Register(Box::new(registration.as_ref().clone()));
                let outcome = tokio::select! {
                    biased;
                    () = shared.to_leave() => break,
                    outcome = link.ask(&request) => outcome,
                };
                link.note(&outcome);
                let (is_news, next) = registrar.ended(rt::now().mono, round, outcome.is_err());
                if is_news {
                    shared.outcomes.borrow_mut().push_back((version, outcome.ok()));
                    shared.wake.notify_one();
                }
                next
            }
            Next::Wait(until) => tokio::select! {
                biased;
                () = shared.newer_than(seen) => Next::Wait(until),
                () = rt::sleep_to(until) => registrar.woken(rt::now().mono.max(until)),
            },
            Next::Rest => tokio::select! {
                biased;
                () = shared.newer_than(seen) => Next::Rest,
                () = link.ended(), if seen > 0 => registrar.lost(rt::now().mono),
            },
        };
    }
    let broker = shared.leaving.borrow().clone();
    if let (Some(broker), Some(client)) = (broker, link.known()) {
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
    fn new(addr: String) -> Self {
        Self {
            addr,
            client: RefCell::default(),
            connecting: Mutex::new(()),
            lost: Notify::new(),
            state: Cell::new(State::Unknown),
        }
    }

    /// The connection, while it lives.
    fn known(&self) -> Option<Client> {
        self.client.borrow().clone().filter(|client| !client.is_closed())
    }

    /// Ends with the connection, or when that is not trusted any more.
    async fn ended(&self) {
        let Some(client) = self.known() else { return };
        tokio::select! {
            biased;
            () = client.closed() => {}
            () = self.lost.notified() => {}
        }
    }

    async fn connected(&self) -> Result<Client, ClientError> {
        let _turn = self.connecting.lock().await;
        if let Some(client) = self.known() {
            return Ok(client);
        }
        let (client, _) = Client::connect(&self.addr, Options::default()).await?;
        *self.client.borrow_mut() = Some(client.clone());
        Ok(client)
    }

    async fn ask(&self, request: &NameRequest) -> Result<NameResponse, ClientError> {
        let client = self.connected().await?;
        let answer = client.ask_name_server(request, ANSWER).await;
        // A connection that lets a request time out is not trusted with the next.
        if answer.is_err() {
            self.client.borrow_mut().take();
        }
        answer
    }

    fn note(&self, outcome: &Result<NameResponse, ClientError>) {
        let state = match outcome {
            Ok(NameResponse::Refused { .. }) => State::Refused,
            Ok(_) => State::Registered,
            Err(_) => State::Unreachable,
        };
        if self.state.replace(state) == state {
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
