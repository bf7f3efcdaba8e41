//! The server's endpoint: sockets on one side, an [`Inbox`] and an [`Outbox`] on the other.
//!
//! ```text
//! accept ─► connection task ──frames of one read──► Inbox ──► the machine's turn
//!                 ▲                                                  │
//!                 └──────one vectored write──── Outbox ◄─────────────┘
//! ```
//!
//! What a peer may do wrong ends at its own connection: bytes that are no frames, a header that
//! cannot be read, silence, a queue that it does not read. Everything that can be answered is
//! answered by the machine. All on one thread; bounds in [`Limits`].

mod inbox;
mod peer;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hotfire_core::domain::ConnId;
use tokio::sync::Notify;

use crate::doors::Doors;
use crate::frame::FrameLimits;
use crate::head_writer::Outgoing;
use crate::header::Header;
use crate::out_queue::Patience;
use crate::rt::{self, TcpListener, TcpStream};
use crate::sparse::Sparse;

pub use inbox::{Arrival, Inbox};
use peer::Peer;

/// Bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Frames and headers.
    pub frame: FrameLimits,
    /// A connection on which nothing moved in either direction for so long is closed.
    /// Default 120 s, the original's.
    pub idle: Duration,
    /// Connections at once; one more is accepted and closed. Default 10,000: below the usual
    /// limit of open files, with room for the store's.
    pub max_connections: usize,
    /// Bytes of one connection that wait for the machine or for the socket. Beyond it the
    /// connection is not read. Default 8 MiB: two of the largest messages.
    pub max_in_flight_bytes: usize,
    /// Requests of one connection without an answer yet. Beyond it the connection is not read.
    /// Default 16,384: a pull is held for each queue of each group, and a producer may have
    /// thousands of sends on the way.
    pub max_unanswered: usize,
    /// Bytes queued for one connection that count as a backlog. Default 16 MiB.
    pub max_backlog_bytes: usize,
    /// How long a backlog, or a socket that takes nothing at all, is borne. Default 30 s.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: FrameLimits::default(),
            idle: Duration::from_secs(120),
            max_connections: 10_000,
            max_in_flight_bytes: 8 << 20,
            max_unanswered: 16_384,
            max_backlog_bytes: 16 << 20,
            stall: Duration::from_secs(30),
        }
    }
}

impl Limits {
    fn patience(&self) -> Patience {
        Patience { backlog: self.max_backlog_bytes, stall: self.stall }
    }
}

/// Reads a request out of a frame; for instance [`crate::codec::broker::decode_request`]. What
/// it cannot read it must say within `R`.
pub type Decode<R> = fn(&Header, &Bytes) -> R;

/// A server for requests of the kind `R`. Cloning shares it.
pub struct Server<R> {
    shared: Rc<Shared<R>>,
}

struct Shared<R> {
    limits: Limits,
    decode: Decode<R>,
    inbox: Inbox<R>,
    outbox: Outbox,
    next_conn: Cell<u64>,
    doors: Doors,
    log: Sparse,
}

impl<R> Clone for Server<R> {
    fn clone(&self) -> Self {
        Self { shared: Rc::clone(&self.shared) }
    }
}

impl<R: 'static> Server<R> {
    /// A server that listens nowhere yet.
    pub fn new(limits: Limits, decode: Decode<R>) -> Self {
        let shared = Rc::new(Shared {
            limits,
            decode,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            next_conn: Cell::new(1),
            doors: Doors::default(),
            log: Sparse::default(),
        });
        Self { shared }
    }

    /// Serves what connects to `listener`, too. Needs [`rt::run_local`] around it.
    pub fn listen(&self, listener: TcpListener) {
        let shared = Rc::clone(&self.shared);
        shared.doors.open();
        rt::spawn_local(async move {
            shared.doors.accept(listener, |stream, addr| admit(&shared, stream, addr)).await;
            shared.outbox.departed.notify_one();
        });
    }

    /// What came in.
    pub fn inbox(&self) -> &Inbox<R> {
        &self.shared.inbox
    }

    /// What goes out.
    pub fn outbox(&self) -> &Outbox {
        &self.shared.outbox
    }

    /// Takes no more connections from now on.
    pub fn stop_accepting(&self) {
        self.shared.doors.close();
    }

    /// Stops accepting and reading, writes what is queued, and closes every connection: in
    /// order, as far as the peers read within `grace`. Its ports are free then: whoever opens a
    /// broker anew in this process needs them at once.
    pub async fn shutdown(&self, grace: Duration) {
        self.stop_accepting();
        let outbox = &self.shared.outbox;
        outbox.peers.borrow().values().for_each(|peer| peer.out.finish());
        let all_gone = async {
            while self.shared.doors.are_open() || !outbox.peers.borrow().is_empty() {
                outbox.departed.notified().await;
            }
        };
        if rt::within(grace, all_gone).await.is_err() {
            tracing::warn!(connections = outbox.len(), "closing connections that do not read");
            outbox.peers.borrow().values().for_each(|peer| peer.close());
        }
    }
}

fn admit<R: 'static>(shared: &Rc<Shared<R>>, stream: TcpStream, addr: SocketAddr) {
    let limit = shared.limits.max_connections;
    if shared.outbox.len() >= limit {
        let too_many = |unsaid| tracing::warn!(peer = %addr, limit, unsaid, "too many connections");
        shared.log.maybe(too_many);
        return;
    }
    let conn = ConnId(shared.next_conn.replace(shared.next_conn.get() + 1));
    let peer = Rc::new(Peer::new(conn, addr));
    shared.outbox.peers.borrow_mut().insert(conn, Rc::clone(&peer));
    let shared = Rc::clone(shared);
    rt::spawn_local(async move {
        let end = peer::serve(&shared, &peer, stream).await;
        end.log(&peer);
        shared.outbox.peers.borrow_mut().remove(&conn);
        shared.outbox.departed.notify_one();
        shared.inbox.push(Arrival::Closed { conn });
        shared.inbox.pushed(&peer, 0);
    });
}

/// Where answers go. Frames for a connection that is gone are dropped: nobody waits for them.
#[derive(Debug, Default)]
pub struct Outbox {
    // Looked up per answer and walked at shutdown, in an order that a seed can repeat.
    peers: RefCell<BTreeMap<ConnId, Rc<Peer>>>,
    departed: Notify,
}

impl Outbox {
    /// Queues the answer to a request.
    pub fn answer(&self, conn: ConnId, frame: Outgoing) {
        if let Some(peer) = self.peers.borrow().get(&conn) {
            peer.answered();
            peer.out.push(frame);
        }
    }

    /// Queues a frame that answers nothing.
    pub fn notify(&self, conn: ConnId, frame: Outgoing) {
        if let Some(peer) = self.peers.borrow().get(&conn) {
            peer.out.push(frame);
        }
    }

    /// Connections now.
    pub fn len(&self) -> usize {
        self.peers.borrow().len()
    }

    /// Is nobody connected?
    pub fn is_empty(&self) -> bool {
        self.peers.borrow().is_empty()
    }
}

/// Binds an address; a convenience with the address in the error.
pub async fn bind(addr: &str) -> io::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}")))
}

#[cfg(all(test, not(madsim)))]
mod tests;
