//! The background task that clears marks: as they come due, a few rows at a time, under the plan in force.

use super::{RepairError, Repaired};
use crate::marks::Due;
use crate::migration::Inner;
use crate::write::Fence;
use crossfade_core::Bucket;
use futures::stream;
use futures::{FutureExt, StreamExt};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Rows repaired at once.
const AT_ONCE: usize = 8;
/// Marks looked at in one round.
const ROUND: usize = 256;
/// How long a mark waits, at first, for writes of its row that were under way when it was set.
const UNDER_WAY: Duration = Duration::from_millis(10);

/// Clears marks until the migration is gone, or this process has left the fleet (R30).
pub(crate) async fn run(migration: Weak<Inner>) {
    let Some(mut plans) = migration.upgrade().map(|inner| inner.epochs.watch()) else { return };
    let mut plan = *plans.borrow_and_update();
    loop {
        let Some(inner) = migration.upgrade() else { return };
        let now = *plans.borrow_and_update();
        if std::mem::replace(&mut plan, now) != now {
            // Under another plan their rows may not be held equal any more: then their marks go.
            inner.marks.unpark();
        }
        if inner.epochs.peek(|epoch| epoch.is_closed()) {
            return;
        }
        let mut changed = inner.marks.watch();
        changed.mark_unchanged();
        let (due, next) = inner.marks.due(ROUND);
        if due.is_empty() {
            drop(inner);
            let sleep_until = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
            tokio::select! {
                // An error says that the migration is gone: the next round ends.
                _ = changed.changed() => {}
                _ = plans.changed() => {}
                () = tokio::time::sleep_until(sleep_until) => {}
            }
            continue;
        }
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, |due| {
                let inner = Arc::clone(&inner);
                async move { contained(&inner, &due).await }
            })
            .await;
    }
}

/// The repairs under way, by the bucket of their row: no authority moves there meanwhile (R6).
#[derive(Debug, Default)]
pub(crate) struct Repairs(Mutex<Vec<Bucket>>);

impl Repairs {
    fn begin(&self, bucket: Bucket) -> Running<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(bucket);
        Running { repairs: self, bucket }
    }

    /// A repair runs in one of these buckets.
    pub(crate) fn any_in(&self, among: impl Fn(Bucket) -> bool) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|bucket| among(*bucket))
    }
}

/// A repair while it runs.
struct Running<'a> {
    repairs: &'a Repairs,
    bucket: Bucket,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.repairs.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = running.iter().position(|bucket| *bucket == self.bucket) {
            running.swap_remove(found);
        }
    }
}

/// A repair runs code of the user's: a panic there costs its own row a try, and no other row anything.
async fn contained(inner: &Inner, due: &Due) {
    if AssertUnwindSafe(repair(inner, due)).catch_unwind().await.is_ok() {
        return;
    }
    inner.totals.repair_failures.fetch_add(1, Ordering::Relaxed);
    // Whether a put was begun is not known.
    inner.marks.postpone(due, inner.epochs.peek(|epoch| epoch.plan.options().linger));
    tracing::warn!(
        migration = %inner.id, key_digest = %crate::key::digest(&due.key),
        "a repair panicked and is tried again: look at `snapshot`, `restore` and the key of the DAO's rows"
    );
}

/// Repairs one marked row, and clears or postpones its mark.
async fn repair(inner: &Inner, due: &Due) {
    let _running = inner.repairs.begin(due.bucket);
    // A repair holds its revision like an instance does (R6): the epoch lives until it has ended.
    let epoch = inner.epochs.enter();
    let options = epoch.plan.options();
    let (Ok(key), Some(table)) = (crossfade_core::CohortKey::new(&due.key), inner.tables.at(due.table)) else {
        // No operation has such a row; a mark of one is kept, and looked at seldom.
        inner.marks.postpone(due, options.linger);
        return;
    };
    if epoch.is_closed() {
        inner.marks.postpone(due, options.linger);
        return;
    }
    let stage = epoch.plan.decide(key).stage;
    if !stage.is_mirrored() {
        // Off: the target's claim has ended. Complete: the source is left. These rows are not held equal any more.
        inner.marks.clear(due);
        return;
    }
    let Some(rows) = table.rows.get() else {
        inner.marks.park(due);
        // The rows may have been attached between the two lines.
        if table.rows.get().is_some() {
            inner.marks.unpark();
        }
        return;
    };
    // A write that was under way when the mark was set may still reach the secondary, with an older value than the one
    // that is copied here: the mark outlives it.
    if !table.order.is_past(crate::key::hash(&due.row), Fence(due.fence)) {
        inner.marks.put_off(due, UNDER_WAY);
        return;
    }
    match rows.reconcile(&due.row, stage.authority(), options.secondary_timeout).await {
        Ok(found) => {
            inner.marks.clear(due);
            match found {
                Repaired::Copied => &inner.totals.repaired,
                Repaired::Unchanged => &inner.totals.unchanged,
            }
            .fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => {
            inner.totals.repair_failures.fetch_add(1, Ordering::Relaxed);
            let wait = if error.lingers() { options.linger } else { options.linger.min(Duration::from_millis(200)) };
            inner.marks.postpone(due, wait);
            let digest = crate::key::digest(&due.key);
            if matches!(error, RepairError::NotKept(_)) {
                tracing::warn!(migration = %inner.id, table = %table.name, key_digest = %digest, "{error}");
                return;
            }
            // The store's words may hold row values: they go to the caller of a repair, not to the log.
            tracing::debug!(
                migration = %inner.id, table = %table.name, key_digest = %digest,
                "a repair failed and is tried again"
            );
        }
    }
}
