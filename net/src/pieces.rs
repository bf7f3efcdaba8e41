//! Sockets that move a few bytes although more could be moved, as real ones do and those of the
//! simulation do not: a read brings what has arrived, a write takes what there is room for.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a piece at most: often less than a head of any protocol has.
const PIECE_MAX: usize = 40;

thread_local! {
    static PER_MILLE: Cell<u32> = const { Cell::new(0) };
    static MOVED: Cell<u64> = const { Cell::new(0) };
}

/// From now on so many of 1000 reads and writes of this thread's sockets move a piece only.
pub fn move_in_pieces(per_mille: u32) {
    PER_MILLE.set(per_mille);
    MOVED.set(0);
}

/// How many did since.
pub fn pieces_moved() -> u64 {
    MOVED.get()
}

fn note(is_piece: bool) {
    MOVED.set(MOVED.get() + u64::from(is_piece));
}

/// One half of a stream.
pub struct InPieces<S> {
    stream: S,
    /// A number below another.
    draw: fn(usize) -> usize,
}

impl<S> InPieces<S> {
    pub(crate) fn new(stream: S, draw: fn(usize) -> usize) -> Self {
        Self { stream, draw }
    }

    /// Bytes to be moved now, of so many.
    fn limit(&self, len: usize) -> usize {
        let rate = PER_MILLE.get() as usize;
        let is_piece = rate > 0 && (self.draw)(1000) < rate;
        if is_piece { len.min(1 + (self.draw)(PIECE_MAX)) } else { len }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InPieces<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        let limit = self.limit(room);
        if limit == room {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let mut bytes = [0; PIECE_MAX];
        let mut piece = ReadBuf::new(&mut bytes[..limit]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        note(piece.filled().len() == limit);
        buf.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InPieces<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let limit = self.limit(bytes.len());
        let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..limit]))?;
        note(taken < bytes.len());
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
