//! What a task itself spends: time inside the polls of its futures, not between them.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Instant;

/// Time inside polls, and how many there were.
#[derive(Debug, Default)]
pub(crate) struct PollTime {
    spent_ns: AtomicU64,
    polls: AtomicU64,
}

impl PollTime {
    /// Per operation, ns, less `clock` for every poll.
    pub(crate) fn per_operation(&self, operations: u64, clock: f64) -> f64 {
        let (spent, polls) = (self.spent_ns.load(Ordering::Relaxed), self.polls.load(Ordering::Relaxed));
        (spent as f64 - clock * polls as f64) / operations as f64
    }

    /// Another's time and polls, too.
    pub(crate) fn add(&self, other: &PollTime) {
        self.spent_ns.fetch_add(other.spent_ns.load(Ordering::Relaxed), Ordering::Relaxed);
        self.polls.fetch_add(other.polls.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// What measuring a poll costs by itself, ns.
    pub(crate) fn clock() -> f64 {
        let empty = PollTime::default();
        let mut context = Context::from_waker(Waker::noop());
        let polls = 20_000;
        for _ in 0..polls {
            let ready = pin!(poll_timed(std::future::ready(()), &empty));
            super::used(ready.poll(&mut context));
        }
        empty.per_operation(polls, 0.0)
    }
}

/// The future, with its polls timed by the wall clock: a CPU clock costs more than what is measured here. A preemption
/// falls into few batches, and the median of many is taken.
pub(crate) async fn poll_timed<F: Future>(future: F, into: &PollTime) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let began = Instant::now();
        let polled = future.as_mut().poll(context);
        let spent = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        into.spent_ns.fetch_add(spent, Ordering::Relaxed);
        into.polls.fetch_add(1, Ordering::Relaxed);
        polled
    })
    .await
}
