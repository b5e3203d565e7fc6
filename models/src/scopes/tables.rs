//! Scopes about tables, writes of unknown rows, checks, late effects and goodbyes.

use crate::application::{Work, Write};
use crate::scopes::{Reach, Scope, at, base, half, marks, unchecked, ways};
use crate::state::Budget;
use crossfade_core::Stage;

/// Secondary writes take turns, and one does not wait for its own.
#[must_use]
pub fn skipped_turns() -> Scope {
    Scope {
        name: "skipped turns",
        about: "one instance writes one row on both sides, two writes at a time; secondary writes take turns in the order of the source, and one is skipped \
                (over budget, or a turn that comes too late); an answer is lost; repairs inside the instance; no checks",
        turns: true,
        lands: 1,
        budget: Budget { writes: 3, losses: 1, skips: 1, repairs: 1, ..Budget::default() },
        ..marks()
    }
}

/// Two rows with one row key in two tables.
#[must_use]
pub fn two_tables() -> Scope {
    Scope {
        name: "two tables",
        about: "one instance writes order 42 and user 42, rows of two tables of one migration; the secondary refuses a write; repairs inside the instance; \
                from shadow to live",
        rows: 2,
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Live)]),
        history: [Some(0), Some(0)],
        reads: Vec::new(),
        repairs_inside: true,
        names: ["order 42", "user 42"],
        budget: Budget { writes: 1, refusals: 1, revisions: 3, repairs: 1, ..Budget::default() },
        reach: vec![Reach::LiveAfterFault],
        ..base()
    }
}

/// The same while half of the keys are at live.
#[must_use]
pub fn tables_half_open() -> Scope {
    Scope {
        name: "two tables, half open",
        about: "one instance writes order 42, whose customer is at live, and user 42, who is at shadow; a secondary refuses a write; repairs inside the instance; no moves",
        slots: 2,
        ways: ways(half(Stage::Shadow), true, Vec::new()),
        budget: Budget { writes: 2, refusals: 1, repairs: 1, ..Budget::default() },
        reach: Vec::new(),
        ..two_tables()
    }
}

/// A predicate write beside keyed writes of its table.
#[must_use]
pub fn predicates() -> Scope {
    Scope {
        name: "predicate writes",
        about: "one instance puts a row and deletes all rows by a predicate, two writes at a time, every keyed write checked; \
                the secondary refuses, or an answer is lost; from shadow to live",
        slots: 2,
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Live)]),
        writes: vec![Work::Write(Write::Put), Work::Write(Write::Clear)],
        reads: Vec::new(),
        tells: true,
        budget: Budget { writes: 2, refusals: 1, losses: 1, revisions: 3, verifications: 1, ..Budget::default() },
        reach: vec![Reach::LiveAfterFault],
        ..base()
    }
}

/// The same, with the table suspect twice.
#[must_use]
pub fn predicates_again() -> Scope {
    Scope {
        name: "predicate writes again",
        about: "one instance puts a row and deletes all rows by a predicate, one write at a time, every keyed write checked; the secondary refuses twice; from shadow to live",
        slots: 1,
        history: [None, None],
        budget: Budget { writes: 3, refusals: 2, revisions: 3, verifications: 1, ..Budget::default() },
        ..predicates()
    }
}

/// The same in two instances.
#[must_use]
pub fn predicates_elsewhere() -> Scope {
    Scope {
        name: "predicate writes elsewhere",
        about: "two instances, one write at a time each, every keyed write checked; one may put a row while the other deletes all rows by a predicate; from shadow to live",
        instances: 2,
        up: 2,
        slots: 1,
        budget: Budget { writes: 2, revisions: 3, verifications: 1, ..Budget::default() },
        reach: Vec::new(),
        ..predicates()
    }
}

/// A predicate write beside keyed writes of other rows.
#[must_use]
pub fn predicates_beside_keyed() -> Scope {
    Scope {
        name: "predicate writes beside other rows",
        about: "one instance, two rows, of which one exists; it puts rows and deletes all rows by a predicate, two writes at a time; calls are refused or their answers lost; no checks",
        rows: 2,
        slots: 2,
        ways: unchecked(Stage::Shadow),
        lone_writer: true,
        budget: Budget { writes: 2, refusals: 1, losses: 1, ..Budget::default() },
        reach: Vec::new(),
        ..predicates()
    }
}

/// An insert whose id the database makes.
#[must_use]
pub fn made_ids() -> Scope {
    Scope {
        name: "database-made ids",
        about: "one instance inserts a row whose id the database makes, and puts and deletes rows, two writes at a time; an overlap with a write of another known row \
                leaves nothing behind; calls are refused or their answers lost; repairs inside the instance; no checks",
        rows: 2,
        slots: 2,
        ways: unchecked(Stage::Shadow),
        writes: vec![Work::Write(Write::Insert), Work::Write(Write::Put), Work::Write(Write::Delete)],
        repairs_inside: true,
        only_inside: true,
        lone_writer: true,
        tells: true,
        budget: Budget { writes: 3, refusals: 1, losses: 1, repairs: 1, ..Budget::default() },
        reach: Vec::new(),
        ..predicates()
    }
}

/// An instance that cannot check.
#[must_use]
pub fn cannot_check() -> Scope {
    Scope {
        name: "an instance that cannot check",
        about: "instance A checks every write; instance B, which starts later and may leave, cannot; both write one row at shadow, which then goes to live",
        instances: 2,
        up: 1,
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Live)]),
        reads: Vec::new(),
        cannot_check: 0b10,
        budget: Budget {
            writes: 2,
            revisions: 3,
            starts: 1,
            leaves: 1,
            verifications: 1,
            repairs: 1,
            ..Budget::default()
        },
        ..base()
    }
}

/// Checks that cannot run.
#[must_use]
pub fn failing_checks() -> Scope {
    Scope {
        name: "checks that cannot run",
        about: "two instances write one row at shadow at the same time; every write is checked, and a check may lose its connection",
        instances: 2,
        up: 2,
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Live)]),
        reads: Vec::new(),
        checks_fail: true,
        budget: Budget { writes: 2, losses: 1, repairs: 1, verifications: 1, ..Budget::default() },
        ..base()
    }
}

/// Two buckets: an effect that may still land on one, while authority moves for the other.
#[must_use]
pub fn lingering_beside_a_move() -> Scope {
    Scope {
        name: "lingering beside a move",
        about: "one instance, two rows, two writes at a time; eve goes from shadow to live, bob stays at shadow; the answer of a call is lost, which then lands late; \
                repairs inside the instance",
        rows: 2,
        slots: 2,
        ways: ways(at(Stage::Shadow), true, vec![half(Stage::Shadow)]),
        history: [Some(0), Some(0)],
        reads: Vec::new(),
        repairs_inside: true,
        only_inside: true,
        budget: Budget { writes: 2, losses: 1, revisions: 3, repairs: 1, ..Budget::default() },
        reach: vec![Reach::MovedBesideLinger],
        ..base()
    }
}

/// From dual-write to off and to dual-write again, while an effect may still land.
#[must_use]
pub fn off_and_again() -> Scope {
    Scope {
        name: "off and dual-write again",
        about: "one instance goes from dual-write back to off and forward again, two writes at a time; the answer of a call is lost, which then lands late; \
                marks are forgotten at off; no checks",
        slots: 2,
        ways: ways(at(Stage::DualWrite), false, vec![at(Stage::Off), at(Stage::DualWrite)]),
        reads: Vec::new(),
        repairs_inside: true,
        only_inside: true,
        lone_writer: true,
        budget: Budget { writes: 2, losses: 1, revisions: 2, backfills: 1, repairs: 1, ..Budget::default() },
        reach: vec![Reach::BackFromDualWrite],
        ..base()
    }
}

/// An instance that says goodbye.
#[must_use]
pub fn goodbyes() -> Scope {
    Scope {
        name: "goodbyes",
        about: "instances A and B; B may say goodbye; a secondary write may be refused; repairs inside the instances; a row goes from shadow to live",
        instances: 2,
        up: 2,
        ways: ways(at(Stage::Shadow), true, vec![at(Stage::Live)]),
        reads: Vec::new(),
        repairs_inside: true,
        only_inside: true,
        budget: Budget { writes: 1, refusals: 1, revisions: 3, repairs: 1, leaves: 1, ..Budget::default() },
        reach: vec![Reach::LiveAfterFault],
        ..base()
    }
}

/// The same with a repair in each instance.
#[must_use]
pub fn repairs_after_goodbye() -> Scope {
    Scope {
        name: "repairs beside a goodbye",
        budget: Budget { writes: 2, refusals: 1, revisions: 3, repairs: 2, leaves: 1, ..Budget::default() },
        ..goodbyes()
    }
}
