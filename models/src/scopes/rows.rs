//! Scopes about rows: marks, repairs and the backfill beside live writes.

use crate::application::{Work, Write};
use crate::scopes::{Reach, Scope, at, base, unchecked, ways};
use crate::state::Budget;
use crossfade_core::Stage;

/// Marks and repairs in one instance, without moves and without full checks: what is not marked is equal.
#[must_use]
pub fn marks() -> Scope {
    Scope {
        name: "marks and repairs",
        about: "one instance writes one row on both sides, two writes at a time; calls are refused, or their answers lost and they land late and twice; \
                repairs inside the instance; no checks",
        slots: 2,
        ways: unchecked(Stage::Shadow),
        reads: Vec::new(),
        lands: 2,
        repairs_inside: true,
        lone_writer: true,
        budget: Budget { writes: 3, refusals: 1, losses: 1, repairs: 1, ..Budget::default() },
        ..base()
    }
}

/// The same with equal values written again, and deletes.
#[must_use]
pub fn equal_values() -> Scope {
    Scope {
        name: "equal values",
        about: "one instance deletes a row and inserts it again with an equal value (ABA), while calls land late and a repair runs",
        slots: 2,
        ways: unchecked(Stage::Live),
        history: [Some(1), None],
        writes: vec![Work::Write(Write::PutOne), Work::Write(Write::Delete)],
        budget: Budget { writes: 3, losses: 1, repairs: 1, ..Budget::default() },
        ..marks()
    }
}

/// Counters whose secondary is written by value, in one instance.
#[must_use]
pub fn replay() -> Scope {
    Scope {
        name: "replay",
        about: "one instance adds to a counter on both sides while the backfill copies it; no checks",
        ways: ways(at(Stage::DualWrite), false, Vec::new()),
        converged: false,
        writes: vec![Work::Write(Write::Increment)],
        reads: Vec::new(),
        lone_writer: true,
        budget: Budget { writes: 2, backfills: 1, ..Budget::default() },
        ..base()
    }
}

/// The backfill beside live writes of one instance.
#[must_use]
pub fn backfill() -> Scope {
    Scope {
        name: "backfill",
        about: "one instance writes, deletes and re-inserts a row while the backfill copies it; the answer of a put is lost, the backfill is killed and resumed; no checks",
        ways: unchecked(Stage::DualWrite),
        history: [Some(1), None],
        converged: false,
        writes: vec![Work::Write(Write::PutOne), Work::Write(Write::Put), Work::Write(Write::Delete)],
        reads: Vec::new(),
        lone_writer: true,
        budget: Budget { writes: 2, losses: 1, backfills: 2, kills: 1, ..Budget::default() },
        ..base()
    }
}

/// A store that breaks its declared linger.
#[must_use]
pub fn overstaying() -> Scope {
    Scope {
        name: "overstaying",
        about: "one instance puts new values, while calls of the backfill and of a repair land after their declared linger; no checks",
        ways: unchecked(Stage::DualWrite),
        history: [Some(1), None],
        converged: false,
        reads: Vec::new(),
        repairs_inside: true,
        overstays: true,
        lone_writer: true,
        budget: Budget { writes: 2, refusals: 1, losses: 1, repairs: 1, backfills: 1, ..Budget::default() },
        ..base()
    }
}

/// From off into dual-write, where the backfill begins.
#[must_use]
pub fn into_dual_write() -> Scope {
    Scope {
        name: "into dual-write",
        about: "two instances go from off to dual-write, one later than the other, and the backfill begins; the answer of a call is lost",
        instances: 2,
        up: 2,
        ways: ways(at(Stage::Off), true, vec![at(Stage::DualWrite)]),
        converged: false,
        reads: Vec::new(),
        budget: Budget { writes: 2, losses: 1, revisions: 1, backfills: 1, verifications: 1, ..Budget::default() },
        lone_writer: true,
        ..base()
    }
}

/// Forward, back and forward again.
#[must_use]
pub fn again() -> Scope {
    Scope {
        name: "forward, back and forward again",
        about: "one instance goes from dual-write back to off and forward again; the row was backfilled the first time; no checks",
        ways: ways(at(Stage::DualWrite), false, vec![at(Stage::Off), at(Stage::DualWrite)]),
        writes: vec![Work::Write(Write::Put), Work::Write(Write::Delete)],
        reads: Vec::new(),
        lone_writer: true,
        budget: Budget { writes: 2, revisions: 3, backfills: 1, ..Budget::default() },
        reach: vec![Reach::BackFromDualWrite],
        ..base()
    }
}
