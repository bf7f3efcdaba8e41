//! The machines of Hotfire: everything that decides, and nothing that does.
//!
//! | room | what |
//! |---|---|
//! | [`machine`] | what a machine is: inputs in, effects out, time handed in |
//! | [`domain`] | requests, responses and the nouns in them; no bytes of a wire |
//! | [`namesrv`] | the name server: who is alive, who has which topic |
//! | [`broker`] | the broker: topics, sends, pulls, groups, offsets, locks |
//! | [`registrar`] | what keeps a broker registered with a name server |
//! | [`ha`] | replication: a master's log, copied by slaves |
//! | [`flush`] | when written bytes are made durable, and what may be promised meanwhile |
//! | [`retention`] | when old files of the log are deleted, and when sends are refused |

pub mod broker;
pub mod domain;
pub mod flush;
pub mod ha;
pub mod machine;
pub mod namesrv;
pub mod registrar;
pub mod retention;
