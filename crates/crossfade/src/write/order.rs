//! Row order within the process: secondary writes of a row run one after the other, in the order in which the
//! authority accepted them; writes whose authoritative parts overlapped have no such order, and say so (R5).

use crate::sync::{Mutex, MutexGuard, oneshot};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::PoisonError;

const SHARDS: usize = 64;
/// Beyond so many secondary writes of one row in the queue, the row is marked instead: a repair copies the newest state.
const LONGEST_QUEUE: usize = 32;

#[derive(Debug, Default)]
struct Row {
    /// Authoritative writes in flight.
    writing: u32,
    /// Some of those in flight met another.
    overlapped: bool,
    /// A secondary write is running.
    busy: bool,
    /// Those that wait for it, first come first.
    queue: VecDeque<oneshot::Sender<()>>,
    /// Writes that have begun and not ended: those up to the cut, and those after it.
    until_cut: u32,
    after_cut: u32,
    /// A number of a write: see [`Fence`].
    cut: u64,
    /// Every write up to this number has ended.
    ended: u64,
    /// The highest fence that was asked for.
    wanted: u64,
}

/// A place among the writes of a row. A mark keeps the fence of the moment at which it was set: the mark may be cleared
/// only after every write that had begun by then has ended on both sides. An older mirror that lands later would make
/// the sides differ again, and no mark would say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Fence(pub(crate) u64);

impl Row {
    /// A write of this number begins. Two counters are enough, however many writes there are: those up to the cut and
    /// those after it.
    fn begun(&mut self) {
        self.after_cut += 1;
    }

    /// The write of this number has ended on both sides, or for good.
    fn gone(&mut self, number: u64) {
        if number <= self.cut {
            self.until_cut = self.until_cut.saturating_sub(1);
        } else {
            self.after_cut = self.after_cut.saturating_sub(1);
        }
    }

    /// Moves the cut on where nothing before it runs any more. `last` is the number of the newest write of the shard.
    fn advance_cut(&mut self, last: u64) {
        if self.until_cut > 0 {
            return;
        }
        self.ended = self.cut;
        if self.wanted > self.cut {
            self.until_cut = std::mem::take(&mut self.after_cut);
            self.cut = last;
            if self.until_cut == 0 {
                self.ended = last;
            }
        }
    }

    /// An authoritative write has ended.
    fn ended(&mut self) {
        self.writing = self.writing.saturating_sub(1);
        if self.writing == 0 {
            self.overlapped = false;
        }
    }

    /// A secondary write has ended: the next one goes, if there is one. One that was given up meanwhile is skipped.
    fn pass_on(&mut self) {
        self.busy = false;
        while let Some(next) = self.queue.pop_front() {
            if next.send(()).is_ok() {
                self.busy = true;
                break;
            }
        }
    }
}

#[derive(Debug, Default)]
struct Shard {
    rows: HashMap<u64, Row, BuildHasherDefault<Digested>>,
    /// Numbers the writes of the shard's rows.
    last: u64,
}

/// The digest of a key is its own hash.
#[derive(Debug, Default)]
struct Digested(u64);

impl Hasher for Digested {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only digests are ever hashed; anything else would still be right, only slower.
        self.0 = xxhash_rust::xxh3::xxh3_64(bytes);
    }
}

/// The rows that are being written, by a digest of their key. Two keys with one digest are needlessly ordered, no more.
#[derive(Debug)]
pub(crate) struct RowOrder {
    shards: [Mutex<Shard>; SHARDS],
}

impl RowOrder {
    pub(crate) fn new() -> RowOrder {
        RowOrder { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    fn shard(&self, row: u64) -> MutexGuard<'_, Shard> {
        // By bits that the tables do not look at: those use the lowest and the highest.
        self.shards[(row >> 32) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An authoritative write of the row begins.
    pub(crate) fn begin(&self, row: u64) -> Part {
        let mut shard = self.shard(row);
        shard.last += 1;
        let number = shard.last;
        // Every write of the row from before has ended: there was no entry.
        let entry =
            shard.rows.entry(row).or_insert_with(|| Row { cut: number - 1, ended: number - 1, ..Row::default() });
        entry.begun();
        entry.writing += 1;
        entry.overlapped |= entry.writing > 1;
        Part { row, number, place: Place::Writing }
    }

    /// The fence of this moment: every write of the row that has begun so far is before it.
    pub(crate) fn fence(&self, row: u64) -> Fence {
        let mut shard = self.shard(row);
        let last = shard.last;
        if let Some(entry) = shard.rows.get_mut(&row) {
            entry.wanted = entry.wanted.max(last);
            entry.advance_cut(last);
        }
        Fence(last)
    }

    /// Every write of the row that had begun at the fence has ended on both sides.
    pub(crate) fn is_past(&self, row: u64, fence: Fence) -> bool {
        let mut shard = self.shard(row);
        let last = shard.last;
        let Some(entry) = shard.rows.get_mut(&row) else { return true };
        entry.wanted = entry.wanted.max(fence.0);
        entry.advance_cut(last);
        entry.ended >= fence.0
    }

    /// Some write of the row is under way on a side.
    pub(crate) fn is_busy(&self, row: u64) -> bool {
        self.shard(row).rows.contains_key(&row)
    }

    /// The authority accepted the write: it takes its place among the row's secondary writes.
    pub(crate) fn accepted(&self, part: &mut Part) -> Order {
        if !matches!(part.place, Place::Writing) {
            // It has its place, or was never begun: whoever has no order is marked.
            return Order::Overlapped;
        }
        let mut shard = self.shard(part.row);
        let entry = shard.rows.entry(part.row).or_default();
        let known = if entry.overlapped { Order::Overlapped } else { Order::Known };
        entry.ended();
        part.place = if !entry.busy {
            entry.busy = true;
            Place::First
        } else if entry.queue.len() < LONGEST_QUEUE {
            let (sender, receiver) = oneshot::channel();
            entry.queue.push_back(sender);
            Place::Behind(receiver)
        } else {
            Place::Full
        };
        known
    }

    /// The write has ended, wherever it was; the next one of the row may go. To end it again does nothing.
    pub(crate) fn end(&self, part: &mut Part) {
        match std::mem::replace(&mut part.place, Place::Out) {
            Place::Out => {}
            Place::Full => self.leave(part, |_| {}),
            Place::Writing => self.leave(part, Row::ended),
            Place::First => self.leave(part, Row::pass_on),
            Place::Behind(mut before) => {
                // The turn may have been handed over after the last look: closing makes that visible, then pass it on.
                before.close();
                let had_its_turn = before.try_recv().is_ok();
                self.leave(part, |row| {
                    if had_its_turn {
                        row.pass_on();
                    }
                });
            }
        }
    }

    fn leave(&self, part: &Part, change: impl FnOnce(&mut Row)) {
        let mut shard = self.shard(part.row);
        let last = shard.last;
        if let Some(entry) = shard.rows.get_mut(&part.row) {
            change(entry);
            entry.gone(part.number);
            entry.advance_cut(last);
            if entry.until_cut == 0 && entry.after_cut == 0 {
                shard.rows.remove(&part.row);
            }
        }
    }
}

/// Whether the authority's order of the row's writes is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Known,
    Overlapped,
}

/// The part of one write in the order of its row. Who began it has to [`RowOrder::end`] it: dropping cannot, without a
/// handle on the order in every write.
#[derive(Debug)]
#[must_use = "its row waits until it is ended"]
pub(crate) struct Part {
    row: u64,
    number: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Not begun, or ended.
    Out,
    /// The authority is being written.
    Writing,
    /// It is this one's turn on the secondary.
    First,
    Behind(oneshot::Receiver<()>),
    /// The queue of the row was full.
    Full,
}

/// The queue of the row was full: there is no turn to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl Part {
    /// Of a row that is not being written yet.
    pub(crate) const fn none() -> Part {
        Part { row: 0, number: 0, place: Place::Out }
    }

    /// It need not wait for anyone.
    pub(crate) fn is_first(&self) -> bool {
        matches!(self.place, Place::First)
    }

    /// Waits until every earlier secondary write of the row has ended. Cancel safe.
    pub(crate) async fn come(&mut self) -> Result<(), QueueFull> {
        match &mut self.place {
            Place::First => Ok(()),
            Place::Behind(before) => {
                // The sender is passed on or used, never lost: see `RowOrder::end`.
                let _told = before.await;
                self.place = Place::First;
                Ok(())
            }
            Place::Full | Place::Out | Place::Writing => Err(QueueFull),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use futures::FutureExt;

    /// One write, which ends when it is dropped.
    struct Write<'a> {
        order: &'a RowOrder,
        part: Part,
    }

    impl Drop for Write<'_> {
        fn drop(&mut self) {
            self.order.end(&mut self.part);
        }
    }

    impl RowOrder {
        fn write(&self, row: u64) -> Write<'_> {
            Write { order: self, part: self.begin(row) }
        }

        fn accept(&self, row: u64) -> (Write<'_>, Order) {
            let mut write = self.write(row);
            let known = write.accepted();
            (write, known)
        }

        fn is_empty(&self) -> bool {
            self.shards.iter().all(|shard| shard.lock().unwrap().rows.is_empty())
        }
    }

    impl Write<'_> {
        fn accepted(&mut self) -> Order {
            self.order.accepted(&mut self.part)
        }

        async fn come(&mut self) -> Result<(), QueueFull> {
            self.part.come().await
        }
    }

    #[tokio::test]
    async fn secondary_writes_of_a_row_go_one_after_the_other() {
        let order = RowOrder::new();
        let (mut first, one) = order.accept(7);
        let (mut second, two) = order.accept(7);
        assert_eq!((one, two), (Order::Known, Order::Known));
        first.come().await.unwrap();
        assert!(second.come().now_or_never().is_none());
        drop(first);
        second.come().await.unwrap();
        drop(second);
        assert!(order.is_empty());
    }

    #[test]
    fn overlapping_authoritative_writes_both_say_so() {
        let order = RowOrder::new();
        let (mut a, mut b) = (order.write(7), order.write(7));
        assert_eq!((a.accepted(), b.accepted()), (Order::Overlapped, Order::Overlapped));
        let (c, known) = order.accept(7);
        assert_eq!(known, Order::Known);
        drop((a, b, c));
        assert!(order.is_empty());
    }

    #[tokio::test]
    async fn a_turn_given_up_while_waiting_is_passed_on() {
        let order = RowOrder::new();
        let (first, _) = order.accept(7);
        let (mut second, _) = order.accept(7);
        let (mut third, _) = order.accept(7);
        assert!(second.come().now_or_never().is_none());
        drop(first);
        // The second was handed the turn and is dropped without having looked.
        drop(second);
        third.come().now_or_never().unwrap().unwrap();
        drop(third);
        assert!(order.is_empty());
    }

    #[test]
    fn a_refused_write_leaves_nothing_behind() {
        let order = RowOrder::new();
        drop(order.write(7));
        assert!(order.is_empty());
    }

    #[test]
    fn a_long_queue_is_cut() {
        let order = RowOrder::new();
        let mut turns: Vec<_> = (0..=LONGEST_QUEUE).map(|_| order.accept(7).0).collect();
        let (mut late, _) = order.accept(7);
        assert_eq!(late.come().now_or_never(), Some(Err(QueueFull)));
        assert_ne!(turns[0].come().now_or_never(), Some(Err(QueueFull)));
        drop(late);
        drop(turns);
        assert!(order.is_empty());
    }

    #[test]
    fn a_fence_is_passed_when_every_earlier_write_has_ended_and_waits_for_no_later_one() {
        let order = RowOrder::new();
        assert!(order.is_past(7, order.fence(7)), "nothing was under way");
        let (first, _) = order.accept(7);
        let (second, _) = order.accept(7);
        let early = order.fence(7);
        let (third, _) = order.accept(7);
        let late = order.fence(7);
        assert!(!order.is_past(7, early) && !order.is_past(7, late));
        drop(second);
        assert!(!order.is_past(7, early));
        drop(first);
        assert!(order.is_past(7, early) && !order.is_past(7, late));
        let (fourth, _) = order.accept(7);
        drop(third);
        assert!(order.is_past(7, early) && order.is_past(7, late), "the fourth began after both");
        assert!(!order.is_past(7, order.fence(7)));
        drop(fourth);
        assert!(order.is_empty());
        // The row is written again: what is before the fence has still ended.
        let (_again, _) = order.accept(7);
        assert!(order.is_past(7, late));
    }

    #[test]
    fn a_row_that_is_never_idle_passes_every_fence() {
        let order = RowOrder::new();
        let (mut before, _) = order.accept(7);
        for _ in 0..100 {
            let fence = order.fence(7);
            let (next, _) = order.accept(7);
            assert!(!order.is_past(7, fence));
            drop(std::mem::replace(&mut before, next));
            assert!(order.is_past(7, fence));
        }
    }

    #[tokio::test]
    async fn other_rows_do_not_wait() {
        let order = RowOrder::new();
        let (_held, _) = order.accept(7);
        let (mut other, _) = order.accept(7 + SHARDS as u64);
        assert_eq!(other.come().now_or_never(), Some(Ok(())));
    }

    #[test]
    fn what_has_ended_cannot_end_again() {
        let order = RowOrder::new();
        let (mut first, _) = order.accept(7);
        let (second, _) = order.accept(7);
        first.order.end(&mut first.part);
        // The turn is the second's now: ending the first once more must not take it away.
        first.order.end(&mut first.part);
        let (mut third, _) = order.accept(7);
        assert_eq!(third.come().now_or_never(), None);
        assert_eq!(first.accepted(), Order::Overlapped);
        drop((first, second, third));
        assert!(order.is_empty());
    }
}
