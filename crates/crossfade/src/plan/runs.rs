//! A backfill, a verification or a repair, as the control plane of a plan source knows it.
//!
//! Here is only the port. `plan::server` registers runs; the other sources have no control plane to register them with.

use super::Steward;
use crossfade_core::{Phase, Plan, Stage, Verdict};
use futures::future::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunKind {
    Backfill,
    Verify,
    Repair,
}

impl RunKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            RunKind::Backfill => "backfill",
            RunKind::Verify => "verification",
            RunKind::Repair => "repair",
        }
    }

    /// Why a registered run of this kind may not work under this plan; none when it may.
    ///
    /// A verification changes nothing, so that it goes on while authority moves. A backfill and a repair write, so that
    /// they never work while authority moves (R6).
    pub(crate) fn unfit(self, plan: &Plan) -> Option<&'static str> {
        let (earlier, later) = plan.position().occupied();
        if !earlier.is_mirrored() || !later.is_mirrored() {
            return Some("not every key is written to both sides: take every key to dual-write first");
        }
        self.unfit_somewhere(plan)
    }

    /// The same for a run that no control plane knows: a verification and a repair then work on the rows that are
    /// written to both sides, and leave the others alone.
    pub(crate) fn unfit_alone(self, plan: &Plan) -> Option<&'static str> {
        let (earlier, later) = plan.position().occupied();
        match self {
            RunKind::Backfill => self.unfit(plan),
            RunKind::Verify | RunKind::Repair if !earlier.is_mirrored() && !later.is_mirrored() => {
                Some("no key is written to both sides: nothing holds the sides equal")
            }
            RunKind::Verify | RunKind::Repair => self.unfit_somewhere(plan),
        }
    }

    fn unfit_somewhere(self, plan: &Plan) -> Option<&'static str> {
        let (earlier, _) = plan.position().occupied();
        let settled = matches!(plan.phase(), Phase::Settled);
        match self {
            RunKind::Verify => None,
            RunKind::Backfill if earlier >= Stage::Live => {
                Some("history moves while keys are at dual-write or shadow: from live on, use a repair")
            }
            RunKind::Backfill | RunKind::Repair if !settled => {
                Some("authority is moving: run it again when the step has ended")
            }
            RunKind::Backfill | RunKind::Repair => None,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunOutcome {
    /// All of its work is done.
    Complete,
    /// It stopped before its end.
    Interrupted,
    /// What a verification found.
    Verdict(Verdict),
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunCount {
    /// Rows looked at.
    pub(crate) done: u64,
    /// Rows to look at, as far as known.
    pub(crate) total: Option<u64>,
    /// Rows per second.
    pub(crate) rate: u64,
    /// The table that the run is at.
    pub(crate) table: String,
}

/// Everything that registering a run takes.
pub(crate) struct RunRequest {
    pub(crate) migration: String,
    pub(crate) kind: RunKind,
    pub(crate) steward: Steward,
    /// Where the task that keeps the run registered runs: it outlives the run.
    pub(crate) runtime: Handle,
    /// How far the run is now.
    pub(crate) count: Arc<dyn Fn() -> RunCount + Send + Sync>,
    /// The reason for which the run must stop, once there is one.
    pub(crate) stop: Arc<watch::Sender<Option<String>>>,
    /// The run is a repair of every row: it may clear the marks that instances have left which are gone.
    pub(crate) clears_marks: bool,
}

/// Why a run was not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotRegistered {
    /// The plan, or the control plane, does not let this run begin.
    Refused(String),
    /// The run was told to stop while it waited.
    Stopped(String),
}

/// A run that has begun. Dropped without [`RunMembership::end`], it waits until no effect of the run can land any more,
/// and then ends as interrupted.
pub(crate) struct RunMembership {
    /// The claim of the target that the run works for (R10).
    pub(crate) claim: u64,
    /// Reports the outcome to the task that keeps the run registered.
    pub(crate) ending: oneshot::Sender<(RunOutcome, oneshot::Sender<Result<(), String>>)>,
}

impl RunMembership {
    /// Reports how the run ended and leaves.
    ///
    /// # Errors
    /// Why the control plane does not know.
    pub(crate) async fn end(self, outcome: RunOutcome) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let gone = || "the task that keeps the run registered has ended".to_owned();
        self.ending.send((outcome, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Registers runs with one control plane.
pub(crate) trait RegisterRuns: Send + Sync {
    /// Registers a run, waits until it may begin, and begins it. `linger` is how long an effect of the run may still
    /// land after the run was dropped.
    fn begin(&self, request: RunRequest, linger: Duration) -> BoxFuture<'static, Result<RunMembership, NotRegistered>>;
}

/// Where a source's backfills, verifications and repairs are registered. Made by the sources of this crate alone.
#[derive(Clone)]
pub struct RunRegistrar(pub(crate) Arc<dyn RegisterRuns>);

impl fmt::Debug for RunRegistrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunRegistrar")
    }
}
