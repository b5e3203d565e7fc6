//! How a write ends: known, or lingering; mirrored, or marked.

use super::order::Order;
use super::{KeyText, Mirror, Rows, Touched};
use crate::epoch::Epoch;
use crate::key::Key;
use crate::migration::Inner;
use crate::observe::{Counter, OperationStats, Timing};
use crate::operation::{Operation, sampled};
use crate::secondary::{Outcome, guarded};
use crossfade_core::{Checks, Effect, MarkReason, Side};
#[cfg(not(feature = "testing"))]
use futures::FutureExt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// An operation that holds its epoch. Dropped without [`Ending::known`], it goes on holding it until its linger has
/// passed (R3): its effect may still land.
pub(crate) struct Ending<'a> {
    inner: &'a Arc<Inner>,
    epoch: Option<Arc<Epoch>>,
}

impl<'a> Ending<'a> {
    #[inline]
    pub(crate) fn new(inner: &'a Arc<Inner>, epoch: Arc<Epoch>) -> Ending<'a> {
        Ending { inner, epoch: Some(epoch) }
    }

    /// What it did is known: the operation has ended.
    #[inline]
    pub(crate) fn known(mut self) {
        self.epoch = None;
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(epoch) = self.epoch.take() {
            linger(self.inner, epoch);
        }
    }
}

/// Holds an epoch until an effect can no longer land.
fn linger(inner: &Arc<Inner>, epoch: Arc<Epoch>) {
    inner.lingering.fetch_add(1, Ordering::AcqRel);
    let wait = epoch.plan.options().linger;
    let lingering = Lingering { inner: Arc::downgrade(inner), _epoch: epoch };
    inner.runtime.spawn(async move {
        tokio::time::sleep(wait).await;
        drop(lingering);
    });
}

struct Lingering {
    inner: std::sync::Weak<Inner>,
    _epoch: Arc<Epoch>,
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.lingering.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A dual write from its decision to its last effect. Dropped at any moment it leaves its rows marked. It goes from hand
/// to hand, so that it is kept small.
pub(crate) struct Mirroring {
    operation: Operation,
    epoch: Option<Arc<Epoch>>,
    rows: Rows,
    authority: Side,
    /// What to remember if it is dropped now.
    if_dropped: Option<MarkReason>,
    named: Named,
    timing: Timing,
    /// It has a part of the budget.
    budgeted: bool,
}

/// When the row of a write was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Before,
    /// The authority made its key (R17). A write of the new row by somebody who read it meanwhile was not kept in
    /// order with this one: it is always checked (R5).
    After,
}

impl Mirroring {
    pub(crate) fn begin(operation: &Operation, epoch: Arc<Epoch>, mut rows: Rows, authority: Side) -> Mirroring {
        for row in rows.touched_mut() {
            row.begin(&operation.inner().order);
            operation.inner().in_flight.begin(row.bucket());
        }
        Mirroring {
            operation: operation.clone(),
            epoch: Some(epoch),
            rows,
            authority,
            if_dropped: Some(MarkReason::AuthorityUnknown),
            named: Named::Before,
            timing: operation.stats().timing(),
            budgeted: false,
        }
    }

    /// Begins a time that is taken, if this write's are.
    pub(crate) fn clock(&self) -> Option<Instant> {
        self.timing.begin()
    }

    fn mark(&self, reason: MarkReason) {
        self.operation.stats().count(Counter::Marked);
        let linger = self.epoch.as_ref().map(|epoch| epoch.plan.options().linger).unwrap_or_default();
        if matches!(self.rows, Rows::Unknown | Rows::ToCome { .. }) {
            self.operation.inner().marks.suspect_everything();
        }
        for row in self.rows.touched() {
            self.operation.inner().marks.set(&row.id(), reason, linger);
        }
    }

    /// The authority has made the row's key.
    pub(crate) fn name(&mut self, row: &(impl Key + ?Sized)) {
        let Rows::ToCome { key, bucket } = &self.rows else { return };
        let Ok(row) = KeyText::of_row(row) else {
            // Without a name only a verification finds it again.
            self.operation.inner().marks.suspect_everything();
            return;
        };
        let mut row = Touched::named(key.clone(), row, *bucket);
        row.begin(&self.operation.inner().order);
        self.operation.inner().in_flight.begin(*bucket);
        self.rows = Rows::One(row);
        self.named = Named::After;
    }

    /// The authority answered with an error.
    pub(crate) fn failed(mut self, effect: Effect) {
        self.if_dropped = effect.mark_of_authority();
    }

    /// The authority accepted the write, and the secondary's could not be made.
    pub(crate) fn not_begun(mut self) {
        self.operation.stats().count(Counter::SecondaryPanics);
        self.if_dropped = Some(MarkReason::SecondaryFailed);
    }

    /// The transaction was rolled back: nothing was written anywhere.
    pub(crate) fn nothing_written(mut self) {
        self.if_dropped = None;
    }

    /// Until its mirror runs or it is told of a rollback, a prepared write may be committed or not (R19).
    pub(crate) fn prepared(&mut self) {
        self.if_dropped = Some(MarkReason::Prepared);
    }

    /// The authority accepted the write: runs the secondary's on a task of its own. Not an `async fn`, so that neither
    /// the call nor this is kept twice.
    pub(crate) fn mirror<E, S>(
        mut self,
        operation: &Operation,
        kind: Mirror,
        effect_of: fn(&E) -> Effect,
        call: S,
    ) -> Running
    where
        E: 'static,
        S: Future<Output = Result<(), E>> + Send + 'static,
    {
        // From here until the task has ended, whatever happens, the secondary's state is unknown.
        self.if_dropped = Some(MarkReason::SecondaryUnknown);
        let inner = operation.inner();
        let mut overlapped = false;
        for row in self.rows.touched_mut() {
            overlapped |= row.accepted(&inner.order) == Order::Overlapped;
        }
        let Some(epoch) = &self.epoch else { return Running(None) };
        let (limit, wait) = (epoch.plan.options().secondary_in_flight, epoch.plan.options().secondary_wait);
        self.budgeted = inner.budget.take(limit);
        if !self.budgeted {
            self.if_dropped = Some(MarkReason::OverBudget);
            return Running(None);
        }
        let task = Secondary { mirroring: self, overlapped, kind };
        Running(Some((inner.runtime.spawn(task.run(effect_of, call)), wait)))
    }
}

/// The secondary's task, unless there was nothing to begin.
#[must_use = "the caller waits for it, up to the bound"]
pub(crate) struct Running(Option<(JoinHandle<()>, Duration)>);

impl Running {
    /// Waits for it up to the plan's `secondary_wait`; then it goes on in the background. Cancel safe.
    pub(crate) async fn within(self, operation: &Operation) {
        let Some((mut running, wait)) = self.0 else { return };
        // A store in this process has often answered by the caller's next turn: only then is a timer worth its price.
        let mut looked = false;
        let at_once = std::future::poll_fn(|context| {
            if Pin::new(&mut running).poll(context).is_ready() {
                return Poll::Ready(true);
            }
            if looked {
                return Poll::Ready(false);
            }
            looked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        });
        if !at_once.await && tokio::time::timeout(wait, running).await.is_err() {
            operation.stats().count(Counter::SecondaryLate);
        }
    }
}

impl Drop for Mirroring {
    fn drop(&mut self) {
        if let Some(reason) = self.if_dropped {
            self.mark(reason);
            if reason.lingers()
                && let Some(epoch) = self.epoch.take()
            {
                linger(self.operation.inner(), epoch);
            }
        }
        let inner = self.operation.inner();
        // After the mark: whoever sees neither knows that the write has reached both sides, and a row's next write goes
        // only then.
        for row in self.rows.touched_mut() {
            inner.in_flight.end(row.bucket());
            row.end(&inner.order);
        }
        if self.budgeted {
            inner.budget.give_back();
        }
    }
}

/// The secondary's part of a dual write, on its own task.
struct Secondary {
    mirroring: Mirroring,
    overlapped: bool,
    kind: Mirror,
}

impl Secondary {
    /// Not an `async fn`: that would keep everything twice, the call among it.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments a second time")]
    fn run<E, S>(mut self, effect_of: fn(&E) -> Effect, call: S) -> impl Future<Output = ()> + Send + use<E, S>
    where
        E: 'static,
        S: Future<Output = Result<(), E>> + Send + 'static,
    {
        async move {
            // As a whole: a block that names its fields would take only those along.
            let this = &mut self;
            // It holds its epoch to the end.
            let Some((timeout, checks)) = this.mirroring.epoch.as_ref().map(|epoch| {
                let options = epoch.plan.options();
                (options.secondary_timeout, options.checks)
            }) else {
                return;
            };
            match this.mirroring.rows.touched_mut() {
                [] => {}
                [row] => {
                    if !row.part().is_first()
                        && !matches!(tokio::time::timeout(timeout, row.part().come()).await, Ok(Ok(())))
                    {
                        this.mirroring.if_dropped = Some(MarkReason::OverBudget);
                        return;
                    }
                }
                // Batches that wait for one another's rows could wait for ever: unless it is first everywhere, the
                // batch goes at once, and its rows are marked.
                batch => this.overlapped |= batch.iter_mut().any(|row| !row.part().is_first()),
            }
            let began = this.mirroring.clock();
            #[cfg(feature = "testing")]
            let call = this.mirroring.operation.inner().faults.meet(&this.mirroring.operation.inner().runtime, call);
            #[cfg(not(feature = "testing"))]
            let call = call.map(Ok::<_, Effect>);
            let ended = guarded(call, timeout).await;
            let mirroring = &mut this.mirroring;
            if let Some(began) = began {
                mirroring.operation.stats().latency(mirroring.authority.other(), began.elapsed());
            }
            let effect = effect_of_outcome(mirroring.operation.stats(), ended, effect_of);
            mirroring.if_dropped = match (effect.mark_of_secondary(), this.overlapped, this.kind) {
                (Some(reason), _, _) => Some(reason),
                (None, true, _) => Some(MarkReason::Overlapped),
                (None, false, Mirror::Guess) => Some(MarkReason::Replayed),
                (None, false, Mirror::State) => None,
            };
            let check = match checks {
                Checks::Full => true,
                Checks::Sample(share) => sampled(share),
            };
            if mirroring.if_dropped.is_none() && (check || mirroring.named == Named::After) {
                this.check(timeout).await;
            }
        }
    }

    /// R5: reads both sides after the fact. The check belongs to the operation, which goes on holding its epoch.
    async fn check(&mut self, timeout: Duration) {
        let mirroring = &mut self.mirroring;
        let Some(rows) = mirroring.operation.inner().rows.get().cloned() else { return };
        for row in mirroring.rows.touched() {
            mirroring.operation.stats().count(Counter::Checked);
            // A check that comes to no answer leaves the row as doubtful as one that differed.
            if !matches!(rows.equal(row.row(), mirroring.authority, timeout).await, Ok(true)) {
                mirroring.operation.stats().count(Counter::ChecksDiffered);
                mirroring.if_dropped = Some(MarkReason::CheckDiffered);
            }
        }
    }
}

/// What became of the secondary's write, counted.
fn effect_of_outcome<E>(
    stats: &OperationStats,
    ended: Outcome<Result<Result<(), E>, Effect>>,
    effect_of: fn(&E) -> Effect,
) -> Effect {
    match ended {
        Outcome::Answered(Ok(Ok(()))) => Effect::Applied,
        Outcome::Answered(Ok(Err(error))) => {
            stats.count(Counter::SecondaryErrors);
            effect_of(&error)
        }
        Outcome::Answered(Err(effect)) => effect,
        Outcome::TimedOut => {
            stats.count(Counter::SecondaryTimeouts);
            Effect::Unknown
        }
        Outcome::Panicked => {
            stats.count(Counter::SecondaryPanics);
            Effect::Unknown
        }
    }
}
