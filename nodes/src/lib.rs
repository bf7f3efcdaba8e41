//! What runs: the name server, the broker, both in one process, and the tools beside them.
//!
//! | room | what |
//! |---|---|
//! | `broker`, `namesrv`, `standalone` | processes: what they need, and what may be in the way |
//! | `bench` | measuring any broker that speaks the remoting protocol |
//! | `store` | looking into a store, checking it, repairing it |
//! | [`config`] | properties files, known keys, one clear line for what is wrong |
//! | [`driver`] | what turns a machine: sockets, timers, registrations; decides nothing |
//! | `cli` | the command line |
//! | [`kv_file`] | the one thing a name server keeps |

#[cfg(not(madsim))]
pub mod bench;
#[cfg(not(madsim))]
pub mod broker;
#[cfg(not(madsim))]
pub mod cli;
pub mod config;
pub mod driver;
mod failure;
pub mod kv_file;
#[cfg(not(madsim))]
mod listen;
#[cfg(not(madsim))]
pub mod namesrv;
#[cfg(not(madsim))]
mod opening;
#[cfg(not(madsim))]
mod refusal;
#[cfg(not(madsim))]
mod signals;
#[cfg(not(madsim))]
pub mod standalone;
#[cfg(not(madsim))]
pub mod store;

pub use failure::Failure;

/// Says to standard output what a person asked for. Whoever listens may have gone.
#[cfg(not(madsim))]
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}
