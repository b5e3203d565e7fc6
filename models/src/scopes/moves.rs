//! Scopes in which authority moves: what has to be waited for, held and shown.

use crate::application::{Work, Write};
use crate::plans::Ways;
use crate::scopes::{Reach, Scope, at, base, half, there_and_back, ways};
use crate::state::Budget;
use crossfade_core::Stage;

/// The cut-over there and back.
#[must_use]
pub fn cut_over() -> Scope {
    Scope {
        name: "cut-over",
        about: "two instances; one row goes from shadow to live and back, under writes and reads",
        instances: 2,
        up: 2,
        ways: there_and_back(),
        budget: Budget { writes: 2, reads: 1, revisions: 6, ..Budget::default() },
        reach: vec![Reach::BackFromLive, Reach::Abandoned],
        ..base()
    }
}

/// The cut-over with a counter.
#[must_use]
pub fn counters() -> Scope {
    Scope {
        name: "counters",
        about: "two instances add to one counter while it goes from shadow to live",
        instances: 2,
        up: 2,
        ways: there_and_back(),
        writes: vec![Work::Write(Write::Increment)],
        reads: Vec::new(),
        budget: Budget { writes: 2, revisions: 4, verifications: 1, repairs: 1, ..Budget::default() },
        ..base()
    }
}

/// Calls whose answer is lost while authority moves.
#[must_use]
pub fn late_calls() -> Scope {
    Scope {
        name: "late calls",
        about: "two instances; one row goes from shadow to live while the answer of a call is lost, which then lands late",
        instances: 2,
        up: 2,
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Live)]),
        budget: Budget { writes: 2, reads: 1, revisions: 3, losses: 1, ..Budget::default() },
        reach: vec![Reach::LiveAfterFault],
        ..base()
    }
}

/// A repair on its own beside a move of authority.
#[must_use]
pub fn repair_beside_a_move() -> Scope {
    Scope {
        name: "repair beside a move",
        about: "one instance; a secondary write is refused, its mark handed over, and repaired by a process of its own while the row goes from shadow to live",
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Live)]),
        budget: Budget {
            writes: 2,
            reads: 1,
            refusals: 1,
            revisions: 5,
            repairs: 2,
            verifications: 1,
            ..Budget::default()
        },
        reach: vec![Reach::LiveAfterFault],
        ..base()
    }
}

/// What a gate asks for.
#[must_use]
pub fn gates() -> Scope {
    Scope {
        name: "gates",
        about: "one instance goes from dual-write through shadow to live, with a backfill, full checks and a verification that may lose its connection",
        ways: Ways { toggle: true, ..ways(at(Stage::Shadow), false, vec![at(Stage::Live)]) },
        converged: false,
        budget: Budget {
            writes: 1,
            reads: 1,
            revisions: 4,
            losses: 1,
            backfills: 1,
            verifications: 2,
            repairs: 1,
            ..Budget::default()
        },
        reach: vec![Reach::LiveAfterFault],
        ..base()
    }
}

/// Writes of two instances that overlap, unseen, before all writes are checked.
#[must_use]
pub fn unseen_overlaps() -> Scope {
    Scope {
        name: "unseen overlaps",
        about: "two instances write one row at shadow at the same time, unchecked; then full checks, a verification, and live",
        instances: 2,
        up: 2,
        ways: Ways { toggle: true, ..ways(at(Stage::Shadow), false, vec![at(Stage::Live)]) },
        reads: Vec::new(),
        budget: Budget { writes: 2, revisions: 4, verifications: 1, repairs: 1, ..Budget::default() },
        ..base()
    }
}

/// Half of the keys are at live.
#[must_use]
pub fn half_ramped() -> Scope {
    Scope {
        name: "half ramped",
        about: "one instance, two rows; eve is at live, bob at shadow; reads of both at once",
        rows: 2,
        slots: 2,
        ways: ways(half(Stage::Shadow), true, vec![half(Stage::Shadow)]),
        history: [Some(0), Some(0)],
        writes: vec![Work::Write(Write::Put), Work::Keyless(Write::Put)],
        reads: vec![Work::Read, Work::ReadBoth],
        budget: Budget { writes: 1, reads: 1, revisions: 1, ..Budget::default() },
        ..base()
    }
}

/// The rest of a ramp over the cut-over.
#[must_use]
pub fn ramp() -> Scope {
    Scope {
        name: "ramp",
        about: "two instances, two rows; a ramp from shadow to live is opened by half, raised and lowered under writes, and reads of both rows at once",
        instances: 2,
        up: 2,
        rows: 2,
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Shadow), half(Stage::Shadow), at(Stage::Live)]),
        history: [Some(0), Some(0)],
        reads: vec![Work::ReadBoth],
        budget: Budget { writes: 1, reads: 1, revisions: 6, ..Budget::default() },
        reach: vec![Reach::BackFromLive, Reach::Abandoned],
        ..base()
    }
}

/// Edges that somebody would skip.
#[must_use]
pub fn edges() -> Scope {
    Scope {
        name: "edges",
        about: "one instance at off; the operator asks for live at once",
        ways: ways(at(Stage::Off), true, vec![at(Stage::Live)]),
        converged: false,
        budget: Budget { writes: 1, reads: 1, revisions: 1, ..Budget::default() },
        ..base()
    }
}

/// A rollback past the gate.
#[must_use]
pub fn forced_rollback() -> Scope {
    Scope {
        name: "forced rollback",
        about: "one instance at live; writes of the source, the secondary, are refused; the operator forces the way back to shadow, and goes to live again later",
        ways: ways(at(Stage::Live), true, vec![at(Stage::Shadow), at(Stage::Live)]),
        lone_writer: true,
        budget: Budget {
            writes: 2,
            reads: 1,
            refusals: 1,
            revisions: 6,
            verifications: 1,
            repairs: 1,
            forced: 1,
            ..Budget::default()
        },
        reach: vec![Reach::LiveAfterFault],
        ..base()
    }
}

/// The whole way there and back.
#[must_use]
pub fn whole_way() -> Scope {
    Scope {
        name: "the whole way",
        about: "one instance goes the whole way from off to complete, edge by edge, and may turn back before the end; one call is refused",
        ways: Ways { toggle: true, ..ways(at(Stage::Off), false, Stage::ALL.into_iter().map(at).collect()) },
        converged: false,
        reads: Vec::new(),
        budget: Budget {
            writes: 1,
            refusals: 1,
            revisions: 10,
            backfills: 1,
            verifications: 1,
            repairs: 1,
            ..Budget::default()
        },
        reach: vec![
            Reach::Complete,
            Reach::CompleteAfterFault,
            Reach::BackFromDualWrite,
            Reach::BackFromShadow,
            Reach::BackFromLive,
            Reach::BackFromRampDown,
        ],
        ..base()
    }
}
