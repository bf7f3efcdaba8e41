//! What operators ask about groups and tell them (requests.md C): how they get on, and where they
//! go on.

use hotfire_storage::position::QueueOffset;
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use super::MessageQueue;

/// Where an operator wants a group to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetTo {
    /// Behind all that is there.
    End,
    /// At this offset; what a client sent.
    Offset(i64),
    /// At the first message that was stored then or later.
    Time(Wall),
}

/// 222 INVOKE_BROKER_TO_RESET_OFFSET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetOffsets {
    /// Group.
    pub group: Text,
    /// Topic.
    pub topic: Text,
    /// One queue of it; else all.
    pub queue: Option<i32>,
    /// Where to.
    pub to: ResetTo,
    /// Forwards, too: else a group that is behind stays where it is.
    pub is_forced: bool,
}

/// 314 CLONE_GROUP_OFFSET: a group goes on where another one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneOffsets {
    /// Whose offsets.
    pub from: Text,
    /// Who takes them over.
    pub to: Text,
    /// In this topic; else in all of them.
    pub topic: Option<Text>,
    /// Also in topics that the first group does not subscribe to now.
    pub offline: bool,
}

/// 220 RESET_CONSUMER_CLIENT_OFFSET: a client is to go on elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsReset {
    /// Group.
    pub group: Text,
    /// Topic.
    pub topic: Text,
    /// Where, by queue.
    pub offsets: Vec<(MessageQueue, QueueOffset)>,
    /// The client reads a list, not a table.
    pub as_list: bool,
}

/// How far a group is in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Which queue.
    pub queue: MessageQueue,
    /// Behind the last message that may be seen.
    pub end: QueueOffset,
    /// The next message to consume.
    pub next: QueueOffset,
    /// Where the group pulled last; what lies before is on its way, or being consumed.
    pub pulled: QueueOffset,
    /// When the last message that it consumed was stored.
    pub consumed: Option<Wall>,
}

/// How a group gets on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumeStats {
    /// Messages that it got within the last minute.
    pub messages_per_minute: u64,
    /// How far it is, by queue.
    pub queues: Vec<Lag>,
}

/// How a group gets on, topic by topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStats {
    /// Which.
    pub group: Text,
    /// Of each topic.
    pub topics: Vec<ConsumeStats>,
}
