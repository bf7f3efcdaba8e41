//! What runs: the name server, the broker, both in one process, and the tools beside them.
//!
//! | room | what |
//! |---|---|
//! | [`config`] | properties files, known keys, one clear line for what is wrong |

pub mod config;
