//! What a heartbeat tells: the difference to what was told already.

use crate::observe::Observation;
use crossfade_api::histogram::Histogram;
use crossfade_api::wire::{Comparisons, MismatchSample, Observations, OperationDoc};
use crossfade_core::{Plan, SampleValues, Side};
use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

/// What was told already, by operation.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    operations: HashMap<String, Told>,
    newest_sample: Option<SystemTime>,
}

#[derive(Debug, Default, Clone)]
struct Told {
    source: BTreeMap<u16, u64>,
    target: BTreeMap<u16, u64>,
    comparisons: Comparisons,
    errors: [u64; 4],
}

impl Seen {
    /// What was seen since, and what is told then.
    pub(super) fn since(&self, observation: &Observation, plan: &Plan) -> (Observations, Seen) {
        let authority = plan.position().stage().authority();
        let mut fresh = Observations::default();
        let mut now = Seen { operations: HashMap::new(), newest_sample: self.newest_sample };
        let nothing = Told::default();
        for seen in &observation.operations {
            let before = self.operations.get(&seen.operation).unwrap_or(&nothing);
            let told = Told {
                source: counts(&seen.source),
                target: counts(&seen.target),
                comparisons: Comparisons {
                    compared: seen.compared,
                    matched: seen.matched,
                    mismatched: seen.mismatched,
                    unknown: seen.unknown,
                },
                errors: [seen.authority_errors, seen.secondary_errors, seen.secondary_timeouts, seen.secondary_panics],
            };
            let doc = difference(before, &told, authority);
            if doc != OperationDoc::default() {
                fresh.operations.insert(seen.operation.clone(), doc);
            }
            for sample in &seen.samples {
                if self.newest_sample.is_some_and(|newest| sample.at <= newest) {
                    continue;
                }
                now.newest_sample = now.newest_sample.max(Some(sample.at));
                let at_ms = sample.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
                fresh.mismatches.push(MismatchSample {
                    at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
                    operation: seen.operation.clone(),
                    key_digest: sample.key_digest.clone(),
                    fields: sample.fields.clone(),
                    // Taken while another plan shared them, perhaps: the one in force decides what leaves the process.
                    values: match plan.options().sample_values {
                        SampleValues::Withheld => None,
                        SampleValues::Shared => sample.values.clone(),
                    },
                });
            }
            now.operations.insert(seen.operation.clone(), told);
        }
        (fresh, now)
    }
}

fn counts(histogram: &hdrhistogram::Histogram<u64>) -> BTreeMap<u16, u64> {
    let mut counts = BTreeMap::new();
    for step in histogram.iter_recorded() {
        *counts.entry(Histogram::bucket_of(step.value_iterated_to())).or_default() += step.count_at_value();
    }
    counts
}

/// Errors are counted at the side that most keys have as authority or secondary: exact while no ramp is open across
/// the cut-over.
fn difference(before: &Told, told: &Told, authority: Side) -> OperationDoc {
    let mut doc = OperationDoc::default();
    let fresh = |now: &BTreeMap<u16, u64>, then: &BTreeMap<u16, u64>| {
        let mut histogram = Histogram::default();
        for (bucket, count) in now {
            histogram.add(*bucket, count.saturating_sub(then.get(bucket).copied().unwrap_or(0)));
        }
        histogram
    };
    doc.source.latency_us = fresh(&told.source, &before.source);
    doc.target.latency_us = fresh(&told.target, &before.target);
    let (now, then) = (told.comparisons, before.comparisons);
    doc.comparisons = Comparisons {
        compared: now.compared.saturating_sub(then.compared),
        matched: now.matched.saturating_sub(then.matched),
        mismatched: now.mismatched.saturating_sub(then.mismatched),
        unknown: now.unknown.saturating_sub(then.unknown),
    };
    let classes = [
        (authority, "error"),
        (authority.other(), "error"),
        (authority.other(), "timeout"),
        (authority.other(), "panic"),
    ];
    for ((side, class), (now, then)) in classes.into_iter().zip(told.errors.iter().zip(before.errors)) {
        let count = now.saturating_sub(then);
        if count > 0 {
            let errors = match side {
                Side::Source => &mut doc.source.errors,
                Side::Target => &mut doc.target.errors,
            };
            *errors.entry(class.to_owned()).or_default() += count;
        }
    }
    doc
}
