//! The same DAO on a runtime with two workers, all callers of one migration at the same time: what sharing costs.

use super::batch::{Kind, Numbers, Shape, spawned};
use super::dao::AtOnce;
use super::report::Progress;
use super::stages::did_everything;
use super::subjects::{Direct, generated, migration};
use crate::measure::median;
use crossfade::Stage;
use serde::Serialize;

/// CPU ns of one operation above calling the DAO, on two workers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) stage: Stage,
    pub(crate) op: Kind,
    pub(crate) ns: f64,
}

const CALLERS: u64 = 16;
const OPERATIONS: u64 = 64_000;
const BREATH: u64 = 16;

/// Measures every stage given, both operations.
pub(crate) fn measure(stages: &[Stage], rounds: u32, progress: &Progress) -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    let numbers = Numbers::default();
    let mut cells = Vec::new();
    for stage in stages {
        let migration = runtime.block_on(migration(*stage))?;
        let dao = generated(AtOnce, AtOnce, &migration);
        cells.push((*stage, Kind::Read, migration.clone(), dao.clone(), Vec::new()));
        cells.push((*stage, Kind::Write, migration, dao, Vec::new()));
    }
    for round in 0..=rounds {
        for (stage, kind, _, dao, seen) in &mut cells {
            let breathes = (*kind == Kind::Read && stage.read_route().compare.is_some()).then_some(BREATH);
            let shape = Shape { kind: *kind, operations: OPERATIONS, callers: CALLERS, breathes };
            let direct = spawned(&runtime, &numbers, shape, || Direct(AtOnce));
            let ours = spawned(&runtime, &numbers, shape, || dao.clone());
            if round > 0 {
                seen.push(ours - direct);
            }
        }
        progress.round(round);
    }
    for (stage, _, migration, _, _) in &cells {
        runtime.block_on(migration.drain(std::time::Duration::from_secs(5)));
        did_everything(*stage, migration)?;
    }
    Ok(cells.into_iter().map(|(stage, op, _, _, seen)| Row { stage, op, ns: median(seen) }).collect())
}
