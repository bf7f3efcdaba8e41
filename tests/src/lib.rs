//! What tests of real processes need. Nothing here uses Hotfire's own codecs: a mistake that both
//! sides share would be no mistake.
//!
//! | room | what |
//! |---|---|
//! | [`audit`] | what brokers acknowledged, in a file, and whether it is there |
//! | [`group`] | a master and its slave |
//! | [`process`] | the built binary: start it, read what it says, end it |
//! | [`proxy`] | a wire that does what a test says |
//! | [`small`] | a small store to damage, and an independent reading of its log |
//! | [`wire`] | a blocking client that speaks the remoting protocol, and any other bytes |

pub mod audit;
pub mod group;
pub mod process;
pub mod proxy;
pub mod small;
pub mod wire;
