//! `crossfade backfill ID`

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use crossfade_api::{exit::Exit, wire};
use crossfade_transfer::{
    Pair, TransferError,
    backfill::{self, Exclusive, Options, Report},
    pace::Control,
    progress::{Counters, Observer},
};
use serde_json::{Value as Json, json};

use super::plane::{PlaneArgs, Run};
use super::{Context, opening, output};

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
    #[command(flatten)]
    plane: PlaneArgs,
}

pub(super) async fn run(args: BackfillArgs, context: &Context) -> Exit {
    let pairs = match opening::pairs(context, &args.id, args.table.as_deref()).await {
        Ok(pairs) => pairs,
        Err(exit) => return exit,
    };
    let control = output::stop_on_signal(context);
    let run = match Run::begin(&args.plane, context, &args.id, wire::InstanceKind::Backfill, &control).await {
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

async fn work(args: &BackfillArgs, context: &Context, pairs: &[Pair], control: &Control, run: Option<&Run>) -> Exit {
    let observer: Arc<dyn Observer> = Arc::new(output::Teller { context: context.clone() });
    let folder = args
        .state
        .clone()
        .unwrap_or_else(|| context.config.parent().unwrap_or(std::path::Path::new("")).join(".crossfade"));
    let mut all = Report::default();
    for pair in pairs {
        // Another claim of the target begins anew (R10): progress of an earlier one is of no use to it.
        let claim = run.map(|run| format!(".{}", run.generation)).unwrap_or_default();
        let table = pair.name.replace(['/', '\\'], "_");
        let checkpoint = folder.join(format!("{}.{table}{claim}.backfill", args.id));
        let options = Options {
            parallel: usize::from(args.parallel),
            chunk_rows: args.chunk_rows,
            rows_per_second: args.rows_per_second,
            adaptive: !args.no_adaptive,
            exclusive: if args.exclusive { Exclusive::Declared } else { Exclusive::No },
            checkpoint: Some(checkpoint),
            restart: args.restart,
            ..Options::default()
        };
        let counters = Arc::new(Counters::default());
        opening::expect(pair, &counters).await;
        if let Some(run) = run {
            run.at(&pair.name, &counters);
        }
        let watch = output::Watch::begin(context, "backfill", &pair.name, &counters);
        let done = backfill::run(pair, &options, control, &counters, &observer).await;
        watch.end();
        match done {
            Ok(report) => all.add(&report),
            Err(error) => {
                all.add(&Report {
                    rows_read: Counters::get(&counters.read),
                    rows_written: Counters::get(&counters.written),
                    rows_unchanged: Counters::get(&counters.unchanged),
                    rows_deleted: Counters::get(&counters.deleted),
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
        "{} rows read, {} written, {} unchanged, {} deleted in {:.1} s ({:.0} rows/s); {} chunks, {} of an earlier run",
        all.rows_read,
        all.rows_written,
        all.rows_unchanged,
        all.rows_deleted,
        all.seconds,
        all.rows_per_second,
        all.chunks,
        all.chunks_resumed
    );
    output::result(context, json!(all), &text);
    Exit::Done
}

fn with_error(report: &Report, error: &TransferError) -> Json {
    let mut value = json!(report);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("error".to_owned(), json!(error.to_string()));
    }
    value
}
