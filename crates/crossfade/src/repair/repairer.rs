//! The background task that clears marks: as they come due, a few rows at a time, under the plan in force.

use super::{RepairError, Repaired};
use crate::marks::Due;
use crate::migration::Inner;
use futures::StreamExt;
use futures::stream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Rows repaired at once.
const AT_ONCE: usize = 8;
/// Marks looked at in one round.
const ROUND: usize = 256;

/// Clears marks until the migration is gone.
pub(crate) async fn run(migration: Weak<Inner>) {
    loop {
        let Some(inner) = migration.upgrade() else { return };
        let mut changed = inner.marks.watch();
        changed.mark_unchanged();
        let (due, next) = inner.marks.due(ROUND);
        if inner.rows.get().is_none() || due.is_empty() {
            drop(inner);
            let sleep_until = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
            tokio::select! {
                // An error says that the migration is gone: the next round ends.
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(sleep_until) => {}
            }
            continue;
        }
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, |due| {
                let inner = Arc::clone(&inner);
                async move { repair(&inner, &due).await }
            })
            .await;
    }
}

/// Counts a repair while it runs: no authority moves meanwhile (R6).
struct Running<'a>(&'a AtomicU32);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Repairs one marked row, and clears or postpones its mark.
pub(crate) async fn repair(inner: &Inner, due: &Due) {
    inner.repairing.fetch_add(1, Ordering::AcqRel);
    let _running = Running(&inner.repairing);
    // A repair holds its revision like an instance does (R6): the epoch lives until it has ended.
    let epoch = inner.epochs.enter();
    let Ok(key) = crossfade_core::CohortKey::new(&due.id.key) else { return };
    let stage = epoch.plan.decide(key).stage;
    if !stage.is_mirrored() {
        // Off: the target's claim has ended. Complete: the source is left. Nobody holds these rows equal any more.
        inner.marks.clear(due);
        return;
    }
    let Some(rows) = inner.rows.get() else { return };
    let options = epoch.plan.options();
    match rows.reconcile(&due.id.row, stage.authority(), options.secondary_timeout).await {
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
            if matches!(error, RepairError::NotKept(_)) {
                tracing::warn!(migration = %inner.id, key_digest = %crate::key::digest(&due.id.key), "{error}");
                return;
            }
            // The store's words may hold row values: they go to whoever asks for a repair, not to the log.
            tracing::debug!(migration = %inner.id, key_digest = %crate::key::digest(&due.id.key), "a repair failed and is tried again");
        }
    }
}
