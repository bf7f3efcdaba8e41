//! The keys that bound connections, the same for broker and name server.

use std::time::Duration;

use hotfire_net::frame::FrameLimits;
use hotfire_net::server::Limits;

use super::value::Millis;

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
            max_connections: self.most,
            max_in_flight_bytes: self.in_flight_bytes,
            max_unanswered: self.unanswered,
            max_backlog_bytes: self.backlog_bytes,
            stall: self.stall.into(),
        }
    }
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
                "Hotfire's own: connections at once; one more is closed."
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
