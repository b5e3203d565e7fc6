//! What a plan says besides who is where: sampling, bounds and budgets of the secondary.

use crate::share::Share;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many dual writes are checked after the fact, both sides read (R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checks {
    /// A share of them, in quiet times.
    Sample(Share),
    /// All of them: from before the verification that a gate relies on until the move.
    Full,
}

/// Whether the rows written before dual-write are in the target yet (R15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// The backfill has not been through: a row that only the authority has counts apart, not as a mismatch.
    Pending,
    /// Both sides are meant to be equal.
    #[default]
    Moved,
}

/// Whether samples of reads that differed carry what differed. Row values stay in the application unless a migration opts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SampleValues {
    /// Field names alone, and a digest of the key.
    #[default]
    Withheld,
    /// Both values as text too: kept in the process, sent to the control plane, and shown there to operators alone.
    Shared,
}

impl SampleValues {
    /// As by default: then a plan does not mention it, so that who does not know the option can read the plan.
    #[must_use]
    pub const fn are_withheld(&self) -> bool {
        matches!(self, SampleValues::Withheld)
    }
}

/// Sampling, bounds and budgets. Durations are whole milliseconds on every surface.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Options {
    /// The share of reads that are compared where the stage compares. Default: all.
    pub compare: Share,
    /// Which dual writes are checked after the fact. Default: 1 %.
    pub checks: Checks,
    /// Whether old rows are in the target yet. Default: moved.
    pub history: History,
    /// How long a write waits for its secondary before that goes on in the background. Default: 50 ms.
    #[serde(rename = "secondary-wait-ms", with = "millis")]
    pub secondary_wait: Duration,
    /// How long a secondary call may take in all before it is given up. Default: 5 s.
    #[serde(rename = "secondary-timeout-ms", with = "millis")]
    pub secondary_timeout: Duration,
    /// How many secondary calls may be in flight in one instance; beyond, reads go uncompared and rows are marked.
    /// Default: 1,024.
    pub secondary_in_flight: u32,
    /// The longest time for which an effect whose outcome was not learnt may still land in a store. Default: 5 s.
    #[serde(rename = "linger-ms", with = "millis")]
    pub linger: Duration,
    /// How long writes of moving keys may be held before the step is abandoned (R4). A hold waits for effects that may
    /// still land, so that it has to be longer than the linger (R26). Default: 6 s.
    #[serde(rename = "hold-bound-ms", with = "millis")]
    pub hold_bound: Duration,
    /// With a plan source that cannot acknowledge, how long every revision stands before the next (R12). Default: 0.
    #[serde(rename = "settle-ms", with = "millis")]
    pub settle: Duration,
    /// Whether samples of reads that differed carry both values. Default: withheld.
    #[serde(skip_serializing_if = "SampleValues::are_withheld")]
    pub sample_values: SampleValues,
}

impl Options {
    /// A hold outlasts the linger (R26). Otherwise one write without an answer, on any key, makes every move of authority
    /// pass its bound.
    #[must_use]
    pub fn hold_outlasts_linger(&self) -> bool {
        self.hold_bound > self.linger
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            compare: Share::ALL,
            checks: Checks::Sample(ONE_PERCENT),
            history: History::Moved,
            secondary_wait: Duration::from_millis(50),
            secondary_timeout: Duration::from_secs(5),
            secondary_in_flight: 1_024,
            linger: Duration::from_secs(5),
            hold_bound: Duration::from_secs(6),
            settle: Duration::ZERO,
            sample_values: SampleValues::Withheld,
        }
    }
}

const ONE_PERCENT: Share = match Share::from_buckets(1_000) {
    Some(share) => share,
    None => Share::NONE,
};

mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn options_survive_json_and_refuse_what_they_do_not_know() {
        let options = Options { checks: Checks::Full, ..Options::default() };
        let json = serde_json::to_string(&options).unwrap();
        assert!(json.contains("\"secondary-wait-ms\":50"), "{json}");
        assert_eq!(serde_json::from_str::<Options>(&json).unwrap(), options);
        assert_eq!(serde_json::from_str::<Options>("{}").unwrap(), Options::default());
        assert_eq!(Options::default().checks, Checks::Sample("1".parse().unwrap()));
        assert!(serde_json::from_str::<Options>("{\"secondary-wait\":1}").is_err());
    }

    #[test]
    fn a_hold_outlasts_a_linger_at_the_default_bounds() {
        let fits = Options::default();
        assert!(fits.hold_outlasts_linger(), "{:?} of linger in {:?} of hold", fits.linger, fits.hold_bound);
        // An instance settles the row after the linger, and the control plane hears of it: that takes some time too.
        assert!(fits.hold_bound - fits.linger >= Duration::from_secs(1));
        assert!(!Options { hold_bound: fits.linger, ..fits }.hold_outlasts_linger());
    }

    #[test]
    fn a_plan_mentions_values_of_samples_only_where_they_are_shared() {
        let json = serde_json::to_string(&Options::default()).unwrap();
        assert!(!json.contains("sample-values"), "{json}");
        let shared = Options { sample_values: SampleValues::Shared, ..Options::default() };
        let json = serde_json::to_string(&shared).unwrap();
        assert!(json.contains("\"sample-values\":\"shared\""), "{json}");
        assert_eq!(serde_json::from_str::<Options>(&json).unwrap(), shared);
    }
}
