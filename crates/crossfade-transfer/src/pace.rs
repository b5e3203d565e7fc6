//! Stop, pause, rows per second, and giving way when a database gets slow.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::TransferError;

/// What a run has been told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Go on.
    Run,
    /// Finish the chunks in flight and wait.
    Pause,
    /// Finish the chunks in flight and end.
    Stop,
}

/// The handle that a person, or the control plane, holds on a run. Clones are the same handle.
#[derive(Clone, Debug)]
pub struct Control {
    order: Arc<watch::Sender<Order>>,
}

impl Default for Control {
    fn default() -> Self {
        Control { order: Arc::new(watch::Sender::new(Order::Run)) }
    }
}

impl Control {
    /// Tells the run what to do. A stopped run stays stopped.
    pub fn tell(&self, order: Order) {
        self.order.send_if_modified(|now| {
            let changes = *now != Order::Stop && *now != order;
            if changes {
                *now = order;
            }
            changes
        });
    }

    /// Returns when the run may go on.
    ///
    /// # Errors
    /// [`TransferError::Stopped`]
    pub async fn may_go_on(&self) -> Result<(), TransferError> {
        let mut order = self.order.subscribe();
        let order = order.wait_for(|o| *o != Order::Pause).await.map_or(Order::Stop, |o| *o);
        if order == Order::Stop { Err(TransferError::Stopped) } else { Ok(()) }
    }

    /// Whether the run has been told to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.order.borrow() == Order::Stop
    }
}

/// After so long, as many chunks as were too much are tried again.
const AGAIN: Duration = Duration::from_secs(15);
/// So many slow measurements, one after the other, are no accident. On a full machine single ones are: a request waits for a turn of the scheduler.
const IN_A_ROW: u32 = 2;
/// So much faster is faster: one more beside three can make a third of it.
const GAIN: f64 = 1.15;

/// At most so many rows per second, over all tasks of a run.
#[derive(Debug)]
pub struct Rate {
    per_second: Option<f64>,
    /// When the rows handed out so far are paid for.
    paid_until: Mutex<Instant>,
}

impl Rate {
    /// `None` is no limit.
    #[must_use]
    pub fn new(per_second: Option<u64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        Rate { per_second: per_second.filter(|n| *n > 0).map(|n| n as f64), paid_until: Mutex::new(Instant::now()) }
    }

    /// Waits until `rows` more rows may be done.
    pub async fn take(&self, rows: usize) {
        let Some(per_second) = self.per_second else { return };
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let cost = Duration::from_secs_f64(rows as f64 / per_second);
        let until = {
            let mut paid = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
            let start = (*paid).max(Instant::now());
            *paid = start + cost;
            start
        };
        tokio::time::sleep_until(until).await;
    }
}

/// How many chunks may run at a time: as many as make the copy faster, while both databases answer as they did at the start, and half as many when they do not.
/// Additive increase, multiplicative decrease, as in TCP; what was too much, or of no use, is not tried again for a while, so that nobody feels it every second.
#[derive(Debug)]
pub struct Adaptive {
    most: usize,
    climb: Mutex<Climb>,
    now: AtomicUsize,
    running: AtomicUsize,
    freed: tokio::sync::Notify,
}

/// What is known of so many, and of fewer, chunks at a time.
#[derive(Debug)]
struct Climb {
    /// More are not tried until then.
    ceiling: (usize, Instant),
    /// Since when there are as many as now, and the rows that were done by then.
    since: (Instant, u64),
    /// Rows per second of one fewer, if more are being tried.
    before: Option<f64>,
    /// Slow measurements, one after the other.
    slow: u32,
}

/// A change of the number of chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Chunks at a time.
    pub to: usize,
    /// Why.
    pub why: &'static str,
}

impl Adaptive {
    /// `most` at a time.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Adaptive::with(most, most)
    }

    /// At most `most` at a time, and `first` until something was measured.
    #[must_use]
    pub fn with(most: usize, first: usize) -> Self {
        let most = most.max(1);
        let now = AtomicUsize::new(first.clamp(1, most));
        let climb =
            Mutex::new(Climb { ceiling: (most, Instant::now()), since: (Instant::now(), 0), before: None, slow: 0 });
        Adaptive { most, climb, now, running: AtomicUsize::new(0), freed: tokio::sync::Notify::new() }
    }

    /// Waits for a place. It is free again when the answer is dropped.
    pub async fn place(self: &Arc<Self>) -> Place {
        loop {
            let freed = self.freed.notified();
            let taken = self.running.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < self.now.load(Ordering::Acquire)).then_some(n + 1)
            });
            if taken.is_ok() {
                return Place { of: self.clone() };
            }
            freed.await;
        }
    }

    /// One measurement of small requests, `slow` against what is usual, when so many rows of the copy were done. `enough` of them tell how fast it is.
    pub fn measured(&self, slow: bool, rows: u64, enough: u64) -> Option<Change> {
        let here = self.now.load(Ordering::Acquire);
        let mut climb = self.climb.lock().unwrap_or_else(PoisonError::into_inner);
        climb.slow = if slow { climb.slow + 1 } else { 0 };
        let slow = climb.slow >= IN_A_ROW;
        let now = Instant::now();
        let done = rows.saturating_sub(climb.since.1);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = done as f64 / now.saturating_duration_since(climb.since.0).as_secs_f64().max(1e-9);
        let (to, why) = match climb.before {
            _ if slow => ((here / 2).max(1), "the databases answer slower than usual"),
            _ if climb.slow > 0 || done < enough => return None,
            Some(before) if rate < before * GAIN => (here - 1, "more at a time went no faster"),
            _ => {
                if now >= climb.ceiling.1 {
                    climb.ceiling.0 = self.most;
                }
                ((here + 1).min(climb.ceiling.0), "the databases answer as usual")
            }
        };
        if slow || to < here {
            climb.ceiling = (here.saturating_sub(1).max(1), now + AGAIN);
        }
        if to < here {
            // Of fewer at a time nothing is known yet.
            climb.slow = 0;
        }
        climb.before = (to > here).then_some(rate);
        climb.since = (now, rows);
        drop(climb);
        if to == here {
            return None;
        }
        self.now.store(to, Ordering::Release);
        self.freed.notify_waiters();
        Some(Change { to, why })
    }
}

/// A place among the chunks that run.
#[derive(Debug)]
pub struct Place {
    of: Arc<Adaptive>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.running.fetch_sub(1, Ordering::AcqRel);
        self.of.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_over_many_tasks() {
        let rate = Arc::new(Rate::new(Some(1_000)));
        let start = Instant::now();
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let rate = rate.clone();
                tokio::spawn(async move {
                    for _ in 0..5 {
                        rate.take(100).await;
                    }
                })
            })
            .collect();
        futures::future::join_all(tasks).await;
        // 2,000 rows: the last hundred begins when the 1,900 before it are paid.
        assert_eq!(start.elapsed().as_millis(), 1_900);
    }

    /// A second in which so many thousand rows are done, and after which nobody is slow.
    async fn healthy(adaptive: &Adaptive, done: &mut u64, thousands: u64) -> Option<usize> {
        tokio::time::advance(Duration::from_secs(1)).await;
        *done += thousands * 1_000;
        adaptive.measured(false, *done, 1_000).map(|change| change.to)
    }

    #[tokio::test(start_paused = true)]
    async fn slowness_halves_and_health_adds_one_up_to_what_was_too_much() {
        let adaptive = Arc::new(Adaptive::new(4));
        let slow = |done| adaptive.measured(true, done, 1_000).map(|change| change.to);
        let places = [adaptive.place().await, adaptive.place().await, adaptive.place().await, adaptive.place().await];
        assert_eq!([slow(0), slow(0), slow(0), slow(0), slow(0), slow(0)], [None, Some(2), None, Some(1), None, None]);
        let mut waiting = tokio_test_ready(adaptive.place());
        drop(places);
        waiting.as_mut().await;
        // One alone was slow, and is as few as there can be.
        let mut done = 0;
        assert_eq!(healthy(&adaptive, &mut done, 10).await, None, "not yet");
        tokio::time::advance(AGAIN).await;
        for (thousands, to) in [(100, Some(2)), (20, Some(3)), (30, Some(4)), (40, None)] {
            assert_eq!(healthy(&adaptive, &mut done, thousands).await, to);
        }
        assert_eq!(slow(done), None, "one alone may be an accident");
        assert_eq!(healthy(&adaptive, &mut done, 40).await, None);
        assert_eq!((slow(done), slow(done)), (None, Some(2)));
        assert_eq!(healthy(&adaptive, &mut done, 20).await, Some(3));
        assert_eq!(healthy(&adaptive, &mut done, 30).await, None, "four were too much");
        tokio::time::advance(AGAIN).await;
        assert_eq!(healthy(&adaptive, &mut done, 500).await, Some(4), "and are tried again");
    }

    #[tokio::test(start_paused = true)]
    async fn more_at_a_time_stay_only_where_they_make_it_faster() {
        let adaptive = Adaptive::with(4, 2);
        let mut done = 0;
        assert_eq!(healthy(&adaptive, &mut done, 0).await, None, "too few rows to know");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(healthy(&adaptive, &mut done, 60).await, Some(3), "20,000 a second with two");
        assert_eq!(healthy(&adaptive, &mut done, 30).await, Some(4), "half as many again with three");
        assert_eq!(healthy(&adaptive, &mut done, 33).await, Some(3), "hardly more with four");
        for _ in 0..10 {
            assert_eq!(healthy(&adaptive, &mut done, 30).await, None);
        }
        tokio::time::advance(AGAIN).await;
        assert_eq!(healthy(&adaptive, &mut done, 480).await, Some(4), "after a while it may be otherwise");
    }

    fn tokio_test_ready<T>(f: impl Future<Output = T>) -> std::pin::Pin<Box<impl Future<Output = T>>> {
        Box::pin(f)
    }

    #[tokio::test]
    async fn a_stopped_run_stays_stopped() {
        let control = Control::default();
        control.may_go_on().await.ok();
        control.tell(Order::Stop);
        control.tell(Order::Run);
        assert!(matches!(control.may_go_on().await, Err(TransferError::Stopped)));
    }
}
