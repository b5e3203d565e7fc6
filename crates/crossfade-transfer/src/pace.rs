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

/// How many chunks may run at a time: all when both databases answer as they did at the start, fewer when they do not.
/// Additive increase, multiplicative decrease, as in TCP.
#[derive(Debug)]
pub struct Adaptive {
    most: usize,
    now: AtomicUsize,
    running: AtomicUsize,
    freed: tokio::sync::Notify,
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
        Adaptive { most, now, running: AtomicUsize::new(0), freed: tokio::sync::Notify::new() }
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

    /// One measurement of a small request: `slow` against what is usual. Answers the new number of places if it changed.
    pub fn measured(&self, slow: bool) -> Option<usize> {
        let before = self.now.load(Ordering::Acquire);
        let after = if slow { (before / 2).max(1) } else { (before + 1).min(self.most) };
        if after == before {
            return None;
        }
        self.now.store(after, Ordering::Release);
        self.freed.notify_waiters();
        Some(after)
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

    #[tokio::test]
    async fn slowness_halves_and_health_adds_one() {
        let adaptive = Arc::new(Adaptive::new(4));
        let places = [adaptive.place().await, adaptive.place().await, adaptive.place().await, adaptive.place().await];
        assert_eq!(adaptive.measured(true), Some(2));
        assert_eq!(adaptive.measured(true), Some(1));
        assert_eq!(adaptive.measured(true), None);
        let mut waiting = tokio_test_ready(adaptive.place());
        drop(places);
        waiting.as_mut().await;
        assert_eq!(adaptive.measured(false), Some(2));
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
