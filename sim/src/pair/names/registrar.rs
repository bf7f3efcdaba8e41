//! How a broker keeps registered with one name server: what the task of a driver does
//! (`nodes/src/driver/registrar.rs`), as a machine.

use std::rc::Rc;

use hotfire_core::domain::Registration;

/// The first pause after a failure; each further one is twice as long.
const PAUSE_LEAST: u64 = 200_000;
/// The longest.
const PAUSE_MOST: u64 = 10_000_000;

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    /// Say this, of round so and so.
    Say(u64, Rc<Registration>),
    /// Look again at that time, if nothing else happens before.
    Wait(u64),
    Rest,
}

/// One broker and one name server.
#[derive(Debug)]
pub(super) struct Registrar {
    latest: Option<Rc<Registration>>,
    round: u64,
    done: u64,
    is_busy: bool,
    has_failed: bool,
    pause: u64,
    /// A look at any other time is out of date.
    pub(super) wakes: Option<u64>,
}

impl Registrar {
    pub(super) fn new() -> Self {
        Self {
            latest: None,
            round: 0,
            done: 0,
            is_busy: false,
            has_failed: false,
            pause: PAUSE_LEAST,
            wakes: None,
        }
    }

    /// This is to be said from now on.
    pub(super) fn register(&mut self, registration: Rc<Registration>) -> Next {
        self.latest = Some(registration);
        self.round += 1;
        self.say()
    }

    fn say(&mut self) -> Next {
        let Some(registration) = self.latest.clone().filter(|_| !self.is_busy) else {
            return Next::Rest;
        };
        (self.is_busy, self.wakes) = (true, None);
        Next::Say(self.round, registration)
    }

    /// It was answered, or was not. Is that news to the broker? And what is next?
    pub(super) fn ended(&mut self, now: u64, round: u64, failed: bool) -> (bool, Next) {
        (self.is_busy, self.has_failed) = (false, failed);
        let is_news = round > self.done;
        self.done = self.done.max(round);
        if self.round > self.done {
            return (is_news, self.say());
        }
        if !failed {
            self.pause = PAUSE_LEAST;
            return (is_news, Next::Rest);
        }
        let next = self.wait(now, self.pause);
        self.pause = PAUSE_MOST.min(self.pause * 2);
        (is_news, next)
    }

    fn wait(&mut self, now: u64, pause: u64) -> Next {
        self.wakes = Some(now + pause);
        Next::Wait(now + pause)
    }

    /// The connection ended, or is not trusted any more.
    pub(super) fn lost(&mut self, now: u64) -> Next {
        if self.is_busy || self.wakes.is_some() || self.latest.is_none() {
            return Next::Rest;
        }
        self.wait(now, PAUSE_LEAST)
    }

    /// It is time to look again.
    pub(super) fn woken(&mut self, now: u64) -> Next {
        if self.wakes != Some(now) {
            return Next::Rest;
        }
        self.say()
    }
}
