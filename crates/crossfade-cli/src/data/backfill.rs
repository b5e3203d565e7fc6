//! `crossfade backfill ID`

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use crossfade_api::{config::ExtraRows, exit::Exit, wire};
use crossfade_transfer::{
    TransferError,
    backfill::{self, Consent, Exclusive, Extra, Options, Preview, Report},
    pace::Control,
    progress::{Counters, Observer},
};
use serde_json::{Value as Json, json};

use super::plane::{PlaneArgs, Run};
use super::{Context, opening, opening::Opened, output};

/// Copy the rows of a migration into its target, beside live writes; safe to stop, to kill and to repeat
#[derive(Args, Clone, Debug)]
pub(crate) struct BackfillArgs {
    /// The migration
    id: String,
    /// Only this table (its name in the source)
    #[arg(long)]
    table: Option<String>,
    /// At most so many rows per second
    #[arg(long, value_name = "ROWS")]
    rows_per_second: Option<u64>,
    /// Chunks at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
    /// Rows of a chunk [default: 5000, and 20000 in bulk between two PostgreSQL]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    chunk_rows: Option<u64>,
    /// Nobody else writes to these tables while this runs: where the target is empty, rows are loaded in bulk and not read again
    #[arg(long)]
    exclusive: bool,
    /// Do not slow down when the databases answer slower
    #[arg(long)]
    no_adaptive: bool,
    /// Where progress is kept [default: .crossfade beside the file]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Forget the progress of an earlier run
    #[arg(long)]
    restart: bool,
    /// Delete rows that the target had before this migration and that the source lacks (a table with `extra` in the file goes by that)
    #[arg(long)]
    delete_extra: bool,
    /// Count the rows that would be inserted, changed and deleted, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    plane: PlaneArgs,
}

pub(super) async fn run(args: BackfillArgs, context: &Context) -> Exit {
    let pairs = match opening::pairs(context, &args.id, args.table.as_deref()).await {
        Ok(pairs) => pairs,
        Err(exit) => return exit,
    };
    let control = output::stop_on_signal(context);
    if args.dry_run {
        return preview(&args, context, &pairs, &control).await;
    }
    let run = match Run::begin(&args.plane, context, &args.id, wire::InstanceKind::Backfill, &pairs, &control).await {
        Ok(run) => run,
        Err(exit) => return exit,
    };
    let exit = work(&args, context, &pairs, &control, run.as_ref()).await;
    let Some(run) = run else { return exit };
    // History has moved when that of every table has.
    let all = opening::is_whole(context, &args.id, args.table.as_deref());
    let outcome = if exit == Exit::Done && all { wire::Outcome::Complete } else { wire::Outcome::Interrupted };
    run.end(outcome, exit).await
}

impl BackfillArgs {
    fn options(&self, context: &Context, table: &Opened, claim: Option<u64>, waived: bool) -> Options {
        let folder = opening::state_folder(context, self.state.as_deref());
        Options {
            parallel: usize::from(self.parallel),
            chunk_rows: self.chunk_rows,
            rows_per_second: self.rows_per_second,
            adaptive: !self.no_adaptive,
            exclusive: if self.exclusive { Exclusive::Declared } else { Exclusive::No },
            checkpoint: Some(opening::checkpoint(&folder, &self.id, &table.pair.name, claim)),
            restart: self.restart,
            // What the file says of one table stands over the flag, which speaks of all.
            extra: match (table.config.extra, self.delete_extra) {
                (Some(ExtraRows::Keep), _) => Extra::Keep,
                // What was agreed before does not cover writes that the target alone acknowledged.
                (_, false) if waived => Extra::Keep,
                (Some(ExtraRows::Delete), _) | (None, true) => Extra::Delete,
                (None, false) => Extra::Ask,
            },
            ..Options::default()
        }
    }
}

/// `--dry-run`
async fn preview(args: &BackfillArgs, context: &Context, tables: &[Opened], control: &Control) -> Exit {
    let observer: Arc<dyn Observer> = Arc::new(output::Teller { context: context.clone() });
    let mut all: Option<Preview> = None;
    for table in tables {
        let pair = &table.pair;
        let counters = Arc::new(Counters::default());
        opening::expect(pair, &counters).await;
        let watch = output::Watch::begin(context, "dry run", &pair.name, &counters);
        let found =
            backfill::preview(pair, &args.options(context, table, None, false), control, &counters, &observer).await;
        watch.end();
        let found = match found {
            Ok(found) => found,
            Err(error) => return output::ended(context, &error),
        };
        if context.json {
            let mut line = json!(found);
            line["event"] = json!("dry_run");
            line["table"] = json!(pair.name);
            output::line(&line);
        } else {
            output::say(context, "dry_run", &format!("{}: {}", pair.name, words(&found)));
        }
        all = Some(all.map_or(found, |all| all.joined(found)));
    }
    let Some(all) = all else { return Exit::Done };
    let mut result = json!(all);
    result["dry_run"] = json!(true);
    output::result(context, result, &format!("nothing was changed; a backfill now has {}", words(&all)));
    if all.unknown_ranges > 0 { Exit::Unknown } else { Exit::Done }
}

fn words(found: &Preview) -> String {
    let consent = match found.consent {
        Consent::NotNeeded | Consent::Given | Consent::Kept => "",
        Consent::Needed => {
            " (only with --delete-extra or `extra = \"delete\"`; without, the backfill ends before it writes anything)"
        }
    };
    let unknown = match found.unknown_ranges {
        0 => String::new(),
        n => format!("; {n} ranges could not be looked at"),
    };
    format!(
        "{} rows to insert, {} to change, {} to delete{consent}, {} extra rows to keep{unknown}",
        found.rows_to_insert, found.rows_to_change, found.rows_to_delete, found.rows_to_keep
    )
}

async fn work(args: &BackfillArgs, context: &Context, tables: &[Opened], control: &Control, run: Option<&Run>) -> Exit {
    let observer: Arc<dyn Observer> = Arc::new(output::Teller { context: context.clone() });
    let mut all = Report::default();
    let waived = match run {
        Some(run) => run.is_waived().await,
        None => false,
    };
    for table in tables {
        let pair = &table.pair;
        let options = args.options(context, table, run.map(|run| run.generation), waived);
        let counters = Arc::new(Counters::default());
        opening::expect(pair, &counters).await;
        if let Some(run) = run {
            run.at(&pair.name, &counters);
        }
        let watch = output::Watch::begin(context, "backfill", &pair.name, &counters);
        let done = backfill::run(pair, &options, control, &counters, &observer).await;
        watch.end();
        match done {
            Ok(report) => {
                if waived && !args.delete_extra && table.config.extra != Some(ExtraRows::Keep) && report.rows_kept > 0 {
                    output::say(context, "extra_kept", &kept_while_waived(&pair.name, report.rows_kept));
                }
                all.add(&report);
            }
            Err(error) => {
                all.add(&Report {
                    rows_read: Counters::get(&counters.read),
                    rows_written: Counters::get(&counters.written),
                    rows_unchanged: Counters::get(&counters.unchanged),
                    rows_deleted: Counters::get(&counters.deleted),
                    rows_kept: Counters::get(&counters.kept),
                    ..Report::default()
                });
                let exit = output::ended(context, &error);
                if context.json {
                    output::result(context, with_error(&all, &error), "");
                }
                return exit;
            }
        }
    }
    let text = format!(
        "{} rows read, {} written, {} unchanged, {} deleted, {} extra rows kept in {:.1} s ({:.0} rows/s); {} chunks, {} of an earlier run",
        all.rows_read,
        all.rows_written,
        all.rows_unchanged,
        all.rows_deleted,
        all.rows_kept,
        all.seconds,
        all.rows_per_second,
        all.chunks,
        all.chunks_resumed
    );
    output::result(context, json!(all), &text);
    Exit::Done
}

fn kept_while_waived(table: &str, rows: u64) -> String {
    format!(
        "table {table}: {rows} rows that the target alone has are kept: {}, until a verification passes. Look at their keys (`crossfade verify ID --keys FILE`), and run `crossfade repair ID --delete-extra` if they are to be deleted",
        super::plane::WAIVED
    )
}

fn with_error(report: &Report, error: &TransferError) -> Json {
    let mut value = json!(report);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("error".to_owned(), json!(error.to_string()));
        if let TransferError::Extra { rows, .. } = error {
            fields.insert("rows_extra".to_owned(), json!(rows));
        }
    }
    value
}
