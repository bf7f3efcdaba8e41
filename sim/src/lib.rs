//! The simulator of Hotfire.
//!
//! | room | what |
//! |---|---|
//! | [`choose`] | the one source of chance: seed, tape, bytes, enumeration |
//! | [`disk`] | the simulated medium, behind the storage seam |
//! | [`images`] | the images ring: every crash of the store alone |
//! | [`ledger`] | what was injected, counted |
//! | `madsim` | ring 2, the real drivers; only under `--cfg madsim` |
//! | [`oracle`] | what must be true of every run |
//! | [`plan`] | what is drawn before a run starts |
//! | [`report`] | what is kept of a failure |
//! | [`ring`] | the worlds a seed can be run in, and what comes of a run |
//! | [`shrink`] | the shortest tape that still fails |
//! | [`torture`] | the disk ring: the medium under the smallest store that can be right |
//! | [`trace`] | the column log of a run |
//! | [`workload`] | what clients do, and what they saw |
//! | [`world`] | ring 1: machines, links and media in lockstep |
//!
//! `SIMULATION.md` at the root of the repository tells what is simulated and how to use it.

#![forbid(unsafe_code)]

pub mod choose;
pub mod disk;
pub mod images;
pub mod ledger;
#[cfg(madsim)]
pub mod madsim;
pub mod oracle;
mod pair;
pub mod plan;
pub mod report;
pub mod ring;
pub mod shrink;
pub mod torture;
pub mod trace;
pub mod workload;
pub mod world;
