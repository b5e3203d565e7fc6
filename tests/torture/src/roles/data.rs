//! A run of the data side through the rows of the DAOs, as an application begins it: backfill, verification or repair.

use super::Places;
use crate::dao::{MigratingOrders, MigratingRows, MigratingSessions, TABLES};
use crate::plane::MIGRATION;
use anyhow::Context;
use clap::{Args, ValueEnum};
use crossfade::rows::{Extra, Pace, Run, RunError};
use crossfade::{Migration, plan};
use crossfade_core::Verdict;
use serde_json::json;
use std::time::Duration;

/// Run one piece of work of the data side.
#[derive(Args, Debug, Clone)]
pub(crate) struct DataArgs {
    #[command(flatten)]
    places: Places,
    /// Which.
    #[arg(long)]
    kind: Kind,
    /// What it is called before the control plane.
    #[arg(long)]
    name: String,
    /// The linger of the stores.
    #[arg(long)]
    linger_ms: u64,
    /// Where a backfill keeps its progress.
    #[arg(long)]
    progress: std::path::PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Backfill,
    Verify,
    Repair,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Backfill => "backfill",
            Kind::Verify => "verify",
            Kind::Repair => "repair",
        }
    }
}

pub(crate) async fn run(args: DataArgs) -> anyhow::Result<()> {
    let (source, target) = args.places.stores(16)?;
    let from = plan::server(&args.places.server).token_file(&args.places.token_file).host(args.name);
    let membership = from.membership();
    let migration = Migration::builder(MIGRATION)
        .plan(from)
        .first_plan_within(Duration::from_secs(180))
        .build()
        .await
        .context("no migration")?;
    let of = |table| (source.table(table), target.table(table), migration.clone());
    let [rows, orders, sessions] = TABLES.map(of);
    let linger = Duration::from_millis(args.linger_ms);
    let pace = Pace { page: 200, at_once: 12, timeout: Duration::from_secs(1), linger, attempts: 6 };
    let run = Run::new(&migration)
        .table(TABLES[0], MigratingRows::new(rows.0, rows.1, rows.2).rows())
        .table(TABLES[1], MigratingOrders::new(orders.0, orders.1, orders.2).rows())
        .table(TABLES[2], MigratingSessions::new(sessions.0, sessions.1, sessions.2).rows())
        .pace(pace)
        // Dual writes are there before the first backfill, and the application deletes rows meanwhile.
        .extra(Extra::Delete);
    let worked = match args.kind {
        Kind::Backfill => {
            run.checkpoint(&args.progress).backfill().await.map(|moved| json!({ "copied": moved.copied }))
        }
        Kind::Repair => run.repair().await.map(|moved| json!({ "copied": moved.copied })),
        Kind::Verify => run.verify().await.map(|found| {
            let verdict = match found.verdict() {
                Verdict::Verified => "verified",
                Verdict::Diverged(_) => "diverged",
                Verdict::Unknown(_) => "unknown",
            };
            json!({ "verdict": verdict, "differing": found.differences.len() })
        }),
    };
    let mut told = worked.unwrap_or_else(|error: RunError| json!({ "error": error.to_string() }));
    let left = membership.leave(Duration::from_secs(20)).await;
    if let Some(told) = told.as_object_mut() {
        told.insert("event".to_owned(), json!("result"));
        told.insert("left".to_owned(), json!(left));
    }
    println!("{told}");
    Ok(())
}
