//! Batches: so many operations by a few concurrent callers, and what they cost.

use super::launchdarkly::LocalCaller;
use super::subjects::Caller;
use crate::measure::{cpu_ns, middle_mean, poll_timed};
use serde::Serialize;
use tokio::runtime::Runtime;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Read,
    Write,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Write => "write",
        }
    }
}

/// How a batch is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// What every operation is.
    pub(crate) kind: Kind,
    /// How many, over all callers.
    pub(crate) operations: u64,
    /// Tasks that call at the same time, on the same thread.
    pub(crate) callers: u64,
    /// Something runs behind the callers that they do not wait for: after so many operations a caller lets it.
    pub(crate) breathes: Option<u64>,
}

/// Enough turns for everything that was begun to end.
const LAST_TURNS: usize = 8;

macro_rules! calls {
    ($caller:ident, $first:ident, $shape:ident, |$call:ident| $each:expr) => {{
        for number in $first..$first + $shape.operations / $shape.callers {
            match $shape.kind {
                Kind::Read => {
                    let $call = $caller.read(number);
                    $each
                }
                Kind::Write => {
                    let $call = $caller.write(number);
                    $each
                }
            }
            if $shape.breathes.is_some_and(|every| number % every == 0) {
                tokio::task::yield_now().await;
            }
        }
    }};
}

/// Numbers of the operations go on from batch to batch, so that no two writes in flight are of one row.
#[derive(Debug, Default)]
pub(crate) struct Numbers(std::cell::Cell<u64>);

impl Numbers {
    fn take(&self, count: u64) -> u64 {
        let first = self.0.get();
        self.0.set(first + count);
        first
    }
}

/// Runs a batch by callers on tasks of their own, and returns its CPU time, ns per operation.
pub(crate) fn spawned<C: Caller>(runtime: &Runtime, numbers: &Numbers, shape: Shape, caller: impl Fn() -> C) -> f64 {
    let each = shape.operations / shape.callers;
    let first = numbers.take(shape.operations);
    runtime.block_on(async {
        let callers: Vec<C> = (0..shape.callers).map(|_| caller()).collect();
        let began = cpu_ns();
        let tasks: Vec<_> = (0..)
            .zip(callers)
            .map(|(place, mut caller)| {
                let first = first + place * each;
                tokio::spawn(async move { calls!(caller, first, shape, |call| call.await) })
            })
            .collect();
        futures::future::join_all(tasks).await;
        for _ in 0..LAST_TURNS {
            tokio::task::yield_now().await;
        }
        (cpu_ns() - began) / (each * shape.callers) as f64
    })
}

/// The same, by callers that stay on the thread.
pub(crate) fn local<C: LocalCaller>(runtime: &Runtime, numbers: &Numbers, shape: Shape, callers: &mut [C]) -> f64 {
    let each = shape.operations / shape.callers;
    let first = numbers.take(shape.operations);
    runtime.block_on(async {
        let began = cpu_ns();
        let calls = (0..).zip(callers).map(|(place, caller)| {
            let first = first + place * each;
            async move { calls!(caller, first, shape, |call| call.await) }
        });
        futures::future::join_all(calls).await;
        (cpu_ns() - began) / (each * shape.callers) as f64
    })
}

/// What the callers' tasks themselves spend, ns per operation: the time inside their polls, less `clock` for each.
pub(crate) fn callers_own<C: Caller>(
    runtime: &Runtime,
    numbers: &Numbers,
    shape: Shape,
    clock: f64,
    caller: impl Fn() -> C,
) -> f64 {
    let each = shape.operations / shape.callers;
    let first = numbers.take(shape.operations);
    runtime.block_on(async {
        let tasks: Vec<_> = (0..shape.callers)
            .map(|place| {
                let mut caller = caller();
                let first = first + place * each;
                tokio::spawn(async move {
                    let mut spent = Vec::with_capacity(each as usize);
                    calls!(caller, first, shape, |call| spent.push(poll_timed(call, clock).await));
                    spent
                })
            })
            .collect();
        let spent = futures::future::join_all(tasks).await.into_iter().flat_map(Result::unwrap_or_default);
        for _ in 0..LAST_TURNS {
            tokio::task::yield_now().await;
        }
        middle_mean(spent.collect())
    })
}
