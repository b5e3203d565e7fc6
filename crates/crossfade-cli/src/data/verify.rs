//! `crossfade verify ID`

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use crossfade_api::{exit::Exit, wire};
use crossfade_transfer::{
    keys,
    pace::Control,
    progress::{Counters, Observer},
    verify::{self, Difference, Options, Outcome, PushDown, Verdict},
};
use serde_json::json;

use super::plane::{PlaneArgs, Run};
use super::{Context, opening, opening::Opened, output};

/// Look at every row of both sides: verified, diverged (which rows) or unknown (which ranges, and why)
#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    /// The migration
    id: String,
    /// Only this table (its name in the source)
    #[arg(long)]
    table: Option<String>,
    /// Write a JSON line per row that differs (key, kind, field names) to this file
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Ranges at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
    /// Compare every row here, instead of checksums that the databases compute
    #[arg(long)]
    no_push_down: bool,
    #[command(flatten)]
    plane: PlaneArgs,
}

pub(super) async fn run(args: VerifyArgs, context: &Context) -> Exit {
    let pairs = match opening::pairs(context, &args.id, args.table.as_deref()).await {
        Ok(pairs) => pairs,
        Err(exit) => return exit,
    };
    let control = output::stop_on_signal(context);
    let run = match Run::begin(&args.plane, context, &args.id, wire::InstanceKind::Verify, &pairs, &control).await {
        Ok(run) => run,
        Err(exit) => return exit,
    };
    let (exit, outcome) = work(&args, context, &pairs, &control, run.as_ref()).await;
    let Some(run) = run else { return exit };
    let verdict = match outcome.map(|outcome| outcome.report) {
        // A look at one table of several says nothing about the migration.
        Some(_) if !opening::is_whole(context, &args.id, args.table.as_deref()) => wire::Outcome::Interrupted,
        Some(report) => wire::Outcome::Verdict(match report.verdict {
            Verdict::Verified => crossfade_core::Verdict::Verified,
            Verdict::Diverged => {
                crossfade_core::Verdict::Diverged(report.missing_in_target + report.extra_in_target + report.different)
            }
            Verdict::Unknown => crossfade_core::Verdict::Unknown(report.unknown_ranges.len() as u64),
        }),
        None => wire::Outcome::Interrupted,
    };
    run.end(verdict, exit).await
}

async fn work(
    args: &VerifyArgs,
    context: &Context,
    tables: &[Opened],
    control: &Control,
    run: Option<&Run>,
) -> (Exit, Option<Outcome>) {
    let observer: Arc<dyn Observer> = Arc::new(output::Teller { context: context.clone() });
    let options = Options {
        parallel: usize::from(args.parallel),
        push_down: if args.no_push_down { PushDown::Never } else { PushDown::WherePossible },
        ..Options::default()
    };
    let mut outcomes = Vec::new();
    for Opened { pair, .. } in tables {
        let counters = Arc::new(Counters::default());
        opening::expect(pair, &counters).await;
        if let Some(run) = run {
            run.at(&pair.name, &counters);
        }
        let watch = output::Watch::begin(context, "verify", &pair.name, &counters);
        let done = verify::run(pair, &options, control, &counters, &observer).await;
        watch.end();
        match done {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => return (output::ended(context, &error), None),
        }
    }
    let outcome = Outcome::joined(outcomes);
    if let Some(path) = &args.keys
        && let Err(e) = write_keys(path, &outcome.differences)
    {
        output::fail(context, &format!("cannot write {}: {e}", path.display()));
        return (Exit::Failed, None);
    }
    let report = &outcome.report;
    let word = match report.verdict {
        Verdict::Verified => "verified",
        Verdict::Diverged => "diverged",
        Verdict::Unknown => "unknown",
    };
    let mut text = format!(
        "{word}: {} rows in the source, {} in the target; {} missing in the target, {} extra, {} different ({:.1} s)",
        report.rows_source,
        report.rows_target,
        report.missing_in_target,
        report.extra_in_target,
        report.different,
        report.seconds
    );
    for unknown in &report.unknown_ranges {
        text.push_str(&format!("\nnot known: table {}, {}: {}", unknown.table, unknown.range, unknown.why));
    }
    output::result(context, json!(report), &text);
    let exit = match report.verdict {
        Verdict::Verified => Exit::Done,
        Verdict::Diverged => Exit::Diverged,
        Verdict::Unknown => Exit::Unknown,
    };
    (exit, Some(outcome))
}

fn write_keys(path: &Path, differences: &[Difference]) -> std::io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for d in differences {
        let target_key = d.target_key.as_ref().map(keys::to_json);
        writeln!(
            file,
            "{}",
            json!({ "table": d.table, "key": keys::to_json(&d.source_key), "target_key": target_key, "kind": d.kind, "fields": d.fields })
        )?;
    }
    file.flush()
}
