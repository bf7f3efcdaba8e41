//! The store of a RocketMQ broker, byte for byte.
//!
//! | room | what |
//! |---|---|
//! | [`position`], [`time`], [`text`] | the words everything else is said in |
//! | [`seam`] | [`Memory`](seam::Memory) and [`Disk`](seam::Disk): what cannot fail, and what can |
//! | [`mapped`] | the real disk: mapped files and a thread; the only room with `unsafe` |
//! | [`plain`] | a disk in memory, for tests |
//! | [`record`] | the message as it lies in the log |
//! | `chain`, `commit_log` | equal-sized files as one address space; the log in them |
//! | `staged` | records that are not in a file yet |
//! | [`queue`], `consume_queue`, `batch_queue`, `dispatch` | units, and the record they come from |
//! | `queue_ext` | what an ordinary queue says of a record besides |
//! | `index` | records by key |
//! | [`recover`], `resync`, [`checkpoint`] | from whatever a crash left to a store that can serve |
//! | `opening` | what another log begins with |
//! | `parting` | a copy of a log whose end is not the master's |
//! | [`store`], [`settings`] | all of it as one machine |
//! | [`audit`] | every invariant of the formats, looked for on a disk as it lies |
//! | [`documents`], [`dialect`] | the JSON state files; the dialect in which Apache writes them |

pub mod audit;
mod batch_queue;
mod chain;
pub mod checkpoint;
mod commit_log;
mod consume_queue;
pub mod dialect;
mod dispatch;
pub mod documents;
mod index;
pub mod mapped;
mod opening;
mod parting;
pub mod plain;
pub mod position;
pub mod queue;
mod queue_ext;
mod queues;
pub mod record;
pub mod recover;
mod resync;
pub mod seam;
pub mod settings;
mod staged;
pub mod store;
pub mod text;
pub mod time;

pub use consume_queue::Unit;
pub use dispatch::light_queues;
pub use index::KeyKind;
pub use opening::{NoOpening, opening};
pub use parting::{KeptAside, PARTINGS_KEPT, Parting, part};
pub use queue::{Kind, QueueRange};
pub use recover::{OpenError, Opened, Progress, Stage, Watch};
pub use settings::Settings;
pub use store::{
    AppendError, Appended, Boundary, Kept, LoadError, Loaded, LogFile, Owner, Query, QueueView,
    ReceiveError, Store, StoreEvent, load,
};
