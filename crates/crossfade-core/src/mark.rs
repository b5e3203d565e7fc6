//! What an outcome obliges us to remember (R5): "this row may differ".

use serde::{Deserialize, Serialize};
use std::fmt;

/// What became of a write, as far as its caller can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It was done.
    Applied,
    /// It was certainly not done: the store refused it.
    Refused,
    /// It may have been done, or may yet be: a time-out, a lost connection, a dropped caller.
    Unknown,
}

/// Why a row is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkReason {
    /// The authority's write may or may not have been done, and the secondary was not written.
    AuthorityUnknown,
    /// The secondary certainly did not do the write: it refused it, or it was not asked, since the authority answered
    /// with an error after it had done the write.
    SecondaryFailed,
    /// The secondary's write timed out, panicked or was ambiguous: it may still land.
    SecondaryUnknown,
    /// The budget of the secondary was used up: its write was not begun.
    OverBudget,
    /// Two dual writes of the row overlapped: the sides may have seen them in different orders.
    Overlapped,
    /// The write replays a method that is not blind and deterministic (R17).
    Replayed,
    /// Both sides were read after a dual write, and differed.
    CheckDiffered,
    /// A transaction was committed or given up, and its mirror has not run yet (R19).
    Prepared,
}

impl MarkReason {
    /// The name used on every surface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            MarkReason::AuthorityUnknown => "authority-unknown",
            MarkReason::SecondaryFailed => "secondary-failed",
            MarkReason::SecondaryUnknown => "secondary-unknown",
            MarkReason::OverBudget => "over-budget",
            MarkReason::Overlapped => "overlapped",
            MarkReason::Replayed => "replayed",
            MarkReason::CheckDiffered => "check-differed",
            MarkReason::Prepared => "prepared",
        }
    }

    /// An effect may still land: the reads that clear the mark begin after its linger (R6).
    #[must_use]
    pub const fn lingers(self) -> bool {
        match self {
            MarkReason::AuthorityUnknown | MarkReason::SecondaryUnknown | MarkReason::Prepared => true,
            MarkReason::SecondaryFailed
            | MarkReason::OverBudget
            | MarkReason::Overlapped
            | MarkReason::Replayed
            | MarkReason::CheckDiffered => false,
        }
    }

    /// Both sides answered, and every busy row is marked like this now and then: such a mark goes as soon as nobody
    /// writes its row, as in a hold.
    #[must_use]
    pub const fn passes_in_a_hold(self) -> bool {
        match self {
            MarkReason::Overlapped | MarkReason::Replayed | MarkReason::CheckDiffered => true,
            MarkReason::AuthorityUnknown
            | MarkReason::SecondaryFailed
            | MarkReason::SecondaryUnknown
            | MarkReason::OverBudget
            | MarkReason::Prepared => false,
        }
    }
}

impl fmt::Display for MarkReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Effect {
    /// The mark that an authoritative write leaves on a mirrored row when it answered with an error of this effect.
    #[must_use]
    pub const fn mark_of_authority(self) -> Option<MarkReason> {
        match self {
            Effect::Refused => None,
            Effect::Applied => Some(MarkReason::SecondaryFailed),
            Effect::Unknown => Some(MarkReason::AuthorityUnknown),
        }
    }

    /// The mark that a secondary write with this outcome leaves.
    #[must_use]
    pub const fn mark_of_secondary(self) -> Option<MarkReason> {
        match self {
            Effect::Applied => None,
            Effect::Refused => Some(MarkReason::SecondaryFailed),
            Effect::Unknown => Some(MarkReason::SecondaryUnknown),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn only_a_done_secondary_and_a_refusal_leave_no_mark() {
        assert_eq!(Effect::Applied.mark_of_authority(), Some(MarkReason::SecondaryFailed));
        assert_eq!(Effect::Refused.mark_of_authority(), None);
        assert_eq!(Effect::Unknown.mark_of_authority(), Some(MarkReason::AuthorityUnknown));
        assert_eq!(Effect::Applied.mark_of_secondary(), None);
        assert_eq!(Effect::Refused.mark_of_secondary(), Some(MarkReason::SecondaryFailed));
        assert_eq!(Effect::Unknown.mark_of_secondary(), Some(MarkReason::SecondaryUnknown));
    }

    const ALL: [MarkReason; 8] = [
        MarkReason::AuthorityUnknown,
        MarkReason::SecondaryFailed,
        MarkReason::SecondaryUnknown,
        MarkReason::OverBudget,
        MarkReason::Overlapped,
        MarkReason::Replayed,
        MarkReason::CheckDiffered,
        MarkReason::Prepared,
    ];

    #[test]
    fn a_mark_passes_in_a_hold_where_both_sides_answered() {
        let passing: Vec<_> = ALL.into_iter().filter(|reason| reason.passes_in_a_hold()).collect();
        assert_eq!(passing, [MarkReason::Overlapped, MarkReason::Replayed, MarkReason::CheckDiffered]);
        assert!(passing.iter().all(|reason| !reason.lingers()));
    }

    #[test]
    fn every_unknown_effect_lingers() {
        for reason in ALL {
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
            let unknown = reason.name().ends_with("unknown") || reason == MarkReason::Prepared;
            assert_eq!(reason.lingers(), unknown, "{reason}");
        }
    }
}
