//! The simulator of Hotfire.
//!
//! | room | what |
//! |---|---|
//! | [`choose`] | the one source of chance: seed, tape, bytes, enumeration |
//! | [`disk`] | the simulated medium, behind the storage seam |
//! | [`ledger`] | what was injected, counted |
//! | [`trace`] | the column log of a run |
//!
//! `SIMULATION.md` at the root of the repository tells what is simulated and how to use it.

#![forbid(unsafe_code)]

pub mod choose;
pub mod disk;
pub mod ledger;
pub mod trace;
