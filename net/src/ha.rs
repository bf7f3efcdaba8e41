//! The replication port: two streams without frames of the remoting protocol
//! (broker-behaviour.md 9.1), and their endpoints.
//!
//! ```text
//!  slave ► master   [8 next byte wanted]                              report
//!  master ► slave   [8 position][4 length n][n bytes of the log]      n = 0: a heartbeat
//! ```
//!
//! Numbers are big-endian. Bytes of the log are cut anywhere; so they are handed on as they arrive,
//! and no frame is ever held as a whole.
//!
//! | room | what |
//! |---|---|
//! | [`stream`] | the two streams, without IO |
//! | [`server`] | a master's endpoint: any number of slaves |
//! | [`client`] | a slave's endpoint: one master |

pub mod client;
pub mod server;
pub mod stream;
