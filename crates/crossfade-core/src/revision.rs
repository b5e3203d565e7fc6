//! Numbered, immutable versions of a migration's plan.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Which version of a plan. Ordered by incarnation, then number; the hash tells apart two plans that a restored
/// control plane numbered alike (R21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision {
    /// Counts the lives of the control plane: raised when it is restored from a backup.
    pub incarnation: u32,
    /// Counts the revisions of a migration, from 1.
    pub number: u64,
    /// [`Plan::fingerprint`](crate::Plan::fingerprint) of the plan.
    pub hash: u64,
}

impl Revision {
    /// The revision after this one, for a plan with this fingerprint.
    #[must_use]
    pub const fn next(self, hash: u64) -> Revision {
        Revision { incarnation: self.incarnation, number: self.number + 1, hash }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_life_outranks_a_higher_number() {
        let old = Revision { incarnation: 1, number: 9, hash: 7 };
        let restored = Revision { incarnation: 2, number: 1, hash: 3 };
        assert!(restored > old);
        assert!(old.next(0) > old);
        assert_eq!(old.next(0).to_string(), "1.10");
    }
}
