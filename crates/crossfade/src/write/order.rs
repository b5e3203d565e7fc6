//! Row order within the process: secondary writes of a row run one after the other, in the order in which the
//! authority accepted them; writes whose authoritative parts overlapped have no such order, and say so (R5).

use crate::sync::{Mutex, MutexGuard, oneshot};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, PoisonError};

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
}

impl Row {
    /// An authoritative write has ended.
    fn ended(&mut self) {
        self.writing = self.writing.saturating_sub(1);
        if self.writing == 0 {
            self.overlapped = false;
        }
    }
}

type Shard = HashMap<u64, Row, BuildHasherDefault<Digested>>;

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
    pub(crate) fn begin(self: &Arc<Self>, row: u64) -> Writing {
        let mut shard = self.shard(row);
        let entry = shard.entry(row).or_default();
        entry.writing += 1;
        entry.overlapped |= entry.writing > 1;
        Writing { order: Some(Arc::clone(self)), row }
    }

    /// An authoritative write of the row has ended well: its place among the row's secondary writes.
    fn accept(&self, row: u64) -> (Place, Order) {
        let mut shard = self.shard(row);
        let entry = shard.entry(row).or_default();
        let known = if entry.overlapped { Order::Overlapped } else { Order::Known };
        entry.ended();
        let place = if !entry.busy {
            entry.busy = true;
            Place::First
        } else if entry.queue.len() < LONGEST_QUEUE {
            let (sender, receiver) = oneshot::channel();
            entry.queue.push_back(sender);
            Place::Behind(receiver)
        } else {
            Place::None
        };
        (place, known)
    }

    fn leave(&self, row: u64, change: impl FnOnce(&mut Row)) {
        let mut shard = self.shard(row);
        if let Some(entry) = shard.get_mut(&row) {
            change(entry);
            if entry.writing == 0 && !entry.busy && entry.queue.is_empty() {
                shard.remove(&row);
            }
        }
    }
}

/// An authoritative write in flight. Dropped: it ended without a secondary write.
#[derive(Debug)]
pub(crate) struct Writing {
    /// None once it has taken its place.
    order: Option<Arc<RowOrder>>,
    row: u64,
}

impl Writing {
    /// The authority accepted the write: takes its place among the row's secondary writes.
    pub(crate) fn accepted(mut self) -> (Turn, Order) {
        let order = self.order.take();
        let (place, known) = match &order {
            Some(order) => order.accept(self.row),
            // Only this takes it, and consumes the rest; whoever has no place is marked.
            None => (Place::None, Order::Overlapped),
        };
        (Turn { order, row: self.row, held: matches!(place, Place::First), place }, known)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(order) = self.order.take() {
            order.leave(self.row, Row::ended);
        }
    }
}

/// Whether the authority's order of the row's writes is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Known,
    Overlapped,
}

#[derive(Debug)]
enum Place {
    First,
    Behind(oneshot::Receiver<()>),
    None,
}

/// A place among the secondary writes of a row; dropping it lets the next one go.
#[derive(Debug)]
pub(crate) struct Turn {
    order: Option<Arc<RowOrder>>,
    row: u64,
    place: Place,
    /// It is this one's turn.
    held: bool,
}

/// The queue of the row was full: there is no turn to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl Turn {
    /// It need not wait for anyone.
    pub(crate) fn is_first(&self) -> bool {
        matches!(self.place, Place::First)
    }

    /// Waits until every earlier secondary write of the row has ended. Cancel safe.
    pub(crate) async fn come(&mut self) -> Result<(), QueueFull> {
        match &mut self.place {
            Place::First => Ok(()),
            Place::None => Err(QueueFull),
            Place::Behind(before) => {
                // The sender is passed on or used, never lost: see `drop`.
                let _told = before.await;
                self.held = true;
                self.place = Place::First;
                Ok(())
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Place::Behind(before) = &mut self.place {
            // The turn may have been handed over after the last look: closing makes that visible, then pass it on.
            before.close();
            self.held = before.try_recv().is_ok();
        }
        if let Some(order) = self.order.take()
            && self.held
        {
            order.leave(self.row, |entry| {
                entry.busy = false;
                while let Some(next) = entry.queue.pop_front() {
                    // One that was given up meanwhile is skipped.
                    if next.send(()).is_ok() {
                        entry.busy = true;
                        break;
                    }
                }
            });
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn order() -> Arc<RowOrder> {
        Arc::new(RowOrder::new())
    }

    fn is_empty(order: &RowOrder) -> bool {
        order.shards.iter().all(|shard| shard.lock().unwrap().is_empty())
    }

    #[tokio::test]
    async fn secondary_writes_of_a_row_go_one_after_the_other() {
        let order = order();
        let (mut first, one) = order.begin(7).accepted();
        let (mut second, two) = order.begin(7).accepted();
        assert_eq!((one, two), (Order::Known, Order::Known));
        first.come().await.unwrap();
        assert!(second.come().now_or_never().is_none());
        drop(first);
        second.come().await.unwrap();
        drop(second);
        assert!(is_empty(&order));
    }

    #[test]
    fn overlapping_authoritative_writes_both_say_so() {
        let order = order();
        let (a, b) = (order.begin(7), order.begin(7));
        let (turn_a, a) = a.accepted();
        let (turn_b, b) = b.accepted();
        assert_eq!((a, b), (Order::Overlapped, Order::Overlapped));
        let (turn_c, c) = order.begin(7).accepted();
        assert_eq!(c, Order::Known);
        drop((turn_a, turn_b, turn_c));
        assert!(is_empty(&order));
    }

    #[tokio::test]
    async fn a_turn_given_up_while_waiting_is_passed_on() {
        let order = order();
        let (first, _) = order.begin(7).accepted();
        let (mut second, _) = order.begin(7).accepted();
        let (mut third, _) = order.begin(7).accepted();
        assert!(second.come().now_or_never().is_none());
        drop(first);
        // The second was handed the turn and is dropped without having looked.
        drop(second);
        third.come().now_or_never().unwrap().unwrap();
        drop(third);
        assert!(is_empty(&order));
    }

    #[test]
    fn a_refused_write_leaves_nothing_behind() {
        let order = order();
        drop(order.begin(7));
        assert!(is_empty(&order));
    }

    #[test]
    fn a_long_queue_is_cut() {
        let order = order();
        let mut turns: Vec<_> = (0..=LONGEST_QUEUE).map(|_| order.begin(7).accepted().0).collect();
        let (mut late, _) = order.begin(7).accepted();
        assert_eq!(late.come().now_or_never(), Some(Err(QueueFull)));
        assert_ne!(turns[0].come().now_or_never(), Some(Err(QueueFull)));
        drop(late);
        drop(turns);
        assert!(is_empty(&order));
    }

    #[tokio::test]
    async fn other_rows_do_not_wait() {
        let order = order();
        let (_held, _) = order.begin(7).accepted();
        let (mut other, _) = order.begin(7 + SHARDS as u64).accepted();
        assert_eq!(other.come().now_or_never(), Some(Ok(())));
    }
}
