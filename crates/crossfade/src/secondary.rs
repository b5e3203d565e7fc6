//! Calls to the secondary: budgeted, timed, and unable to hurt anyone (P1).

use crate::sync::AtomicU32;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Sleep, sleep};

/// What became of a secondary call.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// It answered.
    Answered(T),
    /// It was given up after its time-out: its effect may still land.
    TimedOut,
    /// It panicked: how far it had come nobody knows.
    Panicked,
}

/// Runs a secondary call to its end, its time-out or its panic. Not an `async fn`: that would keep a second copy of the
/// call, which may be large.
pub(crate) fn guarded<F: Future>(call: F, timeout: Duration) -> Guarded<F> {
    Guarded { call, timeout, timer: None }
}

pin_project_lite::pin_project! {
    /// A secondary call on its way. A timer is set only for one that does not answer at its first turn.
    pub(crate) struct Guarded<F> {
        #[pin]
        call: F,
        timeout: Duration,
        #[pin]
        timer: Option<Unconstrained<Sleep>>,
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Outcome<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<F::Output>> {
        let mut this = self.project();
        match std::panic::catch_unwind(AssertUnwindSafe(|| this.call.poll(context))) {
            Ok(Poll::Ready(answer)) => return Poll::Ready(Outcome::Answered(answer)),
            Ok(Poll::Pending) => {}
            Err(_panic) => return Poll::Ready(Outcome::Panicked),
        }
        if this.timer.is_none() {
            // A call that uses up its task's turns must still run out of time.
            this.timer.set(Some(unconstrained(sleep(*this.timeout))));
        }
        match this.timer.as_pin_mut() {
            Some(timer) => timer.poll(context).map(|()| Outcome::TimedOut),
            None => Poll::Pending,
        }
    }
}

/// How many secondary calls may be in flight in this instance.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    in_flight: AtomicU32,
}

/// One secondary call's part of the budget, given back on drop.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Budget>);

impl Budget {
    /// A permit, unless `limit` are out already.
    pub(crate) fn acquire(self: &Arc<Self>, limit: u32) -> Option<Permit> {
        self.take(limit).then(|| Permit(Arc::clone(self)))
    }

    /// Takes a part without a handle of its own, unless `limit` are out already: who has it says
    /// [`Budget::give_back`].
    pub(crate) fn take(&self, limit: u32) -> bool {
        let taken = self.in_flight.fetch_add(1, Ordering::Relaxed) < limit;
        if !taken {
            self.give_back();
        }
        taken
    }

    /// What was taken is free again.
    pub(crate) fn give_back(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Calls in flight at this moment.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_answers_times_out_or_panics() {
        let second = Duration::from_secs(1);
        assert!(matches!(guarded(async { 7 }, second).await, Outcome::Answered(7)));
        assert!(matches!(guarded(std::future::pending::<()>(), second).await, Outcome::TimedOut));
        assert!(matches!(guarded(async { panic!("on purpose") }, second).await, Outcome::<()>::Panicked));
    }

    #[test]
    fn a_budget_is_given_back() {
        let budget = Arc::new(Budget::default());
        let (first, second) = (budget.acquire(2).unwrap(), budget.acquire(2).unwrap());
        assert!(budget.acquire(2).is_none());
        drop(first);
        assert_eq!(budget.in_flight(), 1);
        drop((budget.acquire(2).unwrap(), second));
        assert_eq!(budget.in_flight(), 0);
    }
}
