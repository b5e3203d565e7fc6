//! What a task itself spends: time inside the polls of its futures, not between them.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Awaits the future and returns the time inside its polls, ns, less `clock` for each of them.
///
/// By the wall clock: a CPU clock costs more than what is measured here. A preemption falls into few operations, and
/// [`middle_mean`](super::middle_mean) leaves those out.
pub(crate) async fn poll_timed(future: impl Future<Output = ()>, clock: f64) -> f64 {
    let mut future = pin!(future);
    let mut spent = 0.0;
    std::future::poll_fn(|context| {
        let began = Instant::now();
        let polled = future.as_mut().poll(context);
        spent += began.elapsed().as_nanos() as f64 - clock;
        polled
    })
    .await;
    spent
}

/// What timing a poll costs by itself, ns.
pub(crate) fn cost_of_clock() -> f64 {
    let mut context = Context::from_waker(Waker::noop());
    let empty = (0..20_000).map(|_| match pin!(poll_timed(std::future::ready(()), 0.0)).poll(&mut context) {
        Poll::Ready(spent) => spent,
        Poll::Pending => f64::NAN,
    });
    super::middle_mean(empty.collect())
}
