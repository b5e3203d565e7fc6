//! Budgets: never more permits out than the limit, and every one given back.

use crate::secondary::Budget;
use crate::sync::step;
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const LIMIT: u32 = 2;

/// Four calls compete for two permits.
pub fn a_budget_is_kept_and_given_back() {
    let budget = Arc::new(Budget::default());
    // Of the standard library: counting is no step of its own.
    let out = Arc::new(AtomicU32::new(0));
    let calls = [(); 4].map(|()| {
        let (budget, out) = (Arc::clone(&budget), Arc::clone(&out));
        thread::spawn(move || {
            for _ in 0..2 {
                let Some(permit) = budget.acquire(LIMIT) else { continue };
                assert!(out.fetch_add(1, Ordering::SeqCst) < LIMIT, "the budget was exceeded");
                step();
                out.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            }
        })
    });
    for call in calls {
        assert!(call.join().is_ok());
    }
    assert_eq!(budget.in_flight(), 0, "a permit was not given back");
    assert!(budget.acquire(LIMIT).is_some());
}
