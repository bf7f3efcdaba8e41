//! What tests of real processes need. Nothing here uses Hotfire's own codecs: a mistake that both
//! sides share would be no mistake.
//!
//! | room | what |
//! |---|---|
//! | [`process`] | the built binary: start it, read what it says, end it |
//! | [`small`] | a small store to damage, and an independent reading of its log |
//! | [`wire`] | a blocking client that speaks the remoting protocol, and any other bytes |

pub mod process;
pub mod small;
pub mod wire;
