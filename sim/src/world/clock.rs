//! A node's clocks: a monotonic one that drifts, a wall clock that also jumps.

use hotfire_storage::time::{Mono, Now, Wall};

/// Wall time of the start of a run, in milliseconds since 1970.
const START_MS: i64 = 1_700_000_000_000;

/// Both clocks of a node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// Parts per million that the monotonic clock is fast.
    pub(super) ppm: i64,
    /// How far the wall clock is off.
    pub(super) wall_ms: i64,
    /// When the process started, whose zero of monotonic time that is.
    pub(super) born: u64,
}

impl Clock {
    /// Both, at the world's `now`.
    pub(super) fn now(&self, now: u64) -> Now {
        let elapsed = i64::try_from(now - self.born).expect("runs are short");
        let mono = elapsed + elapsed * self.ppm / 1_000_000;
        let world_ms = i64::try_from(now / 1000).expect("runs are short");
        Now {
            mono: Mono::from_micros(u64::try_from(mono).expect("drift is below a half")),
            wall: Wall::from_millis(START_MS + world_ms + self.wall_ms),
        }
    }

    /// The first moment of the world at which the monotonic clock shows `mono`.
    pub(super) fn when(&self, mono: Mono) -> u64 {
        let shown = i128::from(mono.as_micros());
        let elapsed = shown * 1_000_000 / i128::from(1_000_000 + self.ppm);
        let mut at = self.born.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX >> 1));
        while at < u64::MAX >> 1 && self.now(at).mono < mono {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_met_at_the_first_moment_that_shows_it() {
        for ppm in [-50_000, -1, 0, 200, 50_000] {
            let clock = Clock { ppm, wall_ms: 0, born: 77 };
            for mono in [0, 1, 999, 1_000_000, 123_456_789] {
                let at = clock.when(Mono::from_micros(mono));
                assert!(clock.now(at).mono >= Mono::from_micros(mono), "{ppm} {mono}");
                let early = at.checked_sub(2).filter(|early| *early >= clock.born);
                let early = early.map(|early| clock.now(early).mono);
                assert!(early.is_none_or(|early| early < Mono::from_micros(mono)), "{ppm} {mono}");
            }
        }
    }
}
