//! The ports of an endpoint, until they are closed: the accept loop.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::Notify;

use crate::rt::{self, TcpListener, TcpStream};
use crate::sparse::Sparse;

/// Pause after an error that will not go away by asking again at once, such as EMFILE.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// All of an endpoint's.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    closing: Cell<bool>,
    close: Notify,
    /// Ports that are listened on.
    open: Cell<usize>,
    log: Sparse,
}

impl Doors {
    /// One more: [`accept`](Self::accept) will be awaited.
    pub(crate) fn open(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// Admits who comes, until doors are closed. The port is free then.
    pub(crate) async fn accept(
        &self,
        listener: TcpListener,
        mut admit: impl FnMut(TcpStream, SocketAddr),
    ) {
        while !self.closing.get() {
            let accepted = tokio::select! {
                biased;
                () = self.close.notified() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, addr)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(peer = %addr, %error, "no TCP_NODELAY");
                    }
                    admit(stream, addr);
                }
                // The peer gave up between its knock and our answer: nothing is wrong here.
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    self.log.maybe(|unsaid| {
                        tracing::error!(%error, unsaid, "cannot accept connections");
                    });
                    tokio::select! {
                        biased;
                        () = self.close.notified() => break,
                        () = rt::sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
        drop(listener);
        self.open.set(self.open.get() - 1);
    }

    /// Nobody is admitted any more.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        self.close.notify_waiters();
    }

    /// Is a port not free yet?
    pub(crate) fn are_open(&self) -> bool {
        self.open.get() > 0
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}
