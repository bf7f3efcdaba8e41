//! Turns a broker.

use std::future::Future;
use std::sync::Arc;

use bytes::BytesMut;
use hotfire_core::broker::{Broker, Effect, Input};
use hotfire_core::domain::BrokerRequest;
use hotfire_net::codec::broker::{self as codec, Answering};
use hotfire_net::rt::TcpListener;
use hotfire_net::server::{Arrival, Limits, Server};
use hotfire_storage::seam::{Disk, Fault};
use tokio::sync::Notify;

use super::registrar::Registrar;
use super::{GRACE, Node, turn, turns};

/// Where a broker meets the world.
pub struct BrokerEdges {
    /// It serves what connects to these.
    pub listeners: Vec<TcpListener>,
    /// Name servers, `host:port`; as many as [`BrokerConfig::name_servers`] says.
    ///
    /// [`BrokerConfig::name_servers`]: hotfire_core::broker::BrokerConfig::name_servers
    pub name_servers: Vec<String>,
    /// Bounds of its connections.
    pub limits: Limits,
    /// Notified whenever the disk has something to say; from any thread.
    pub wake: Arc<Notify>,
}

/// Serves until `stop` ends. Then, in this order: takes its leave of the name servers, still
/// serving meanwhile; stops accepting; stops the broker (everything flushed and saved); answers
/// who still waits; closes every connection; and gives the machine back with what the stop said.
/// Needs [`hotfire_net::rt::run_local`] around it.
pub async fn run_broker<D: Disk>(
    broker: Broker<D>,
    edges: BrokerEdges,
    stop: impl Future<Output = ()>,
) -> (Broker<D>, Result<(), Fault>) {
    let BrokerEdges { listeners, name_servers, limits, wake } = edges;
    let server = Server::new(limits, codec::decode_request);
    for listener in listeners {
        server.listen(listener);
    }
    let registrar = Registrar::start(name_servers, Arc::clone(&wake));
    let mut node = Serving { broker, server, registrar, scratch: BytesMut::new(), next_opaque: 0 };
    turns(&mut node, &wake, stop).await;
    let leave = node.registrar.leave(node.broker.config().identity.clone());
    turns(&mut node, &wake, leave).await;
    node.server.stop_accepting();
    turn(&mut node);
    let stopped = node.broker.stop(hotfire_net::rt::now());
    turn(&mut node);
    node.server.shutdown(GRACE).await;
    (node.broker, stopped)
}

struct Serving<D: Disk> {
    broker: Broker<D>,
    server: Server<BrokerRequest>,
    registrar: Registrar,
    scratch: BytesMut,
    next_opaque: i32,
}

impl<D: Disk> Node for Serving<D> {
    type Machine = Broker<D>;
    type Request = BrokerRequest;

    fn machine(&self) -> &Broker<D> {
        &self.broker
    }

    fn machine_mut(&mut self) -> &mut Broker<D> {
        &mut self.broker
    }

    fn server(&self) -> &Server<BrokerRequest> {
        &self.server
    }

    fn next_input(&mut self) -> Option<Input> {
        match self.server.inbox().next() {
            Some(Arrival::Closed { conn }) => Some(Input::Closed { conn }),
            Some(Arrival::Request { caller, request }) => Some(Input::Request { caller, request }),
            None => {
                let (version, response) = self.registrar.next_outcome()?;
                Some(Input::Registered { version, response })
            }
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Answer { caller, response } => {
                let broker = &self.broker;
                let mut with = Answering {
                    store_host: broker.config().store_host,
                    lease: &mut |span| broker.lease(span),
                };
                let frame =
                    codec::encode_response(&caller, &response, &mut with, &mut self.scratch);
                self.server.outbox().answer(caller.conn, frame);
            }
            Effect::Notify { conn, notice } => {
                self.next_opaque = self.next_opaque.wrapping_add(1) & i32::MAX;
                let frame = codec::encode_notice(&notice, self.next_opaque, &mut self.scratch);
                self.server.outbox().notify(conn, frame);
            }
            Effect::Register => self.registrar.register(self.broker.registration()),
        }
    }
}
