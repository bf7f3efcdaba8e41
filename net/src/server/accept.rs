//! The accept loop: who may come in.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hotfire_core::domain::ConnId;

use super::peer::{self, Peer};
use super::{Arrival, Shared};
use crate::rt::{self, TcpListener, TcpStream};
use crate::sparse::Sparse;

/// Pause after an error that will not go away by asking again at once, such as EMFILE.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Runs until the server stops; the port is free then.
pub(super) async fn run<R: 'static>(shared: &Rc<Shared<R>>, listener: TcpListener) {
    let log = Sparse::default();
    while !shared.stopping.get() {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.notified() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, addr)) => admit(shared, stream, addr, &log),
            // The peer gave up between its knock and our answer: nothing is wrong here.
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                log.maybe(|unsaid| tracing::error!(%error, unsaid, "cannot accept connections"));
                tokio::select! {
                    biased;
                    () = shared.stop.notified() => return,
                    () = rt::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn admit<R: 'static>(shared: &Rc<Shared<R>>, stream: TcpStream, addr: SocketAddr, log: &Sparse) {
    let limit = shared.limits.max_connections;
    if shared.outbox.len() >= limit {
        log.maybe(|unsaid| tracing::warn!(peer = %addr, limit, unsaid, "too many connections"));
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %addr, %error, "no TCP_NODELAY");
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
