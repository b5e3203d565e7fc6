//! Asking again, slower: exponential backoff with full jitter, for answers that say that nothing was done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The first wait is at most this long.
const FIRST: Duration = Duration::from_millis(20);
/// No wait is longer than this.
const LONGEST: Duration = Duration::from_secs(4);

/// How often and how slowly to ask again.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    attempts: u32,
    state: Arc<AtomicU64>,
}

impl Pace {
    pub(super) fn new(attempts: u32) -> Self {
        // Any start will do: two processes differ by where their memory lies.
        let state = Arc::new(AtomicU64::new(0));
        state.store(Arc::as_ptr(&state) as u64 ^ u64::from(std::process::id()), Ordering::Relaxed);
        Pace { attempts, state }
    }

    /// How long to wait before attempt `n` (the first one is 0 and not waited for); `None` once there were enough.
    pub(super) fn before(&self, n: u32) -> Option<Duration> {
        if n >= self.attempts {
            return None;
        }
        let most = FIRST.saturating_mul(1 << n.min(16)).min(LONGEST);
        // Splitmix: cheap, and good enough to keep clients apart.
        let mut z = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = (z >> 40) as u32;
        Some(most.mul_f64(f64::from(share) / f64::from(1_u32 << 24)))
    }

    /// Waits before attempt `n`; false once there were enough.
    pub(super) async fn wait(&self, n: u32) -> bool {
        match self.before(n) {
            Some(wait) => {
                tokio::time::sleep(wait).await;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound_and_end() {
        let pace = Pace::new(12);
        for n in 1..12 {
            let bound = FIRST.saturating_mul(1 << n).min(LONGEST);
            let waits: Vec<Duration> = (0..200).filter_map(|_| pace.before(n)).collect();
            assert_eq!(waits.len(), 200);
            assert!(waits.iter().all(|w| *w <= bound), "{n}");
            assert!(waits.iter().any(|w| *w > bound / 2) && waits.iter().any(|w| *w < bound / 2), "spread out, {n}");
        }
        assert_eq!(pace.before(12), None);
    }
}
