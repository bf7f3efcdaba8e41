//! Asks other brokers of the group for tables: one connection, kept while it works and the same one
//! is asked. As a rule that is a slave's master.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hotfire_core::domain::{BrokerRequest, BrokerResponse, StateKind};
use hotfire_net::client::{Client, ClientError, Options};
use hotfire_net::rt;
use tokio::sync::Notify;

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(6);

/// What became of a question.
pub(super) type Outcome = (StateKind, Option<Bytes>);

/// Where questions are asked and answers taken.
pub(super) struct Fetcher {
    shared: Rc<Shared>,
}

struct Shared {
    link: RefCell<Option<(String, Client)>>,
    outcomes: RefCell<VecDeque<Outcome>>,
    wake: Arc<Notify>,
}

impl Fetcher {
    /// One that notifies `wake` when there is an outcome.
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        let shared = Shared { link: RefCell::default(), outcomes: RefCell::default(), wake };
        Self { shared: Rc::new(shared) }
    }

    /// Asks `broker`, `host:port`. Each question has one outcome.
    pub(super) fn fetch(&self, broker: String, kind: StateKind) {
        let shared = Rc::clone(&self.shared);
        rt::spawn_local(async move {
            let answer = shared.ask(&broker, kind).await;
            if let Err(error) = &answer {
                tracing::debug!(broker, ?kind, %error, "it does not answer");
            }
            shared.outcomes.borrow_mut().push_back((kind, answer.ok()));
            shared.wake.notify_one();
        });
    }

    /// What became of a question, if any of it is new.
    pub(super) fn next_outcome(&self) -> Option<Outcome> {
        self.shared.outcomes.borrow_mut().pop_front()
    }
}

impl Shared {
    async fn ask(&self, broker: &str, kind: StateKind) -> Result<Bytes, ClientError> {
        let known = self.link.borrow().clone();
        let known = known.filter(|(addr, client)| addr == broker && !client.is_closed());
        let client = if let Some((_, client)) = known {
            client
        } else {
            let (client, _) = Client::connect(broker, Options::default()).await?;
            *self.link.borrow_mut() = Some((broker.to_owned(), client.clone()));
            client
        };
        let answer = client.ask_broker(&BrokerRequest::State(kind), ANSWER).await;
        if answer.is_err() {
            *self.link.borrow_mut() = None;
        }
        match answer?.response {
            BrokerResponse::State { json, .. } => Ok(json),
            _ => Err(ClientError::Closed),
        }
    }
}
