//! Every stage, reads and writes, every subject.

use super::batch::{Kind, Numbers, Shape, callers_own, local, spawned};
use super::dao::{AtOnce, Pace};
use super::launchdarkly::{self, LocalCaller};
use super::report::Progress;
use super::subjects::{BareTask, Caller, Direct, Generated, Scientisto, Tickets, generated, migration};
use crate::measure::{allocations, median, used};
use anyhow::ensure;
use crossfade::{Migration, Stage};
use serde::Serialize;
use tokio::runtime::Runtime;

/// One stage and operation: CPU ns and allocations of one operation, above calling the DAO.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) stage: Stage,
    pub(crate) op: Kind,
    /// Of the generated DAO, background included.
    pub(crate) ns: f64,
    pub(crate) allocs: f64,
    /// What the caller's task itself spends of it.
    pub(crate) caller_ns: f64,
    /// Of LaunchDarkly's migrator; all of it is the caller's.
    pub(crate) launchdarkly_ns: f64,
    pub(crate) launchdarkly_allocs: f64,
    /// LaunchDarkly's ns over ours: the median of the rounds' ratios.
    pub(crate) ratio: f64,
    /// Of tickets used by hand, without the macro.
    pub(crate) ticket_ns: f64,
    pub(crate) ticket_allocs: f64,
}

/// What there is at the bottom, and another peer.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Floors {
    /// Spawning a task and awaiting it within a time-out: the floor of an awaited secondary.
    pub(crate) spawn_timeout_await_ns: f64,
    /// Spawning a task: the floor of one that is not waited for.
    pub(crate) spawn_ns: f64,
    /// Scientisto's experiment: both sides read on the caller's task; no flag, no bound, no time-out.
    pub(crate) scientisto_read_ns: f64,
    pub(crate) scientisto_read_allocs: f64,
}

/// Tasks that call at the same time.
const CALLERS: u64 = 4;
/// At stages with one side an operation is short, and a batch takes more of them.
const SHORT: u64 = 40_000;
const LONG: u64 = 8_000;
/// Callers let the background go on this often: together they stay far below the budget of the secondary.
const BREATH: u64 = 32;

/// The operation goes to one side only.
pub(crate) fn is_one_sided(stage: Stage, kind: Kind) -> bool {
    match kind {
        Kind::Read => stage.read_route().compare.is_none(),
        Kind::Write => stage.write_route().secondary.is_none(),
    }
}

fn shape(stage: Stage, kind: Kind) -> Shape {
    let one_sided = is_one_sided(stage, kind);
    Shape {
        kind,
        operations: if one_sided { SHORT } else { LONG },
        callers: CALLERS,
        // A write waits for its secondary, and a read of one side has none: only a compared read leaves work behind.
        breathes: (!one_sided && kind == Kind::Read).then_some(BREATH),
    }
}

/// A stage with everyone set up.
struct Setting<P, L> {
    stage: Stage,
    migration: Migration,
    generated: Generated<P, P>,
    tickets: Tickets<P>,
    launchdarkly: Vec<L>,
    // Its flags live as long as it does.
    _client: std::sync::Arc<launchdarkly_server_sdk::Client>,
}

async fn setting<P: Pace + Copy>(stage: Stage, pace: P) -> anyhow::Result<Setting<P, impl LocalCaller>> {
    let migration = migration(stage).await?;
    let client = launchdarkly::client(stage).await?;
    let callers = (0..CALLERS).map(|_| launchdarkly::caller(client.clone(), pace, pace));
    Ok(Setting {
        stage,
        generated: generated(pace, pace, &migration),
        tickets: Tickets::new(&migration, pace),
        migration,
        launchdarkly: callers.collect::<anyhow::Result<_>>()?,
        _client: client,
    })
}

#[derive(Default)]
struct Seen {
    generated: Vec<f64>,
    tickets: Vec<f64>,
    launchdarkly: Vec<f64>,
    ratio: Vec<f64>,
    caller: Vec<f64>,
}

/// Measures every stage given, both operations, in rounds.
pub(crate) fn measure<P: Pace + Copy>(
    runtime: &Runtime,
    pace: P,
    stages: &[Stage],
    rounds: u32,
    clock: f64,
    progress: &Progress,
) -> anyhow::Result<Vec<Row>> {
    let numbers = Numbers::default();
    let mut settings = Vec::new();
    for stage in stages {
        settings.push(runtime.block_on(setting(*stage, pace))?);
    }
    let mut cells: Vec<(usize, Kind, Seen)> = (0..settings.len())
        .flat_map(|place| [Kind::Read, Kind::Write].map(|kind| (place, kind, Seen::default())))
        .collect();
    // The first round warms up and is not counted.
    for round in 0..=rounds {
        for (place, kind, seen) in &mut cells {
            let setting = &mut settings[*place];
            let shape = shape(setting.stage, *kind);
            let few = Shape { operations: LONG / 2, breathes: None, ..shape };
            let direct = spawned(runtime, &numbers, shape, || Direct(pace));
            let ours = spawned(runtime, &numbers, shape, || setting.generated.clone()) - direct;
            let tickets = spawned(runtime, &numbers, shape, || setting.tickets.clone()) - direct;
            let mut direct: Vec<_> = (0..CALLERS).map(|_| Direct(pace)).collect();
            let direct = local(runtime, &numbers, few, &mut direct);
            let theirs = local(runtime, &numbers, few, &mut setting.launchdarkly) - direct;
            let short = Shape { operations: LONG / 8, ..shape };
            let caller = if is_one_sided(setting.stage, *kind) {
                // There is no other task: all of it is the caller's.
                ours
            } else {
                callers_own(runtime, &numbers, short, clock, || setting.generated.clone())
                    - callers_own(runtime, &numbers, short, clock, || Direct(pace))
            };
            if round > 0 {
                seen.generated.push(ours);
                seen.tickets.push(tickets);
                seen.launchdarkly.push(theirs);
                seen.ratio.push(theirs / ours);
                seen.caller.push(caller);
            }
        }
        progress.round(round);
    }
    let mut rows = Vec::new();
    for (place, kind, seen) in cells {
        let setting = &mut settings[place];
        let shape = shape(setting.stage, kind);
        let counted = |work: &mut dyn FnMut()| allocations(work) as f64;
        let direct = counted(&mut || used(spawned(runtime, &numbers, shape, || Direct(pace))));
        let ours = counted(&mut || used(spawned(runtime, &numbers, shape, || setting.generated.clone())));
        let tickets = counted(&mut || used(spawned(runtime, &numbers, shape, || setting.tickets.clone())));
        let theirs = counted(&mut || used(local(runtime, &numbers, shape, &mut setting.launchdarkly)));
        // To two decimals: what a batch itself allocates is one in thousands of its operations.
        let each = |allocations: f64| ((allocations - direct) / shape.operations as f64 * 100.0).round() / 100.0;
        rows.push(Row {
            stage: setting.stage,
            op: kind,
            ns: median(seen.generated),
            allocs: each(ours),
            caller_ns: median(seen.caller),
            launchdarkly_ns: median(seen.launchdarkly),
            launchdarkly_allocs: each(theirs),
            ratio: median(seen.ratio),
            ticket_ns: median(seen.tickets),
            ticket_allocs: each(tickets),
        });
    }
    for setting in &settings {
        did_everything(setting.stage, &setting.migration)?;
    }
    Ok(rows)
}

/// A fast way of not doing the work would be no result: all but one in a thousand of what was to be compared was, and
/// nothing was marked. A machine that stops this process for a while makes a few calls late, and that is no cheating.
pub(crate) fn did_everything(stage: Stage, migration: &Migration) -> anyhow::Result<()> {
    let seen = migration.observe();
    let reads = seen.total(|operation| operation.reads);
    let matched = seen.total(|operation| operation.matched);
    let compares = stage.read_route().compare.is_some();
    let few = |count: u64, of: u64| count * 1_000 <= of;
    let unmatched = reads.saturating_sub(matched);
    ensure!(!compares || few(unmatched, reads), "at {stage}, of {reads} reads {matched} were compared and equal");
    let late = seen.total(|operation| operation.secondary_late + operation.skipped);
    let calls = reads + seen.total(|operation| operation.writes);
    ensure!(few(late, calls), "at {stage}, {late} of {calls} secondary calls were late or left out");
    ensure!(seen.marked == 0, "at {stage}, {} rows are marked", seen.marked);
    Ok(())
}

/// Measures the floors under a mirrored operation, and scientisto.
pub(crate) fn floors(runtime: &Runtime, rounds: u32) -> Floors {
    let numbers = Numbers::default();
    let read = Shape { kind: Kind::Read, operations: LONG, callers: CALLERS, breathes: Some(BREATH) };
    let write = Shape { kind: Kind::Write, breathes: None, ..read };
    let experiment = Shape { breathes: None, ..read };
    fn above<C: Caller + Copy>(runtime: &Runtime, numbers: &Numbers, shape: Shape, caller: C) -> f64 {
        spawned(runtime, numbers, shape, || caller) - spawned(runtime, numbers, shape, || Direct(AtOnce))
    }
    let mut seen = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..=rounds {
        seen[0].push(above(runtime, &numbers, write, BareTask));
        seen[1].push(above(runtime, &numbers, read, BareTask));
        seen[2].push(above(runtime, &numbers, experiment, Scientisto(AtOnce)));
    }
    let [awaited, spawn, scientisto] = seen.map(median);
    let allocated = allocations(|| used(spawned(runtime, &numbers, experiment, || Scientisto(AtOnce))));
    let direct = allocations(|| used(spawned(runtime, &numbers, experiment, || Direct(AtOnce))));
    Floors {
        spawn_timeout_await_ns: awaited,
        spawn_ns: spawn,
        scientisto_read_ns: scientisto,
        scientisto_read_allocs: (allocated as f64 - direct as f64) / experiment.operations as f64,
    }
}
