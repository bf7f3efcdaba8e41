//! What waits to be written to one socket, and the loop that writes it.
//!
//! Whatever was queued while the socket was busy, or during one turn of a machine, goes out in
//! one vectored write: batching falls out of load by itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::head_writer::Outgoing;
use crate::rt::{self, Instant};

/// Slices in one vectored write: enough that a system call's cost vanishes among them.
const SLICES_MAX: usize = 64;

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
    pieces: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    finished: Cell<bool>,
    wake: Notify,
}

impl OutQueue {
    /// Queues a frame. The writer wakes once, when it can next run; frames pushed until then
    /// leave together. Dropped if the queue is finished.
    pub fn push(&self, frame: Outgoing) {
        if self.finished.get() {
            return;
        }
        self.bytes.set(self.bytes.get() + frame.wire_len());
        let mut pieces = self.pieces.borrow_mut();
        if pieces.is_empty() {
            self.wake.notify_one();
        }
        pieces.push_back(frame.head);
        pieces.extend(frame.body.into_pieces());
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
        let mut pieces = self.pieces.borrow_mut();
        let count = pieces.len().min(SLICES_MAX);
        batch.extend(pieces.drain(..count));
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
