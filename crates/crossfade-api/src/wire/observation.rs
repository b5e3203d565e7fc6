//! What instances saw, aggregated in process: counts and histograms that can be added. Row values travel only in samples, and
//! only where the plan shares them (`sample-values`).

use crate::histogram::Histogram;
use crossfade_core::Side;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One side of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", default)]
pub struct SideDoc {
    /// Latencies of answered calls, in microseconds.
    pub latency_us: Histogram,
    /// Calls that failed, by class: `refused`, `timeout`, `panic`, `over-budget`, `other`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
}

impl SideDoc {
    /// Adds what another saw.
    pub fn merge(&mut self, other: &SideDoc) {
        self.latency_us.merge(&other.latency_us);
        for (class, count) in &other.errors {
            match self.errors.get_mut(class) {
                Some(sum) => *sum = sum.saturating_add(*count),
                None => {
                    self.errors.insert(class.clone(), *count);
                }
            }
        }
    }
}

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", default)]
pub struct Comparisons {
    /// Reads compared.
    pub compared: u64,
    /// Of these: equal.
    pub matched: u64,
    /// Different, and still so when read again.
    pub mismatched: u64,
    /// Not known: a side failed, was too slow, or the budget was used up.
    pub unknown: u64,
}

impl Comparisons {
    /// Adds what another saw.
    pub fn merge(&mut self, other: &Comparisons) {
        self.compared = self.compared.saturating_add(other.compared);
        self.matched = self.matched.saturating_add(other.matched);
        self.mismatched = self.mismatched.saturating_add(other.mismatched);
        self.unknown = self.unknown.saturating_add(other.unknown);
    }
}

/// One operation of the DAO.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", default)]
pub struct OperationDoc {
    /// At the source.
    pub source: SideDoc,
    /// At the target.
    pub target: SideDoc,
    /// Compared reads.
    pub comparisons: Comparisons,
}

impl OperationDoc {
    /// Adds what another saw.
    pub fn merge(&mut self, other: &OperationDoc) {
        self.source.merge(&other.source);
        self.target.merge(&other.target);
        self.comparisons.merge(&other.comparisons);
    }

    /// What was seen of one side.
    #[must_use]
    pub const fn side(&self, side: Side) -> &SideDoc {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

/// A read that differed: where; and what only where the plan shares it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", default)]
pub struct MismatchSample {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The operation.
    pub operation: String,
    /// A digest of the key.
    pub key_digest: String,
    /// Names of the fields that differ.
    pub fields: Vec<String>,
    /// What source and target answered, as text; only where the plan shares it (`sample-values`), and shown to operators and
    /// admins alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<[String; 2]>,
}

/// What one instance saw since its last heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", default)]
pub struct Observations {
    /// By operation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub operations: BTreeMap<String, OperationDoc>,
    /// Some of the reads that differed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mismatches: Vec<MismatchSample>,
}

impl Observations {
    /// Adds what another saw; of the samples the last `keep` stay.
    pub fn merge(&mut self, other: &Observations, keep: usize) {
        for (name, seen) in &other.operations {
            self.merge_operation(name, seen);
        }
        self.mismatches.extend(other.mismatches.iter().cloned());
        let surplus = self.mismatches.len().saturating_sub(keep);
        self.mismatches.drain(..surplus);
    }

    /// Adds what another saw of one operation. A name that is known already is not copied.
    pub fn merge_operation(&mut self, name: &str, seen: &OperationDoc) {
        match self.operations.get_mut(name) {
            Some(known) => known.merge(seen),
            None => {
                self.operations.insert(name.to_owned(), seen.clone());
            }
        }
    }
}
