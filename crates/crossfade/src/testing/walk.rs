//! The walk: every stage and edge, forward, back and forward again, with a user's own scenario at each stop.

use super::Fault;
use crate::conduct::AdvanceError;
use crate::migration::Migration;
use crate::plan;
use crate::rows::{Pace, Progress, RowsError, ScanRows, backfill, verify};
use crossfade_core::{Checks, Options, Plan, PlanError, PlanSpec, Position, Share, Side, Stage, Verdict};
use futures::future::join;
use std::sync::Arc;
use std::time::Duration;

/// One call of the scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Visit {
    /// Counts the visits, from 0: a source of fresh values.
    pub number: u64,
    /// Where the migration stands; while it moves on, where it comes from.
    pub position: Position,
    /// What the next secondary write meets.
    pub fault: Option<Fault>,
    /// The migration moves to the next position meanwhile.
    pub moving: bool,
}

/// A walk that found nothing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// Calls of the scenario.
    pub visits: u64,
    /// Positions.
    pub positions: u64,
    /// Verifications of every row.
    pub verifications: u64,
    /// Rows that repairs have copied.
    pub repaired: u64,
}

/// What a walk found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The scenario says so.
    #[error("at {visit:?}: {what}")]
    Scenario {
        /// When.
        visit: Box<Visit>,
        /// What it says.
        what: String,
    },
    /// The sides differ though nothing is in flight (P3).
    #[error("at {position}: {found:?}")]
    NotEqual {
        /// Where.
        position: String,
        /// What the verification found.
        found: Verdict,
    },
    /// Marks were not cleared.
    #[error("at {position}: {marks} rows stayed marked")]
    StillMarked {
        /// Where.
        position: String,
        /// How many.
        marks: usize,
    },
    /// A lawful step was refused.
    #[error(transparent)]
    Advance(#[from] AdvanceError),
    /// A side could not be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The id is none.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The migration could not be built.
    #[error(transparent)]
    Build(#[from] crate::BuildError),
}

/// Takes a DAO pair through off … ramp-down, back to off, and forward to complete, with ramps half open on the way.
///
/// `make` makes the DAO of a migration, `rows` gives access to its rows (the generated `.rows()`), and `scenario` is
/// called at every position, with every [`Fault`], and while the migration moves on; it reads what it has written and
/// says what is wrong. After each position in which both sides are written they are verified to be equal (P3).
///
/// # Errors
/// The first [`Violation`].
pub async fn walk<D, P, F>(
    id: &str,
    make: impl Fn(Migration) -> D,
    rows: impl Fn(&D) -> P,
    scenario: impl Fn(Arc<D>, Visit) -> F,
) -> Result<Walked, Violation>
where
    P: ScanRows,
    F: Future<Output = Result<(), String>>,
{
    let options = Options {
        checks: Checks::Sample(Share::from_buckets(20_000).unwrap_or_default()),
        secondary_wait: Duration::from_millis(5),
        secondary_timeout: Duration::from_secs(2),
        linger: Duration::from_millis(40),
        ..Options::default()
    };
    let first = Plan::new(PlanSpec { options, ..PlanSpec::at(id, Stage::Off) })?;
    let (control, source) = plan::local(first);
    let migration = Migration::builder(id).plan(source).publish_metrics_every(None).build().await?;
    let dao = Arc::new(make(migration.clone()));
    let pair = rows(&dao);
    let pace = Pace { linger: Duration::from_millis(40), ..Pace::default() };
    let mut walked = Walked { visits: 0, positions: 0, verifications: 0, repaired: 0 };
    let mut here = Position::at(Stage::Off);
    for next in way().into_iter().map(Some).chain([None]) {
        walked.positions += 1;
        for fault in [None].into_iter().chain(Fault::ALL.map(Some)) {
            if let Some(fault) = fault.filter(|_| mirrored(&here)) {
                migration.fault(fault);
            }
            visit(&dao, &scenario, &mut walked, &here, fault, false).await?;
        }
        if mirrored(&here) {
            check(&migration, &pair, &here, &pace, &mut walked).await?;
        }
        let Some(next) = next else { break };
        let moving = visit(&dao, &scenario, &mut walked, &here, None, true);
        let (moving, advanced) = join(moving, control.advance(next.clone())).await;
        moving?;
        advanced?;
        here = next;
        if here == Position::at(Stage::DualWrite) {
            // Every key is written to both sides: history follows (R9), anew after each time at off (R10).
            backfill(&pair, Side::Source, &pace, &Progress::default()).await?;
        }
    }
    walked.repaired = migration.observe().repaired;
    Ok(walked)
}

async fn visit<D, F>(
    dao: &Arc<D>,
    scenario: &impl Fn(Arc<D>, Visit) -> F,
    walked: &mut Walked,
    position: &Position,
    fault: Option<Fault>,
    moving: bool,
) -> Result<(), Violation>
where
    F: Future<Output = Result<(), String>>,
{
    let visit = Visit { number: walked.visits, position: position.clone(), fault, moving };
    walked.visits += 1;
    scenario(Arc::clone(dao), visit.clone()).await.map_err(|what| Violation::Scenario { visit: Box::new(visit), what })
}

/// P3: with nothing in flight, both sides are equal.
async fn check<P: ScanRows>(
    migration: &Migration,
    pair: &P,
    here: &Position,
    pace: &Pace,
    walked: &mut Walked,
) -> Result<(), Violation> {
    let marked = migration.drain(Duration::from_secs(30)).await;
    if !marked.is_empty() {
        return Err(Violation::StillMarked { position: here.to_string(), marks: marked.len() });
    }
    let found = verify(pair, here.stage().authority(), pace, &Progress::default()).await?;
    walked.verifications += 1;
    match found.verdict {
        Verdict::Verified => Ok(()),
        found => Err(Violation::NotEqual { position: here.to_string(), found }),
    }
}

/// Every key is written to both sides, and history has been moved.
fn mirrored(position: &Position) -> bool {
    let (earlier, later) = position.occupied();
    earlier.is_mirrored() && later.is_mirrored()
}

/// Forward to ramp-down, back to off, forward to complete; each edge by way of an empty and a half open ramp.
fn way() -> Vec<Position> {
    let half = Share::from_buckets(50_000).unwrap_or_default();
    let edges: Vec<_> = Stage::ALL.into_iter().filter_map(Stage::edge).collect();
    let up = |until: usize| {
        edges.iter().take(until).flat_map(move |edge| {
            [Position::ramping(*edge, Share::NONE), Position::ramping(*edge, half), Position::at(edge.later())]
        })
    };
    let down = edges.iter().take(4).rev().flat_map(|edge| {
        [Position::ramping(*edge, half), Position::ramping(*edge, Share::NONE), Position::at(edge.earlier())]
    });
    up(4).chain(down).chain(up(5)).collect()
}
