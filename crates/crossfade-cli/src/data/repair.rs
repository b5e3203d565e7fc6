//! `crossfade repair ID`

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use crossfade_api::{
    config::{ExtraRows, TableConfig},
    exit::Exit,
    wire,
};
use crossfade_core::{CohortKey, Plan, Side};
use crossfade_transfer::{
    Pair, TransferError,
    backfill::{self, Shown},
    keys,
    pace::Control,
    progress::{Counters, Observer},
    reconcile::Deletes,
    repair::{self, Authority, Named, Report, Truth},
    retry::Retry,
    verify,
};
use serde_json::{Value as Json, json};

use super::plane::{PlaneArgs, Run};
use super::{Context, opening, opening::Opened, output};

/// Make rows that differ equal again: copy each row from the side that has authority for it
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
    /// Which side has authority, without a control plane [default: source]
    #[arg(long, value_name = "SIDE")]
    authority: Option<Authoritative>,
    /// Where backfills keep their progress, which tells source from target [default: .crossfade beside the file]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Delete rows that only the side without authority has, also where no backfill is recorded that tells whose they are (a table with `extra = "keep"` keeps them)
    #[arg(long)]
    delete_extra: bool,
    #[command(flatten)]
    plane: PlaneArgs,
}

/// A side, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Authoritative {
    /// The database that is left.
    Source,
    /// The database that is moved to.
    Target,
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
    let folder = opening::state_folder(context, args.state.as_deref());
    for Opened { pair, .. } in &pairs {
        let checkpoint = opening::checkpoint(&folder, &args.id, &pair.name, None);
        if let Err(error) = backfill::refuse_swapped(pair, &Retry::default(), &checkpoint).await {
            return output::ended(context, &error);
        }
    }
    let control = output::stop_on_signal(context);
    let run = match Run::begin(&args.plane, context, &args.id, wire::InstanceKind::Repair, &pairs, &control).await {
        Ok(run) => run,
        Err(exit) => return exit,
    };
    if run.is_some() && args.authority.is_some() {
        output::fail(
            context,
            "--authority is for runs without a control plane: with one, the plan says which side has authority",
        );
        if let Some(run) = run {
            return run.end(wire::Outcome::Interrupted, Exit::Usage).await;
        }
    }
    // A repair of every row of a table also settles what instances that are gone have left marked there.
    if let Some(run) = run.as_ref().filter(|_| lines.is_none()) {
        let names: Vec<&str> = pairs.iter().map(|table| table.pair.name.as_str()).collect();
        run.take_marks(&names, opening::has_one_table(context, &args.id), &control).await;
    }
    let plan = run.as_ref().and_then(Run::plan).map(Arc::new);
    let authority = |table: &Opened| match (&plan, args.authority) {
        (Some(plan), _) => by_plan(plan, &table.config),
        (None, Some(Authoritative::Target)) => Authority::Of(Side::Target),
        (None, Some(Authoritative::Source) | None) => Authority::Of(Side::Source),
    };
    // Only a plan shows that the source has been left: its gate asked for a complete backfill and a verification (R7).
    let claim = run.as_ref().map(|run| run.generation);
    let waived = match &run {
        Some(run) => run.is_waived().await,
        None => false,
    };
    let agreed = Agreed { id: &args.id, folder: &folder, claim, waived, flag: args.delete_extra };
    let exit = work(context, &pairs, &authority, &agreed, lines.as_deref(), &control, run.as_ref()).await;
    let Some(run) = run else { return exit };
    let outcome = if exit == Exit::Done { wire::Outcome::Complete } else { wire::Outcome::Interrupted };
    run.end(outcome, exit).await
}

/// The authority of each row by its cohort key.
fn by_plan(plan: &Arc<Plan>, config: &TableConfig) -> Authority {
    let plan = Arc::clone(plan);
    let decide = move |text: &str| {
        let stage = plan.decide(CohortKey::new(text).ok()?).stage;
        Some(if stage.is_mirrored() { Truth::At(stage.authority()) } else { Truth::OneSided })
    };
    Authority::ByKey { columns: config.cohort.clone(), decide: Arc::new(decide) }
}

/// Who agreed that rows are deleted which only the side without authority has.
struct Agreed<'a> {
    id: &'a str,
    /// Where backfills keep their progress.
    folder: &'a Path,
    /// The claim of the target, if a control plane knows of one.
    claim: Option<u64>,
    /// A rollback was forced, or the control plane restored: a row that one side alone has may be a write that was acknowledged there.
    waived: bool,
    /// `--delete-extra`
    flag: bool,
}

impl Agreed<'_> {
    /// Which rows of a table may be deleted, in the target and in the source.
    async fn on(&self, table: &Opened) -> Result<[Deletes; 2], TransferError> {
        let checkpoint = opening::checkpoint(self.folder, self.id, &table.pair.name, self.claim);
        let shown = backfill::shown(&table.pair, &Retry::default(), &checkpoint).await?;
        let all_if = |agreed| if agreed { Deletes::All } else { Deletes::OnlyOfThisRun };
        Ok(match table.config.extra {
            Some(ExtraRows::Keep) => [Deletes::OnlyOfThisRun; 2],
            _ if self.flag => [Deletes::All; 2],
            _ if self.waived => [Deletes::OnlyOfThisRun; 2],
            extra => {
                let in_target = extra == Some(ExtraRows::Delete) || shown != Shown::Nothing;
                // Rows of a cache end in the target by themselves.
                let in_source = self.claim.is_some() && shown == Shown::TargetHadAll && !table.pair.cache;
                [all_if(in_target), all_if(in_source)]
            }
        })
    }
}

/// Says which extra rows of a table were left, why, and what to do.
fn tell_kept(context: &Context, table: &Opened, agreed: &Agreed<'_>, report: &Report) {
    let name = &table.pair.name;
    let say = |text: &str| output::say(context, "extra_kept", &format!("table {name}: {text}"));
    if table.config.extra == Some(ExtraRows::Keep) {
        if report.kept > 0 {
            say(&format!("{} extra rows are kept, as `extra = \"keep\"` says", report.kept));
        }
        return;
    }
    let look = "Look at their keys (`crossfade verify ID --keys FILE`), and run this repair with --delete-extra if they are to be deleted";
    if agreed.waived && report.kept > 0 {
        return say(&format!(
            "{} rows that one side alone has are kept: {}, until a verification passes. {look}",
            report.kept,
            super::plane::WAIVED
        ));
    }
    let in_target = report.kept - report.kept_in_source;
    if in_target > 0 {
        say(&format!(
            "{in_target} rows of the target, which the source lacks, are kept: no backfill that is recorded in the state folder shows that this migration put them. {look}; `extra = \"delete\"` or `\"keep\"` in the file decides it for every run"
        ));
    }
    if report.kept_in_source > 0 {
        let why = if table.pair.cache {
            "rows of a cache end in the target by themselves, so that nothing shows that they were deleted there"
        } else {
            "nothing shows that the target ever had them (that takes a control plane, and a complete backfill of this claim that is recorded in the state folder)"
        };
        say(&format!("{} rows of the source, which the target lacks, are kept: {why}. {look}", report.kept_in_source));
    }
}

async fn work(
    context: &Context,
    tables: &[Opened],
    authority: &(dyn Fn(&Opened) -> Authority + Sync),
    agreed: &Agreed<'_>,
    lines: Option<&[Line]>,
    control: &Control,
    run: Option<&Run>,
) -> Exit {
    let observer: Arc<dyn Observer> = Arc::new(output::Teller { context: context.clone() });
    let mut all = Report::default();
    let mut unknown_ranges = 0_u64;
    for table in tables {
        let pair = &table.pair;
        let [deletes, deletes_in_source] = match agreed.on(table).await {
            Ok(deletes) => deletes,
            Err(error) => return output::ended(context, &error),
        };
        let authority = authority(table);
        let options = repair::Options { authority, deletes, deletes_in_source, ..repair::Options::default() };
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
                            unknown_ranges += 1;
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
        match repair::run_with(pair, &rows, &options, control).await {
            Ok(report) => {
                for failure in &report.failures {
                    let (row, why) = (failure.key.digest(), &failure.why);
                    if context.json {
                        output::line(&json!({ "event": "row_failed", "table": pair.name, "row": row, "message": why }));
                    } else {
                        output::say(context, "row_failed", &format!("table {}, row {row}: {why}", pair.name));
                    }
                }
                tell_kept(context, table, agreed, &report);
                all.add(report);
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
    let mut result = json!(all);
    result["unknown_ranges"] = json!(unknown_ranges);
    let mut text = format!("{} rows repaired, {} were equal already", all.repaired, all.unchanged);
    for (rows, what) in [
        (all.failed, "differ still (`crossfade verify ID --keys FILE` writes their keys)"),
        (all.kept, "extra rows are kept"),
        (all.left_alone, "were left alone: their keys are written on one side only"),
        (unknown_ranges, "ranges could not be looked at"),
    ] {
        if rows > 0 {
            text.push_str(&format!("; {rows} {what}"));
        }
    }
    output::result(context, result, &text);
    if all.failed + all.kept > 0 {
        Exit::Diverged
    } else if unknown_ranges > 0 {
        Exit::Unknown
    } else {
        Exit::Done
    }
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
