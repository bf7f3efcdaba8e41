//! The simulator of Hotfire.
//!
//! | room | what |
//! |---|---|
//! | [`choose`] | the one source of chance: seed, tape, bytes, enumeration |
//! | [`ledger`] | what was injected, counted |
//! | [`trace`] | the column log of a run |
//!
//! `SIMULATION.md` at the root of the repository tells what is simulated and how to use it.

#![forbid(unsafe_code)]

pub mod choose;
pub mod ledger;
pub mod trace;
