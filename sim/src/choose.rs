//! The one source of chance.
//!
//! Everything random in a run (its plan, the schedule, faults, the workload) is a question "which
//! of these `n`?" put to a [`Choose`]. Who answers is interchangeable:
//!
//! | source | made by | for |
//! |---|---|---|
//! | a seed | [`Chance::seed`], [`Chance::recorded`] | soak: a new run for every number |
//! | a tape | [`Chance::tape`] | exact replay, and shrinking: a tape can be edited |
//! | bytes | [`Chance::bytes`] | a coverage-guided fuzzer |
//! | everything | [`exhaust`] | small scopes, completely |
//!
//! Three rules make answers worth keeping:
//!
//! * **Each [`Concern`] has a sub-stream of its own**, so that one more draw in the network does
//!   not move the disk, neither under a seed nor when a tape is cut.
//! * **Integers only.** Results must not depend on a platform's floating point.
//! * **0 is the dull answer**: no fault, the least delay, the first candidate. An exhausted tape
//!   answers 0, so what is cut off a tape is a fault less, and what stays in a shrunk tape matters.

mod every;
mod tape;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::Rng as _;
use rand_pcg::Pcg64;

use every::Odometer;
pub use every::exhaust;
pub use tape::{Draw, Tape, TapeError};

/// Answers questions of the kind "which of these?".
pub trait Choose {
    /// A number below `n`. `why` names the question in a tape: `disk.page`.
    ///
    /// Panics if `n` is 0: there is nothing to choose from. A question with one answer is not
    /// asked: it draws nothing.
    fn below(&mut self, n: u64, why: &'static str) -> u64;

    /// Yes, in `per_mille` of 1000 cases. Its own method, not `below(1000)`, because to a tape, a
    /// fuzzer and an enumeration it is a question with two answers. Never and always draw nothing.
    fn chance(&mut self, per_mille: u32, why: &'static str) -> bool;

    /// A number from `from` up to, and not including, `to`.
    fn range(&mut self, from: u64, to: u64, why: &'static str) -> u64 {
        assert!(from < to, "{why}: the range {from}..{to} is empty");
        from + self.below(to - from, why)
    }

    /// An index into `len` things.
    fn index(&mut self, len: usize, why: &'static str) -> usize {
        let len = u64::try_from(len).expect("a usize fits");
        usize::try_from(self.below(len, why)).expect("it is below a usize")
    }
}

/// One of `items`; the first one is the dull one.
pub fn pick<'a, T>(choose: &mut dyn Choose, items: &'a [T], why: &'static str) -> &'a T {
    &items[choose.index(items.len(), why)]
}

/// What a choice is about. Each has a sub-stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Concern {
    /// Drifts and jumps of clocks.
    Clock,
    /// Latency, writeback and faults of the simulated medium.
    Disk,
    /// What links do to bytes.
    Net,
    /// The plan, before anything runs.
    Plan,
    /// Crashes, pauses and restarts.
    Process,
    /// Who is next among those that could be.
    Schedule,
    /// What clients do.
    Work,
    /// The part of the plan that ring 2 alone has.
    Wired,
}

impl Concern {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Clock,
        Self::Disk,
        Self::Net,
        Self::Plan,
        Self::Process,
        Self::Schedule,
        Self::Work,
        Self::Wired,
    ];

    /// The word used on tapes and command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Disk => "disk",
            Self::Net => "net",
            Self::Plan => "plan",
            Self::Process => "process",
            Self::Schedule => "schedule",
            Self::Work => "work",
            Self::Wired => "wired",
        }
    }

    /// The concern called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|concern| concern.name() == name)
    }

    /// Added to the seed. Written down, not derived from the variant's number: a new concern must
    /// not shift the streams, and so every known seed, of the others.
    const fn salt(self) -> u64 {
        match self {
            Self::Clock => 0x0c10_c000_5eed_0001,
            Self::Disk => 0xd15c_0000_5eed_0002,
            Self::Net => 0x0e70_0000_5eed_0003,
            Self::Plan => 0x91a4_0000_5eed_0004,
            Self::Process => 0x940c_0000_5eed_0005,
            Self::Schedule => 0x5c4e_d000_5eed_0006,
            Self::Work => 0x3042_0000_5eed_0007,
            Self::Wired => 0x312e_d000_5eed_0008,
        }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// All the chance of one run: a handle, cheap to clone, that outlives a panic of the run, so that
/// what was drawn until then can be written down.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<Inner>>);

struct Inner {
    source: Source,
    /// What was answered, if that was asked for.
    record: Option<Vec<Draw>>,
    drawn: u64,
}

enum Source {
    Seed(Box<[Pcg64; Concern::ALL.len()]>),
    Tape(Box<[tape::Queue; Concern::ALL.len()]>),
    Bytes { bytes: Vec<u8>, at: usize },
    Every(Odometer),
}

impl Chance {
    /// Chance from a seed, not written down: the seed is enough to have it again.
    pub fn seed(seed: u64) -> Self {
        Self::new(Source::Seed(Box::new(Concern::ALL.map(|concern| generator(seed, concern)))))
    }

    /// Chance from a seed, every draw written down.
    pub fn recorded(seed: u64) -> Self {
        let chance = Self::seed(seed);
        chance.lock().record = Some(Vec::new());
        chance
    }

    /// Chance as a tape says; what is really answered is written down once more, since answers
    /// out of range are reduced and an exhausted tape goes on with zeros.
    pub fn tape(tape: &Tape) -> Self {
        let chance = Self::new(Source::Tape(Box::new(tape.queues())));
        chance.lock().record = Some(Vec::new());
        chance
    }

    /// Chance as a fuzzer's bytes say; exhausted bytes give zeros.
    pub fn bytes(bytes: &[u8]) -> Self {
        let chance = Self::new(Source::Bytes { bytes: bytes.to_vec(), at: 0 });
        chance.lock().record = Some(Vec::new());
        chance
    }

    fn new(source: Source) -> Self {
        Self(Arc::new(Mutex::new(Inner { source, record: None, drawn: 0 })))
    }

    /// The stream of one concern. Handles of the same concern draw from the same stream.
    pub fn of(&self, concern: Concern) -> Stream {
        Stream { chance: self.clone(), concern }
    }

    /// How many questions were asked so far.
    pub fn drawn(&self) -> u64 {
        self.lock().drawn
    }

    /// What was answered so far; empty unless it was being written down.
    pub fn written(&self) -> Tape {
        Tape::new(self.lock().record.clone().unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panicking run poisons the lock; its draws are exactly what is wanted then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chance").field("drawn", &self.drawn()).finish_non_exhaustive()
    }
}

/// The stream of one [`Concern`] of a [`Chance`].
#[derive(Clone, Debug)]
pub struct Stream {
    chance: Chance,
    concern: Concern,
}

impl Choose for Stream {
    fn below(&mut self, n: u64, why: &'static str) -> u64 {
        assert!(n > 0, "{why}: nothing to choose from");
        if n == 1 {
            return 0;
        }
        self.chance.lock().draw(self.concern, n, why)
    }

    fn chance(&mut self, per_mille: u32, why: &'static str) -> bool {
        match per_mille {
            0 => false,
            1000.. => true,
            _ => self.chance.lock().flip(self.concern, per_mille, why),
        }
    }
}

impl Inner {
    fn draw(&mut self, concern: Concern, n: u64, why: &'static str) -> u64 {
        let value = match &mut self.source {
            Source::Seed(generators) => scaled(generators[concern as usize].next_u64(), n),
            Source::Tape(queues) => queues[concern as usize].next().unwrap_or(0) % n,
            Source::Bytes { bytes, at } => eat(bytes, at, n),
            Source::Every(odometer) => odometer.turn(n, why),
        };
        self.note(Draw { concern, why: why.into(), of: n, value });
        value
    }

    fn flip(&mut self, concern: Concern, per_mille: u32, why: &'static str) -> bool {
        let rare = u64::from(1000 - per_mille);
        let yes = match &mut self.source {
            Source::Seed(generators) => {
                scaled(generators[concern as usize].next_u64(), 1000) >= rare
            }
            Source::Tape(queues) => queues[concern as usize].next().unwrap_or(0) % 2 == 1,
            Source::Bytes { bytes, at } => eat(bytes, at, 1000) >= rare,
            Source::Every(odometer) => odometer.turn(2, why) == 1,
        };
        self.note(Draw { concern, why: why.into(), of: 2, value: u64::from(yes) });
        yes
    }

    fn note(&mut self, draw: Draw) {
        self.drawn += 1;
        if let Some(record) = &mut self.record {
            record.push(draw);
        }
    }
}

/// The generator of one concern. PCG's own stream selector is not enough: sequences of one start
/// under two selectors are correlated, so the start is mixed as well.
fn generator(seed: u64, concern: Concern) -> Pcg64 {
    let high = mixed(seed ^ concern.salt());
    let low = mixed(high ^ seed);
    Pcg64::new(u128::from(high) << 64 | u128::from(low), u128::from(concern.salt()))
}

/// SplitMix64's finaliser: neighbouring seeds must not give neighbouring runs.
pub(crate) const fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A 64-bit number brought below `n` by multiplication. The bias, at most `n / 2^64`, is nothing
/// that a simulator could notice, and every question costs exactly one draw.
fn scaled(random: u64, n: u64) -> u64 {
    u64::try_from((u128::from(random) * u128::from(n)) >> 64).expect("it is below n")
}

/// As few bytes as could hold any answer, so that a fuzzer's mutation of one byte changes one
/// answer.
fn eat(bytes: &[u8], at: &mut usize, n: u64) -> u64 {
    let width = (u64::BITS - (n - 1).leading_zeros()).div_ceil(8);
    let mut value = 0;
    for _ in 0..width {
        let byte = bytes.get(*at).copied().unwrap_or(0);
        *at += usize::from(*at < bytes.len());
        value = value << 8 | u64::from(byte);
    }
    value % n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(stream: &mut Stream, count: usize) -> Vec<u64> {
        (0..count).map(|_| stream.below(1000, "test")).collect()
    }

    #[test]
    fn a_seed_gives_the_same_answers_for_ever() {
        // Written down: a change here silently invalidates every seed in a bug report.
        let answers = numbers(&mut Chance::seed(4711).of(Concern::Disk), 8);
        assert_eq!(answers, numbers(&mut Chance::seed(4711).of(Concern::Disk), 8));
        assert_eq!(answers, [93, 979, 501, 214, 49, 198, 641, 91]);
    }

    #[test]
    fn a_draw_of_one_concern_does_not_move_another() {
        let alone = numbers(&mut Chance::seed(1).of(Concern::Disk), 100);
        let both = Chance::seed(1);
        let mut disk = both.of(Concern::Disk);
        let mut net = both.of(Concern::Net);
        let mixed: Vec<u64> = (0..100)
            .map(|_| {
                net.below(7, "test");
                disk.below(1000, "test")
            })
            .collect();
        assert_eq!(alone, mixed);
        assert_ne!(alone, numbers(&mut Chance::seed(1).of(Concern::Net), 100));
    }

    #[test]
    fn answers_are_even_and_chances_are_as_rare_as_said() {
        let chance = Chance::seed(7);
        let mut stream = chance.of(Concern::Work);
        let mut counts = [0u32; 10];
        (0..100_000).for_each(|_| counts[stream.index(10, "test")] += 1);
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        let yes = (0..100_000).filter(|_| stream.chance(30, "test")).count();
        assert!((2_700..3_300).contains(&yes), "{yes}");
    }

    #[test]
    fn what_has_one_answer_draws_nothing() {
        let chance = Chance::recorded(3);
        let mut stream = chance.of(Concern::Net);
        assert_eq!(stream.below(1, "test"), 0);
        assert!(!stream.chance(0, "test"));
        assert!(stream.chance(1000, "test"));
        assert_eq!(*pick(&mut stream, &["only"], "test"), "only");
        assert_eq!(chance.drawn(), 0);
        assert_eq!(chance.written(), Tape::default());
    }

    #[test]
    fn bytes_answer_and_run_out() {
        let chance = Chance::bytes(&[5, 1, 2, 255]);
        let mut stream = chance.of(Concern::Work);
        assert_eq!(stream.below(200, "one byte"), 5);
        assert_eq!(stream.below(1000, "two bytes"), 0x0102);
        assert_eq!(stream.below(100, "reduced"), 55);
        assert_eq!(stream.below(100, "exhausted"), 0);
        assert!(!stream.chance(999, "exhausted"));
    }

    #[test]
    #[should_panic(expected = "test: nothing to choose from")]
    fn choosing_from_nothing_is_our_own_mistake() {
        Chance::seed(1).of(Concern::Plan).below(0, "test");
    }
}
