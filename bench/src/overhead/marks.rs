//! A million marks, as an outage of a side leaves them: what they cost an operation on another row, and their memory.

use crate::measure::{cpu_ns, median};
use crossfade::{Effect, Migration, Mirror, Operation, Stage, plan};
use serde::Serialize;
use std::convert::Infallible;
use std::future::ready;

/// What a million marks cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Marks {
    marks: u64,
    /// What they add to a shadow read and to a dual write of rows that are not marked, ns of CPU.
    pub(crate) added_to_read_ns: f64,
    pub(crate) added_to_write_ns: f64,
    /// What they take, MB.
    pub(crate) megabytes: f64,
    /// What setting one took.
    set_ns: f64,
}

const MARKS: u64 = 1_000_000;
const EACH: u64 = 2_000;

/// Measures both migrations in turn, round by round.
pub(crate) fn measure(rounds: u32) -> anyhow::Result<Marks> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let (clean, marked) = (migration().await?, migration().await?);
        let before = resident_mb();
        let began = cpu_ns();
        let failing = marked.operation("write");
        for row in 0..MARKS {
            write(&failing, MARKS + row, Effect::Refused).await;
        }
        let set_ns = (cpu_ns() - began) / MARKS as f64;
        let megabytes = resident_mb() - before;
        anyhow::ensure!(marked.observe().marked == MARKS, "not every row is marked");
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let read = [each_read(&clean).await, each_read(&marked).await];
            let write = [each_write(&clean).await, each_write(&marked).await];
            reads.push(read[1] - read[0]);
            writes.push(write[1] - write[0]);
        }
        anyhow::ensure!(marked.observe().marked == MARKS, "marks came or went while they were measured");
        Ok(Marks {
            marks: MARKS,
            added_to_read_ns: median(reads),
            added_to_write_ns: median(writes),
            megabytes,
            set_ns,
        })
    })
}

async fn migration() -> anyhow::Result<Migration> {
    Ok(Migration::builder("marks").plan(plan::fixed(Stage::Shadow)).publish_metrics_every(None).build().await?)
}

/// A dual write whose secondary has this outcome.
async fn write(operation: &Operation, row: u64, outcome: Effect) {
    let Ok(ticket) = operation.begin_write(&row, &row).await else { return };
    let effect: fn(&Effect) -> Effect = |outcome| *outcome;
    let secondary = if outcome == Effect::Applied { Ok(()) } else { Err(outcome) };
    let answer = ticket.mirrored(Mirror::State, effect, ready(Ok(())), |(): &(), _| ready(secondary)).await;
    debug_assert!(answer.is_ok());
}

async fn each_write(migration: &Migration) -> f64 {
    let operation = migration.operation("write");
    let began = cpu_ns();
    for row in 0..EACH {
        write(&operation, row, Effect::Applied).await;
    }
    (cpu_ns() - began) / EACH as f64
}

async fn each_read(migration: &Migration) -> f64 {
    let operation = migration.operation("read");
    let began = cpu_ns();
    for row in 0..EACH {
        let Ok(ticket) = operation.begin_read(&row) else { continue };
        let answer =
            ticket.compared(crossfade::compare::equality(), ready(Ok::<_, Infallible>(row)), move |_| ready(Ok(row)));
        debug_assert!(answer.await.is_ok());
        tokio::task::yield_now().await;
    }
    (cpu_ns() - began) / EACH as f64
}

/// Memory of this process, MB.
fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1e3
}

impl std::fmt::Display for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Marks { marks, added_to_read_ns, added_to_write_ns, megabytes, set_ns } = self;
        write!(
            f,
            "{marks} marks add {added_to_read_ns:.0} ns to a read and {added_to_write_ns:.0} ns to a write of another row, and take {megabytes:.0} MB; a write that sets one takes {set_ns:.0} ns"
        )
    }
}
