//! A slave's endpoint: at most one connection, to the master.
//!
//! The machine hears of a connection, of the log's bytes as they arrive, and of the end. Bytes that
//! it has not taken are bounded; beyond, the socket is not read, and the master waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hotfire_storage::position::Physical;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

use super::stream::{self, Frames, Piece};
use crate::head_writer::{Body, Outgoing};
use crate::out_queue::{OutQueue, Patience};
use crate::rt::{self, ReadHalf, TcpStream};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);
/// A socket that takes no report for so long is given up.
const STALL: Duration = Duration::from_secs(20);
/// Bytes that wait for the machine at most.
const WAITING_MAX: usize = 4 << 20;
/// Bytes of one read.
const READ: usize = 256 << 10;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The connection is there.
    Connected,
    /// Bytes of the master's log, or a heartbeat.
    Piece(Piece),
    /// No connection came about, or it ended. Nothing follows.
    Ended {
        /// Why, for people.
        why: String,
    },
}

/// One attempt to connect, and what came of it.
#[derive(Default)]
struct Link {
    out: OutQueue,
    arrivals: RefCell<VecDeque<Arrival>>,
    waiting: Cell<usize>,
    /// The machine took something.
    relief: Notify,
    close: Notify,
}

/// The endpoint.
pub struct HaClient {
    link: Option<Rc<Link>>,
    wake: Arc<Notify>,
}

impl HaClient {
    /// One without a connection, that notifies `wake` when there is something to hear.
    pub fn new(wake: Arc<Notify>) -> Self {
        Self { link: None, wake }
    }

    /// Connects to `host:port`; a connection that there is is closed. Needs [`rt::run_local`]
    /// around it.
    pub fn connect(&mut self, master: String) {
        self.disconnect();
        let link = Rc::new(Link::default());
        self.link = Some(Rc::clone(&link));
        let wake = Arc::clone(&self.wake);
        rt::spawn_local(async move {
            let ended = tokio::select! {
                biased;
                () = link.close.notified() => return,
                ended = run(&link, &wake, &master) => ended,
            };
            let why = match ended {
                Ok(()) => "the master closed it".to_owned(),
                Err(why) => why.to_string(),
            };
            link.arrivals.borrow_mut().push_back(Arrival::Ended { why });
            wake.notify_one();
        });
    }

    /// Closes the connection. Nothing of it is heard any more.
    pub fn disconnect(&mut self) {
        if let Some(link) = self.link.take() {
            link.close.notify_one();
        }
    }

    /// Sends a report.
    pub fn report(&self, position: Physical) {
        if let Some(link) = &self.link {
            let head = Bytes::copy_from_slice(&stream::report(position));
            link.out.push(Outgoing { head, body: Body::None });
        }
    }

    /// The next thing that happened. Who cannot take bytes now does not ask.
    pub fn next_arrival(&mut self) -> Option<Arrival> {
        let link = self.link.as_ref()?;
        let arrival = link.arrivals.borrow_mut().pop_front()?;
        if let Arrival::Piece(piece) = &arrival {
            link.waiting.set(link.waiting.get() - cost(piece));
            link.relief.notify_one();
        }
        Some(arrival)
    }
}

/// What a piece counts: heartbeats must not pile up either.
fn cost(piece: &Piece) -> usize {
    piece.bytes.len() + stream::HEAD
}

async fn run(link: &Link, wake: &Notify, master: &str) -> io::Result<()> {
    let stream = rt::within(CONNECT, TcpStream::connect(master)).await??;
    stream.set_nodelay(true)?;
    link.arrivals.borrow_mut().push_back(Arrival::Connected);
    wake.notify_one();
    let (reader, mut writer) = rt::split(stream);
    let patience = Patience { backlog: 1 << 20, stall: STALL };
    tokio::select! {
        biased;
        ended = read(link, wake, reader) => ended,
        ended = link.out.write_to(&mut writer, patience, || {}) => ended,
    }
}

async fn read(link: &Link, wake: &Notify, mut reader: ReadHalf) -> io::Result<()> {
    let (mut frames, mut bytes) = (Frames::default(), BytesMut::new());
    loop {
        while link.waiting.get() >= WAITING_MAX {
            link.relief.notified().await;
        }
        bytes.reserve(READ);
        if reader.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        while let Some(piece) = frames.next(&mut bytes).map_err(io::Error::other)? {
            link.waiting.set(link.waiting.get() + cost(&piece));
            link.arrivals.borrow_mut().push_back(Arrival::Piece(piece));
        }
        wake.notify_one();
    }
}
