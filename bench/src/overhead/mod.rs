//! What the machinery around a DAO costs, above calling the DAO directly.
//!
//! Everything is measured in one run, in rounds that go through every stage, operation and subject in turn, so that
//! whatever else the machine does falls on all of them alike. A figure is the median over the rounds of a difference,
//! or of a ratio, taken within one round. How to read it: `docs/reference/benchmarks.md`.

mod batch;
mod dao;
mod decision;
mod launchdarkly;
mod marks;
mod report;
mod slow;
mod stages;
mod subjects;
mod workers;

use crate::measure::cost_of_clock;
use crossfade::Stage;
use dao::{AtOnce, YieldsOnce};
use report::{Progress, Report};

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print JSON lines; the last one is the result.
    #[arg(long)]
    json: bool,
    /// Rounds; each goes through everything once. More rounds, steadier medians.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(3..=1_000))]
    rounds: u32,
    /// Measure one stage only, again and again: for a profiler.
    #[arg(long)]
    only: Option<Stage>,
}

/// Measures and prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let stages = arguments.only.map_or_else(|| Stage::ALL.to_vec(), |stage| vec![stage]);
    let progress = Progress::new(arguments.json, arguments.rounds);
    // One thread for callers and background alike: the peers' migrator cannot leave its thread, and CPU time then has
    // no waking of sleeping threads in it, which says more about the load of a machine than about a library.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let clock = cost_of_clock();
    let decision = decision::measure(&runtime, arguments.rounds)?;
    let ready = stages::measure(&runtime, AtOnce, &stages, arguments.rounds, clock, &progress.part("ready"))?;
    let yielding = stages::measure(&runtime, YieldsOnce, &stages, arguments.rounds, clock, &progress.part("yielding"))?;
    let floors = stages::floors(&runtime, arguments.rounds);
    drop(runtime);
    let workers = workers::measure(&stages, arguments.rounds, &progress.part("two workers"))?;
    let slow = slow::measure()?;
    let marks = marks::measure(arguments.rounds)?;
    Report { rounds: arguments.rounds, decision, ready, yielding, floors, workers, slow, marks }.print(arguments.json);
    Ok(())
}
