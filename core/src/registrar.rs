//! Keeps a broker registered with one name server: what is said to it, and when it is said again.
//!
//! ```text
//! register ─► say ─► answered: rest, until the connection is lost or something newer is to be said
//!              ▲  └► not answered: wait, twice as long each time
//!              └──────────────────────┘
//! ```
//!
//! Each call of [`Registrar::register`] brings one outcome, unless a newer call overtakes it;
//! repetitions bring none. What is said, a registration, it does not look into. Who drives it has
//! one connection to the name server at a time.

use std::time::Duration;

use hotfire_storage::time::Mono;

/// The first pause after a failure, and the one behind a lost connection: who closes whatever he
/// is told is not told in a loop. Each further failure is followed by one twice as long.
const PAUSE_LEAST: Duration = Duration::from_millis(200);
/// The longest pause; the broker's own period is longer.
const PAUSE_MOST: Duration = Duration::from_secs(10);

/// Counts what was to be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Round(u64);

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<W> {
    /// Say this, and tell what came of it: [`Registrar::ended`].
    Say(Round, W),
    /// Tell when it is that time, if nothing else happens before: [`Registrar::woken`].
    Wait(Mono),
    /// Nothing, until something happens.
    Rest,
}

/// The machine.
#[derive(Debug)]
pub struct Registrar<W> {
    latest: Option<W>,
    round: Round,
    /// The newest round of which an outcome was told.
    done: Round,
    is_busy: bool,
    pause: Duration,
    wakes: Option<Mono>,
}

impl<W> Default for Registrar<W> {
    fn default() -> Self {
        let (round, pause) = (Round::default(), PAUSE_LEAST);
        Self { latest: None, round, done: round, is_busy: false, pause, wakes: None }
    }
}

impl<W: Clone> Registrar<W> {
    /// This is to be said from now on.
    pub fn register(&mut self, registration: W) -> Next<W> {
        self.latest = Some(registration);
        self.round.0 += 1;
        self.say()
    }

    fn say(&mut self) -> Next<W> {
        let Some(registration) = self.latest.clone().filter(|_| !self.is_busy) else {
            return Next::Rest;
        };
        (self.is_busy, self.wakes) = (true, None);
        Next::Say(self.round, registration)
    }

    /// It was answered, or was not. Is that news to the broker? And what is next?
    pub fn ended(&mut self, now: Mono, round: Round, failed: bool) -> (bool, Next<W>) {
        self.is_busy = false;
        let is_news = round > self.done;
        self.done = self.done.max(round);
        if self.round > self.done {
            return (is_news, self.say());
        }
        if !failed {
            self.pause = PAUSE_LEAST;
            return (is_news, Next::Rest);
        }
        let next = self.wait(now.after(self.pause));
        self.pause = PAUSE_MOST.min(self.pause * 2);
        (is_news, next)
    }

    fn wait(&mut self, until: Mono) -> Next<W> {
        self.wakes = Some(until);
        Next::Wait(until)
    }

    /// The connection ended, which a name server takes for the broker's death, or it is not trusted
    /// any more.
    pub fn lost(&mut self, now: Mono) -> Next<W> {
        if self.is_busy || self.wakes.is_some() || self.latest.is_none() {
            return Next::Rest;
        }
        self.wait(now.after(PAUSE_LEAST))
    }

    /// Time passed.
    pub fn woken(&mut self, now: Mono) -> Next<W> {
        match self.wakes {
            Some(until) if until <= now => self.say(),
            _ => Next::Rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_micros(ms * 1000)
    }

    #[test]
    fn what_fails_is_said_again_after_longer_and_longer_and_is_news_once() {
        let mut registrar = Registrar::default();
        assert_eq!(registrar.lost(at(0)), Next::Rest, "there is nothing to say yet");
        assert_eq!(registrar.register("a"), Next::Say(Round(1), "a"));
        let mut now = 0;
        for pause in [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let (is_news, next) = registrar.ended(at(now), Round(1), true);
            assert_eq!((is_news, next), (now == 0, Next::Wait(at(now + pause))));
            assert_eq!(registrar.woken(at(now + pause - 1)), Next::Rest, "it is too early");
            now += pause;
            assert_eq!(registrar.woken(at(now)), Next::Say(Round(1), "a"));
        }
        assert_eq!(registrar.ended(at(now), Round(1), false), (false, Next::Rest));
        assert_eq!(registrar.woken(at(now + 60_000)), Next::Rest);
        assert_eq!(registrar.lost(at(now)), Next::Wait(at(now + 200)), "the shortest again");
        assert_eq!(registrar.lost(at(now + 100)), Next::Rest, "it waits already");
    }

    #[test]
    fn what_is_newer_is_said_at_once_and_overtakes() {
        let mut registrar = Registrar::default();
        registrar.register("a");
        assert_eq!(registrar.register("b"), Next::Rest, "one question at a time");
        assert_eq!(registrar.register("c"), Next::Rest);
        assert_eq!(registrar.lost(at(1)), Next::Rest, "who asks hears of it");
        assert_eq!(registrar.ended(at(1), Round(1), true), (true, Next::Say(Round(3), "c")));
        assert_eq!(registrar.ended(at(2), Round(3), true), (true, Next::Wait(at(202))));
        assert_eq!(registrar.register("d"), Next::Say(Round(4), "d"), "without a pause");
        assert_eq!(registrar.woken(at(202)), Next::Rest, "that wait is over");
    }
}
