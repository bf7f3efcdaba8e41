use super::*;
use crate::choose::Chance;
use crate::ring::{Change, Ring};
use crate::trace::Trace;

fn passed(seed: u64) -> Passed {
    let made = Run::new(Ring::Lockstep, Chance::seed(seed), &Change::default(), Trace::off());
    run(&made).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"))
}

#[test]
fn some_seeds_pass_and_each_is_one_run() {
    for seed in 0..20 {
        assert_eq!(passed(seed), passed(seed), "seed {seed}");
    }
}
