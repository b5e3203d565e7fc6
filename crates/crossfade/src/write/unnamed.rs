//! Writes whose rows are not known before they run (R24).
//!
//! Two kinds, with different rules. A write by predicate (`whole`) may touch any row, and which rows it touches may
//! depend on any other: when it overlaps with another write of its table, no row can be named that would have to be
//! repaired, and the table is in doubt. An insert whose id the database makes touches one row, whose key its answer
//! tells: it conflicts only with writes of that row, which are remembered until then.

use super::RowOrder;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lower bits count the writes by predicate that are under way, the others those that have begun.
const ACTIVE: u64 = (1 << 20) - 1;
/// Rows remembered while an insert waits for its id. Beyond, such an insert counts as overlapped.
const MOST: usize = 65_536;

/// The writes of a table that are under way without a row.
#[derive(Debug, Default)]
pub(crate) struct Unnamed {
    predicates: AtomicU64,
    /// Writes of rows that overlapped with one by predicate.
    met: AtomicU64,
    /// Inserts that wait for their id.
    inserts: AtomicU32,
    rows: Mutex<Written>,
}

/// Which rows were written while inserts wait for their ids.
#[derive(Debug, Default)]
struct Written {
    /// Counts inserts begun and rows written.
    now: u64,
    /// When each row was written last.
    rows: HashMap<u64, u64>,
    /// When the inserts that wait began, and how many at each moment.
    waiting: BTreeMap<u64, u32>,
    /// Rows written before this were forgotten.
    forgotten: u64,
}

/// What a write saw of the writes by predicate when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u64);

/// A write by predicate that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Predicate {
    before: Seen,
    met: u64,
}

/// An insert that waits for its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Insert(u64);

impl Unnamed {
    /// A write of the table begins; none of these is missed until [`Unnamed::overlapped`].
    pub(crate) fn look(&self) -> Seen {
        Seen(self.predicates.load(Ordering::SeqCst))
    }

    /// A write of known rows ends, on both sides: whether one by predicate was under way at any moment since it began.
    /// The one by predicate is told, so that the last of the two to end says so.
    pub(crate) fn overlapped(&self, seen: Seen) -> bool {
        let overlapped = seen.0 & ACTIVE > 0 || self.look() != seen;
        if overlapped {
            self.met.fetch_add(1, Ordering::SeqCst);
        }
        overlapped
    }

    /// A write by predicate begins.
    pub(crate) fn begin_predicate(&self) -> Predicate {
        let met = self.met.load(Ordering::SeqCst);
        Predicate { before: Seen(self.predicates.fetch_add(ACTIVE + 2, Ordering::SeqCst)), met }
    }

    /// It ends, on both sides: whether any other write of the table was under way meanwhile that has ended by now. One
    /// that has not will find out by itself.
    pub(crate) fn end_predicate(&self, predicate: Predicate) -> bool {
        let Predicate { before, met } = predicate;
        let last = self.predicates.fetch_sub(1, Ordering::SeqCst);
        let another = before.0 & ACTIVE > 0 || last & !ACTIVE != (before.0 & !ACTIVE) + ACTIVE + 1;
        another || self.met.load(Ordering::SeqCst) != met
    }

    /// Every write of known rows that is under way overlaps from now on, as with a write by predicate that came and went.
    pub(crate) fn meet_all(&self) {
        self.predicates.fetch_add(ACTIVE + 1, Ordering::SeqCst);
    }

    fn rows(&self) -> MutexGuard<'_, Written> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An insert begins whose id the authority makes.
    pub(crate) fn begin_insert(&self) -> Insert {
        let mut rows = self.rows();
        rows.now += 1;
        let now = rows.now;
        *rows.waiting.entry(now).or_default() += 1;
        self.inserts.fetch_add(1, Ordering::SeqCst);
        Insert(now)
    }

    /// Its answer has come, or never will.
    pub(crate) fn end_insert(&self, insert: Insert) {
        let mut rows = self.rows();
        self.inserts.fetch_sub(1, Ordering::SeqCst);
        if let Some(count) = rows.waiting.get_mut(&insert.0) {
            *count -= 1;
            if *count == 0 {
                rows.waiting.remove(&insert.0);
            }
        }
        if rows.waiting.is_empty() {
            (rows.rows, rows.forgotten) = (HashMap::new(), 0);
        }
    }

    /// A row is being written: said at the beginning of the write, before it has its place in the row order, and at its
    /// end. Costs one load while no insert waits.
    pub(crate) fn writing(&self, row: u64) {
        if self.inserts.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut rows = self.rows();
        rows.now += 1;
        let now = rows.now;
        if rows.rows.len() >= MOST && !rows.rows.contains_key(&row) {
            let oldest = rows.waiting.keys().next().copied().unwrap_or(now);
            rows.rows.retain(|_, at| *at >= oldest);
            if rows.rows.len() >= MOST {
                rows.rows.clear();
                rows.forgotten = now;
            }
        }
        rows.rows.insert(row, now);
    }

    /// The answer of an insert named this row: whether another write of the row was under way since the insert began.
    /// `begin` gives the insert its place in the row order.
    pub(crate) fn named(&self, insert: Insert, row: u64, order: &RowOrder, begin: impl FnOnce()) -> bool {
        // In this order: a write that is not seen here begins after the insert has its place, and keeps it.
        let busy = order.is_busy(row);
        begin();
        let rows = self.rows();
        busy || rows.forgotten > insert.0 || rows.rows.get(&row).is_some_and(|at| *at > insert.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_overlaps_with_a_predicate_in_whatever_order_they_begin_and_end() {
        // The row's write first and last, inside, outside, and the two interleavings.
        let unnamed = Unnamed::default();
        let seen = unnamed.look();
        let predicate = unnamed.begin_predicate();
        assert!(!unnamed.end_predicate(predicate), "the other has not ended, and will find out");
        assert!(unnamed.overlapped(seen));

        let predicate = unnamed.begin_predicate();
        let seen = unnamed.look();
        assert!(unnamed.overlapped(seen));
        assert!(unnamed.end_predicate(predicate));

        let predicate = unnamed.begin_predicate();
        let seen = unnamed.look();
        assert!(!unnamed.end_predicate(predicate));
        assert!(unnamed.overlapped(seen));

        let seen = unnamed.look();
        let predicate = unnamed.begin_predicate();
        assert!(unnamed.overlapped(seen));
        assert!(unnamed.end_predicate(predicate));
    }

    #[test]
    fn writes_that_follow_one_another_do_not_overlap() {
        let unnamed = Unnamed::default();
        for _ in 0..3 {
            let seen = unnamed.look();
            assert!(!unnamed.overlapped(seen));
            let predicate = unnamed.begin_predicate();
            assert!(!unnamed.end_predicate(predicate));
        }
    }

    #[test]
    fn two_predicates_overlap_with_one_another() {
        let unnamed = Unnamed::default();
        let (first, second) = (unnamed.begin_predicate(), unnamed.begin_predicate());
        assert!(unnamed.end_predicate(first) && unnamed.end_predicate(second));
        let (first, second) = (unnamed.begin_predicate(), unnamed.begin_predicate());
        assert!(unnamed.end_predicate(second) && unnamed.end_predicate(first));
    }

    #[test]
    fn an_insert_conflicts_with_writes_of_its_own_row_alone() {
        let (unnamed, order) = (Unnamed::default(), RowOrder::new());
        unnamed.writing(7);
        let insert = unnamed.begin_insert();
        assert!(!unnamed.named(insert, 7, &order, || {}), "written before the insert began");
        unnamed.writing(8);
        assert!(!unnamed.named(insert, 7, &order, || {}), "another row");
        unnamed.writing(7);
        assert!(unnamed.named(insert, 7, &order, || {}));
        let mut part = order.begin(9);
        assert!(unnamed.named(insert, 9, &order, || {}), "a write of it is still under way");
        order.end(&mut part);
        unnamed.end_insert(insert);
        assert!(unnamed.rows().rows.is_empty() && unnamed.rows().waiting.is_empty());
    }

    #[test]
    fn beyond_the_bound_an_insert_counts_as_overlapped_and_a_later_one_does_not() {
        let (unnamed, order) = (Unnamed::default(), RowOrder::new());
        let slow = unnamed.begin_insert();
        (0..=MOST as u64).for_each(|row| unnamed.writing(row));
        assert!(unnamed.named(slow, u64::MAX, &order, || {}));
        assert!(unnamed.rows().rows.len() <= MOST);
        let later = unnamed.begin_insert();
        assert!(!unnamed.named(later, u64::MAX, &order, || {}));
        unnamed.end_insert(slow);
        unnamed.end_insert(later);
    }
}
