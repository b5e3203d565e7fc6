//! From one plan to another within this process: the grace period of R3 and the held moves of R4.
//!
//! A control plane conducts a fleet; this conducts one process, for plans that come from a file or from code.

use crate::migration::{Inner, moving_buckets};
use crossfade_core::{Bucket, Options, Plan, Position, Revision, StepError};
use std::time::Duration;
use tokio::time::Instant;

/// A step that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advanced {
    /// The revision in force now.
    pub revision: Revision,
    /// How long writes of the moving keys were held; none when no authority moved.
    pub held: Option<Duration>,
}

/// Why a step was not taken. The plan in force is the one from before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdvanceError {
    /// The law does not allow it.
    #[error(transparent)]
    Step(#[from] StepError),
    /// Moving rows stayed marked, or effects lingered, for too long: nothing was held.
    #[error(
        "{marks} rows of the moving keys are still marked after {waited:?}: repair them (a DAO with `#[snapshot]` and `#[restore]` does it by itself), then try again"
    )]
    NotQuiet {
        /// Marked rows among the moving keys.
        marks: u64,
        /// How long it was waited.
        waited: Duration,
    },
    /// The bound of the hold passed; the old roles are in force again (R4).
    #[error(
        "the move was abandoned after writes were held for {held:?}: operations or marks of the old roles did not end in time; try again in a quieter moment or raise hold-bound-ms"
    )]
    Abandoned {
        /// How long the writes were held.
        held: Duration,
    },
    /// Keys are not known one by one: only a verification clears that.
    #[error("writes of unknown rows may have left the sides different: verify every row, then try again")]
    EverythingSuspect,
    /// The settle time of every revision does not fit into the bound of a hold (R12).
    #[error(
        "settle-ms is {settle:?}, and two of them do not fit into hold-bound-ms, {bound:?}: raise the bound or lower settle-ms"
    )]
    SettleTooLong {
        /// The settle time.
        settle: Duration,
        /// The bound.
        bound: Duration,
    },
    /// The migration was dropped.
    #[error("the migration is gone")]
    Gone,
}

/// What is asked of the conductor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    pub(crate) position: Position,
    pub(crate) options: Options,
}

/// Waits until, in these buckets, no row is marked, no repair runs and no effect may land any more. Cancel safe.
pub(crate) async fn quiet(inner: &Inner, among: impl Fn(Bucket) -> bool) {
    let mut changed = inner.marks.watch();
    loop {
        changed.mark_unchanged();
        let Some(until) = not_quiet_until(inner, &among) else { return };
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

/// When to look again, though no mark has changed; none when there is nothing to wait for.
fn not_quiet_until(inner: &Inner, among: impl Fn(Bucket) -> bool) -> Option<Instant> {
    if let Some(until) = inner.lingering.in_buckets(&among) {
        return Some(until.max(Instant::now()) + Duration::from_millis(1));
    }
    if inner.repairs.any_in(&among) {
        // A repair that finds nothing to do changes no mark when it ends.
        return Some(Instant::now() + Duration::from_millis(2));
    }
    (inner.marks.count_in(&among) > 0).then(|| Instant::now() + Duration::from_secs(1))
}

/// Takes the migration to `goal`, one lawful revision after the other.
pub(crate) async fn advance(inner: &Inner, goal: Goal) -> Result<Advanced, AdvanceError> {
    let (here, revision) = inner.epochs.peek(|epoch| (epoch.plan.clone(), epoch.revision));
    // A move that was under way when its conductor went away is abandoned first: nothing was written between.
    let (mut here, mut revision) = (here, revision);
    while let Some(old_roles) = here.abandoned() {
        revision = install(inner, &old_roles, revision).await;
        here = old_roles;
    }
    let adjusted = here.with_options(goal.options).map_err(StepError::from)?;
    let steps = adjusted.steps_to(goal.position)?;
    if adjusted == here && steps.iter().all(|plan| *plan == here) {
        // It may be in force since a moment ago, by a step that was given up half-way: the answer is the same promise.
        let sequence = *inner.epochs.watch().borrow();
        inner.acknowledged(sequence).await;
        return Ok(Advanced { revision, held: None });
    }
    let revision = if adjusted == here { revision } else { install(inner, &adjusted, revision).await };
    match <[Plan; 3]>::try_from(steps) {
        Ok([hold, moved, released]) => hold_move_release(inner, adjusted, [hold, moved, released], revision).await,
        Err(steps) => {
            let mut revision = revision;
            for plan in steps.iter().filter(|plan| **plan != adjusted) {
                revision = install(inner, plan, revision).await;
            }
            Ok(Advanced { revision, held: None })
        }
    }
}

/// Publishes a revision and returns when it is acknowledged: every operation of an earlier one has ended (R3), and the
/// settle time has passed (R12).
async fn install(inner: &Inner, plan: &Plan, after: Revision) -> Revision {
    let revision = after.next(plan.fingerprint());
    let sequence = inner.epochs.install(plan.clone(), revision);
    inner.acknowledged(sequence).await;
    tokio::time::sleep(plan.options().settle).await;
    revision
}

/// R4. Before anything is held, everything that a hold would have to wait for is waited for, so that the hold is short.
async fn hold_move_release(
    inner: &Inner,
    here: Plan,
    [hold, moved, released]: [Plan; 3],
    revision: Revision,
) -> Result<Advanced, AdvanceError> {
    let (bound, settle) = (here.options().hold_bound, here.options().settle);
    if settle * 2 >= bound && !settle.is_zero() {
        return Err(AdvanceError::SettleTooLong { settle, bound });
    }
    let moving = moving_buckets(&here, &released);
    let patience = here.options().linger * 2 + bound;
    if tokio::time::timeout(patience, quiet(inner, &moving)).await.is_err() {
        return Err(AdvanceError::NotQuiet { marks: inner.marks.count_in(&moving), waited: patience });
    }
    if inner.tables.any_doubt() {
        return Err(AdvanceError::EverythingSuspect);
    }
    let mut abandon = Abandon { inner, after: revision, armed: true };
    let began = Instant::now();
    let take = async {
        abandon.after = install(inner, &hold, abandon.after).await;
        quiet(inner, &moving).await;
        // Looked at again: a write that began before the hold may have put a table in doubt since.
        if inner.tables.any_doubt() {
            return Err(AdvanceError::EverythingSuspect);
        }
        abandon.after = install(inner, &moved, abandon.after).await;
        Ok(())
    };
    match tokio::time::timeout(bound, take).await {
        Ok(Ok(())) => {}
        Ok(Err(doubt)) => {
            drop(abandon);
            return Err(doubt);
        }
        Err(_late) => {
            drop(abandon);
            return Err(AdvanceError::Abandoned { held: began.elapsed() });
        }
    }
    abandon.armed = false;
    let revision = abandon.after.next(released.fingerprint());
    let sequence = inner.epochs.install(released, revision);
    let held = began.elapsed();
    inner.totals.held(held);
    inner.acknowledged(sequence).await;
    tokio::time::sleep(settle).await;
    Ok(Advanced { revision, held: Some(held) })
}

/// Puts the old roles back into force when a held move ends early, also when its conductor is dropped half-way.
struct Abandon<'a> {
    inner: &'a Inner,
    after: Revision,
    armed: bool,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (mut plan, mut revision) = self.inner.epochs.peek(|epoch| (epoch.plan.clone(), epoch.revision));
        // From move by way of hold. In one process a new plan is everybody's at once, so that nothing is waited for.
        while let Some(old_roles) = plan.abandoned() {
            revision = revision.next(old_roles.fingerprint());
            self.inner.epochs.install(old_roles.clone(), revision);
            plan = old_roles;
            tracing::warn!(migration = %self.inner.id, %revision, "a move of authority was abandoned; the old roles are in force");
        }
    }
}
