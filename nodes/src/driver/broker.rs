//! Turns a broker.

use std::future::Future;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hotfire_core::broker::{Broker, Effect, GroupEffect, HaInput, Input};
use hotfire_core::domain::BrokerRequest;
use hotfire_core::ha::slave::SlaveEffect;
use hotfire_net::codec::broker::{self as codec, Answering};
use hotfire_net::ha::client::{Arrival as FromMaster, HaClient};
use hotfire_net::ha::server::{Arrival as FromSlave, HaServer};
use hotfire_net::ha::stream::Piece;
use hotfire_net::rt::TcpListener;
use hotfire_net::server::{Arrival, Limits, Server};
use hotfire_storage::seam::{Disk, Fault};
use tokio::sync::Notify;

use super::fetcher::Fetcher;
use super::registrar::Registrars;
use super::shares::Shares;
use super::{GRACE, Node, turn, turns};

/// Where a broker meets the world.
pub struct BrokerEdges {
    /// It serves what connects to these.
    pub listeners: Vec<TcpListener>,
    /// Name servers, `host:port`; as many as [`BrokerConfig::name_servers`] says.
    ///
    /// [`BrokerConfig::name_servers`]: hotfire_core::broker::BrokerConfig::name_servers
    pub name_servers: Vec<String>,
    /// Slaves fetch its log here.
    pub ha: Option<TcpListener>,
    /// Bounds of its connections.
    pub limits: Limits,
    /// Notified whenever the disk has something to say; from any thread.
    pub wake: Arc<Notify>,
}

/// Serves until `stop` ends, or until the broker's log has to be parted from what is not its
/// master's ([`Broker::parting`]). Then, in this order: takes its leave of the name servers, still
/// serving meanwhile; stops accepting; stops the broker (everything flushed and saved); answers
/// who still waits; closes every connection; and gives the machine back with what the stop said.
/// Needs [`hotfire_net::rt::run_local`] around it.
pub async fn run_broker<D: Disk>(
    broker: Broker<D>,
    edges: BrokerEdges,
    stop: impl Future<Output = ()>,
) -> (Broker<D>, Result<(), Fault>) {
    let BrokerEdges { listeners, name_servers, ha: ha_listener, limits, wake } = edges;
    let server = Server::new(limits, codec::decode_request);
    for listener in listeners {
        server.listen(listener);
    }
    let registrars = Registrars::start(name_servers, Arc::clone(&wake));
    let ha = HaServer::new(Arc::clone(&wake));
    if let Some(listener) = ha_listener {
        ha.listen(listener);
    }
    let mut node = Serving {
        broker,
        server,
        registrars,
        ha,
        master: HaClient::new(Arc::clone(&wake)),
        fetcher: Fetcher::new(Arc::clone(&wake)),
        scratch: BytesMut::new(),
        next_opaque: 0,
        shares: Shares::default(),
    };
    turns(&mut node, &wake, stop).await;
    let leave = node.registrars.leave(node.broker.config().identity.clone());
    turns(&mut node, &wake, leave).await;
    node.server.stop_accepting();
    node.master.disconnect();
    turn(&mut node);
    let stopped = node.broker.stop(hotfire_net::rt::now());
    turn(&mut node);
    node.ha.shutdown().await;
    node.server.shutdown(GRACE).await;
    (node.broker, stopped)
}

struct Serving<D: Disk> {
    broker: Broker<D>,
    server: Server<BrokerRequest>,
    registrars: Registrars,
    ha: HaServer,
    master: HaClient,
    fetcher: Fetcher,
    scratch: BytesMut,
    next_opaque: i32,
    shares: Shares,
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
        if self.shares.clients_are_next() {
            self.next_of_clients().or_else(|| self.next_of_group())
        } else {
            self.next_of_group().or_else(|| self.next_of_clients())
        }
    }

    fn is_done(&self) -> bool {
        self.broker.parting().is_some()
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
            Effect::Register => self.registrars.register(self.broker.registration()),
            Effect::HaFrame { link, span } => {
                let bytes = if span.len == 0 { Bytes::new() } else { self.broker.lease(span) };
                self.ha.send(link, span.at, bytes);
            }
            Effect::HaClose { link, why } => self.ha.close(link, &why),
            Effect::Master(SlaveEffect::Connect { master }) => {
                self.master.connect(master.to_string());
            }
            Effect::Group(GroupEffect::Beat) => {
                self.registrars.beat(&self.broker.config().identity);
            }
            Effect::Group(GroupEffect::Fetch { from, kind }) => {
                self.fetcher.fetch(from.to_string(), kind);
            }
            Effect::Group(GroupEffect::Watch { name_server }) => {
                self.registrars.watch(name_server, &self.broker.config().identity);
            }
            Effect::Master(SlaveEffect::Disconnect) => self.master.disconnect(),
            Effect::Master(SlaveEffect::Report(position)) => self.master.report(position),
        }
    }
}

impl<D: Disk> Serving<D> {
    fn next_of_clients(&mut self) -> Option<Input> {
        Some(match self.server.inbox().next()? {
            Arrival::Closed { conn } => Input::Closed { conn },
            Arrival::Request { caller, request } => Input::Request { caller, request },
        })
    }

    /// What others of the group said, or name servers.
    fn next_of_group(&mut self) -> Option<Input> {
        if let Some((version, response)) = self.registrars.next_outcome() {
            return Some(Input::Registered { version, response });
        }
        if let Some((name_server, response)) = self.registrars.next_members() {
            return Some(Input::Members { name_server, response });
        }
        if let Some((kind, json)) = self.fetcher.next_outcome() {
            return Some(Input::Fetched { kind, json });
        }
        self.next_ha().map(Input::Ha)
    }

    /// What happened to slaves, or to the master. While there is no room for the master's bytes
    /// they are not read.
    fn next_ha(&mut self) -> Option<HaInput> {
        if let Some(arrival) = self.ha.next() {
            return Some(match arrival {
                FromSlave::Opened { link, peer } => HaInput::Opened { link, peer },
                FromSlave::Report { link, offset } => HaInput::Reported { link, offset },
                FromSlave::Taken { link, bytes } => HaInput::Taken { link, bytes },
                FromSlave::Closed { link } => HaInput::Closed { link },
            });
        }
        if !self.broker.takes_pieces() {
            return None;
        }
        Some(match self.master.next_arrival()? {
            FromMaster::Connected => HaInput::Connected,
            FromMaster::Piece(Piece { at, bytes }) => HaInput::Piece { at, bytes },
            FromMaster::Ended { why } => HaInput::Ended { why },
        })
    }
}
