//! Response codes (wire.md 4) that our machines give.

/// Why a request was not served, or served with a reservation. The number is the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Code {
    /// Done as asked.
    Success = 0,
    /// Something went wrong that has no code of its own.
    SystemError = 1,
    /// Overloaded; try again later, or elsewhere.
    SystemBusy = 2,
    /// No handler for this request code.
    RequestCodeNotSupported = 3,
    /// Stored, but the disk sync is late.
    FlushDiskTimeout = 10,
    /// Stored, but no replica is there to hold it.
    SlaveNotAvailable = 11,
    /// Stored, but the replica is late.
    FlushSlaveTimeout = 12,
    /// The message breaks a rule.
    MessageIllegal = 13,
    /// The store takes no messages now.
    ServiceNotAvailable = 14,
    /// Not permitted on this topic, group or broker.
    NoPermission = 16,
    /// No such topic.
    TopicNotExist = 17,
    /// Nothing to pull at this offset yet.
    PullNotFound = 19,
    /// Nothing matched so far; pull again from the next offset.
    PullRetryImmediately = 20,
    /// The offset is outside the queue; continue at the corrected one.
    PullOffsetMoved = 21,
    /// What was asked for does not exist.
    QueryNotFound = 22,
    /// The filter expression does not parse.
    SubscriptionParseFailed = 23,
    /// The group, or its subscription to this topic, is not known from a heartbeat.
    SubscriptionNotExist = 24,
    /// The heartbeat's subscription is older than the one the request was made with.
    SubscriptionNotLatest = 25,
    /// No such consumer group.
    SubscriptionGroupNotExist = 26,
    /// A parameter is missing or out of range.
    InvalidParameter = 29,
    /// No member of the consumer group is connected.
    ConsumerNotOnline = 206,
    /// The server is shutting down; reconnect.
    GoAway = 1500,
}

impl Code {
    /// The number on the wire.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The code with this number, if we know it.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    const ALL: [Self; 22] = [
        Self::Success,
        Self::SystemError,
        Self::SystemBusy,
        Self::RequestCodeNotSupported,
        Self::FlushDiskTimeout,
        Self::SlaveNotAvailable,
        Self::FlushSlaveTimeout,
        Self::MessageIllegal,
        Self::ServiceNotAvailable,
        Self::NoPermission,
        Self::TopicNotExist,
        Self::PullNotFound,
        Self::PullRetryImmediately,
        Self::PullOffsetMoved,
        Self::QueryNotFound,
        Self::SubscriptionParseFailed,
        Self::SubscriptionNotExist,
        Self::SubscriptionNotLatest,
        Self::SubscriptionGroupNotExist,
        Self::InvalidParameter,
        Self::ConsumerNotOnline,
        Self::GoAway,
    ];
}
