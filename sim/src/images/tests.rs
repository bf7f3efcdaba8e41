//! The harness itself: it judges, and what it finds fails again.

use super::*;
use crate::ring::{Ring, replay};

#[test]
fn every_moment_of_some_workloads_is_survived() {
    let (mut counts, ledger) = (Counts::default(), Ledger::default());
    for seed in 0..8 {
        let swept = sweep(seed, &Change::default(), 1, &ledger);
        let counted = swept.unwrap_or_else(|found| {
            panic!("seed {seed}, {}: {}", found.place, found.violation);
        });
        counts.absorb(&counted);
    }
    assert!(counts.images() > 500, "{counts:?}");
    assert_eq!(counts.moments.len(), Moment::ALL.len(), "{counts:?}");
    assert!(counts.deaths > 0 && counts.shortened > 0, "{counts:?}");
}

#[test]
fn a_disk_that_lies_is_found_and_the_tape_says_it_again() {
    let change = Change { lies: 1000, ..Change::default() };
    let mut swept = (0..20).map(|seed| sweep(seed, &change, 1, &Ledger::default()));
    let found = swept.find_map(Result::err).expect("20 workloads are enough");
    assert_eq!(found.violation.oracle, "what was flushed survives", "{}", found.place);
    let (outcome, _) = replay(Ring::Images, &found.tape, &change, Trace::off());
    assert_eq!(outcome.map(|_| ()), Err(found.violation));
}
