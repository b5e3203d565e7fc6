//! Looking: status, instances, history.

use super::client::{Client, Refused, path};
use super::{Out, Reach};
use crate::say::Failure;
use clap::Subcommand;
use crossfade_api::exit::Exit;
use crossfade_api::wire::{
    ConfirmOperationsRequest, EvictRequest, HistoryPage, InstanceDoc, InstanceKind, Instances, MigrationList, Status,
    TableDoc,
};
use crossfade_core::Side;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

/// `crossfade status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// One migration; all when it is left out.
    id: Option<String>,
    /// Goes on showing, twice a second: a live picture at a terminal (q ends it), plain lines in a pipe.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    reach: Reach,
}

/// `crossfade instances`.
#[derive(Debug, clap::Args)]
pub(crate) struct InstancesArgs {
    /// The migration.
    id: String,
    #[command(subcommand)]
    act: Option<InstancesAct>,
    #[command(flatten)]
    reach: Reach,
}

/// What to do with instances.
#[derive(Debug, Subcommand)]
pub(crate) enum InstancesAct {
    /// Removes silent instances so that they stop blocking steps. The migration is suspect until it is verified again.
    Evict {
        /// States that their processes are dead and reach neither database.
        #[arg(long, required = true)]
        dead: bool,
        /// Their names. Without names the command lists the silent instances and removes none.
        instances: Vec<String>,
    },
    /// Confirms that the different operations which instances run on a table may run side by side while authority moves.
    Confirm {
        /// The table.
        table: String,
    },
}

/// `crossfade history`.
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// The migration; the plane and all migrations when it is left out.
    id: Option<String>,
    /// How many entries.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn statuses(client: &Client, id: Option<&str>) -> Result<Vec<Status>, Refused> {
    match id {
        Some(id) => client.status(id).await.map(|status| vec![status]),
        None => client.get::<MigrationList>("/v1/migrations").await.map(|list| list.migrations),
    }
}

pub(super) async fn status(args: StatusArgs, out: Out) -> Result<Exit, Failure> {
    let client = args.reach.client()?;
    if args.watch && !out.json && std::io::stdout().is_terminal() {
        return super::watch::watch(&client, args.id.as_deref()).await;
    }
    loop {
        let migrations = match statuses(&client, args.id.as_deref()).await {
            Ok(migrations) => migrations,
            Err(refused) => return refused.end(out),
        };
        let text: Vec<String> = migrations.iter().map(in_words).collect();
        let text = if text.is_empty() {
            "no migration yet: `crossfade serve` makes those of crossfade.toml".to_owned()
        } else {
            text.join("\n\n")
        };
        let value = json!({ "migrations": migrations });
        if !args.watch {
            out.result(value, &text);
            return Ok(Exit::Done);
        }
        out.event("status", value, &text);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            _ = tokio::signal::ctrl_c() => {
                out.result(json!({}), "");
                return Ok(Exit::Done);
            }
        }
    }
}

fn in_words(status: &Status) -> String {
    let mut text = format!("{}  {}  (revision {})", status.migration, status.position, status.publication.revision);
    let ladder = &status.ladder;
    let authority = match status.authority {
        Some(side) => side.name().to_owned(),
        None => format!("{} of keys at the {}", ladder.authority_target, Side::Target),
    };
    let _ = write!(
        text,
        "\n  write source {}, read source {}, write target {}, read target {}, authority: {authority}",
        ladder.write_source, ladder.read_source, ladder.write_target, ladder.read_target
    );
    let _ = write!(
        text,
        "\n  {} of {} instances acknowledged; {}",
        status.acknowledged, status.instances, status.protection.label
    );
    if let Some(step) = &status.step {
        let _ = write!(text, "\n  step to {} ({}), by {}", step.goal, step.phase, step.by);
        for who in step.waiting_for.iter().chain(&step.waiting_also) {
            let _ = write!(text, "\n    waits for {who}");
        }
    }
    if let Some(last) = &status.last_step
        && let Some(why) = &last.abandoned
    {
        let _ = write!(text, "\n  the last step, to {}, was given up: {why}", last.goal);
    }
    for who in &status.waiting_for {
        let _ = write!(text, "\n  blocks the next revision: {who}");
    }
    if status.gate.blockers.is_empty() {
        text.push_str("\n  gate: open");
    }
    for blocker in &status.gate.blockers {
        let _ = write!(text, "\n  gate: {}: {}", blocker.code, blocker.detail);
    }
    for caution in &status.gate.cautions {
        let _ = write!(text, "\n  caution: {caution}");
    }
    for operation in &status.operations {
        let c = operation.comparisons;
        let _ = write!(
            text,
            "\n  {}: source {} calls, p99 {}; target {} calls, p99 {}; compared {}: {} matched, {} mismatched, {} unknown",
            operation.operation,
            operation.source.calls,
            millis(operation.source.p99_us),
            operation.target.calls,
            millis(operation.target.p99_us),
            c.compared,
            c.matched,
            c.mismatched,
            c.unknown
        );
    }
    for run in &status.runs {
        let _ = write!(text, "\n  {}", of_instance(run));
    }
    for operations in status.evidence.operations.iter() {
        let confirmed = if operations.confirmed { "confirmed" } else { "not confirmed" };
        let _ = write!(text, "\n  different operations on table {} ({confirmed}):", operations.table);
        for (hash, instance) in &operations.operations {
            let _ = write!(text, " {hash} in {instance}");
        }
    }
    for drift in &status.drift {
        let _ =
            write!(text, "\n  drift: {} is {} in the file, {} in force", drift.what, drift.declared, drift.in_force);
    }
    if let Some(auto) = &status.auto {
        let _ = write!(text, "\n  guarded rollout until {}: {}", auto.until, auto.note);
    }
    if status.paused {
        text.push_str("\n  paused");
    }
    if status.retired {
        text.push_str("\n  retired");
    }
    text
}

pub(super) fn millis(us: Option<u64>) -> String {
    us.map_or_else(|| "–".to_owned(), |us| format!("{:.1} ms", us as f64 / 1e3))
}

fn of_instance(instance: &InstanceDoc) -> String {
    let mut text = format!("{} ({})", instance.instance, instance.kind.name());
    match (&instance.acknowledged, instance.current) {
        (_, true) => text.push_str(", acknowledged"),
        (Some(revision), false) => {
            let _ = write!(text, ", still at {revision}");
        }
        (None, false) => text.push_str(", has acknowledged nothing yet"),
    }
    if instance.silent {
        let _ = write!(text, ", SILENT for {} s", instance.heard_ms_ago / 1_000);
    }
    if instance.marks > 0 {
        let _ = write!(text, ", {} marks", instance.marks);
    }
    if instance.kind == InstanceKind::Application {
        text.push_str(&of_tables(instance.tables.as_deref()));
    }
    if let Some(progress) = &instance.progress {
        let of = progress.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let _ = write!(text, ", {}{of} rows, {} rows/s {}", progress.done, progress.rate, progress.note);
    }
    text
}

/// The tables that an instance writes, as far as it reports them.
fn of_tables(tables: Option<&[TableDoc]>) -> String {
    let Some(tables) = tables else { return ", does not report its tables".to_owned() };
    let mut text = if tables.is_empty() { ", writes no table".to_owned() } else { String::new() };
    for table in tables {
        let check = if table.can_check { "checked" } else { "CANNOT CHECK its writes" };
        let _ = write!(text, "\n    table {}: {check}", table.table);
        if !table.operations.is_empty() {
            let _ = write!(text, ", operations {}", table.operations);
        }
    }
    text
}

async fn evict(client: &Client, id: &str, request: EvictRequest, out: Out) -> Result<Exit, Failure> {
    match client.post::<Status>(&path(id, "/evict"), &request).await {
        Ok(status) => {
            let suspects = status.evidence.suspects;
            let text = format!("suspect until a verification passes: {}", suspects.join(", "));
            out.result(json!({ "suspects": suspects }), &text);
            Ok(Exit::Done)
        }
        Err(refused) => refused.end(out),
    }
}

/// Confirms the operations that were shown: the server refuses when instances report others meanwhile.
async fn confirm(client: &Client, id: &str, table: String, out: Out) -> Result<Exit, Failure> {
    let asked = async {
        let seen = client.get::<Instances>(&path(id, "/instances")).await?;
        let applications = seen.instances.iter().filter(|instance| instance.kind == InstanceKind::Application);
        let docs = applications.flat_map(|instance| instance.tables.iter().flatten());
        let reported: BTreeSet<String> = docs
            .filter(|doc| doc.table == table && !doc.operations.is_empty())
            .map(|doc| doc.operations.clone())
            .collect();
        let request = ConfirmOperationsRequest { table, operations: reported.into_iter().collect() };
        client.post::<Status>(&path(id, "/operations"), &request).await.map(|_| request)
    };
    match asked.await {
        Ok(request) => {
            let text = format!(
                "confirmed on table {}: operations {}; another one blocks again",
                request.table,
                request.operations.join(", ")
            );
            out.result(json!({ "table": request.table, "operations": request.operations }), &text);
            Ok(Exit::Done)
        }
        Err(refused) => refused.end(out),
    }
}

pub(super) async fn instances(args: InstancesArgs, out: Out) -> Result<Exit, Failure> {
    let client = args.reach.client()?;
    match args.act {
        Some(InstancesAct::Evict { dead, instances }) => {
            return evict(&client, &args.id, EvictRequest { instances, dead }, out).await;
        }
        Some(InstancesAct::Confirm { table }) => return confirm(&client, &args.id, table, out).await,
        None => {}
    }
    match client.get::<Instances>(&path(&args.id, "/instances")).await {
        Ok(all) => {
            let text: Vec<String> = all.instances.iter().map(of_instance).collect();
            let text = if text.is_empty() { "no instance".to_owned() } else { text.join("\n") };
            out.result(serde_json::to_value(&all).unwrap_or_default(), &text);
            Ok(Exit::Done)
        }
        Err(refused) => refused.end(out),
    }
}

pub(super) async fn history(args: HistoryArgs, out: Out) -> Result<Exit, Failure> {
    let client = args.reach.client()?;
    let page = match &args.id {
        Some(id) => path(id, &format!("/history?limit={}", args.limit)),
        None => format!("/v1/history?limit={}", args.limit),
    };
    match client.get::<HistoryPage>(&page).await {
        Ok(page) => {
            let lines = page.entries.iter().map(|entry| {
                let of = entry.migration.as_deref().unwrap_or("plane");
                let revision = entry.revision.map(|revision| format!(" [{revision}]")).unwrap_or_default();
                format!("{:>6}  {}  {of}  {}: {}{revision}", entry.tick, moment(entry.at_ms), entry.by, entry.text)
            });
            let text: Vec<String> = lines.collect();
            out.result(serde_json::to_value(&page).unwrap_or_default(), &text.join("\n"));
            Ok(Exit::Done)
        }
        Err(refused) => refused.end(out),
    }
}

/// A time as RFC 3339 in UTC, by the days-to-date formula of the proleptic Gregorian calendar.
fn moment(at_ms: u64) -> String {
    let seconds = at_ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second % 3_600 / 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn moments_are_dates() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(moment(1_767_225_599_000), "2025-12-31T23:59:59Z");
    }
}
