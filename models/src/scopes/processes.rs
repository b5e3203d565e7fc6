//! Scopes about processes that come, go, die and forget.

use crate::application::{Work, Write};
use crate::scopes::{Reach, Scope, at, base, there_and_back, ways};
use crate::state::Budget;
use crossfade_core::Stage;

/// Instances that come late, or come back.
#[must_use]
pub fn newcomers() -> Scope {
    Scope {
        name: "newcomers",
        about: "one instance runs and one starts, or starts again after a crash, while a row goes from shadow to live",
        instances: 2,
        up: 1,
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Live)]),
        budget: Budget { writes: 1, reads: 1, revisions: 3, starts: 1, ..Budget::default() },
        ..base()
    }
}

/// An instance that comes back with a plan on its disk.
#[must_use]
pub fn comeback() -> Scope {
    Scope {
        name: "comeback",
        about: "two instances; one crashes, is evicted and starts again with a plan on its disk, while a row goes from shadow to live",
        instances: 2,
        up: 2,
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Live)]),
        budget: Budget {
            writes: 1,
            reads: 1,
            revisions: 3,
            crashes: 1,
            starts: 1,
            verifications: 1,
            ..Budget::default()
        },
        reach: vec![Reach::LiveAfterFault],
        ..base()
    }
}

/// Instances that die in the middle of a write.
#[must_use]
pub fn crashes() -> Scope {
    Scope {
        name: "crashes",
        about: "two instances; one dies in the middle of a write, its last call perhaps on its way, and is evicted while a row goes from shadow to live",
        instances: 2,
        up: 2,
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Live)]),
        budget: Budget {
            writes: 1,
            reads: 1,
            revisions: 3,
            losses: 1,
            crashes: 1,
            verifications: 1,
            ..Budget::default()
        },
        reach: vec![Reach::LiveAfterFault],
        ..base()
    }
}

/// The plan source is lost after the cut-over.
#[must_use]
pub fn lost_flags() -> Scope {
    Scope {
        name: "lost flags",
        about: "two instances at live; one of them loses the plan source, and one starts without",
        instances: 3,
        up: 2,
        ways: ways(at(Stage::Live), true, Vec::new()),
        budget: Budget { writes: 1, reads: 1, lost_flags: 1, starts: 1, ..Budget::default() },
        ..base()
    }
}

/// Writes inside transactions of the caller.
#[must_use]
pub fn transactions() -> Scope {
    Scope {
        name: "transactions",
        about: "two instances; a write sits in a transaction that commits later and may never be mirrored, while a row goes from shadow to live",
        instances: 2,
        up: 2,
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Live)]),
        writes: vec![Work::Transaction(Write::Put)],
        budget: Budget { writes: 1, reads: 1, revisions: 3, ..Budget::default() },
        ..base()
    }
}

/// A control plane that forgets what it did.
#[must_use]
pub fn restore() -> Scope {
    Scope {
        name: "restore",
        about: "two instances, and one that starts; the control plane is restored from a backup made before a row went from shadow to live",
        instances: 2,
        up: 1,
        ways: there_and_back(),
        budget: Budget {
            writes: 1,
            reads: 1,
            revisions: 4,
            restores: 1,
            starts: 1,
            verifications: 1,
            refusals: 1,
            ..Budget::default()
        },
        ..base()
    }
}
