//! Row order: every turn is passed on exactly once and in the authority's order, and nothing is left behind.

use crate::order::{Order, Part, RowOrder};
use crate::sync::{step, timeout_at};
use shuttle::future::{block_on, spawn};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

const ROW: u64 = 7;

/// What an observer of one write has seen, by a count that steps with every event.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The authoritative write, from before it was announced to after it was.
    begun: (u64, u64),
    /// Its place in the row, from before it asked to after it had it.
    accepted: (u64, u64),
    /// The secondary write, unless it was given up.
    ran: Option<(u64, u64)>,
    order: Option<Order>,
}

#[derive(Debug, Default)]
struct Observer {
    now: Mutex<u64>,
    running: Mutex<u32>,
}

impl Observer {
    fn tick(&self) -> u64 {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now += 1;
        *now
    }

    fn run(&self) -> (u64, u64) {
        let change = |by: i32| {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            *running = running.saturating_add_signed(by);
            *running
        };
        let began = self.tick();
        assert_eq!(change(1), 1, "two secondary writes of a row at once");
        step();
        change(-1);
        (began, self.tick())
    }
}

/// A write's part in the order, which ends when it is dropped.
struct Ordered {
    order: Arc<RowOrder>,
    part: Part,
}

impl Ordered {
    fn begin(order: &Arc<RowOrder>) -> Ordered {
        Ordered { order: Arc::clone(order), part: order.begin(ROW) }
    }

    fn accepted(&mut self) -> Order {
        self.order.accepted(&mut self.part)
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        self.order.end(&mut self.part);
    }
}

/// One dual write. It gives up waiting for its turn when time says so.
async fn write(order: Arc<RowOrder>, observer: Arc<Observer>) -> Seen {
    let mut seen = Seen { begun: (observer.tick(), 0), ..Seen::default() };
    let mut writing = Ordered::begin(&order);
    seen.begun.1 = observer.tick();
    step();
    seen.accepted.0 = observer.tick();
    seen.order = Some(writing.accepted());
    seen.accepted.1 = observer.tick();
    if writing.part.is_first() || matches!(timeout_at(Instant::now(), writing.part.come()).await, Ok(Ok(()))) {
        seen.ran = Some(observer.run());
    }
    seen
}

/// Dual writes of one row, some refused by the authority, some that give up their turn while it is handed to them.
pub fn turns_are_passed_on_in_order() {
    block_on(async {
        let order = Arc::new(RowOrder::new());
        let observer = Arc::new(Observer::default());
        let writes: Vec<_> = (0..4).map(|_| spawn(write(Arc::clone(&order), Arc::clone(&observer)))).collect();
        let refused = {
            let order = Arc::clone(&order);
            spawn(async move { drop(Ordered::begin(&order)) })
        };
        let mut seen = Vec::new();
        for write in writes {
            seen.extend(write.await.ok());
        }
        assert!(refused.await.is_ok());
        assert_eq!(seen.len(), 4, "a write never came back");
        for earlier in &seen {
            for later in &seen {
                judge(earlier, later);
            }
        }
        assert!(!format!("{order:?}").contains("Row {"), "the row was left behind: {order:?}");
    });
}

fn judge(earlier: &Seen, later: &Seen) {
    if earlier.accepted.1 < later.accepted.0
        && let (Some(earlier), Some(later)) = (earlier.ran, later.ran)
    {
        assert!(earlier.1 < later.0, "accepted first, ran last: {earlier:?} {later:?}");
    }
    let overlapped = earlier.begun.1 < later.begun.0 && later.begun.1 < earlier.accepted.0;
    if overlapped {
        assert_eq!((earlier.order, later.order), (Some(Order::Overlapped), Some(Order::Overlapped)));
    }
}

/// The handing over alone, under every schedule: the second gives its turn up while the first hands it over; the third
/// must get it.
pub fn a_turn_that_is_given_up_goes_to_the_next() {
    block_on(async {
        let order = Arc::new(RowOrder::new());
        let [first, second, mut third] = [(); 3].map(|()| {
            let mut writing = Ordered::begin(&order);
            writing.accepted();
            writing
        });
        let tasks = [spawn(async move { drop(first) }), spawn(async move { drop(second) })];
        for task in tasks {
            assert!(task.await.is_ok());
        }
        assert!(third.part.come().await.is_ok());
        drop(third);
        assert!(!format!("{order:?}").contains("Row {"), "the row was left behind: {order:?}");
    });
}
