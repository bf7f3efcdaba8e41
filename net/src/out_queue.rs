//! What waits to be written to one socket, and the loop that writes it.
//!
//! Whatever was queued while the socket was busy, or during one turn of a machine, goes out in
//! one vectored write: batching falls out of load by itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::head_writer::{Body, Outgoing};
use crate::rt::{self, Instant};

/// Slices in one vectored write: enough that a system call's cost vanishes among them.
const SLICES_MAX: usize = 64;

/// Pieces up to so many bytes are copied together: a slice of its own costs as much.
const COPIED_MAX: usize = 1024;
/// Room for half a dozen answers.
const TAIL_EXPECTED: usize = 2048;

/// How long a peer may let us wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// More bytes than this in the queue count as a backlog.
    pub backlog: usize,
    /// A backlog, or a write that takes no byte at all, is borne for so long.
    pub stall: Duration,
}

/// The queue of one socket. One task writes it; everything is on one thread.
#[derive(Debug, Default)]
pub struct OutQueue {
    queue: RefCell<Queue>,
    bytes: Cell<usize>,
    finished: Cell<bool>,
    wake: Notify,
}

/// Pieces in order, and behind them small ones that were copied together: an answer to a send
/// then costs no slice of its own, and keeps no buffer that it shares with others.
#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    fn push(&mut self, piece: Bytes) {
        if piece.len() <= COPIED_MAX {
            if self.tail.is_empty() {
                self.tail.reserve(TAIL_EXPECTED);
            }
            self.tail.extend_from_slice(&piece);
        } else {
            self.end_tail();
            self.pieces.push_back(piece);
        }
    }

    /// Whole: a connection that has nothing to say keeps no buffer.
    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }
}

impl OutQueue {
    /// Queues a frame. The writer wakes once, when it can next run; frames pushed until then
    /// leave together. Dropped if the queue is finished.
    pub fn push(&self, frame: Outgoing) {
        if self.finished.get() {
            return;
        }
        self.bytes.set(self.bytes.get() + frame.wire_len());
        let mut queue = self.queue.borrow_mut();
        if queue.is_empty() {
            self.wake.notify_one();
        }
        queue.push(frame.head);
        if !matches!(frame.body, Body::None) {
            frame.body.into_pieces().for_each(|piece| queue.push(piece));
        }
    }

    /// Bytes queued and not yet taken by the socket.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Takes no more; the writer ends when everything is written.
    pub fn finish(&self) {
        self.finished.set(true);
        self.wake.notify_one();
    }

    /// Writes what is queued until the queue is finished and empty. Tells `progress` after each
    /// write.
    pub async fn write_to<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut W,
        patience: Patience,
        mut progress: impl FnMut(),
    ) -> io::Result<()> {
        let mut backlog_since: Option<Instant> = None;
        let mut batch: VecDeque<Bytes> = VecDeque::with_capacity(SLICES_MAX);
        loop {
            self.take(&mut batch);
            if batch.is_empty() {
                if self.finished.get() {
                    return Ok(());
                }
                self.wake.notified().await;
                continue;
            }
            while !batch.is_empty() {
                let written = rt::within(patience.stall, write(writer, &batch)).await??;
                consume(&mut batch, written);
                self.bytes.set(self.bytes.get() - written);
                progress();
                if self.bytes.get() <= patience.backlog {
                    backlog_since = None;
                } else if backlog_since.get_or_insert_with(Instant::now).elapsed() > patience.stall
                {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            // A simulated socket sends on flush alone; for a real one this is nothing.
            writer.flush().await?;
        }
    }

    fn take(&self, batch: &mut VecDeque<Bytes>) {
        let mut queue = self.queue.borrow_mut();
        queue.end_tail();
        let count = queue.pieces.len().min(SLICES_MAX);
        batch.extend(queue.pieces.drain(..count));
    }
}

async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    batch: &VecDeque<Bytes>,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    for (slice, piece) in slices.iter_mut().zip(batch) {
        *slice = IoSlice::new(piece);
    }
    match writer.write_vectored(&slices[..batch.len()]).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

fn consume(batch: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(first) = batch.front_mut() {
        if first.len() > written {
            first.advance(written);
            return;
        }
        written -= first.len();
        batch.pop_front();
    }
    assert_eq!(written, 0, "a socket took more than it was given");
}
