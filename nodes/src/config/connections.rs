//! The keys that bound connections, the same for broker and name server.

use std::time::Duration;

use hotfire_net::frame::FrameLimits;
use hotfire_net::server::Limits;

use super::value::Millis;

/// Descriptors that connections leave to files: a queue's file is opened when it is reached, and if
/// that fails the process ends.
const KEPT: usize = 256;

/// Bounds of connections, in a file's units.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// At once.
    pub most: usize,
    /// Seconds of silence after which one is closed.
    pub idle_seconds: u64,
    /// Bytes of a frame.
    pub frame: usize,
    /// Bytes of a header.
    pub header: usize,
    /// Bytes on the way of one connection.
    pub in_flight_bytes: usize,
    /// Requests of one connection without an answer.
    pub unanswered: usize,
    /// Bytes queued that count as a backlog.
    pub backlog_bytes: usize,
    /// How long a backlog is borne.
    pub stall: Millis,
}

impl Default for Connections {
    fn default() -> Self {
        let limits = Limits::default();
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            most: limits.max_connections,
            idle_seconds: limits.idle.as_secs(),
            frame: limits.frame.max_frame,
            header: limits.frame.max_header,
            in_flight_bytes: limits.max_in_flight_bytes,
            unanswered: limits.max_unanswered,
            backlog_bytes: limits.max_backlog_bytes,
            stall: Millis(millis(limits.stall)),
        }
    }
}

impl Connections {
    /// The settings of the endpoint.
    pub fn limits(&self) -> Limits {
        Limits {
            frame: FrameLimits { max_frame: self.frame, max_header: self.header },
            idle: Duration::from_secs(self.idle_seconds),
            max_connections: bearable(self.most, descriptors()),
            max_in_flight_bytes: self.in_flight_bytes,
            max_unanswered: self.unanswered,
            max_backlog_bytes: self.backlog_bytes,
            stall: self.stall.into(),
        }
    }
}

/// How many files and connections the process may have open at a time; `None`: any number.
#[cfg(not(madsim))]
fn descriptors() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok())
}

/// A simulated process has as many as it takes.
#[cfg(madsim)]
const fn descriptors() -> Option<usize> {
    None
}

/// Connections, `most` if the descriptors suffice.
fn bearable(most: usize, descriptors: Option<usize>) -> usize {
    let Some(descriptors) = descriptors else { return most };
    let bearable = descriptors.saturating_sub(KEPT).max(1);
    if bearable < most {
        tracing::warn!(
            "{bearable} connections at once and not {most} (maxConnections): the process may have \
             {descriptors} files open (ulimit -n), and {KEPT} are kept for the store"
        );
    }
    most.min(bearable)
}

/// The rows of a table for `$conf`, which has them in its field `connections`.
macro_rules! connection_keys {
    ($conf:ty) => {
        &[
            key!(
                $conf,
                "serverChannelMaxIdleTimeSeconds",
                connections.idle_seconds,
                whole(1..=86_400),
                "Seconds of silence in both directions after which a connection is closed."
            ),
            key!(
                $conf,
                "maxConnections",
                connections.most,
                whole(1..=1_000_000),
                "Hotfire's own: connections at once; one more is closed. No more than `ulimit -n`, \
                 less 256 for the store."
            ),
            key!(
                $conf,
                "maxFrameBytes",
                connections.frame,
                whole(1 << 20..=16 << 20),
                "Hotfire's own: bytes of a frame; a longer one closes its connection."
            ),
            key!(
                $conf,
                "maxHeaderBytes",
                connections.header,
                whole(1 << 10..=16 << 20),
                "Hotfire's own: bytes of a frame's header."
            ),
            key!(
                $conf,
                "maxInFlightBytesPerConnection",
                connections.in_flight_bytes,
                whole(1 << 16..=1 << 30),
                "Hotfire's own: bytes that wait for the machine; beyond, a connection is not read."
            ),
            key!(
                $conf,
                "maxUnansweredPerConnection",
                connections.unanswered,
                whole(1..=10_000_000),
                "Hotfire's own: requests without an answer; beyond, a connection is not read."
            ),
            key!(
                $conf,
                "maxBacklogBytesPerConnection",
                connections.backlog_bytes,
                whole(1 << 16..=1 << 30),
                "Hotfire's own: bytes that a peer has not taken which count as a backlog."
            ),
            key!(
                $conf,
                "maxStallMillis",
                connections.stall,
                millis(100..=3_600_000),
                "Hotfire's own: how long a backlog is borne before its connection is closed."
            ),
        ]
    };
}
pub(super) use connection_keys;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_files() {
        assert_eq!(bearable(10_000, None), 10_000);
        assert_eq!(bearable(10_000, Some(1 << 20)), 10_000);
        assert_eq!(bearable(10_000, Some(4096)), 4096 - KEPT);
        assert_eq!(bearable(10_000, Some(100)), 1);
    }
}
