//! The remoting protocol of Hotfire: bytes to domain and back, and the sockets in between.
//!
//! ```text
//! socket ─bytes─► frame ─Frame─► header ─Header, body─► codec ─Caller, Request─► a machine
//! socket ◄─vectored write─ out_queue ◄─Outgoing─ head_writer ◄─ codec ◄─Response─ a machine
//! ```
//!
//! | room | what |
//! |---|---|
//! | [`frame`] | where a frame begins and ends; no I/O |
//! | [`header`] | the two header forms, JSON and ROCKETMQ binary |
//! | [`head_writer`] | frames on their way out, written field by field |
//! | [`codec`] | wire ↔ domain, a file a request family |
//! | [`out_queue`] | what waits to be written to one socket |
//! | [`server`], [`client`] | the two endpoints |
//! | `doors` | the accept loop of an endpoint |
//! | [`ha`] | the replication port: its two streams, and their endpoints |
//! | [`sparse`] | log lines of a kind that a flood could repeat |
//! | [`rt`] | the only room that names a runtime |
//! | `pieces` | in the simulation alone: sockets that move a few bytes at a time |
//!
//! Nothing here decides: a wrong byte closes its connection, everything else goes to a machine.

pub mod client;
pub mod codec;
mod doors;
pub mod frame;
pub mod ha;
pub mod head_writer;
pub mod header;
mod json_text;
pub mod out_queue;
#[cfg(madsim)]
mod pieces;
pub mod rt;
pub mod server;
pub mod sparse;
