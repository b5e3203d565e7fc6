//! Rows that may differ (R5), until a repair has shown that they do not (R6).
//!
//! A mark costs about 150 bytes and its keys. Setting, clearing and finding one takes the time of a hash lookup and of a
//! step in a heap, however many there are: application threads set marks, and an outage of two minutes leaves a hundred
//! thousand. Whether a bucket has a mark is one atomic load.

use crate::sync::{AtomicU32, BUCKET_COUNTERS, Mutex, MutexGuard, watch};
use crossfade_core::{Bucket, MarkReason};
use hashbrown::HashTable;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A row as marks know it: by its table and its row key (R23).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowId {
    /// The name of the table.
    pub table: Arc<str>,
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

/// How many marks a migration keeps unless told otherwise. Beyond, the table of a row that cannot be marked is suspect
/// until a verification passes.
pub(crate) const MOST: usize = 1_000_000;

/// The shortest time between a repair that failed and the next try.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// A row to be marked, borrowed from the write that touches it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowRef<'a> {
    /// The place of its table among the tables of the migration.
    pub(crate) table: u32,
    pub(crate) row: &'a str,
    pub(crate) key: &'a str,
    pub(crate) bucket: Bucket,
    /// Writes that had begun by now and must have ended before the mark may go; in the words of the row order.
    pub(crate) fence: u64,
}

#[derive(Debug)]
struct Mark {
    /// The row key, then the cohort key where it is another text.
    text: Box<str>,
    row_length: u32,
    same_key: bool,
    table: u32,
    bucket: Bucket,
    /// A bit for each reason.
    reasons: u16,
    failures: u8,
    /// It is in the heap.
    queued: bool,
    /// It is among the parked.
    parked: bool,
    /// It waits to be reported.
    pending: bool,
    /// A repair clears only the generation that it began with.
    generation: u64,
    /// The generation that was reported; 0: none.
    reported: u64,
    /// The linger of what set it has passed; or the next try after a repair that failed. Microseconds.
    due: u64,
    fence: u64,
    /// The generation in which it was inserted: tells the mark from a later one in the same slot.
    born: u64,
}

impl Mark {
    fn row(&self) -> &str {
        self.text.get(..self.row_length as usize).unwrap_or_default()
    }

    fn key(&self) -> &str {
        if self.same_key { self.row() } else { self.text.get(self.row_length as usize..).unwrap_or_default() }
    }
}

/// Every reason, at the place of its bit.
const REASONS: [MarkReason; 8] = [
    MarkReason::AuthorityUnknown,
    MarkReason::SecondaryFailed,
    MarkReason::SecondaryUnknown,
    MarkReason::OverBudget,
    MarkReason::Overlapped,
    MarkReason::Replayed,
    MarkReason::CheckDiffered,
    MarkReason::Prepared,
];

fn bit(reason: MarkReason) -> u16 {
    1 << (reason as u16)
}

fn reasons(bits: u16) -> impl Iterator<Item = MarkReason> {
    REASONS.into_iter().filter(move |reason| bits & bit(*reason) != 0)
}

/// A change that has not been reported to the control plane.
#[derive(Debug)]
enum Pending {
    /// The mark in this slot, inserted in this generation, is new or was set again.
    Set(u32, u64),
    /// A mark that was reported is gone.
    Cleared(Box<Cleared>),
}

/// A mark that was reported and is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cleared {
    pub(crate) table: u32,
    pub(crate) row: Box<str>,
    pub(crate) generation: u64,
}

/// A mark to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) table: u32,
    pub(crate) row: Box<str>,
    pub(crate) key: Box<str>,
    /// The one that stays longest: the control plane asks whether a hold would outlast it.
    pub(crate) reason: MarkReason,
    pub(crate) generation: u64,
    slot: u32,
    born: u64,
}

/// Some changes of the marks, oldest first. What was sent is forgotten; what was not goes back: [`Marks::unsent`].
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) set: Vec<Set>,
    pub(crate) cleared: Vec<Cleared>,
    /// There are more.
    pub(crate) more: bool,
}

/// How much one report holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReportLimit {
    /// Marks set and cleared.
    pub(crate) marks: usize,
    /// Bytes of their keys.
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Option<Mark>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: std::hash::RandomState,
    /// When each mark comes due, soonest first: time, slot, and the generation in which the mark was inserted. A mark is
    /// in it once; when it was put off meanwhile, it goes back with its new time.
    due: BinaryHeap<Reverse<(u64, u32, u64)>>,
    /// Due marks of tables whose rows nobody can read: they wait for [`Marks::unpark`], each once.
    parked: Vec<(u32, u64)>,
    generations: u64,
    /// Changes to report, oldest first; none while nothing reports.
    pending: Option<VecDeque<Pending>>,
    /// At so many changes to report, those of marks that are gone are taken out.
    compact_at: usize,
}

impl State {
    fn find(&self, table: u32, row: &str) -> Option<u32> {
        let same = |slot: &u32| self.mark(*slot).is_some_and(|mark| mark.table == table && mark.row() == row);
        self.index.find(self.hasher.hash_one((table, row)), same).copied()
    }

    fn mark(&self, slot: u32) -> Option<&Mark> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn mark_mut(&mut self, slot: u32) -> Option<&mut Mark> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// The mark in this slot, if it is still the one that was inserted in this generation.
    fn same_mark(&mut self, slot: u32, born: u64) -> Option<&mut Mark> {
        self.mark_mut(slot).filter(|mark| mark.born == born)
    }

    fn queue(&mut self, slot: u32) {
        let Some(mark) = self.mark_mut(slot) else { return };
        if !std::mem::replace(&mut mark.queued, true) {
            let (due, born) = (mark.due, mark.born);
            self.due.push(Reverse((due, slot, born)));
        }
    }

    /// The mark in this slot is to be reported.
    fn report(&mut self, slot: u32) {
        let State { slots, pending: Some(pending), index, compact_at, .. } = self else { return };
        let Some(mark) = slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        if std::mem::replace(&mut mark.pending, true) {
            return;
        }
        pending.push_back(Pending::Set(slot, mark.born));
        // Marks that came and went before they were reported leave entries behind: while the control plane is away,
        // these must not add up.
        if pending.len() > (2 * index.len() + 4_096).max(*compact_at) {
            pending.retain(|change| match change {
                Pending::Cleared(_) => true,
                Pending::Set(slot, born) => slots
                    .get(*slot as usize)
                    .and_then(Option::as_ref)
                    .is_some_and(|mark| mark.born == *born && mark.pending),
            });
            // What stays is to be told, however long it takes: it is not looked at again for every mark.
            *compact_at = 2 * pending.len();
        }
    }

    fn insert(&mut self, row: &RowRef<'_>, born: u64) -> u32 {
        let same_key = row.row == row.key;
        let mark = Mark {
            text: if same_key { row.row.into() } else { [row.row, row.key].concat().into_boxed_str() },
            row_length: u32::try_from(row.row.len()).unwrap_or(u32::MAX),
            same_key,
            table: row.table,
            bucket: row.bucket,
            reasons: 0,
            failures: 0,
            queued: false,
            parked: false,
            pending: false,
            generation: born,
            reported: 0,
            due: 0,
            fence: 0,
            born,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(mark);
        }
        let State { slots, index, hasher, .. } = self;
        let hash = |slot: &u32| {
            let mark = slots.get(*slot as usize).and_then(Option::as_ref);
            hasher.hash_one(mark.map_or((0, ""), |mark| (mark.table, mark.row())))
        };
        index.insert_unique(hasher.hash_one((row.table, row.row)), slot, hash);
        slot
    }

    fn remove(&mut self, slot: u32) -> Option<Mark> {
        let mark = self.slots.get_mut(slot as usize)?.take()?;
        let hash = self.hasher.hash_one((mark.table, mark.row()));
        if let Ok(entry) = self.index.find_entry(hash, |known| *known == slot) {
            entry.remove();
        }
        self.free.push(slot);
        if mark.reported > 0
            && let Some(pending) = &mut self.pending
        {
            let (table, row, generation) = (mark.table, mark.row().into(), mark.reported);
            pending.push_back(Pending::Cleared(Box::new(Cleared { table, row, generation })));
        }
        Some(mark)
    }
}

/// The marked rows of one migration in this process.
#[derive(Debug)]
pub(crate) struct Marks {
    state: Mutex<State>,
    /// How many marks each bucket has, and all of them.
    buckets: Box<[AtomicU32]>,
    total: AtomicU32,
    most: usize,
    /// Due times count from here.
    began: Instant,
    /// Counts changes, so that a repairer and a gate can wait for the next.
    changed: watch::Sender<()>,
}

/// A mark that a repair may begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) table: u32,
    pub(crate) row: Box<str>,
    pub(crate) key: Box<str>,
    pub(crate) bucket: Bucket,
    pub(crate) generation: u64,
    pub(crate) fence: u64,
}

/// There is no room for another mark: the table of the row is to be made suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a row that may differ and has no mark makes its table suspect"]
pub(crate) struct NoRoom;

impl Marks {
    /// Room for this many marks.
    pub(crate) fn new(most: usize) -> Marks {
        Marks {
            state: Mutex::new(State::default()),
            buckets: (0..BUCKET_COUNTERS).map(|_| AtomicU32::new(0)).collect(),
            total: AtomicU32::new(0),
            most: most.min(u32::MAX as usize - 1),
            began: Instant::now(),
            changed: watch::Sender::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    fn bucket(&self, bucket: Bucket) -> Option<&AtomicU32> {
        self.buckets.get(bucket.number() as usize % BUCKET_COUNTERS)
    }

    /// Marks a row. Where an effect may still land, the reads that clear it begin after `linger`.
    ///
    /// # Errors
    /// [`NoRoom`]: the row has no mark.
    pub(crate) fn set(&self, row: &RowRef<'_>, reason: MarkReason, linger: Duration) -> Result<(), NoRoom> {
        let lingers = reason.lingers();
        // Rounded up: a microsecond too early is too early.
        let due = self.micros(Instant::now() + if lingers { linger } else { Duration::ZERO }) + u64::from(lingers);
        {
            let mut state = self.state();
            state.generations += 1;
            let generation = state.generations;
            let slot = match state.find(row.table, row.row) {
                Some(slot) => slot,
                None if state.index.len() >= self.most => return Err(NoRoom),
                None => {
                    self.total.fetch_add(1, Ordering::SeqCst);
                    if let Some(count) = self.bucket(row.bucket) {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    state.insert(row, generation)
                }
            };
            if let Some(mark) = state.mark_mut(slot) {
                mark.generation = generation;
                mark.due = mark.due.max(due);
                mark.fence = mark.fence.max(row.fence);
                mark.reasons |= bit(reason);
            }
            state.queue(slot);
            state.report(slot);
        }
        self.nudge();
        Ok(())
    }

    /// Up to `limit` marks whose time has come, and when the next one's will. A mark that is handed out here comes back
    /// by [`Marks::clear`], [`Marks::postpone`] or [`Marks::park`]; handed out and forgotten, it would stay for ever.
    pub(crate) fn due(&self, limit: usize) -> (Vec<Due>, Option<Instant>) {
        let now = self.micros(Instant::now());
        let mut state = self.state();
        let mut due = Vec::new();
        while let Some(Reverse((at, slot, born))) = state.due.peek().copied() {
            if at > now {
                return (due, Some(self.began + Duration::from_micros(at)));
            }
            if due.len() >= limit {
                return (due, Some(Instant::now()));
            }
            state.due.pop();
            let Some(mark) = state.same_mark(slot, born) else { continue };
            mark.queued = false;
            if mark.due > now {
                state.queue(slot);
                continue;
            }
            due.push(Due {
                table: mark.table,
                row: mark.row().into(),
                key: mark.key().into(),
                bucket: mark.bucket,
                generation: mark.generation,
                fence: mark.fence,
            });
        }
        (due, None)
    }

    /// Clears a mark, unless the row was marked again since.
    pub(crate) fn clear(&self, due: &Due) -> bool {
        let mut state = self.state();
        let Some(slot) = state.find(due.table, &due.row) else { return false };
        if state.mark(slot).is_none_or(|mark| mark.generation != due.generation) {
            return false;
        }
        let removed = state.remove(slot);
        drop(state);
        if let Some(count) = removed.and_then(|mark| self.bucket(mark.bucket)) {
            count.fetch_sub(1, Ordering::SeqCst);
            self.total.fetch_sub(1, Ordering::SeqCst);
        }
        self.nudge();
        true
    }

    /// A repair failed: the next try comes after `linger`, later each time, up to ten times as late.
    pub(crate) fn postpone(&self, due: &Due, linger: Duration) {
        self.later(due, |mark| {
            mark.failures = (mark.failures + 1).min(10);
            // With a linger of zero too, nobody is kept from running by a row that fails at once.
            linger.max(SHORTEST_PAUSE) * u32::from(mark.failures)
        });
    }

    /// A repair cannot begin yet; nothing failed.
    pub(crate) fn put_off(&self, due: &Due, wait: Duration) {
        self.later(due, |_| wait);
    }

    fn later(&self, due: &Due, wait: impl FnOnce(&mut Mark) -> Duration) {
        let now = Instant::now();
        let mut state = self.state();
        let Some(slot) = state.find(due.table, &due.row) else { return };
        if let Some(mark) = state.mark_mut(slot) {
            let wait = wait(mark);
            mark.due = mark.due.max(self.micros(now + wait));
        }
        state.queue(slot);
    }

    /// Nothing here can read the row: its mark waits until the rows of its table are attached, or another plan is in force.
    pub(crate) fn park(&self, due: &Due) {
        let mut state = self.state();
        let Some(slot) = state.find(due.table, &due.row) else { return };
        // A row that is marked again and again is parked once.
        let Some(mark) = state.mark_mut(slot) else { return };
        if !std::mem::replace(&mut mark.parked, true) {
            let born = mark.born;
            state.parked.push((slot, born));
        }
    }

    /// Something changed for parked marks: the rows of a table can be read from now on, or another plan is in force.
    pub(crate) fn unpark(&self) {
        {
            let mut state = self.state();
            for (slot, born) in std::mem::take(&mut state.parked) {
                if let Some(mark) = state.same_mark(slot, born) {
                    mark.parked = false;
                    state.queue(slot);
                }
            }
        }
        self.nudge();
    }

    /// How many rows are marked.
    pub(crate) fn count(&self) -> usize {
        self.state().index.len()
    }

    /// No row of this bucket is marked. One atomic load.
    pub(crate) fn is_quiet(&self, bucket: Bucket) -> bool {
        self.bucket(bucket).is_none_or(|count| count.load(Ordering::SeqCst) == 0)
    }

    /// How many marked rows there are in these buckets. Looks at each bucket, not at each mark, and locks nothing.
    pub(crate) fn count_in(&self, among: impl Fn(Bucket) -> bool) -> u64 {
        let mut sum = 0;
        if self.total.load(Ordering::SeqCst) == 0 {
            return sum;
        }
        for (number, count) in (0..).zip(&*self.buckets) {
            let count = count.load(Ordering::SeqCst);
            if count > 0 && Bucket::new(number).is_some_and(&among) {
                sum += u64::from(count);
            }
        }
        sum
    }

    /// Every mark, with the names of the tables. Takes time and memory for each of them: for people and tests.
    pub(crate) fn list(&self, name: impl Fn(u32) -> Arc<str>) -> Vec<Marked> {
        let state = self.state();
        let marked = |mark: &Mark| Marked {
            id: Arc::new(RowId {
                table: name(mark.table),
                row: mark.row().into(),
                key: mark.key().into(),
                bucket: mark.bucket,
            }),
            reasons: reasons(mark.reasons).collect(),
        };
        state.slots.iter().flatten().map(marked).collect()
    }

    /// From now on changes are kept to be reported, beginning with all marks there are. Also when the control plane has
    /// lost what it knew.
    pub(crate) fn report_all(&self) {
        let mut state = self.state();
        state.pending = Some(VecDeque::new());
        for slot in 0..u32::try_from(state.slots.len()).unwrap_or(u32::MAX) {
            if let Some(mark) = state.mark_mut(slot) {
                (mark.pending, mark.reported) = (false, 0);
                state.report(slot);
            }
        }
    }

    /// The oldest changes that were not reported, as many as fit.
    pub(crate) fn changes(&self, limit: ReportLimit) -> Changes {
        let mut state = self.state();
        let (mut changes, mut bytes) = (Changes::default(), 0);
        loop {
            if changes.set.len() + changes.cleared.len() >= limit.marks || bytes >= limit.bytes {
                changes.more = state.pending.as_ref().is_some_and(|pending| !pending.is_empty());
                return changes;
            }
            let Some(change) = state.pending.as_mut().and_then(VecDeque::pop_front) else { return changes };
            match change {
                Pending::Cleared(cleared) => {
                    bytes += cleared.row.len();
                    changes.cleared.push(*cleared);
                }
                Pending::Set(slot, born) => {
                    let Some(mark) = state.same_mark(slot, born).filter(|mark| mark.pending) else { continue };
                    (mark.pending, mark.reported) = (false, mark.generation);
                    let lasting = reasons(mark.reasons).find(|reason| !reason.passes_in_a_hold());
                    let Some(reason) = lasting.or_else(|| reasons(mark.reasons).next()) else { continue };
                    let (row, key): (Box<str>, Box<str>) = (mark.row().into(), mark.key().into());
                    bytes += row.len() + key.len();
                    let (table, generation) = (mark.table, mark.generation);
                    changes.set.push(Set { table, row, key, reason, generation, slot, born });
                }
            }
        }
    }

    /// These changes were not heard, or perhaps not: they are reported again. Reporting one twice is harmless.
    pub(crate) fn unsent(&self, changes: Changes) {
        let mut state = self.state();
        for set in changes.set.into_iter().rev() {
            let Some(mark) = state.same_mark(set.slot, set.born) else { continue };
            if !std::mem::replace(&mut mark.pending, true)
                && let Some(pending) = &mut state.pending
            {
                pending.push_front(Pending::Set(set.slot, set.born));
            }
        }
        if let Some(pending) = &mut state.pending {
            for cleared in changes.cleared.into_iter().rev() {
                pending.push_front(Pending::Cleared(Box::new(cleared)));
            }
        }
    }

    /// Wakes everything that waits for a change, though no mark changed.
    pub(crate) fn nudge(&self) {
        self.changed.send_replace(());
    }

    /// Reports every change.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_secs(5);
    const ALL: ReportLimit = ReportLimit { marks: 5_000, bytes: 1 << 20 };

    fn row(text: &str) -> RowRef<'_> {
        RowRef { table: 0, row: text, key: "u1", bucket: Bucket::of_hash(0), fence: 0 }
    }

    fn marks() -> Marks {
        Marks::new(MOST)
    }

    fn set(marks: &Marks, text: &str, reason: MarkReason) {
        marks.set(&row(text), reason, LINGER).unwrap();
    }

    fn listed(marks: &Marks) -> Vec<Marked> {
        marks.list(|_| Arc::from("events"))
    }

    fn rows(due: &[Due]) -> Vec<&str> {
        due.iter().map(|due| &*due.row).collect()
    }

    #[test]
    fn each_reason_has_a_bit_of_its_own() {
        for reason in REASONS {
            assert_eq!(reasons(bit(reason)).collect::<Vec<_>>(), [reason]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lingering_effect_is_waited_for() {
        let marks = marks();
        set(&marks, "a", MarkReason::SecondaryUnknown);
        let (due, next) = marks.due(9);
        assert!(due.is_empty());
        assert!(next.is_some_and(|next| next >= Instant::now() + LINGER));
        tokio::time::advance(LINGER + Duration::from_micros(1)).await;
        assert_eq!(marks.due(9).0.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_set_during_a_repair_stays() {
        let marks = marks();
        set(&marks, "a", MarkReason::SecondaryFailed);
        let began = marks.due(9).0.remove(0);
        set(&marks, "a", MarkReason::Overlapped);
        assert!(!marks.clear(&began));
        assert_eq!(listed(&marks)[0].reasons, [MarkReason::SecondaryFailed, MarkReason::Overlapped]);
        let again = marks.due(9).0.remove(0);
        assert!(marks.clear(&again));
        assert_eq!(marks.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_repair_is_tried_again_later_each_time() {
        let marks = marks();
        set(&marks, "a", MarkReason::SecondaryFailed);
        for tries in 1..=3u32 {
            let due = marks.due(9).0.remove(0);
            marks.postpone(&due, LINGER);
            assert_eq!(marks.due(9), (Vec::new(), Some(Instant::now() + LINGER * tries)));
            tokio::time::advance(LINGER * tries).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_mark_that_comes_due_first_is_handed_out_first() {
        let marks = marks();
        set(&marks, "late", MarkReason::SecondaryUnknown);
        set(&marks, "now", MarkReason::OverBudget);
        tokio::time::advance(Duration::from_millis(1)).await;
        set(&marks, "then", MarkReason::OverBudget);
        assert_eq!(rows(&marks.due(1).0), ["now"], "as many as were asked for");
        assert_eq!(rows(&marks.due(9).0), ["then"]);
        tokio::time::advance(LINGER).await;
        assert_eq!(rows(&marks.due(9).0), ["late"]);
    }

    #[tokio::test(start_paused = true)]
    async fn rows_of_two_tables_with_one_key_are_two_rows() {
        let marks = marks();
        let order = RowRef { table: 1, ..row("42") };
        marks.set(&row("42"), MarkReason::OverBudget, LINGER).unwrap();
        marks.set(&order, MarkReason::OverBudget, LINGER).unwrap();
        let due = marks.due(9).0;
        assert!(marks.clear(due.iter().find(|due| due.table == 0).unwrap()));
        assert_eq!(marks.count(), 1);
        assert!(!marks.is_quiet(order.bucket));
        assert!(marks.clear(due.iter().find(|due| due.table == 1).unwrap()));
        assert!(marks.is_quiet(order.bucket));
    }

    #[tokio::test(start_paused = true)]
    async fn marks_are_counted_by_bucket() {
        let marks = marks();
        let other = Bucket::of_hash(u64::MAX);
        set(&marks, "a", MarkReason::OverBudget);
        marks.set(&RowRef { bucket: other, ..row("b") }, MarkReason::OverBudget, LINGER).unwrap();
        assert_eq!((marks.count_in(|_| true), marks.count_in(|bucket| bucket == other)), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_bound_a_new_row_has_no_mark_and_a_marked_one_keeps_its_own() {
        let marks = Marks::new(2);
        set(&marks, "a", MarkReason::OverBudget);
        set(&marks, "b", MarkReason::OverBudget);
        assert_eq!(marks.set(&row("c"), MarkReason::OverBudget, LINGER), Err(NoRoom));
        set(&marks, "a", MarkReason::Overlapped);
        assert_eq!(marks.count(), 2);
        let due = marks.due(9).0;
        assert!(marks.clear(&due[0]));
        set(&marks, "c", MarkReason::OverBudget);
    }

    #[tokio::test(start_paused = true)]
    async fn a_parked_mark_waits_until_its_rows_can_be_read() {
        let marks = marks();
        set(&marks, "a", MarkReason::OverBudget);
        marks.park(&marks.due(9).0.remove(0));
        assert_eq!(marks.due(9), (Vec::new(), None));
        marks.unpark();
        assert_eq!(rows(&marks.due(9).0), ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_marked_again_after_its_mark_was_reported_is_reported_again() {
        let marks = marks();
        set(&marks, "a", MarkReason::OverBudget);
        marks.report_all();
        let first = marks.changes(ALL);
        assert_eq!((first.set.len(), first.more), (1, false));
        assert!(marks.changes(ALL).set.is_empty(), "nothing is reported twice");
        set(&marks, "a", MarkReason::SecondaryUnknown);
        let again = marks.changes(ALL);
        assert!(again.set[0].generation > first.set[0].generation);
        assert_eq!(again.set[0].reason, MarkReason::SecondaryUnknown, "one that outlasts a hold");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_heard_is_reported_again() {
        let marks = marks();
        marks.report_all();
        set(&marks, "a", MarkReason::OverBudget);
        set(&marks, "b", MarkReason::OverBudget);
        let changes = marks.changes(ALL);
        assert!(marks.clear(&marks.due(1).0.remove(0)));
        marks.unsent(changes);
        let again = marks.changes(ALL);
        assert_eq!((again.set.len(), again.cleared.len()), (1, 1), "one of the two is gone meanwhile");
        assert!(again.cleared[0].row != again.set[0].row);
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_cut_by_the_bytes_of_its_keys() {
        let marks = marks();
        marks.report_all();
        let long = "k".repeat(1_000);
        for n in 0..5 {
            set(&marks, &format!("{long}{n}"), MarkReason::OverBudget);
        }
        let first = marks.changes(ReportLimit { marks: 5_000, bytes: 3_000 });
        assert_eq!((first.set.len(), first.more), (3, true));
        assert_eq!((marks.changes(ALL).set.len(), marks.changes(ALL).more), (2, false));
    }

    #[tokio::test(start_paused = true)]
    async fn marks_that_come_and_go_unreported_leave_no_trace() {
        let marks = marks();
        marks.report_all();
        for _ in 0..20_000 {
            set(&marks, "a", MarkReason::OverBudget);
            assert!(marks.clear(&marks.due(1).0.remove(0)));
        }
        let state = marks.state();
        let pending = state.pending.as_ref().unwrap().len();
        assert!(pending <= 4_097, "{pending} changes are kept of a row that is not marked");
        assert!(state.slots.len() <= 2 && state.due.len() <= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_marked_again_and_again_is_parked_once() {
        let marks = marks();
        for _ in 0..100 {
            set(&marks, "1", MarkReason::SecondaryFailed);
            marks.park(&marks.due(1).0.remove(0));
        }
        assert_eq!(marks.state().parked.len(), 1);
        marks.unpark();
        assert_eq!(rows(&marks.due(9).0), ["1"]);
        assert!(marks.state().parked.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn many_cleared_marks_to_report_make_no_later_mark_look_at_each_of_them() {
        let marks = marks();
        marks.report_all();
        let many = 20_000;
        (0..many).for_each(|n| set(&marks, &n.to_string(), MarkReason::SecondaryFailed));
        while marks.changes(ALL).more {}
        marks.due(many).0.iter().for_each(|due| assert!(marks.clear(due)));
        // The control plane has heard of all of them, and has yet to hear that they are gone.
        (0..1_000).for_each(|n| set(&marks, &n.to_string(), MarkReason::SecondaryFailed));
        let state = marks.state();
        let told = state.pending.as_ref().unwrap().len();
        assert!(told < state.compact_at, "each mark looks at all {told} changes");
    }
}
