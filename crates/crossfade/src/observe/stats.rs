//! Where one operation counts. Counting costs a few nanoseconds, and looking at the clock tens: a time is taken of one
//! single-sided call in sixteen, and of dual writes as [`OperationStats::timing`] says.

use super::{OperationObservation, Sample};
use crossfade_core::Side;
use hdrhistogram::Histogram;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Mismatches kept as samples, the newest.
const SAMPLES: usize = 16;

/// So many dual writes of an operation are all timed; after them a sample is.
const ALL_TIMED: u64 = 4_096;

/// Whether the times of a dual write are taken: both sides' or neither, so that they can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// They are.
    Taken,
    /// They are not: others stand for them.
    Left,
}

impl Timing {
    /// The moment at which something to be timed begins.
    #[inline]
    pub(crate) fn begin(self) -> Option<Instant> {
        (self == Timing::Taken).then(Instant::now)
    }
}

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
    Blocked,
}

const COUNTERS: usize = Counter::Blocked as usize + 1;

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

    /// Counts, and returns whether it is the first.
    pub(crate) fn count_first(&self, counter: Counter) -> bool {
        self.counters[counter as usize].fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Whether the times of a dual write that was just begun are taken: of the first few thousand, so that a quiet
    /// operation has all of its own, then of one in eight.
    #[inline]
    pub(crate) fn timing(&self) -> Timing {
        let begun = self.counters[Counter::Writes as usize].load(Ordering::Relaxed);
        if begun <= ALL_TIMED || one_in_two_to(3) { Timing::Taken } else { Timing::Left }
    }

    pub(crate) fn latency(&self, side: Side, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut histogram = self.latencies[place(side)].lock().unwrap_or_else(PoisonError::into_inner);
        histogram.saturating_record(micros);
    }

    pub(crate) fn sample(&self, key_digest: String, fields: Vec<String>, values: Option<[String; 2]>) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(Sample { at: SystemTime::now(), key_digest, fields, values });
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
            blocked: get(Counter::Blocked),
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

/// A cheap random draw, good enough for sampling and for nothing else.
#[inline]
pub(crate) fn drawn() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) };
    }
    STATE.with(|state| {
        // xorshift64*, Marsaglia 2003.
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

/// Whether this call is one in 2^`bits`. Drawn, not counted: calls that take turns would have one of them never timed.
#[inline]
fn one_in_two_to(bits: u32) -> bool {
    drawn() >> (u64::BITS - bits) == 0
}

/// Whether this single-sided call is one of those that are timed: one in sixteen.
#[inline]
pub(crate) fn timed_now() -> bool {
    one_in_two_to(4)
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
    fn a_quiet_operation_has_all_times_of_its_dual_writes_and_a_busy_one_a_sample() {
        let stats = OperationStats::new("record");
        let timed = |writes: u64| {
            let begun = |_: &u64| {
                stats.count(Counter::Writes);
                stats.timing() == Timing::Taken
            };
            (0..writes).filter(begun).count() as u64
        };
        assert_eq!(timed(ALL_TIMED), ALL_TIMED);
        let sample = timed(8_000);
        assert!((800..1_200).contains(&sample), "{sample}");
    }

    #[test]
    fn calls_that_take_turns_are_all_timed_now_and_then() {
        for every in [2, 4, 8, 16] {
            for place in 0..every {
                let timed = (0..every * 2_000).filter(|call| timed_now() && call % every == place).count();
                assert!((60..200).contains(&timed), "{timed} of 2000 at place {place} of {every}");
            }
        }
    }

    #[test]
    fn the_newest_samples_are_kept() {
        let stats = OperationStats::new("events_of");
        for n in 0..SAMPLES + 3 {
            stats.sample(n.to_string(), Vec::new(), None);
        }
        let samples = stats.observe().samples;
        assert_eq!((samples.len(), samples[0].key_digest.as_str()), (SAMPLES, "3"));
    }
}
