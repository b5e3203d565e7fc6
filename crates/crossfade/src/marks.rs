//! Rows that may differ (R5), until a repair has shown that they do not (R6).

use crate::broken::{self, Broken};
use crate::sync::{Mutex, MutexGuard, watch};
use crossfade_core::{Bucket, MarkReason};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A row as marks know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowId {
    /// Canonical text of the row key.
    pub row: Box<str>,
    /// Canonical text of the cohort key.
    pub key: Box<str>,
    /// The bucket of the cohort key.
    pub bucket: Bucket,
}

/// A mark, as evidence for a gate or another instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The row.
    pub id: Arc<RowId>,
    /// Everything that has marked it since it was last clean.
    pub reasons: Vec<MarkReason>,
}

/// Beyond so many marked rows they are no longer told apart: everything is suspect until a verification passes.
const MOST: usize = 1_000_000;

#[derive(Debug)]
struct Mark {
    id: Arc<RowId>,
    reasons: Vec<MarkReason>,
    /// A repair clears only the generation that it began with.
    generation: u64,
    /// The linger of what set it has passed; or the next try after a repair that failed.
    due: Instant,
    failures: u32,
}

#[derive(Debug, Default)]
struct Table {
    rows: HashMap<Box<str>, Mark>,
    generations: u64,
    /// Rows were marked that are not in `rows`.
    overflowed: bool,
}

/// The marked rows of one migration in this process.
#[derive(Debug)]
pub(crate) struct Marks {
    table: Mutex<Table>,
    /// Counts changes, so that a repairer and a gate can wait for the next.
    changed: watch::Sender<()>,
}

/// A mark that a repair may begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) id: Arc<RowId>,
    pub(crate) generation: u64,
}

impl Marks {
    pub(crate) fn new() -> Marks {
        Marks { table: Mutex::new(Table::default()), changed: watch::Sender::new(()) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a row. Where an effect may still land, the reads that clear it begin after `linger`.
    pub(crate) fn set(&self, id: &Arc<RowId>, reason: MarkReason, linger: Duration) {
        let now = Instant::now();
        let due = if reason.lingers() && !broken::is(Broken::EarlyClear) { now + linger } else { now };
        {
            let mut table = self.table();
            table.generations += 1;
            let generation = table.generations;
            if table.rows.len() >= MOST && !table.rows.contains_key(&id.row) {
                table.overflowed = true;
            } else {
                let mark = table.rows.entry(id.row.clone()).or_insert_with(|| Mark {
                    id: Arc::clone(id),
                    reasons: Vec::new(),
                    generation,
                    due,
                    failures: 0,
                });
                mark.generation = generation;
                mark.due = mark.due.max(due);
                if !mark.reasons.contains(&reason) {
                    mark.reasons.push(reason);
                }
            }
        }
        self.nudge();
    }

    /// Something was written of which no row is known: only a verification can clear that.
    pub(crate) fn suspect_everything(&self) {
        self.table().overflowed = true;
        self.nudge();
    }

    /// Some differing rows may be unmarked.
    pub(crate) fn everything_suspect(&self) -> bool {
        self.table().overflowed
    }

    /// A verification of every row, begun after the last such write, has passed.
    pub(crate) fn verified(&self) {
        self.table().overflowed = false;
        self.nudge();
    }

    /// Up to `limit` marks whose time has come, and when the next one's will.
    pub(crate) fn due(&self, limit: usize) -> (Vec<Due>, Option<Instant>) {
        let now = Instant::now();
        let table = self.table();
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for mark in table.rows.values() {
            if mark.due > now {
                next = Some(next.map_or(mark.due, |next| next.min(mark.due)));
            } else if due.len() < limit {
                due.push(Due { id: Arc::clone(&mark.id), generation: mark.generation });
            }
        }
        (due, next)
    }

    /// Clears a mark, unless the row was marked again since.
    pub(crate) fn clear(&self, due: &Due) -> bool {
        let mut table = self.table();
        let same = table.rows.get(&due.id.row).is_some_and(|mark| mark.generation == due.generation);
        if same {
            table.rows.remove(&due.id.row);
            drop(table);
            self.nudge();
        }
        same
    }

    /// A repair failed: the next try comes after `linger`, later each time, up to ten times as late.
    pub(crate) fn postpone(&self, due: &Due, linger: Duration) {
        if let Some(mark) = self.table().rows.get_mut(&due.id.row) {
            mark.failures = (mark.failures + 1).min(10);
            mark.due = mark.due.max(Instant::now() + linger * mark.failures);
        }
    }

    /// How many rows are marked.
    pub(crate) fn count(&self) -> usize {
        self.table().rows.len()
    }

    /// How many of the marked rows are among these.
    pub(crate) fn count_where(&self, among: impl Fn(&RowId) -> bool) -> u64 {
        self.table().rows.values().filter(|mark| among(&mark.id)).count() as u64
    }

    /// Every mark.
    pub(crate) fn list(&self) -> Vec<Marked> {
        let table = self.table();
        table.rows.values().map(|mark| Marked { id: Arc::clone(&mark.id), reasons: mark.reasons.clone() }).collect()
    }

    /// Wakes whoever waits for a change, though no mark changed.
    pub(crate) fn nudge(&self) {
        self.changed.send_replace(());
    }

    /// Tells of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(text: &str) -> Arc<RowId> {
        Arc::new(RowId { row: text.into(), key: "u1".into(), bucket: Bucket::of_hash(0) })
    }

    const LINGER: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_lingering_effect_is_waited_for() {
        let marks = Marks::new();
        marks.set(&row("a"), MarkReason::SecondaryUnknown, LINGER);
        let (due, next) = marks.due(9);
        assert!(due.is_empty());
        assert_eq!(next, Some(Instant::now() + LINGER));
        tokio::time::advance(LINGER).await;
        assert_eq!(marks.due(9).0.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_set_during_a_repair_stays() {
        let marks = Marks::new();
        marks.set(&row("a"), MarkReason::SecondaryFailed, LINGER);
        let began = marks.due(9).0.remove(0);
        marks.set(&row("a"), MarkReason::Overlapped, LINGER);
        assert!(!marks.clear(&began));
        assert_eq!(marks.list()[0].reasons, [MarkReason::SecondaryFailed, MarkReason::Overlapped]);
        let again = marks.due(9).0.remove(0);
        assert!(marks.clear(&again));
        assert_eq!(marks.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_repair_is_tried_again_later_each_time() {
        let marks = Marks::new();
        marks.set(&row("a"), MarkReason::SecondaryFailed, LINGER);
        for tries in 1..=3u32 {
            let due = marks.due(9).0.remove(0);
            marks.postpone(&due, LINGER);
            assert_eq!(marks.due(9), (Vec::new(), Some(Instant::now() + LINGER * tries)));
            tokio::time::advance(LINGER * tries).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rows_are_counted_by_who_they_belong_to() {
        let marks = Marks::new();
        marks.set(&row("a"), MarkReason::OverBudget, LINGER);
        marks.set(&row("b"), MarkReason::OverBudget, LINGER);
        assert_eq!((marks.due(1).0.len(), marks.due(2).0.len()), (1, 2), "as many as were asked for");
        assert_eq!((marks.count_where(|id| &*id.row == "a"), marks.count()), (1, 2));
        assert!(!marks.everything_suspect());
        marks.suspect_everything();
        assert!(marks.everything_suspect());
        marks.verified();
        assert!(!marks.everything_suspect());
    }
}
