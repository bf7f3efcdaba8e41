//! The store of a RocketMQ broker, byte for byte.
//!
//! | room | what |
//! |---|---|
//! | [`position`], [`time`], [`text`] | the words everything else is said in |
//! | [`seam`] | [`Memory`](seam::Memory) and [`Disk`](seam::Disk): what cannot fail, and what can |

pub mod position;
pub mod seam;
pub mod text;
pub mod time;
