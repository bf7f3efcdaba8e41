//! What broker, name server and clients say to each other, free of how it is written on a wire.
//!
//! Names are the field's; each item names the request code (spec: requests.md) that carries it,
//! so that a reader can go from either side to the other. Codecs live in hotfire-net.

mod answers;
mod broker;
mod code;
mod ha;
mod namesrv;
mod operators;
mod peer;

pub use answers::*;
pub use broker::*;
pub use code::Code;
pub use ha::*;
pub use namesrv::*;
pub use operators::*;
pub use peer::*;

pub use hotfire_storage::documents::{DataVersion, GroupConfig};
pub use hotfire_storage::text::Text;
