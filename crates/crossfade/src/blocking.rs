//! Notices a DAO that blocks its thread.
//!
//! A call that does not yield keeps a worker of the runtime: every other task of the worker waits, callers among them, and
//! no time-out can end it. The library cannot prevent that; it looks at the calls whose times are taken, and says so once
//! for each operation.

use crate::observe::{Counter, OperationStats};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A call that keeps its thread longer than this at one turn blocks it.
pub(crate) const BLOCKED: Duration = Duration::from_millis(100);

pin_project_lite::pin_project! {
    /// A call whose turns are timed where there are stats to count in.
    pub(crate) struct Watched<F> {
        #[pin]
        call: F,
        stats: Option<Arc<OperationStats>>,
    }
}

/// Watches a call, where there are stats.
pub(crate) fn watched<F: Future>(call: F, stats: Option<Arc<OperationStats>>) -> Watched<F> {
    Watched { call, stats }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(stats) = this.stats else { return this.call.poll(context) };
        // The time of the machine, not the runtime's, which may be paused.
        let began = Instant::now();
        let answer = this.call.poll(context);
        let took = began.elapsed();
        if took > BLOCKED && stats.count_first(Counter::Blocked) {
            tracing::warn!(
                operation = %stats.name, took_ms = took.as_millis(),
                "a call of the DAO kept its thread this long without yielding: it stalls every task of the thread, and no time-out can end it; use an asynchronous driver, or tokio::task::spawn_blocking. This is said once for each operation"
            );
        }
        answer
    }
}
