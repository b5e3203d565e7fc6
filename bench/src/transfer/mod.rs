//! The data side beside its peers: whole commands on private servers, on the machine that also runs both databases.
//!
//! A job is run by the peer and by `crossfade` in turn, round by round; its figure is the median of the rounds' ratios,
//! so that whatever else the machine does falls on both. What each job is: `docs/reference/benchmarks.md`.

pub(crate) mod command;
mod dynamo;
mod jobs;
pub(crate) mod lab;
mod peers;
mod writers;

use crate::measure::median;
use jobs::{Job, Round};
use lab::Lab;
use serde_json::json;

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print JSON lines; the last one is the result.
    #[arg(long)]
    json: bool,
    /// Rows of the table; the DynamoDB jobs take a fortieth of them.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(2_000..))]
    rows: u64,
    /// Rounds; the figure of a job is the median of their ratios.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Only these jobs.
    #[arg(long, value_enum)]
    only: Vec<Job>,
    /// Ten times the rows, and the bulk job alone: shows that memory does not grow with the table.
    #[arg(long)]
    big: bool,
}

/// One job after all rounds.
fn row(job: Job, rounds: &[Round]) -> serde_json::Value {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let (ratio, bar) = (of(|round| round.peer_seconds / round.seconds), job.bar());
    let mut row = json!({
        "job": job.name(), "peer": job.peer(), "rows": rounds.first().map(|round| round.rows),
        "seconds": of(|round| round.seconds), "peer_seconds": of(|round| round.peer_seconds),
        "rows_per_second": of(|round| round.rows as f64 / round.seconds).round(),
        "ratio": ratio, "bar": bar.at_least, "met": ratio >= bar.at_least,
        "resident_kb": rounds.iter().map(|round| round.resident_kb).max(),
    });
    if let (Some(at_least), Some(fields)) = (bar.rows_per_second, row.as_object_mut()) {
        let met = of(|round| round.rows as f64 / round.seconds) >= at_least;
        fields.insert("bar_rows_per_second".to_owned(), json!(at_least));
        fields.insert("met".to_owned(), json!(met));
    }
    let mut further = |name: &str, bar: Option<f64>, figure: fn(&Round) -> Option<f64>| {
        let figures: Vec<f64> = rounds.iter().filter_map(figure).collect();
        if let (false, Some(fields)) = (figures.is_empty(), row.as_object_mut()) {
            fields.insert(name.to_owned(), json!(median(figures)));
            fields.extend(bar.map(|bar| (format!("{name}_bar"), json!(bar))));
        }
    };
    further("users_write_p99_ratio", Some(2.0), |round| Some(round.users.as_ref()?.slower()));
    further("users_write_p99_ratio_beside_peer", None, |round| Some(round.users_beside_peer.as_ref()?.slower()));
    further("seconds_over_equal", Some(1.2), |round| Some(round.seconds / round.equal_seconds?));
    row
}

/// Measures and prints.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let rows = if arguments.big { arguments.rows * 10 } else { arguments.rows };
    let jobs: Vec<Job> = match (arguments.big, arguments.only.is_empty()) {
        (true, _) => vec![Job::PostgresBulk],
        (false, true) => <Job as clap::ValueEnum>::value_variants().to_vec(),
        (false, false) => arguments.only.clone(),
    };
    let say = |what: &str| match arguments.json {
        true => println!("{}", json!({ "event": "progress", "doing": what })),
        false => eprintln!("{what}"),
    };
    say("servers and peers are set up");
    let lab = Lab::new(&jobs)?;
    say(&format!("{rows} rows are made"));
    lab.fill(rows)?;
    let mut results = Vec::new();
    for job in jobs {
        let mut rounds = Vec::new();
        for number in 1..=arguments.rounds {
            let round = job.round(&lab, rows)?;
            say(&format!(
                "{}: round {number} of {}: {:.1} s, {} {:.1} s",
                job.name(),
                arguments.rounds,
                round.seconds,
                job.peer(),
                round.peer_seconds
            ));
            rounds.push(round);
        }
        results.push(row(job, &rounds));
    }
    if arguments.json {
        println!("{}", json!({ "event": "result", "rows": rows, "rounds": arguments.rounds, "jobs": results }));
    } else {
        println!("{:<26}{:>10}{:>10}  {:<28}{:>8}{:>7}", "job", "s", "peer's s", "peer", "ratio", "bar");
        for row in &results {
            println!(
                "{:<26}{:>10.1}{:>10.1}  {:<28}{:>8.2}{:>7.2} {}",
                row["job"].as_str().unwrap_or_default(),
                row["seconds"].as_f64().unwrap_or(f64::NAN),
                row["peer_seconds"].as_f64().unwrap_or(f64::NAN),
                row["peer"].as_str().unwrap_or_default(),
                row["ratio"].as_f64().unwrap_or(f64::NAN),
                row["bar"].as_f64().unwrap_or(f64::NAN),
                if row["met"] == true { "met" } else { "MISSED" },
            );
        }
    }
    Ok(())
}
