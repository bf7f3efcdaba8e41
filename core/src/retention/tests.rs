use super::*;

const FILE: u64 = 100;

fn at(ms: u64) -> Now {
    // 04:30 of some day, in UTC.
    let wall = Wall::from_millis(4 * 3_600_000 + 1_800_000 + i64::try_from(ms).expect("small"));
    Now { mono: Mono::from_micros(ms * 1000), wall }
}

fn policy() -> RetentionPolicy {
    let (every, between) = (Duration::from_secs(10), Duration::from_millis(100));
    RetentionPolicy { reserved: Duration::from_secs(60), every, between, ..Default::default() }
}

fn percent(used: u64) -> DiskUse {
    DiskUse { used: used * FILE, total: 100 * FILE }
}

/// A machine beside a log of full files, all of the same age, and one in use.
struct Rig {
    machine: Retention,
    files: u64,
    gone: u64,
}

impl Rig {
    fn new(policy: RetentionPolicy, files: u64) -> Self {
        let log = LogAtStart {
            start: Physical::ZERO,
            end: Physical::new(files * FILE + 1),
            file_len: FILE,
            newest: at(0).wall,
        };
        let mut rig = Self { machine: Retention::new(policy, at(0), log), files, gone: 0 };
        assert_eq!(rig.poll(0), Some(Act::Measure), "at once, to know whether sends are taken");
        rig.machine.measured(at(0), Some(percent(1)));
        assert_eq!(rig.poll(0), None);
        rig
    }

    fn poll(&mut self, ms: u64) -> Option<Act> {
        loop {
            let start = Physical::new(self.gone * FILE);
            let extent = (start, Physical::new(self.files * FILE + 1));
            let oldest = LogFile { start, end: start.plus(FILE) };
            let oldest = (self.gone < self.files).then_some(oldest);
            self.machine.verify();
            match self.machine.poll(at(ms), extent, oldest) {
                Some(Act::Look(at)) => self.machine.looked(at, Some(Wall::from_millis(0))),
                act => return act,
            }
        }
    }

    /// A round from `ms` on over a disk so full: when files went, and why.
    fn round(&mut self, ms: u64, used: u64) -> Vec<(u64, Why)> {
        assert_eq!(self.poll(ms), Some(Act::Measure));
        self.machine.measured(at(ms), Some(percent(used)));
        assert_eq!(self.poll(ms), Some(Act::Follow));
        self.deletions(ms)
    }

    fn deletions(&mut self, ms: u64) -> Vec<(u64, Why)> {
        let mut went = Vec::new();
        for ms in (ms..ms + 1200).step_by(50) {
            if let Some(Act::Delete { why, .. }) = self.poll(ms) {
                went.push((ms, why));
                self.gone += 1;
                self.machine.deleted(at(ms).mono, true);
            }
        }
        went
    }
}

#[test]
fn old_files_go_at_the_hour_ten_at_a_round_with_time_between_and_never_the_last() {
    let mut rig = Rig::new(policy(), 12);
    assert_eq!(rig.round(10_000, 1), [], "they are young");
    let went = rig.round(60_000, 1);
    assert_eq!(went.len(), 10);
    assert!(went.windows(2).all(|pair| pair[1].0 - pair[0].0 == 100));
    assert!(went.iter().all(|(_, why)| matches!(why, Why::Expired(_))));
    assert_eq!(rig.machine.deadline(), Some(at(70_000).mono));
    assert_eq!(rig.round(70_000, 1).len(), 2);
}

#[test]
fn at_another_hour_old_files_go_if_the_disk_is_filling_or_an_operator_says_so() {
    let mut rig = Rig::new(RetentionPolicy { when: Hours::of([5]), ..policy() }, 30);
    assert_eq!(rig.round(60_000, 75).len(), 0);
    assert_eq!(rig.round(70_000, 76).len(), 10);
    rig.machine.trigger(at(76_000).mono);
    assert_eq!(rig.round(76_000, 1).len(), 10);
    let zone_ms = 3_600_000;
    let mut rig = Rig::new(RetentionPolicy { when: Hours::of([5]), zone_ms, ..policy() }, 30);
    assert_eq!(rig.round(60_000, 1).len(), 10, "it is five o'clock there");
}

#[test]
fn young_files_go_by_need_and_only_if_that_is_allowed() {
    let mut rig = Rig::new(policy(), 30);
    assert_eq!(rig.round(10_000, 85), []);
    let went = rig.round(20_000, 88);
    assert_eq!(went.iter().map(|(_, why)| *why).collect::<Vec<_>>(), [Why::Forced; 3]);
    assert_eq!(rig.round(30_000, 99).len(), 10, "and not fourteen");
    let mut rig = Rig::new(RetentionPolicy { force: false, ..policy() }, 30);
    assert_eq!(rig.round(10_000, 99), []);
}

#[test]
fn a_disk_above_the_warning_takes_no_sends_until_a_measure_says_otherwise() {
    let reserved = Duration::from_secs(3600);
    let mut rig = Rig::new(RetentionPolicy { reserved, ..policy() }, 30);
    assert_eq!(rig.round(10_000, 90).len(), 5);
    assert_eq!(rig.machine.full(), None);
    assert_eq!(rig.poll(20_000), Some(Act::Measure));
    rig.machine.measured(at(20_000), Some(percent(91)));
    assert_eq!(rig.machine.full(), Some(percent(91)));
    assert_eq!(rig.poll(20_000), Some(Act::Follow));
    assert_eq!(rig.deletions(20_000).len(), 6);
    let recheck = rig.machine.deadline().expect("once more, before the next round");
    assert!(recheck < at(30_000).mono);
    assert_eq!(rig.poll(recheck.as_micros() / 1000), Some(Act::Measure));
    rig.machine.measured(at(29_000), None);
    assert!(rig.machine.full().is_some(), "nothing is known");
    assert_eq!(rig.round(30_000, 90).len(), 5);
    assert_eq!(rig.machine.full(), None);
}

#[test]
fn a_file_that_is_not_durable_yet_is_waited_for_and_one_that_does_not_go_ends_the_round() {
    let mut rig = Rig::new(policy(), 5);
    assert_eq!(rig.poll(10_000), Some(Act::Measure));
    rig.machine.measured(at(10_000), Some(percent(90)));
    assert_eq!(rig.poll(10_000), Some(Act::Follow));
    assert!(matches!(rig.poll(10_000), Some(Act::Delete { .. })));
    assert_eq!(rig.machine.kept(at(10_000).mono, Kept::Unsynced), Some(Act::Sync));
    assert_eq!(rig.poll(10_050), None);
    assert!(matches!(rig.poll(10_100), Some(Act::Delete { .. })));
    assert_eq!(rig.machine.kept(at(10_100).mono, Kept::Unsynced), None, "asked once");
    assert!(matches!(rig.poll(10_200), Some(Act::Delete { .. })));
    assert_eq!(rig.poll(11_000), None, "one at a time");
    rig.machine.deleted(at(11_000).mono, false);
    assert_eq!(rig.poll(12_000), None);
    assert_eq!(rig.machine.deadline(), Some(at(20_000).mono));
}

#[test]
fn a_wall_clock_that_jumps_ten_years_ahead_deletes_nothing() {
    const YEARS: i64 = 10 * 365 * 24 * 3_600_000;
    let mut rig = Rig::new(RetentionPolicy { when: Hours::ALL, ..policy() }, 5);
    for round in 1..4 {
        let mono = at(round * 10_000).mono;
        let now = Now { mono, wall: Wall::from_millis(at(0).wall.as_millis() + YEARS) };
        let oldest = LogFile { start: Physical::ZERO, end: Physical::new(FILE) };
        let extent = (Physical::ZERO, Physical::new(5 * FILE + 1));
        assert_eq!(rig.machine.poll(now, extent, Some(oldest)), Some(Act::Measure));
        rig.machine.measured(now, Some(percent(80)));
        assert_eq!(rig.machine.poll(now, extent, Some(oldest)), Some(Act::Follow));
        let act = rig.machine.poll(now, extent, Some(oldest));
        // Half a minute was counted for all the time before; the other half must really pass.
        assert_eq!(act.is_some(), round == 3, "{act:?} in round {round}");
    }
}
