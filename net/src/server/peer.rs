//! One connection: read, decode, queue; write what was queued.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;

use hotfire_core::domain::ConnId;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

use super::{Arrival, Limits, Shared};
use crate::codec;
use crate::frame::{Frame, FrameDecoder, FrameError};
use crate::header::{Header, HeaderError};
use crate::out_queue::OutQueue;
use crate::rt::{self, Instant, ReadHalf, TcpStream};

/// What others may know of, and do to, a connection.
#[derive(Debug)]
pub(super) struct Peer {
    conn: ConnId,
    addr: SocketAddr,
    pub(super) out: OutQueue,
    /// Bytes of frames that the machine has not taken yet.
    waiting: Cell<usize>,
    unanswered: Cell<usize>,
    /// Something of the above went down.
    relief: Notify,
    close: Notify,
    moved: Cell<Instant>,
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub(super) enum End {
    #[error("bad frame: {0}")]
    BadFrame(#[from] FrameError),
    #[error("bad header: {0}")]
    BadHeader(#[from] HeaderError),
    #[error("closed by us")]
    Closed,
    #[error("closed by the peer with {unfinished} bytes of a frame unfinished")]
    Eof { unfinished: usize },
    #[error("nothing moved for too long")]
    Idle,
    #[error("cannot be read: {0}")]
    Read(io::Error),
    #[error("does not read what is sent to it")]
    Stalled,
    #[error("cannot be written: {0}")]
    Write(io::Error),
}

impl End {
    /// Says it: loudly if the peer breaks the protocol, quietly if it merely went away.
    pub(super) fn log(&self, peer: &Peer) {
        let addr = peer.addr;
        match self {
            Self::Eof { unfinished: 1.. }
            | Self::BadFrame(_)
            | Self::BadHeader(_)
            | Self::Stalled => {
                tracing::warn!(peer = %addr, reason = %self, "connection closed");
            }
            _ => tracing::debug!(peer = %addr, reason = %self, "connection closed"),
        }
    }
}

impl Peer {
    pub(super) fn new(conn: ConnId, addr: SocketAddr) -> Self {
        Self {
            conn,
            addr,
            out: OutQueue::default(),
            waiting: Cell::new(0),
            unanswered: Cell::new(0),
            relief: Notify::new(),
            close: Notify::new(),
            moved: Cell::new(Instant::now()),
        }
    }

    /// One request less to answer.
    pub(super) fn answered(&self) {
        // A machine that answers twice is a bug of ours, but not one to lose a broker over.
        debug_assert!(self.unanswered.get() > 0, "an answer without a request");
        self.unanswered.set(self.unanswered.get().saturating_sub(1));
    }

    /// The machine took `bytes` of frames.
    pub(super) fn drained(&self, bytes: usize) {
        self.waiting.set(self.waiting.get() - bytes);
        self.relief.notify_one();
    }

    /// Ends the connection, whatever is queued.
    pub(super) fn close(&self) {
        self.close.notify_one();
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.waiting.get() + self.out.bytes() >= limits.max_in_flight_bytes
            || self.unanswered.get() >= limits.max_unanswered
    }
}

/// Serves a connection until it ends. Dropping both halves closes the socket.
pub(super) async fn serve<R>(shared: &Shared<R>, peer: &Rc<Peer>, stream: TcpStream) -> End {
    let (reader, mut writer) = rt::split(stream);
    let write = peer.out.write_to(&mut writer, shared.limits.patience(), || {
        peer.moved.set(Instant::now());
        peer.relief.notify_one();
    });
    tokio::select! {
        biased;
        () = peer.close.notified() => End::Closed,
        end = read(shared, peer, reader) => end,
        written = write => match written {
            Ok(()) => End::Closed,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => End::Stalled,
            Err(error) => End::Write(error),
        },
    }
}

async fn read<R>(shared: &Shared<R>, peer: &Rc<Peer>, mut reader: ReadHalf) -> End {
    let limits = &shared.limits;
    let mut decoder = FrameDecoder::new(limits.frame);
    let mut idle = pin!(rt::sleep_until(peer.moved.get() + limits.idle));
    loop {
        // Not read, the peer's own socket fills and its sends wait: back-pressure to the source.
        // No idle clock meanwhile: it is we who wait, and a writer that stalls ends by itself.
        while peer.is_full(limits) {
            peer.relief.notified().await;
        }
        let read = tokio::select! {
            biased;
            read = reader.read_buf(decoder.read_into()) => read,
            () = &mut idle => {
                let due = peer.moved.get() + limits.idle;
                if Instant::now() >= due {
                    return End::Idle;
                }
                idle.as_mut().reset(due);
                continue;
            }
        };
        match read {
            Ok(0) => return End::Eof { unfinished: decoder.unfinished() },
            Ok(_) => peer.moved.set(Instant::now()),
            Err(error) => return End::Read(error),
        }
        if let Err(end) = deliver(shared, peer, &mut decoder) {
            return end;
        }
    }
}

/// Hands over all whole frames as one batch.
fn deliver<R>(shared: &Shared<R>, peer: &Rc<Peer>, decoder: &mut FrameDecoder) -> Result<(), End> {
    let mut bytes = 0;
    let end = loop {
        match decoder.next_frame() {
            Ok(None) => break Ok(()),
            Ok(Some(frame)) => match arrival(shared, peer, &frame) {
                Ok(None) => {}
                Ok(Some(arrival)) => {
                    bytes += frame.wire_len();
                    shared.inbox.push(arrival);
                }
                Err(error) => break Err(error.into()),
            },
            Err(error) => break Err(error.into()),
        }
    };
    // What came before a broken frame was whole, and is served.
    if bytes > 0 {
        peer.waiting.set(peer.waiting.get() + bytes);
        shared.inbox.pushed(peer, bytes);
    }
    end
}

fn arrival<R>(
    shared: &Shared<R>,
    peer: &Peer,
    frame: &Frame,
) -> Result<Option<Arrival<R>>, HeaderError> {
    let header = Header::decode(frame)?;
    if header.is_response() {
        // We ask clients nothing that they would answer; a late or invented answer is harmless.
        tracing::debug!(peer = %peer.addr, opaque = header.opaque, "an answer to nothing");
        return Ok(None);
    }
    let caller = codec::caller(peer.conn, peer.addr, &header);
    if !caller.oneway {
        peer.unanswered.set(peer.unanswered.get() + 1);
    }
    let request = (shared.decode)(&header, &frame.body);
    Ok(Some(Arrival::Request { caller, request }))
}
