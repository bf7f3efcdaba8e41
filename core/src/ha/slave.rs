//! The slave's side: whom it follows, what it asks for, and whether what comes continues its log.
//!
//! The protocol compares nothing: a slave says where its log ends, and is sent what lies there.
//! If its last bytes are not the master's (it was a master itself, or the master lost what it had
//! not made durable), it would append behind foreign bytes. So this slave asks for a little of what
//! it has, and compares:
//!
//! ```text
//!            asked for                log's end
//!  own log  ────|==== compared =======|
//!  master's ────|=====================|---- appended ---►
//! ```
//!
//! A record carries its position, its time and its host; where one record is the same in both
//! logs, everything before it is, as both had it from one writer. Where not one is, more is asked
//! for. What is found at last is the place where the logs part: the node cuts its log there, at a
//! start, and follows from there on.
//!
//! A master whose log begins where this one ends, or beyond, has nothing to compare: its log is
//! begun anew with. As whoever answers at that address could say so with twelve bytes, it must show
//! a record that belongs there; until one came whole what it sends is held, and nothing is given
//! up.

use std::time::Duration;

use hotfire_storage::position::{Flushed, Physical, Written};
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;
use hotfire_storage::{NoOpening, Parting};

pub use super::given_up::GivenUp;
use crate::machine::Digest;

/// How a slave follows.
#[derive(Clone, Copy, Debug)]
pub struct SlavePolicy {
    /// It reports at least so often (`haSendHeartbeatInterval`).
    pub heartbeat: Duration,
    /// Silence of the master after which the connection is given up (`haHousekeepingInterval`).
    pub silence: Duration,
    /// The first pause before it connects again; each further one is twice as long.
    pub pause_least: Duration,
    /// The longest.
    pub pause_most: Duration,
    /// Bytes of its own log that it asks for and compares, at first.
    pub overlap: u64,
}

impl Default for SlavePolicy {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            silence: Duration::from_secs(20),
            pause_least: Duration::from_millis(100),
            pause_most: Duration::from_secs(5),
            overlap: 128 << 10,
        }
    }
}

/// What a slave asks of its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlaveEffect {
    /// Connect to the master; answer with `connected` or `ended`.
    Connect {
        /// `host:port`.
        master: Text,
    },
    /// Close the connection, or stop connecting. Nothing of it is told any more.
    Disconnect,
    /// Report this position.
    Report(Physical),
}

/// What its log is like.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Its first byte.
    pub start: Physical,
    /// Behind its last record.
    pub written: Written,
    /// Behind what is durable.
    pub flushed: Flushed,
    /// Up to where it may be acknowledged, by its own way of flushing.
    pub safe: Physical,
    /// Bytes of a file.
    pub file_len: u64,
}

/// What is to be done with a frame's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it was a heartbeat, or was not fit, and the connection is given up.
    Skip,
    /// Compare the first of them with the log's own, and tell how many are the same:
    /// [`Slave::compared`]. The rest is another frame.
    Compare {
        /// So many.
        len: u64,
    },
    /// Append all of them, and tell: [`Slave::appended`].
    Append,
    /// Hold them behind those that are held. Do all of them begin with a record that belongs at
    /// `at`? Tell: [`Slave::proved`].
    Prove {
        /// Where the first that is held lies.
        at: Physical,
    },
    /// The logs may part: find records between two places, and tell: [`Slave::located`].
    Locate {
        /// From here on bytes are the same in both.
        from: Physical,
        /// Up to here.
        to: Physical,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It does not try until then.
    Idle {
        until: Mono,
    },
    Connecting,
    /// What it asked for, and the byte that comes next.
    Linked {
        from: Physical,
        next: Physical,
    },
    /// The master's log begins at `at`, it says, beyond this one's end: so many bytes of it are
    /// held. That `from` was asked for is still so.
    Proving {
        from: Physical,
        at: Physical,
        held: u64,
    },
    /// The log is to be opened anew.
    Parted(Parting),
}

impl State {
    /// Is there a connection, or will there be?
    fn is_open(self) -> bool {
        matches!(self, Self::Connecting | Self::Linked { .. } | Self::Proving { .. })
    }
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Slave {
    policy: SlavePolicy,
    master: Option<Text>,
    state: State,
    /// Bytes to be compared at the next connection.
    overlap: u64,
    /// What was asked for on the last one.
    asked: Physical,
    /// Where the master's log ends, if it ended before what was asked for.
    master_end: Option<Physical>,
    pause: Duration,
    heard: Mono,
    /// When it reported last, and what.
    told: Option<(Mono, Physical)>,
    /// The driver has a connection that is to be closed.
    disconnect: bool,
    given_up: Option<GivenUp>,
}

impl Slave {
    /// A slave that knows no master yet.
    pub fn new(policy: SlavePolicy, now: Mono) -> Self {
        Self {
            policy,
            master: None,
            state: State::Idle { until: now },
            overlap: policy.overlap,
            asked: Physical::ZERO,
            master_end: None,
            pause: policy.pause_least,
            heard: now,
            told: None,
            disconnect: false,
            given_up: None,
        }
    }

    /// Whom it follows, as far as is known.
    pub fn master(&self) -> Option<&Text> {
        self.master.as_ref()
    }

    /// The master is there, or nobody knows where it is. A link to it stays; one to another ends.
    pub fn follow(&mut self, now: Mono, master: Option<Text>) {
        if self.master != master && !matches!(self.state, State::Parted(_)) {
            self.hang_up(now, Duration::ZERO);
            (self.pause, self.overlap, self.master_end) =
                (self.policy.pause_least, self.policy.overlap, None);
        }
        self.master = master;
    }

    /// The connection is there: what is asked for is reported next.
    pub fn connected(&mut self, now: Mono, own: Own) {
        if self.state != State::Connecting {
            return;
        }
        let from = self.wanted(own);
        self.state = State::Linked { from, next: from };
        (self.asked, self.heard, self.told) = (from, now, None);
    }

    /// A byte of its own to begin with, so that there is something to compare. Nothing that is not
    /// durable is left out: masters take a report for an acknowledgement. Nor is byte 0 asked for:
    /// that would say that there is no log here.
    fn wanted(&self, own: Own) -> Physical {
        let end = own.written.end();
        if end == own.start {
            return end;
        }
        let known = self.master_end.map_or(end, |theirs| theirs.min(end));
        let from = known.min(own.flushed.end()).get().saturating_sub(self.overlap);
        Physical::new(from.max(own.start.get()).max(1)).min(end)
    }

    /// The attempt failed, or the connection ended.
    pub fn ended(&mut self, now: Mono) {
        if self.state.is_open() {
            self.pause(now);
        }
    }

    fn pause(&mut self, now: Mono) {
        self.state = State::Idle { until: now.after(self.pause) };
        self.pause = self.policy.pause_most.min(self.pause * 2);
    }

    /// Ends the connection, if there is one, and is idle for a while.
    fn hang_up(&mut self, now: Mono, pause: Duration) {
        self.disconnect = self.state.is_open();
        self.state = State::Idle { until: now.after(pause) };
    }

    fn give_up(&mut self, now: Mono, why: GivenUp) -> Step {
        self.given_up = Some(why);
        self.disconnect = true;
        self.pause(now);
        Step::Skip
    }

    /// What came is no log.
    pub fn refuse(&mut self, now: Mono, why: String) {
        self.give_up(now, GivenUp::Damaged(why));
    }

    /// Why a connection was given up, once.
    pub fn take_given_up(&mut self) -> Option<GivenUp> {
        self.given_up.take()
    }

    /// A frame of `len` bytes came that lie at `at` in the master's log.
    pub fn frame(&mut self, now: Mono, at: Physical, len: u64, own: Own) -> Step {
        let (from, next) = match self.state {
            State::Linked { from, next } => (from, next),
            State::Proving { from, at: begin, held } => {
                self.heard = now;
                return self.hold(now, (from, begin, held), at, len);
            }
            _ => return Step::Skip,
        };
        self.heard = now;
        let end = own.written.end();
        if at == next {
            return match len {
                0 if next < end => self.ends_here(now, next, own),
                0 => Step::Skip,
                _ if next < end => Step::Compare { len: len.min(end.since(next)) },
                _ => Step::Append,
            };
        }
        let is_first = next == from;
        if !is_first || (at < next && len > 0) {
            return self.give_up(now, GivenUp::OutOfPlace { got: at, expected: next });
        }
        if at < next {
            // The master has less than was asked for.
            self.master_end = Some(at);
            return self.look_further_back(now, own);
        }
        if at < end {
            // What was asked for is deleted there, not all that there is to compare.
            self.state = State::Linked { from: at, next: at };
            return self.frame(now, at, len, own);
        }
        if !at.get().is_multiple_of(own.file_len) {
            return self.give_up(now, GivenUp::FileSize { at });
        }
        // A heartbeat shows nothing.
        if len == 0 { Step::Skip } else { self.hold(now, (from, at, 0), at, len) }
    }

    /// What may be the first record of a log beyond this one comes piece by piece.
    fn hold(
        &mut self,
        now: Mono,
        (from, begin, held): (Physical, Physical, u64),
        at: Physical,
        len: u64,
    ) -> Step {
        if at != begin.plus(held) {
            let expected = begin.plus(held);
            return self.give_up(now, GivenUp::OutOfPlace { got: at, expected });
        }
        if len == 0 {
            return Step::Skip;
        }
        self.state = State::Proving { from, at: begin, held: held + len };
        Step::Prove { at: begin }
    }

    /// What is held begins with a record that belongs there, or with none; `None`: too little came
    /// to know.
    pub fn proved(&mut self, now: Mono, verdict: Option<Result<(), NoOpening>>) {
        let State::Proving { at, .. } = self.state else { return };
        match verdict {
            Some(Ok(())) => self.part(Parting::Begin(at)),
            Some(Err(why)) => drop(self.give_up(now, GivenUp::Unproven { at, why })),
            None => {}
        }
    }

    /// The master's log ends within this one.
    fn ends_here(&mut self, now: Mono, at: Physical, own: Own) -> Step {
        let State::Linked { from, .. } = self.state else { return Step::Skip };
        self.master_end = Some(at);
        if at > from {
            return locate(from, at);
        }
        self.look_further_back(now, own)
    }

    /// Asks again, for more.
    fn look_further_back(&mut self, now: Mono, own: Own) -> Step {
        self.overlap = self.overlap.saturating_mul(8);
        // The master may have begun behind what was asked for: that was all for all that.
        let is_all = self.asked.get() <= own.start.get().max(1);
        if is_all {
            self.overlap = self.policy.overlap;
            let theirs = self.master_end.take();
            let (start, end) = (own.start, own.written.end());
            return self.give_up(now, GivenUp::Stranger { theirs, start, end });
        }
        self.hang_up(now, Duration::ZERO);
        Step::Skip
    }

    /// So many of the bytes that were to be compared are the log's own; `all`: every one.
    pub fn compared(&mut self, same: u64, all: bool, own: Own) -> Step {
        let State::Linked { from, next } = self.state else { return Step::Skip };
        let next = next.plus(same);
        self.state = State::Linked { from, next };
        // Zeros behind the last record of a file are the same in all logs: they tell nothing.
        if all && next < own.written.end() { Step::Skip } else { locate(from, next) }
    }

    /// Between the two places lie whole records; the last of them ends at `end`. `None`: there is
    /// not one. Does what follows continue the log?
    pub fn located(&mut self, now: Mono, end: Option<Physical>, own: Own) -> bool {
        let State::Linked { from, next } = self.state else { return false };
        let is_all = next == own.written.end();
        let is_whole_log = from.get() <= own.start.get().max(1);
        match end {
            // The logs are one as far as this one goes.
            Some(_) if is_all => return true,
            None if is_all && is_whole_log => return true,
            Some(end) => self.part(Parting::Cut(end)),
            None => drop(self.look_further_back(now, own)),
        }
        false
    }

    fn part(&mut self, parting: Parting) {
        self.disconnect = true;
        self.state = State::Parted(parting);
    }

    /// So many bytes were appended.
    pub fn appended(&mut self, len: u64) {
        if let State::Linked { from, next } = self.state {
            self.state = State::Linked { from, next: next.plus(len) };
            // It works: what went wrong before is over.
            (self.pause, self.overlap, self.master_end) =
                (self.policy.pause_least, self.policy.overlap, None);
        }
    }

    /// What has to become of the log before this slave can go on. It does nothing any more: the
    /// opened log gets another.
    pub fn parting(&self) -> Option<Parting> {
        match self.state {
            State::Parted(parting) => Some(parting),
            _ => None,
        }
    }

    /// Is it connected, and does it continue the master's log?
    pub fn follows(&self, own: Own) -> bool {
        matches!(self.state, State::Linked { next, .. } if next >= own.written.end())
    }

    /// When the master was heard last, or was called.
    pub fn heard(&self) -> Mono {
        self.heard
    }

    /// The next thing to do, if there is any.
    #[must_use]
    pub fn poll(&mut self, now: Mono, own: Own) -> Option<SlaveEffect> {
        if std::mem::take(&mut self.disconnect) {
            return Some(SlaveEffect::Disconnect);
        }
        match self.state {
            State::Idle { until } if until <= now => {
                let master = self.master.clone()?;
                self.state = State::Connecting;
                self.heard = now;
                Some(SlaveEffect::Connect { master })
            }
            open if open.is_open() && self.heard.after(self.policy.silence) <= now => {
                self.give_up(now, GivenUp::Silent);
                self.poll(now, own)
            }
            State::Linked { from, next } => self.report(now, next.min(own.safe).max(from)),
            // What is held is not in the log: no more is known here than at first.
            State::Proving { from, .. } => self.report(now, from),
            State::Idle { .. } | State::Connecting | State::Parted(_) => None,
        }
    }

    /// Reports a position, if it is news or it is time.
    fn report(&mut self, now: Mono, position: Physical) -> Option<SlaveEffect> {
        let is_due = self
            .told
            .is_none_or(|(when, told)| told < position || when.after(self.policy.heartbeat) <= now);
        is_due.then(|| {
            self.told = Some((now, position));
            SlaveEffect::Report(position)
        })
    }

    /// When something is due although nothing happened.
    pub fn deadline(&self) -> Option<Mono> {
        let silence = self.heard.after(self.policy.silence);
        match self.state {
            State::Idle { until } => self.master.as_ref().map(|_| until),
            State::Connecting => Some(silence),
            State::Linked { .. } | State::Proving { .. } => {
                let told = self.told.map_or(Mono::ZERO, |(when, _)| when);
                Some(silence.min(told.after(self.policy.heartbeat)))
            }
            State::Parted(_) => None,
        }
    }

    /// What always holds.
    pub fn verify(&self) {
        if let State::Linked { from, next } = self.state {
            assert!(from <= next, "what comes next was asked for");
        }
    }

    /// Folds the state in.
    pub fn digest(&self, into: &mut Digest) {
        let (kind, one, two) = match self.state {
            State::Idle { until } => (0, until.as_micros(), 0),
            State::Connecting => (1, 0, 0),
            State::Linked { from, next } => (2, from.get(), next.get()),
            State::Parted(Parting::Cut(at)) => (3, at.get(), 0),
            State::Parted(Parting::Begin(at)) => (4, at.get(), 0),
            State::Proving { at, held, .. } => (5, at.get(), held),
        };
        for number in [kind, one, two, self.overlap] {
            into.number(number);
        }
        into.number(self.told.map_or(0, |(_, told)| told.get() + 1));
    }
}

/// Byte 0 is never asked for, and is the same in all logs: the first of a length that is shorter
/// than it could be.
fn locate(from: Physical, to: Physical) -> Step {
    let from = if from.get() == 1 { Physical::ZERO } else { from };
    Step::Locate { from, to }
}
