//! The control plane under a fleet: a real `crossfade serve`, real connections, instances that speak its protocol.
//!
//! Instances and load run on the machine that the server runs on. What each job is: `docs/reference/benchmarks.md`.

mod evaluations;
mod fleet;
mod jobs;
mod lab;
mod peers;
mod process;
mod wire;

use anyhow::Context as _;
use jobs::{Extent, Job};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print JSON lines; the last one is the result.
    #[arg(long)]
    json: bool,
    /// Revisions and moves to publish; OFREP servers are asked a quarter as often.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Only these jobs.
    #[arg(long, value_enum)]
    only: Vec<Job>,
    /// Ten thousand instances, and the jobs alone that are about their number.
    #[arg(long)]
    big: bool,
    /// Measure this command instead of the one that is built here: for comparing two versions.
    #[arg(long, value_name = "FILE")]
    crossfade: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let jobs: Vec<Job> = match (arguments.only.is_empty(), arguments.big) {
        (false, _) => arguments.only.clone(),
        (true, true) => vec![Job::Publish, Job::Heartbeats],
        (true, false) => <Job as clap::ValueEnum>::value_variants().to_vec(),
    };
    let say = |what: &str| match arguments.json {
        true => println!("{}", json!({ "event": "progress", "doing": what })),
        false => eprintln!("{what}"),
    };
    let mut extent = Extent { big: arguments.big, rounds: arguments.rounds, room: 0 };
    extent.room = process::make_room(extent.instances())?;
    let crossfade = match &arguments.crossfade {
        Some(command) => command.canonicalize().with_context(|| format!("there is no {}", command.display()))?,
        None => {
            say("crossfade is built");
            lab::build()?
        }
    };
    if jobs.contains(&Job::Ofrep) {
        say("fast-feature is installed");
        peers::FastFeature::install()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut results, mut bars) = (Vec::new(), Vec::new());
    for job in jobs {
        say(job.name());
        let (mut figures, reached) = runtime.block_on(job.measure(&crossfade, extent))?;
        if let Some(fields) = figures.as_object_mut() {
            fields.insert("job".to_owned(), json!(job.name()));
        }
        say(&figures.to_string());
        results.push(figures);
        bars.extend(reached);
    }
    if arguments.json {
        let result: Value =
            json!({ "event": "result", "rounds": extent.rounds, "big": extent.big, "jobs": results, "bars": bars });
        println!("{result}");
        return Ok(());
    }
    println!("{:<64}{:>12}{:>10}", "", "measured", "bar");
    for bar in &bars {
        let met = if bar.met { "met" } else { "MISSED" };
        println!("{:<64}{:>12.1}{:>10.0} {met}", bar.name, bar.measured, bar.bar);
    }
    Ok(())
}
