//! `crossfade repair ID`

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use crossfade_api::{exit::Exit, wire};
use crossfade_transfer::{
    Pair, keys,
    pace::Control,
    progress::{Counters, Observer},
    repair::{self, Named, Report},
    retry::Retry,
    verify,
};
use serde_json::{Value as Json, json};

use super::plane::{PlaneArgs, Run};
use super::{Context, opening, output};

/// Copy the source's present rows over rows of the target that differ
#[derive(Args, Clone, Debug)]
pub(crate) struct RepairArgs {
    /// The migration
    id: String,
    /// The rows of a file that `verify --keys` wrote; without it, a verification finds them first
    #[arg(long, value_name = "FILE", conflicts_with = "row")]
    keys: Option<PathBuf>,
    /// One row, by its key in the source as JSON: 7, or ["acme", 7]
    #[arg(long, value_name = "KEY", requires = "table")]
    row: Vec<String>,
    /// Only this table (its name in the source)
    #[arg(long)]
    table: Option<String>,
    #[command(flatten)]
    plane: PlaneArgs,
}

pub(super) async fn run(args: RepairArgs, context: &Context) -> Exit {
    let pairs = match opening::pairs(context, &args.id, args.table.as_deref()).await {
        Ok(pairs) => pairs,
        Err(exit) => return exit,
    };
    let lines = match lines(&args, context) {
        Ok(lines) => lines,
        Err(exit) => return exit,
    };
    let control = output::stop_on_signal(context);
    let run = match Run::begin(&args.plane, context, &args.id, wire::InstanceKind::Repair, &control).await {
        Ok(run) => run,
        Err(exit) => return exit,
    };
    // A repair of every row also settles what instances that are gone have left marked.
    let whole = lines.is_none() && opening::is_whole(context, &args.id, args.table.as_deref());
    if let Some(run) = run.as_ref().filter(|_| whole) {
        run.take_marks(&control).await;
    }
    let exit = work(context, &pairs, lines.as_deref(), &control, run.as_ref()).await;
    let Some(run) = run else { return exit };
    let outcome = if exit == Exit::Done { wire::Outcome::Complete } else { wire::Outcome::Interrupted };
    run.end(outcome, exit).await
}

async fn work(context: &Context, pairs: &[Pair], lines: Option<&[Line]>, control: &Control, run: Option<&Run>) -> Exit {
    let observer: Arc<dyn Observer> = Arc::new(output::Teller { context: context.clone() });
    let mut all = Report::default();
    for pair in pairs {
        let rows = match lines {
            Some(lines) => match named(pair, lines) {
                Ok(rows) => rows,
                Err(what) => {
                    output::fail(context, &what);
                    return Exit::Usage;
                }
            },
            None => {
                let counters = Arc::new(Counters::default());
                opening::expect(pair, &counters).await;
                if let Some(run) = run {
                    run.at(&pair.name, &counters);
                }
                let watch = output::Watch::begin(context, "verify", &pair.name, &counters);
                let found = verify::run(pair, &verify::Options::default(), control, &counters, &observer).await;
                watch.end();
                match found {
                    Ok(outcome) => {
                        for unknown in &outcome.report.unknown_ranges {
                            output::fail(
                                context,
                                &format!(
                                    "table {}, {}: not known whether it differs: {}",
                                    unknown.table, unknown.range, unknown.why
                                ),
                            );
                            all.failed += 1;
                        }
                        outcome
                            .differences
                            .into_iter()
                            .map(|d| Named { source_key: d.source_key, target_key: d.target_key })
                            .collect()
                    }
                    Err(error) => return output::ended(context, &error),
                }
            }
        };
        match repair::run(pair, &rows, &Retry::default(), control).await {
            Ok(report) => {
                for failure in &report.failures {
                    output::fail(context, &format!("row {}: {}", failure.key.digest(), failure.why));
                }
                all.repaired += report.repaired;
                all.unchanged += report.unchanged;
                all.failed += report.failed;
            }
            Err(error) => {
                let exit = output::ended(context, &error);
                if context.json {
                    output::result(context, json!(all), "");
                }
                return exit;
            }
        }
    }
    output::result(
        context,
        json!(all),
        &format!("{} rows repaired, {} were equal already, {} failed", all.repaired, all.unchanged, all.failed),
    );
    if all.failed > 0 { Exit::Failed } else { Exit::Done }
}

/// A row as it was named: table, key, key in the target.
type Line = (String, Json, Json);

/// Rows that were named; `None` if none were.
fn lines(args: &RepairArgs, context: &Context) -> Result<Option<Vec<Line>>, Exit> {
    let wrong = |what: String| {
        output::fail(context, &what);
        Exit::Usage
    };
    if let (false, Some(table)) = (args.row.is_empty(), &args.table) {
        let rows =
            args.row.iter().map(|row| serde_json::from_str::<Json>(row).map(|key| (table.clone(), key, Json::Null)));
        let rows: Result<Vec<_>, _> = rows.collect();
        return rows.map(Some).map_err(|_| wrong("--row wants a key as JSON: 7, \"a\", or [\"acme\", 7]".to_owned()));
    }
    let Some(path) = &args.keys else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot read {}: {e}", path.display())))?;
    let mut rows = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let row: Json =
            serde_json::from_str(line).map_err(|e| wrong(format!("{} line {}: {e}", path.display(), n + 1)))?;
        let Some(table) = row["table"].as_str() else {
            return Err(wrong(format!(
                "{} line {}: no `table`: it wants lines that `verify --keys` wrote",
                path.display(),
                n + 1
            )));
        };
        rows.push((table.to_owned(), row["key"].clone(), row["target_key"].clone()));
    }
    Ok(Some(rows))
}

fn named(pair: &Pair, lines: &[(String, Json, Json)]) -> Result<Vec<Named>, String> {
    lines
        .iter()
        .filter(|(table, ..)| *table == pair.name)
        .map(|(_, key, target)| {
            let source_key = keys::from_json(&*pair.source, key)?;
            let target_key = if target.is_null() { None } else { Some(keys::from_json(&*pair.target, target)?) };
            Ok(Named { source_key, target_key })
        })
        .collect()
}
