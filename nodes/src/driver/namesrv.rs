//! Turns a name server.

use std::future::Future;

use bytes::BytesMut;
use hotfire_core::domain::{BrokerRequest, MinIdChange, NameRequest, Text};
use hotfire_core::namesrv::{Effect, Input, KvConfig, NameServer};
use hotfire_net::client::{Client, ClientError, Options};
use hotfire_net::codec::{broker, namesrv};
use hotfire_net::rt::{self, TcpListener};
use hotfire_net::server::{Arrival, Limits, Server};
use tokio::sync::Notify;

use super::{GRACE, Node, turns};

/// Where a name server meets the world.
pub struct NamesrvEdges<S> {
    /// It serves what connects to these.
    pub listeners: Vec<TcpListener>,
    /// Bounds of its connections.
    pub limits: Limits,
    /// Keeps the KV configuration, before the change is acknowledged. What it cannot keep is its
    /// own to say: the name server serves on.
    pub save_kv: S,
}

/// Serves until `stop` ends, then writes what is queued, closes every connection, and gives the
/// machine back. Needs [`hotfire_net::rt::run_local`] around it.
pub async fn run_namesrv<S: FnMut(&KvConfig)>(
    machine: NameServer,
    edges: NamesrvEdges<S>,
    stop: impl Future<Output = ()>,
) -> NameServer {
    let server = Server::new(edges.limits, namesrv::decode_request);
    for listener in edges.listeners {
        server.listen(listener);
    }
    let scratch = BytesMut::new();
    let mut node = Names { machine, server, save_kv: edges.save_kv, scratch };
    // Nothing but requests and time concerns a name server.
    turns(&mut node, &Notify::new(), stop).await;
    node.server.shutdown(GRACE).await;
    node.machine
}

struct Names<S> {
    machine: NameServer,
    server: Server<NameRequest>,
    save_kv: S,
    scratch: BytesMut,
}

impl<S: FnMut(&KvConfig)> Node for Names<S> {
    type Machine = NameServer;
    type Request = NameRequest;

    fn machine(&self) -> &NameServer {
        &self.machine
    }

    fn machine_mut(&mut self) -> &mut NameServer {
        &mut self.machine
    }

    fn server(&self) -> &Server<NameRequest> {
        &self.server
    }

    fn next_input(&mut self) -> Option<Input> {
        Some(match self.server.inbox().next()? {
            Arrival::Closed { conn } => Input::Closed { conn },
            Arrival::Request { caller, request } => Input::Request { caller, request },
        })
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Answer { caller, response } => {
                let frame = namesrv::encode_response(&caller, &response, &mut self.scratch);
                self.server.outbox().answer(caller.conn, frame);
            }
            Effect::Notify { to, change } => {
                rt::spawn_local(notify(to, change));
            }
            Effect::SaveKv => (self.save_kv)(self.machine.kv()),
        }
    }
}

/// Tells brokers, one after the other, where they serve clients: that is where brokers hear of it.
/// Who cannot be reached looks for itself before long.
async fn notify(to: Vec<Text>, change: MinIdChange) {
    let notice = BrokerRequest::MinIdChanged(Box::new(change));
    for addr in to {
        if let Err(error) = tell(&addr, &notice).await {
            tracing::debug!(broker = %addr, %error, "a broker is not told of its group");
        }
    }
}

async fn tell(addr: &str, notice: &BrokerRequest) -> Result<(), ClientError> {
    let (client, _) = Client::connect(addr, Options::default()).await?;
    client.tell(|ask, into| broker::encode_request(ask, notice, into))
}
