//! What tests of real processes need. Nothing here uses Hotfire's own codecs: a mistake that both
//! sides share would be no mistake.
//!
//! | room | what |
//! |---|---|
//! | [`process`] | the built binary: start it, read what it says, end it |
//! | [`wire`] | a blocking client that speaks the remoting protocol, and any other bytes |

pub mod process;
pub mod wire;
