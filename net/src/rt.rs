//! The runtime seam: the only module of the workspace that names a runtime.
//!
//! Natively tokio, under `--cfg madsim` madsim. `tokio::sync`, the IO traits and the macros are
//! real tokio in both worlds and are used directly. Everything here runs on one thread.

use std::future::Future;
use std::io;
use std::time::{Duration, SystemTime};

use hotfire_storage::time::{Mono, Now, Wall};

#[cfg(not(madsim))]
mod native {
    use std::sync::OnceLock;

    use super::{Duration, Future};

    pub use tokio::net::tcp::{OwnedReadHalf as ReadHalf, OwnedWriteHalf as WriteHalf};
    pub use tokio::net::{TcpListener, TcpStream};
    pub use tokio::task::{spawn_local, yield_now};
    pub use tokio::time::{Instant, Sleep, sleep, sleep_until};

    pub(super) fn split(stream: TcpStream) -> (ReadHalf, WriteHalf) {
        stream.into_split()
    }

    pub(super) fn elapsed() -> Duration {
        static ZERO: OnceLock<std::time::Instant> = OnceLock::new();
        ZERO.get_or_init(std::time::Instant::now).elapsed()
    }

    pub(super) async fn run_local<F: Future>(future: F) -> F::Output {
        tokio::task::LocalSet::new().run_until(future).await
    }
}

#[cfg(madsim)]
mod simulated {
    use madsim::rand::RngCore as _;

    use super::{Duration, Future};
    use crate::pieces::InPieces;

    pub use crate::pieces::{move_in_pieces, pieces_moved};
    pub use madsim::net::{TcpListener, TcpStream};
    pub use madsim::task::{spawn_local, yield_now};
    pub use madsim::time::{Instant, Sleep, sleep, sleep_until};

    /// The reading half of a stream.
    pub type ReadHalf = InPieces<tokio::io::ReadHalf<TcpStream>>;
    /// The writing half of a stream.
    pub type WriteHalf = InPieces<tokio::io::WriteHalf<TcpStream>>;

    pub(super) fn split(stream: TcpStream) -> (ReadHalf, WriteHalf) {
        let (reader, writer) = tokio::io::split(stream);
        (InPieces::new(reader, below), InPieces::new(writer, below))
    }

    /// Of the simulation's own generator: a seed replays it.
    fn below(number: usize) -> usize {
        let word = madsim::rand::thread_rng().next_u64();
        usize::try_from(word % number as u64).expect("it is below a usize")
    }

    // A simulation begins at its own zero: a static would carry one run's clock into the next.
    pub(super) fn elapsed() -> Duration {
        madsim::time::TimeHandle::current().elapsed()
    }

    pub(super) async fn run_local<F: Future>(future: F) -> F::Output {
        future.await
    }
}

#[cfg(not(madsim))]
pub use native::{
    Instant, ReadHalf, Sleep, TcpListener, TcpStream, WriteHalf, sleep, sleep_until, spawn_local,
    yield_now,
};
#[cfg(madsim)]
pub use simulated::{
    Instant, ReadHalf, Sleep, TcpListener, TcpStream, WriteHalf, move_in_pieces, pieces_moved,
    sleep, sleep_until, spawn_local, yield_now,
};

#[cfg(not(madsim))]
use native as chosen;
#[cfg(madsim)]
use simulated as chosen;

/// Now, on both axes: microseconds since this process's (or simulation's) zero, and the wall.
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now {
        mono: Mono::from_micros(u64::try_from(chosen::elapsed().as_micros()).unwrap_or(u64::MAX)),
        wall: Wall::from_millis(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)),
    }
}

/// Waits until `deadline` on the axis of [`now`].
pub async fn sleep_to(deadline: Mono) {
    sleep(deadline.since(now().mono)).await;
}

/// Both directions of a connection, each with its own owner. The connection closes when both
/// halves are dropped.
pub fn split(stream: TcpStream) -> (ReadHalf, WriteHalf) {
    chosen::split(stream)
}

/// Runs `future` where [`spawn_local`] works; what it spawned ends with it.
pub async fn run_local<F: Future>(future: F) -> F::Output {
    chosen::run_local(future).await
}

/// What `future` gives, or `TimedOut` if it takes longer than `limit`.
pub async fn within<F: Future>(limit: Duration, future: F) -> io::Result<F::Output> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        () = sleep(limit) => Err(io::ErrorKind::TimedOut.into()),
    }
}
