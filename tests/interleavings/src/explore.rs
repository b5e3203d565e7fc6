//! Runs a scenario under many schedules.

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many schedules of each kind a scenario is run under.
const SCHEDULES: usize = 2_000;
/// Preemptions that the second kind of schedule is made of: most races need no more than two or three.
const PREEMPTIONS: usize = 3;

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config
}

/// Random schedules, and schedules of few preemptions, from a seed that is printed: `CROSSFADE_SEED` repeats it. A
/// failure prints its own schedule besides, for `shuttle::replay`.
pub fn explore(scenario: fn()) {
    let seed = seed();
    println!("CROSSFADE_SEED={seed}");
    Runner::new(RandomScheduler::new_from_seed(seed, SCHEDULES), config()).run(scenario);
    Runner::new(PctScheduler::new_from_seed(seed, PREEMPTIONS, SCHEDULES), config()).run(scenario);
}

/// Every schedule there is, up to a bound on their number; returns how many that were.
///
/// # Panics
/// When a scenario that is said to be exhausted is not, or when it fails.
pub fn exhaust(most: usize, scenario: fn()) -> usize {
    let schedules = Runner::new(DfsScheduler::new(Some(most), false), config()).run(scenario);
    println!("{schedules} schedules");
    assert!(schedules < most, "there are more than {most} schedules");
    schedules
}

fn seed() -> u64 {
    let given = std::env::var("CROSSFADE_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos()) ^ u64::from(std::process::id()) << 32
    })
}
