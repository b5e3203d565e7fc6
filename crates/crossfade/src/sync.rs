//! What the concurrent parts are made of, named once. `tests/interleavings` compiles those parts (plan swap, row order,
//! marks, budgets, writes under way) a second time over shuttle's types of the same names, and decides who runs next.

pub(crate) use arc_swap::ArcSwap;
pub(crate) use std::sync::atomic::AtomicU32;
pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use tokio::sync::{oneshot, watch};
pub(crate) use tokio::time::timeout_at;

/// Counters of marks by bucket: one for each bucket.
pub(crate) const BUCKET_COUNTERS: usize = 100_000;
