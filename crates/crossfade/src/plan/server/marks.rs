//! What the control plane is told of marks, doubts and tables: what has changed since it was last told.

use crate::marks::{Changes, ReportLimit};
use crate::migration::Inner;
use crossfade_api::wire::{
    LONGEST_MARK_KEY, MARK_BYTES_AT_ONCE, MARKS_AT_ONCE, MarkChange, MarkDoc, MarkRef, TableDoc, TableDoubt,
};
use std::collections::HashMap;

/// How much one message says; the rest goes into the next. One key more than the bytes may be in it, and every byte of a
/// key may be escaped: half of what a server takes.
const ONE_MESSAGE: ReportLimit = ReportLimit { marks: MARKS_AT_ONCE / 2, bytes: MARK_BYTES_AT_ONCE / 2 };

/// What the control plane knows.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    /// How many doubts of each table were reported.
    doubts: HashMap<u32, u64>,
    /// The count of changes of the tables when they were reported.
    tables: Option<u64>,
}

/// A message, and what is known when it was heard.
#[must_use = "say whether it was heard"]
pub(super) struct Report {
    pub(super) message: MarkChange,
    pub(super) tables: Option<Vec<TableDoc>>,
    /// There is more to say than one message holds.
    pub(super) more: bool,
    changes: Changes,
    doubts: HashMap<u32, u64>,
    tables_changed: u64,
}

impl Reporter {
    /// The next message.
    pub(super) fn next(&self, inner: &Inner) -> Report {
        let tables_changed = inner.tables.changes();
        let tables = inner.tables.all();
        let name = |place: u32| tables.get(place as usize).map_or_else(String::new, |table| table.name.to_string());
        let changes = inner.marks.changes(ONE_MESSAGE);
        let mut message = MarkChange::default();
        for set in &changes.set {
            if set.row.len() > LONGEST_MARK_KEY || set.key.len() > LONGEST_MARK_KEY {
                // A key that no message can carry must not keep the others from being heard.
                if let Some(table) = tables.get(set.table as usize) {
                    table.doubt.raise();
                }
                continue;
            }
            message.set.push(MarkDoc {
                table: name(set.table),
                row: set.row.to_string(),
                cohort: set.key.to_string(),
                reason: set.reason,
                generation: set.generation,
            });
        }
        for cleared in changes.cleared.iter().filter(|cleared| cleared.row.len() <= LONGEST_MARK_KEY) {
            let (table, row, generation) = (name(cleared.table), cleared.row.to_string(), cleared.generation);
            message.cleared.push(MarkRef { instance: None, table, row, generation });
        }
        let mut doubts = self.doubts.clone();
        for table in &tables {
            let (raised, told) = (table.doubt.raised(), doubts.entry(table.place).or_insert(0));
            if raised > *told {
                message.suspect.push(TableDoubt { table: table.name.to_string(), count: raised - *told });
                *told = raised;
            }
        }
        let tables = (self.tables != Some(tables_changed)).then(|| describe(inner));
        let more = changes.more;
        Report { message, tables, more, changes, doubts, tables_changed }
    }

    /// It was heard.
    pub(super) fn heard(&mut self, report: Report) {
        self.doubts = report.doubts;
        if report.tables.is_some() {
            self.tables = Some(report.tables_changed);
        }
    }

    /// It was heard as far as its marks and doubts go.
    pub(super) fn heard_marks(&mut self, report: Report) {
        self.doubts = report.doubts;
    }

    /// It was not heard, or nobody knows.
    pub(super) fn unheard(inner: &Inner, report: Report) {
        inner.marks.unsent(report.changes);
    }

    /// The control plane will never take this message: its marks count as doubts of their tables, so that they block
    /// gates and not the messages after them. What is gone is told again: it was taken when it was set.
    pub(super) fn refused(inner: &Inner, report: Report) {
        let mut places: Vec<u32> = report.changes.set.iter().map(|set| set.table).collect();
        places.sort_unstable();
        places.dedup();
        for table in places.into_iter().filter_map(|place| inner.tables.at(place)) {
            table.doubt.raise();
        }
        inner.marks.unsent(Changes { set: Vec::new(), ..report.changes });
    }

    /// The control plane lost what it knew: everything that still holds is told again.
    pub(super) fn forget(&mut self, inner: &Inner) {
        self.doubts = inner.tables.all().iter().map(|table| (table.place, table.doubt.cleared())).collect();
        self.tables = None;
        inner.marks.report_all();
    }

    /// The tables have changed since they were reported.
    pub(super) fn has_new_tables(&self, inner: &Inner) -> bool {
        self.tables != Some(inner.tables.changes())
    }
}

/// What this instance does with each of its tables (R23, R25).
pub(super) fn describe(inner: &Inner) -> Vec<TableDoc> {
    let used = inner.tables.all().into_iter().filter(|table| table.is_used());
    used.map(|table| TableDoc {
        table: table.name.to_string(),
        can_check: table.rows.get().is_some(),
        operations: table.operations_hash(),
    })
    .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::marks::RowRef;
    use crate::{Migration, Stage};
    use crossfade_core::{Bucket, MarkReason};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn marks_that_are_gone_are_told_though_the_message_with_them_is_refused() {
        let migration = Migration::builder("events").plan(crate::plan::fixed(Stage::Shadow)).build().await.unwrap();
        let (inner, mut reporter) = (&*migration.inner, Reporter::default());
        reporter.forget(inner);
        let set = |row| {
            let row = RowRef { table: 0, row, key: "u1", bucket: Bucket::of_hash(0), fence: 0 };
            inner.marks.set(&row, MarkReason::SecondaryFailed, Duration::ZERO).unwrap();
        };
        set("1");
        let due = inner.marks.due(1).0.remove(0);
        let report = reporter.next(inner);
        assert_eq!(report.message.set.len(), 1);
        reporter.heard(report);
        assert!(inner.marks.clear(&due));
        set("2");
        let refused = reporter.next(inner);
        assert_eq!((refused.message.set.len(), refused.message.cleared.len()), (1, 1));
        Reporter::refused(inner, refused);
        let next = reporter.next(inner);
        assert!(next.message.set.is_empty(), "the control plane does not take it");
        assert_eq!(next.message.cleared.len(), 1, "the control plane would keep this mark for ever");
        assert!(next.message.suspect.iter().any(|doubt| doubt.count > 0));
    }
}
