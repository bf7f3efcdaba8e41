//! A master's endpoint: slaves connect, report, and are sent what the machine asks for.
//!
//! What happened on a connection since the machine's last turn is kept as a state and not as a
//! list: the last report, the bytes that the socket took. So a peer that floods costs nothing.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hotfire_core::ha::LinkId;
use hotfire_core::ha::master::LinkEnd;
use hotfire_storage::position::Physical;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

use super::stream;
use crate::doors::Doors;
use crate::head_writer::{Body, Outgoing};
use crate::out_queue::{OutQueue, Patience};
use crate::rt::{self, ReadHalf, TcpListener, TcpStream};
use crate::sparse::Sparse;

/// Reports are read into so many bytes.
const READ: usize = 4096;
/// A socket that takes nothing for so long is closed.
const STALL: Duration = Duration::from_secs(30);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Somebody connected.
    Opened {
        /// As the machine knows it from now on.
        link: LinkId,
        /// From where.
        peer: SocketAddr,
    },
    /// A slave says what it wants next.
    Report {
        /// Which.
        link: LinkId,
        /// What it says, unchecked.
        offset: i64,
    },
    /// The socket took bytes of frames, heads included.
    Taken {
        /// Which.
        link: LinkId,
        /// How many.
        bytes: u64,
    },
    /// The connection ended. Nothing follows.
    Closed {
        /// Which.
        link: LinkId,
    },
}

/// A connection.
#[derive(Debug)]
struct Peer {
    link: LinkId,
    addr: SocketAddr,
    out: OutQueue,
    /// What the machine has not heard.
    opened: Cell<bool>,
    report: Cell<Option<i64>>,
    taken: Cell<u64>,
    ended: Cell<bool>,
    /// Is it in the list of those that the machine is to hear of?
    listed: Cell<bool>,
    queued: Cell<u64>,
    close: Notify,
}

#[derive(Default)]
struct Shared {
    peers: RefCell<BTreeMap<LinkId, Rc<Peer>>>,
    news: RefCell<VecDeque<Rc<Peer>>>,
    next: Cell<u64>,
    doors: Doors,
    closed: Notify,
    wake: Arc<Notify>,
    log: Sparse,
}

/// The endpoint. Cloning shares it.
#[derive(Clone)]
pub struct HaServer {
    shared: Rc<Shared>,
}

impl HaServer {
    /// One that listens nowhere yet, and notifies `wake` when there is something to hear.
    pub fn new(wake: Arc<Notify>) -> Self {
        Self { shared: Rc::new(Shared { wake, ..Shared::default() }) }
    }

    /// Serves what connects to `listener`. Needs [`rt::run_local`] around it.
    pub fn listen(&self, listener: TcpListener) {
        let shared = Rc::clone(&self.shared);
        shared.doors.open();
        rt::spawn_local(async move {
            shared.doors.accept(listener, |stream, addr| admit(&shared, stream, addr)).await;
            shared.closed.notify_one();
        });
    }

    /// The next thing that happened.
    pub fn next(&self) -> Option<Arrival> {
        let mut news = self.shared.news.borrow_mut();
        loop {
            let peer = news.front()?;
            let link = peer.link;
            if peer.opened.take() {
                return Some(Arrival::Opened { link, peer: peer.addr });
            }
            if let Some(offset) = peer.report.take() {
                return Some(Arrival::Report { link, offset });
            }
            match peer.taken.take() {
                0 => {}
                bytes => return Some(Arrival::Taken { link, bytes }),
            }
            peer.listed.set(false);
            let peer = news.pop_front().expect("it was looked at");
            if peer.ended.get() {
                return Some(Arrival::Closed { link });
            }
        }
    }

    /// Sends a frame. Dropped if the connection is gone.
    pub fn send(&self, link: LinkId, at: Physical, bytes: Bytes) {
        if let Some(peer) = self.shared.peers.borrow().get(&link) {
            let len = u32::try_from(bytes.len()).expect("a frame is shorter than 4 GiB");
            let head = Bytes::copy_from_slice(&stream::head(at, len));
            peer.queued.set(peer.queued.get() + head.len() as u64 + u64::from(len));
            peer.out.push(Outgoing { head, body: Body::One(bytes) });
        }
    }

    /// Closes a connection once what was sent is written, and says why. The machine hears nothing
    /// of its end.
    pub fn close(&self, link: LinkId, why: &LinkEnd) {
        if let Some(peer) = self.shared.peers.borrow_mut().remove(&link) {
            let addr = peer.addr;
            self.shared.log.maybe(|unsaid| {
                tracing::warn!(peer = %addr, %why, unsaid, "a slave's connection is closed");
            });
            peer.out.finish();
        }
    }

    /// Takes no more connections, and closes those that there are. Its port is free then.
    pub async fn shutdown(&self) {
        self.shared.doors.close();
        let peers = std::mem::take(&mut *self.shared.peers.borrow_mut());
        for peer in peers.values() {
            peer.close.notify_one();
        }
        drop(peers);
        while self.shared.doors.are_open() {
            self.shared.closed.notified().await;
        }
    }
}

impl Shared {
    fn tell(&self, peer: &Rc<Peer>) {
        if !peer.listed.replace(true) {
            self.news.borrow_mut().push_back(Rc::clone(peer));
        }
        self.wake.notify_one();
    }
}

fn admit(shared: &Rc<Shared>, stream: TcpStream, addr: SocketAddr) {
    let link = LinkId(shared.next.replace(shared.next.get() + 1));
    let peer = Rc::new(Peer {
        link,
        addr,
        out: OutQueue::default(),
        opened: Cell::new(true),
        report: Cell::default(),
        taken: Cell::default(),
        ended: Cell::default(),
        listed: Cell::default(),
        queued: Cell::default(),
        close: Notify::new(),
    });
    shared.peers.borrow_mut().insert(link, Rc::clone(&peer));
    shared.tell(&peer);
    let shared = Rc::clone(shared);
    rt::spawn_local(async move {
        serve(&shared, &peer, stream).await;
        // Whoever was closed by the machine is no news to it.
        if shared.peers.borrow_mut().remove(&link).is_some() {
            peer.ended.set(true);
            shared.tell(&peer);
        }
    });
}

/// Serves a connection until it ends. Dropping both halves closes the socket.
async fn serve(shared: &Shared, peer: &Rc<Peer>, stream: TcpStream) {
    let (reader, mut writer) = rt::split(stream);
    let patience = Patience { backlog: usize::MAX, stall: STALL };
    let told = Cell::new(0);
    let write = peer.out.write_to(&mut writer, patience, || {
        let taken = peer.queued.get() - peer.out.bytes() as u64;
        peer.taken.set(peer.taken.get() + taken - told.replace(taken));
        shared.tell(peer);
    });
    tokio::select! {
        biased;
        () = peer.close.notified() => {}
        () = read(shared, peer, reader) => {}
        _ = write => {}
    }
}

async fn read(shared: &Shared, peer: &Rc<Peer>, mut reader: ReadHalf) {
    let mut bytes = BytesMut::with_capacity(READ);
    loop {
        bytes.reserve(READ);
        match reader.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Some(offset) = stream::last_report(&mut bytes) {
            peer.report.set(Some(offset));
            shared.tell(peer);
        }
    }
}
