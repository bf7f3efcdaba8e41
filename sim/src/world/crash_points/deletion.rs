//! Every crash point of a broker that deletes: files of the log go while records are written, and
//! those of its queue follow. Whatever was done of it when the machine died, a start finds a log
//! without a hole, a queue that has counted as far as it had, and goes on deleting.

use super::*;

/// Three records are a file of the log, two units a file of the queue; all but the last are old at
/// once, and a round comes whenever somebody looks.
fn keeping() -> Keeping {
    Keeping {
        reserved_us: 1,
        any_hour: true,
        every_us: 20_000,
        between_us: 1,
        ..Keeping::forever()
    }
}

impl Rig {
    /// Time passes in which files are deleted.
    fn pass(&mut self) -> Result<(), Stopped> {
        for _ in 0..8 {
            let due = self.broker().deadline().expect("there is always a next round");
            self.now = due.as_micros().max(self.now + 1);
            self.medium.advance(Mono::from_micros(self.now));
            self.rest()?;
            let store = self.broker().store();
            let (start, end) = (store.start().get(), store.written().end().get());
            let name = Text::from(NAME);
            for found in self.medium.take_measures() {
                self.oracles.retention.measured(&name, self.now, found);
            }
            let looked = self.oracles.retention.turned(&name, self.now, true, (start, end));
            looked.unwrap_or_else(|violation| panic!("{violation}"));
        }
        Ok(())
    }

    /// What was decided in the turn of a death counts.
    fn last_look(&mut self) {
        let store = self.broker().store();
        let log = (store.start().get(), store.written().end().get());
        let looked = self.oracles.retention.turned(&Text::from(NAME), self.now, true, log);
        looked.unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn a_crash_at_every_point_of_a_deletion_keeps_every_promise() {
    let (mut all, mut deepest) = (0, 0);
    for at in 0.. {
        let mut stopped = false;
        all += exhaust(100_000, |chance| {
            let mut rig = Rig::keeping(chance, true, FILE, keeping());
            // Eight records are more than two files of the log, and four of the queue.
            (0..8).for_each(|number| {
                rig.send(number);
                assert!(rig.rest().is_ok(), "nothing stops it yet");
            });
            rig.left = at;
            stopped |= rig.pass().is_err();
            rig.last_look();
            deepest = deepest.max(rig.broker().store().start().get());
            let power = chance.of(Concern::Process).below(2, "process.power") == 1;
            rig.die(power);
            assert!(rig.open(None), "a start without faults succeeds");
            // The queue goes on where it was, and so does deletion.
            rig.left = u64::MAX;
            rig.send(8);
            assert!(rig.rest().is_ok() && rig.pass().is_ok(), "nothing stops it");
            let next = rig.broker().store().next_offset("t", 0);
            assert_eq!(next.get(), 9, "no offset is given out twice");
            rig.last_look();
            rig.die(false);
            assert!(rig.open(None), "it starts again");
        });
        if !stopped {
            break;
        }
    }
    assert!(all > 50, "{all} runs");
    assert!(deepest >= 2 * u64::from(FILE), "the log began at {deepest} at last");
}
