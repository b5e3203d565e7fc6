//! How a write ends: known, or lingering; mirrored, or marked.

use super::order::{Order, Part};
use super::unnamed::{Insert, Predicate, Seen};
use super::{KeyText, Mirror, Rows, Touched};
use crate::blocking::watched;
use crate::epoch::Epoch;
use crate::key::Key;
use crate::lingering::{Guard, Reach};
use crate::observe::{Counter, OperationStats, Timing};
use crate::operation::{Operation, sampled};
use crate::plan::Sharing;
use crate::secondary::{Outcome, guarded};
use crate::table::TableState;
use crossfade_core::{Bucket, Checks, Effect, MarkReason, WriteRoute};
#[cfg(not(feature = "testing"))]
use futures::FutureExt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A one-sided write on its way. Dropped without [`Ending::known`], its effect may still land until its linger has passed:
/// see [`crate::lingering`].
pub(crate) struct Ending<'a> {
    operation: &'a Operation,
    epoch: Option<Arc<Epoch>>,
    route: WriteRoute,
    bucket: Option<Bucket>,
}

impl<'a> Ending<'a> {
    #[inline]
    pub(crate) fn new(
        operation: &'a Operation,
        epoch: Arc<Epoch>,
        route: WriteRoute,
        bucket: Option<Bucket>,
    ) -> Ending<'a> {
        Ending { operation, epoch: Some(epoch), route, bucket }
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
            let reach = reach(self.bucket, &epoch);
            linger(self.operation, &epoch, self.route, (reach, Guard::Row), |_| {});
        }
    }
}

fn reach(bucket: Option<Bucket>, epoch: &Epoch) -> Reach {
    bucket.map_or_else(|| Reach::Any(epoch.plan.position().clone()), Reach::Bucket)
}

/// An effect may land until its linger has passed; `at_the_end` runs then. Registered before the epoch is let go, so that
/// no plan is acknowledged in between.
fn linger(
    operation: &Operation,
    epoch: &Epoch,
    route: WriteRoute,
    (reach, guard): (Reach, Guard),
    at_the_end: impl FnOnce(&TableState) + Send + 'static,
) {
    let inner = operation.inner();
    let until = Instant::now() + epoch.plan.options().linger;
    let number = inner.lingering.begin(reach, route, guard, until);
    let (weak, table) = (Arc::downgrade(inner), Arc::clone(operation.table()));
    inner.runtime.spawn(async move {
        tokio::time::sleep_until(until).await;
        if let Some(inner) = weak.upgrade() {
            at_the_end(&table);
            inner.lingering.ended(number);
            inner.marks.nudge();
        }
    });
}

/// A dual write from its decision to its last effect. Dropped at any moment it leaves its rows marked. It goes from hand
/// to hand, so that it is kept small.
pub(crate) struct Mirroring {
    operation: Operation,
    epoch: Option<Arc<Epoch>>,
    rows: Rows,
    route: WriteRoute,
    conflict: Conflict,
    /// What to remember if it is dropped now.
    if_dropped: Option<MarkReason>,
    named: Named,
    /// The order of its rows on the two sides is not known.
    overlapped: bool,
    /// The authority certainly did not do it, so that nothing can differ by it.
    without_effect: bool,
    timing: Timing,
    /// It has a part of the budget.
    budgeted: bool,
    /// The authority accepted it, and its mirror was begun.
    accepted: bool,
}

/// When the row of a write was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Before,
    /// The authority made its key (R17). A write of the new row by somebody who read it meanwhile was not kept in
    /// order with this one: it is always checked (R5).
    After,
}

/// What a write conflicts with beyond the order of its rows (R24).
#[derive(Debug, Clone, Copy)]
enum Conflict {
    /// With writes by predicate.
    Row(Seen),
    /// With writes by predicate, and with those of the row that the authority is about to name.
    Insert(Seen, Insert),
    /// With every write of the table.
    Predicate(Predicate),
}

impl Mirroring {
    pub(crate) fn begin(operation: &Operation, epoch: Arc<Epoch>, mut rows: Rows, route: WriteRoute) -> Mirroring {
        let table = operation.table();
        let conflict = match &rows {
            Rows::Unknown => Conflict::Predicate(table.unnamed.begin_predicate()),
            Rows::ToCome { .. } => Conflict::Insert(table.unnamed.look(), table.unnamed.begin_insert()),
            Rows::NotMirrored | Rows::One(_) | Rows::Many(_) => Conflict::Row(table.unnamed.look()),
        };
        for row in rows.touched_mut() {
            row.begin(table);
            operation.inner().in_flight.begin(row.bucket());
        }
        Mirroring {
            operation: operation.clone(),
            epoch: Some(epoch),
            rows,
            route,
            conflict,
            if_dropped: Some(MarkReason::AuthorityUnknown),
            named: Named::Before,
            overlapped: false,
            without_effect: false,
            timing: operation.stats().timing(),
            budgeted: false,
            accepted: false,
        }
    }

    /// Begins a time that is taken, if this write's are.
    pub(crate) fn clock(&self) -> Option<Instant> {
        self.timing.begin()
    }

    /// Marks its rows. Returns whether one has no mark, so that its table is in doubt.
    fn mark(&self, reason: MarkReason) -> bool {
        self.operation.stats().count(Counter::Marked);
        let linger = self.epoch.as_ref().map(|epoch| epoch.plan.options().linger).unwrap_or_default();
        let table = self.operation.table();
        let mut no_room = false;
        for row in self.rows.touched() {
            no_room |= self.operation.inner().marks.set(&row.to_mark(table), reason, linger).is_err();
        }
        if no_room {
            // An older write of the row may still be on its way to the secondary, and may land after a verification has
            // cleared this doubt. No fence of a mark keeps it from that: so every write under way raises the doubt again
            // at its end, as if it had met a write by predicate.
            table.unnamed.meet_all();
        }
        // Rows that the authority has made and not named are among those without a mark.
        let unnamed = matches!(self.conflict, Conflict::Insert(..) | Conflict::Predicate(_));
        let unmarked = no_room || unnamed;
        if unmarked {
            table.doubt.raise();
            self.operation.inner().marks.nudge();
        }
        unmarked
    }

    /// Other processes may write the table too.
    fn is_shared(&self) -> bool {
        match self.operation.inner().sharing {
            Sharing::One => false,
            Sharing::BySettle => self.epoch.as_ref().is_none_or(|epoch| !epoch.plan.options().settle.is_zero()),
            Sharing::Many => true,
        }
    }

    /// The authority has made the row's key.
    pub(crate) fn name(&mut self, row: &(impl Key + ?Sized)) {
        self.name_all([row]);
    }

    /// The authority has made the keys of these rows, and of no others. A row without a key stays unnamed: the table is
    /// then in doubt, now and when the write has ended.
    pub(crate) fn name_all(&mut self, keys: impl IntoIterator<Item = impl Key>) {
        let (Rows::ToCome { key, bucket }, Conflict::Insert(seen, insert)) = (&self.rows, self.conflict) else {
            return;
        };
        let (key, bucket, table) = (key.clone(), *bucket, Arc::clone(self.operation.table()));
        let (mut named, mut nameless) = (Vec::new(), false);
        for row in keys {
            let Ok(row) = KeyText::of_row(&row) else {
                nameless = true;
                continue;
            };
            let mut row = Touched::named(key.clone(), row, bucket);
            let digest = row.digest();
            self.overlapped |= table.unnamed.named(insert, digest, &table.order, || row.begin_at(&table.order));
            self.operation.inner().in_flight.begin(bucket);
            named.push(row);
        }
        if nameless {
            // Without a name only a verification finds it again. The conflict stays that of an insert, so that the doubt
            // is raised once more at the end.
            table.doubt.raise();
            self.operation.inner().marks.nudge();
            if named.is_empty() {
                return;
            }
        } else {
            table.unnamed.end_insert(insert);
            self.conflict = Conflict::Row(seen);
        }
        self.rows = match <[Touched; 1]>::try_from(named) {
            Ok([row]) => Rows::One(row),
            Err(rows) => Rows::Many(rows),
        };
        self.named = Named::After;
    }

    /// The authority has named its rows, and there are none: it wrote nothing.
    pub(crate) fn wrote_no_row(&self) -> bool {
        self.named == Named::After && self.rows.touched().is_empty()
    }

    /// The authority answered with an error.
    pub(crate) fn failed(mut self, effect: Effect) {
        self.if_dropped = effect.mark_of_authority();
        self.without_effect = effect == Effect::Refused;
    }

    /// The authority accepted the write, and the secondary's could not be made.
    pub(crate) fn not_begun(self) {
        self.operation.stats().count(Counter::SecondaryPanics);
        self.left_out();
    }

    /// The authority accepted the write, and nobody makes the secondary's.
    pub(crate) fn left_out(mut self) {
        self.if_dropped = Some(MarkReason::SecondaryFailed);
    }

    /// Nothing was written anywhere: the transaction was rolled back, or the authority wrote no row.
    pub(crate) fn nothing_written(mut self) {
        (self.if_dropped, self.without_effect) = (None, true);
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
        (self.if_dropped, self.accepted) = (Some(MarkReason::SecondaryUnknown), true);
        let inner = operation.inner();
        for row in self.rows.touched_mut() {
            self.overlapped |= row.accepted(&operation.table().order) == Order::Overlapped;
        }
        let Some(epoch) = &self.epoch else { return Running(None) };
        let options = epoch.plan.options();
        let (limit, wait) = (options.secondary_in_flight, options.secondary_wait);
        let checked = self.named == Named::After
            || match options.checks {
                Checks::Full => true,
                Checks::Sample(share) => sampled(share),
            };
        self.budgeted = inner.budget.take(limit);
        if !self.budgeted {
            self.if_dropped = Some(MarkReason::OverBudget);
            return Running(None);
        }
        // The caller waits for the secondary's answer, not for the reads of a check that comes after it.
        let (answered, answer) = if checked { Some(oneshot::channel()) } else { None }.unzip();
        let task = Secondary { mirroring: self, kind, checked, answered };
        let running = inner.runtime.spawn(task.run(effect_of, call));
        Running(Some((answer.map_or(Waiting::Ended(running), Waiting::Answered), wait)))
    }
}

/// What the caller of a dual write waits for.
enum Waiting {
    /// The task of the secondary has ended.
    Ended(JoinHandle<()>),
    /// The secondary has answered, or its task has ended.
    Answered(oneshot::Receiver<()>),
}

impl Waiting {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Waiting::Ended(running) => Pin::new(running).poll(context).map(drop),
            Waiting::Answered(answer) => Pin::new(answer).poll(context).map(drop),
        }
    }
}

/// The secondary's task, unless there was nothing to begin.
#[must_use = "the caller waits for it, up to the bound"]
pub(crate) struct Running(Option<(Waiting, Duration)>);

impl Running {
    /// Waits for it up to the plan's `secondary_wait`; then it goes on in the background. Cancel safe.
    pub(crate) async fn within(self, operation: &Operation) {
        let Some((mut running, wait)) = self.0 else { return };
        // A store in this process has often answered by the caller's next turn: only then is a timer worth its price.
        let mut looked = false;
        let at_once = std::future::poll_fn(|context| {
            if running.poll(context).is_ready() {
                return Poll::Ready(true);
            }
            if looked {
                return Poll::Ready(false);
            }
            looked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        });
        if !at_once.await
            && tokio::time::timeout(wait, std::future::poll_fn(|context| running.poll(context))).await.is_err()
        {
            operation.stats().count(Counter::SecondaryLate);
        }
    }
}

impl Drop for Mirroring {
    fn drop(&mut self) {
        if let Some(reason) = self.if_dropped {
            let unmarked = self.mark(reason);
            if reason.lingers() {
                self.linger(reason, unmarked);
            }
        }
        let (inner, table) = (self.operation.inner(), self.operation.table());
        let overlapped = match self.conflict {
            Conflict::Row(seen) => table.unnamed.overlapped(seen),
            Conflict::Insert(seen, insert) => {
                table.unnamed.end_insert(insert);
                // Its row was never named, so that it had no place in the order of that row's writes.
                table.unnamed.overlapped(seen) || self.accepted
            }
            // A write of another process that overlapped with it is not seen here.
            Conflict::Predicate(predicate) => table.unnamed.end_predicate(predicate) || self.is_shared(),
        };
        if overlapped && !self.without_effect {
            table.doubt.raise();
            inner.marks.nudge();
        }
        // Do this after setting the mark. A reader that sees neither a mark nor a write in flight may then conclude that
        // both sides have the write, and the next write of the row goes only now.
        for row in self.rows.touched_mut() {
            inner.in_flight.end(row.bucket());
            table.unnamed.writing(row.digest());
            row.end(&table.order);
        }
        if self.budgeted {
            inner.budget.give_back();
        }
    }
}

impl Mirroring {
    /// Its effect may still land. Where a row has no mark, its table is in doubt once more at the end: a verification that
    /// began before may not have seen the effect. The same where a write by predicate met the lingering effect.
    ///
    /// A write of the authority that may still land keeps its place in the row order until then: the writes that are
    /// accepted meanwhile have no order with it, and are marked. Otherwise one of them, mirrored late, would land over the
    /// row that a repair of this mark has copied.
    fn linger(&mut self, reason: MarkReason, unmarked: bool) {
        let Some(epoch) = self.epoch.clone() else { return };
        let (operation, route) = (self.operation.clone(), self.route);
        let guard = if unmarked { Guard::Wait } else { Guard::Row };
        let without_rows = match &self.rows {
            Rows::Unknown => Some(reach(None, &epoch)),
            Rows::ToCome { bucket, .. } => Some(Reach::Bucket(*bucket)),
            Rows::NotMirrored | Rows::One(_) | Rows::Many(_) => None,
        };
        if let Some(reach) = without_rows {
            linger(&operation, &epoch, route, (reach, guard), |table| table.doubt.raise());
            return;
        }
        let seen = operation.table().unnamed.look();
        for row in self.rows.touched_mut() {
            let mut kept = match reason {
                MarkReason::AuthorityUnknown | MarkReason::Prepared => row.take_place(),
                MarkReason::SecondaryFailed
                | MarkReason::SecondaryUnknown
                | MarkReason::OverBudget
                | MarkReason::Overlapped
                | MarkReason::Replayed
                | MarkReason::CheckDiffered => Part::none(),
            };
            let digest = row.digest();
            linger(&operation, &epoch, route, (Reach::Bucket(row.bucket()), guard), move |table| {
                if table.unnamed.overlapped(seen) || unmarked {
                    table.doubt.raise();
                }
                table.unnamed.writing(digest);
                table.order.end(&mut kept);
            });
        }
    }
}

/// The secondary's part of a dual write, on its own task.
struct Secondary {
    mirroring: Mirroring,
    kind: Mirror,
    /// Both sides are read after the fact (R5).
    checked: bool,
    /// Tells the caller that the secondary has answered, where the task goes on after that.
    answered: Option<oneshot::Sender<()>>,
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
            let Some(timeout) = this.mirroring.epoch.as_ref().map(|epoch| epoch.plan.options().secondary_timeout)
            else {
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
                batch => {
                    let behind = batch.iter_mut().any(|row| !row.part().is_first());
                    this.mirroring.overlapped |= behind;
                }
            }
            let began = this.mirroring.clock();
            #[cfg(feature = "testing")]
            let call = this.mirroring.operation.inner().faults.meet(&this.mirroring.operation.inner().runtime, call);
            #[cfg(not(feature = "testing"))]
            let call = call.map(Ok::<_, Effect>);
            let stats = began.map(|_| Arc::clone(this.mirroring.operation.stats()));
            let ended = guarded(watched(call, stats), timeout).await;
            let mirroring = &mut this.mirroring;
            if let Some(began) = began {
                mirroring.operation.stats().latency(mirroring.route.authority.other(), began.elapsed());
            }
            let effect = effect_of_outcome(mirroring.operation.stats(), ended, effect_of);
            mirroring.if_dropped = match (effect.mark_of_secondary(), mirroring.overlapped, this.kind) {
                (Some(reason), _, _) => Some(reason),
                (None, true, _) => Some(MarkReason::Overlapped),
                (None, false, Mirror::Guess) => Some(MarkReason::Replayed),
                (None, false, Mirror::State) => None,
            };
            if let Some(answered) = this.answered.take() {
                // The caller may have gone.
                let _gone = answered.send(());
            }
            if mirroring.if_dropped.is_none() && this.checked {
                this.check(timeout).await;
            }
        }
    }

    /// R5: reads both sides after the fact. The check belongs to the operation, which goes on holding its epoch.
    async fn check(&mut self, timeout: Duration) {
        let mirroring = &mut self.mirroring;
        // Where nobody can read the rows there is no check: gates do not count such an instance (R25).
        let Some(rows) = mirroring.operation.table().rows.get().cloned() else { return };
        // A check that comes to no answer leaves the row as doubtful as one that differed.
        mirroring.if_dropped = Some(MarkReason::CheckDiffered);
        let mut all_equal = true;
        for row in mirroring.rows.touched() {
            mirroring.operation.stats().count(Counter::Checked);
            if !matches!(rows.equal(row.row(), mirroring.route.authority, timeout).await, Ok(true)) {
                mirroring.operation.stats().count(Counter::ChecksDiffered);
                all_equal = false;
            }
        }
        if all_equal {
            mirroring.if_dropped = None;
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
