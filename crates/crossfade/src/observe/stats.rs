//! Where one operation counts. Counting costs a few nanoseconds; a time is taken of one single-sided call in sixteen.

use super::{OperationObservation, Sample};
use crossfade_core::Side;
use hdrhistogram::Histogram;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Mismatches kept as samples, the newest.
const SAMPLES: usize = 16;

/// What is counted. The discriminant is the place in the array.
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
pub(crate) enum Counter {
    Reads,
    Writes,
    AuthorityErrors,
    Compared,
    Matched,
    Mismatched,
    NotBackfilled,
    Unknown,
    Skipped,
    SecondaryErrors,
    SecondaryTimeouts,
    SecondaryPanics,
    SecondaryLate,
    Marked,
    Checked,
    ChecksDiffered,
    Held,
}

const COUNTERS: usize = Counter::Held as usize + 1;

#[derive(Debug)]
pub(crate) struct OperationStats {
    pub(crate) name: String,
    counters: [AtomicU64; COUNTERS],
    latencies: [Mutex<Histogram<u64>>; 2],
    samples: Mutex<VecDeque<Sample>>,
}

impl OperationStats {
    pub(crate) fn new(name: &str) -> OperationStats {
        OperationStats {
            name: name.to_owned(),
            counters: std::array::from_fn(|_| AtomicU64::new(0)),
            latencies: std::array::from_fn(|_| Mutex::new(histogram())),
            samples: Mutex::default(),
        }
    }

    #[inline]
    pub(crate) fn count(&self, counter: Counter) {
        self.counters[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn latency(&self, side: Side, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut histogram = self.latencies[place(side)].lock().unwrap_or_else(PoisonError::into_inner);
        histogram.saturating_record(micros);
    }

    pub(crate) fn sample(&self, key_digest: String, fields: Vec<String>) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(Sample { at: SystemTime::now(), key_digest, fields });
    }

    pub(crate) fn observe(&self) -> OperationObservation {
        let get = |counter: Counter| self.counters[counter as usize].load(Ordering::Relaxed);
        let latencies = |side| self.latencies[place(side)].lock().unwrap_or_else(PoisonError::into_inner).clone();
        OperationObservation {
            operation: self.name.clone(),
            reads: get(Counter::Reads),
            writes: get(Counter::Writes),
            authority_errors: get(Counter::AuthorityErrors),
            compared: get(Counter::Compared),
            matched: get(Counter::Matched),
            mismatched: get(Counter::Mismatched),
            not_backfilled: get(Counter::NotBackfilled),
            unknown: get(Counter::Unknown),
            skipped: get(Counter::Skipped),
            secondary_errors: get(Counter::SecondaryErrors),
            secondary_timeouts: get(Counter::SecondaryTimeouts),
            secondary_panics: get(Counter::SecondaryPanics),
            secondary_late: get(Counter::SecondaryLate),
            marked: get(Counter::Marked),
            checked: get(Counter::Checked),
            checks_differed: get(Counter::ChecksDiffered),
            held: get(Counter::Held),
            source: latencies(Side::Source),
            target: latencies(Side::Target),
            samples: self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect(),
        }
    }
}

const fn place(side: Side) -> usize {
    match side {
        Side::Source => 0,
        Side::Target => 1,
    }
}

/// Microseconds, two significant digits, up to ten minutes; longer ones count as that.
fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants")]
    Histogram::new_with_bounds(1, 600_000_000, 2).expect("lawful bounds")
}

thread_local! {
    static TURN: Cell<u8> = const { Cell::new(0) };
}

/// Whether this single-sided call is one of those that are timed.
#[inline]
pub(crate) fn timed_now() -> bool {
    TURN.with(|turn| {
        turn.set(turn.get().wrapping_add(1));
        turn.get() % 16 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_latencies_come_out_as_they_went_in() {
        let stats = OperationStats::new("record");
        stats.count(Counter::Writes);
        stats.count(Counter::Held);
        stats.latency(Side::Target, Duration::from_micros(1_500));
        stats.latency(Side::Target, Duration::from_secs(99_999));
        let seen = stats.observe();
        assert_eq!((seen.writes, seen.held, seen.reads), (1, 1, 0));
        assert_eq!((seen.source.len(), seen.target.len()), (0, 2));
        assert!(seen.target.value_at_quantile(0.5).abs_diff(1_500) < 20);
    }

    #[test]
    fn the_newest_samples_are_kept() {
        let stats = OperationStats::new("events_of");
        for n in 0..SAMPLES + 3 {
            stats.sample(n.to_string(), Vec::new());
        }
        let samples = stats.observe().samples;
        assert_eq!((samples.len(), samples[0].key_digest.as_str()), (SAMPLES, "3"));
    }
}
