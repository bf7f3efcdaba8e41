//! The client's endpoint: one connection, many requests on it at once.
//!
//! Requests are told apart by their opaque number, each has its own deadline, and answers may
//! come in any order. Requests of the server (notices) go to a channel. When the connection ends
//! everything that waits fails with [`ClientError::Closed`]; connecting again is the caller's
//! business, for only the caller knows what to repeat.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hotfire_core::domain::{BrokerRequest, NameRequest, NameResponse};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::codec::broker::Reply;
use crate::codec::{Ask, DecodeError, broker, namesrv};
use crate::frame::{FrameDecoder, FrameLimits};
use crate::head_writer::Outgoing;
use crate::header::Header;
use crate::out_queue::{OutQueue, Patience};
use crate::rt::{self, ReadHalf, TcpStream};

/// Bounds and habits of a client.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a connection may take. Default 3 s, the original's.
    pub connect: Duration,
    /// Frames and headers.
    pub frame: FrameLimits,
    /// Write headers as JSON (`false`: binary). Default JSON, which everybody speaks.
    pub json: bool,
    /// Requests at once; one more is refused. Default 65,536.
    pub max_pending: usize,
    /// Notices that wait to be taken; more are dropped. Default 1,024: each of them only says
    /// that something should be looked at again.
    pub max_notices: usize,
    /// When a server that does not read is given up.
    pub patience: Patience,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            frame: FrameLimits::default(),
            json: true,
            max_pending: 65_536,
            max_notices: 1_024,
            patience: Patience { backlog: 64 << 20, stall: Duration::from_secs(30) },
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Too much waits already: requests for an answer, or bytes for the socket.
    #[error("too many requests wait for an answer, or too many bytes for the socket")]
    Busy,
    /// The connection ended. The request may or may not have been served.
    #[error("the connection ended")]
    Closed,
    /// No connection came about.
    #[error("cannot connect to {addr}: {source}")]
    Connect {
        /// Where to.
        addr: String,
        /// Why not.
        source: io::Error,
    },
    /// The answer is not what it should be.
    #[error("an answer that cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// No answer in time. The request may or may not have been served.
    #[error("no answer in time")]
    TimedOut,
}

/// A frame from the server: an answer, or a notice.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: Bytes,
}

/// Requests of the server, in order.
pub type Notices = mpsc::Receiver<Incoming>;

/// A connection to a server. Cloning shares it; dropping the last clone closes it, after what
/// was already sent.
#[derive(Clone)]
pub struct Client {
    owner: Rc<Owner>,
}

struct Owner(Rc<Link>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.out.finish();
    }
}

struct Link {
    options: Options,
    out: OutQueue,
    pending: RefCell<BTreeMap<i32, oneshot::Sender<Incoming>>>,
    next_opaque: Cell<i32>,
    scratch: RefCell<BytesMut>,
    ended: Cell<bool>,
    end: Notify,
}

impl Client {
    /// Connects to `addr`, `host:port`. Needs [`rt::run_local`] around it.
    pub async fn connect(addr: &str, options: Options) -> Result<(Self, Notices), ClientError> {
        let failed = |source| ClientError::Connect { addr: addr.to_owned(), source };
        let connected = rt::within(options.connect, TcpStream::connect(addr)).await;
        let stream = connected.and_then(|connected| connected).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let link = Rc::new(Link {
            options,
            out: OutQueue::default(),
            pending: RefCell::default(),
            next_opaque: Cell::new(0),
            scratch: RefCell::default(),
            ended: Cell::new(false),
            end: Notify::new(),
        });
        let (notify, notices) = mpsc::channel(options.max_notices);
        rt::spawn_local(run(Rc::clone(&link), stream, notify));
        Ok((Self { owner: Rc::new(Owner(link)) }, notices))
    }

    /// Sends the request that `write` makes of an [`Ask`], and waits for its answer.
    pub async fn call(
        &self,
        limit: Duration,
        write: impl FnOnce(Ask, &mut BytesMut) -> Outgoing,
    ) -> Result<Incoming, ClientError> {
        let link = &self.owner.0;
        link.check_room()?;
        let (sender, answer) = oneshot::channel();
        let ask = link.ask(false);
        link.pending.borrow_mut().insert(ask.opaque, sender);
        // However this ends, dropped by its caller included, nothing stays behind.
        let _forget = Forget { link, opaque: ask.opaque };
        link.out.push(write(ask, &mut link.scratch.borrow_mut()));
        match rt::within(limit, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(ClientError::Closed),
            Err(_) => Err(ClientError::TimedOut),
        }
    }

    /// Sends a one-way request; nobody will know what became of it.
    pub fn tell(
        &self,
        write: impl FnOnce(Ask, &mut BytesMut) -> Outgoing,
    ) -> Result<(), ClientError> {
        let link = &self.owner.0;
        link.check_room()?;
        link.out.push(write(link.ask(true), &mut link.scratch.borrow_mut()));
        Ok(())
    }

    /// Asks a broker.
    pub async fn ask_broker(
        &self,
        request: &BrokerRequest,
        limit: Duration,
    ) -> Result<Reply, ClientError> {
        let write = |ask, into: &mut BytesMut| broker::encode_request(ask, request, into);
        let answer = self.call(limit, write).await?;
        let code = broker::request_code(request);
        Ok(broker::decode_response(code, &answer.header, &answer.body)?)
    }

    /// Asks a name server.
    pub async fn ask_name_server(
        &self,
        request: &NameRequest,
        limit: Duration,
    ) -> Result<NameResponse, ClientError> {
        let write = |ask, into: &mut BytesMut| namesrv::encode_request(ask, request, into);
        let answer = self.call(limit, write).await?;
        let code = namesrv::request_code(request);
        Ok(namesrv::decode_response(code, &answer.header, &answer.body)?)
    }

    /// Has the connection ended?
    pub fn is_closed(&self) -> bool {
        self.owner.0.ended.get()
    }

    /// Waits for the connection's end.
    pub async fn closed(&self) {
        while !self.is_closed() {
            self.owner.0.end.notified().await;
        }
    }

    /// Requests that wait for an answer.
    pub fn pending(&self) -> usize {
        self.owner.0.pending.borrow().len()
    }

    /// Bytes that the socket has not taken yet.
    pub fn unsent(&self) -> usize {
        self.owner.0.out.bytes()
    }
}

impl Link {
    fn check_room(&self) -> Result<(), ClientError> {
        if self.ended.get() {
            return Err(ClientError::Closed);
        }
        let full = self.pending.borrow().len() >= self.options.max_pending
            || self.out.bytes() > self.options.patience.backlog;
        if full { Err(ClientError::Busy) } else { Ok(()) }
    }

    fn ask(&self, oneway: bool) -> Ask {
        // Never negative: some servers log it as an error. Wrapping meets no request that still
        // waits, since fewer than 2^31 do.
        let opaque = self.next_opaque.get();
        self.next_opaque.set(opaque.wrapping_add(1) & i32::MAX);
        Ask { opaque, json: self.options.json, oneway }
    }
}

struct Forget<'a> {
    link: &'a Link,
    opaque: i32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.link.pending.borrow_mut().remove(&self.opaque);
    }
}

async fn run(link: Rc<Link>, stream: TcpStream, notices: mpsc::Sender<Incoming>) {
    let (reader, mut writer) = rt::split(stream);
    let ended = tokio::select! {
        biased;
        read = read(&link, reader, notices) => read,
        written = link.out.write_to(&mut writer, link.options.patience, || {}) => written,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection to a server ended");
    }
    link.ended.set(true);
    link.out.finish();
    link.pending.borrow_mut().clear();
    link.end.notify_waiters();
}

async fn read(
    link: &Link,
    mut reader: ReadHalf,
    notices: mpsc::Sender<Incoming>,
) -> io::Result<()> {
    let mut decoder = FrameDecoder::new(link.options.frame);
    loop {
        while let Some(frame) = decoder.next_frame().map_err(io::Error::other)? {
            let header = Header::decode(&frame).map_err(io::Error::other)?;
            let incoming = Incoming { header, body: frame.body };
            if !incoming.header.is_response() {
                if notices.try_send(incoming).is_err() {
                    tracing::debug!("a notice that nobody takes");
                }
            } else if let Some(waiter) = link.pending.borrow_mut().remove(&incoming.header.opaque) {
                // The caller may have given up a moment ago.
                let _ = waiter.send(incoming);
            }
        }
        if reader.read_buf(decoder.read_into()).await? == 0 {
            return Ok(());
        }
    }
}
