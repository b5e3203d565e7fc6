//! The small worlds in which the protocol is walked through: each is as small as the family of rules it is for allows.

use crate::application::{Work, Write};
use crate::plans::{HALF, Ways};
use crate::rules::Rule;
use crate::state::Budget;
use crate::store::{ROWS, Value};
use crossfade_core::{Position, Share, Stage};

/// A small world.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Places for instances.
    pub instances: usize,
    /// How many run from the beginning.
    pub up: usize,
    /// Rows.
    pub rows: usize,
    /// Operations at a time in an instance.
    pub slots: usize,
    /// Where it begins and may lead.
    pub ways: Ways,
    /// What the rows held before.
    pub history: [Value; ROWS],
    /// The target begins equal, backfilled and verified.
    pub converged: bool,
    /// The writes of the application.
    pub writes: Vec<Work>,
    /// The reads of the application.
    pub reads: Vec<Work>,
    /// How often a late call may land.
    pub lands: u8,
    /// Instances repair by themselves.
    pub repairs_inside: bool,
    /// Calls of repairs and of the backfill may land after their declared linger.
    pub overstays: bool,
    /// Only one instance ever writes, so that no overlap goes unseen.
    pub lone_writer: bool,
    /// How often things may happen.
    pub budget: Budget,
    /// What must be reachable.
    pub reach: Vec<Reach>,
}

/// Something good that must be reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Everybody is at complete.
    Complete,
    /// Everybody is at complete although something failed on the way.
    CompleteAfterFault,
    /// Everybody is at live although something failed on the way.
    LiveAfterFault,
    /// From dual-write back to off.
    BackFromDualWrite,
    /// From shadow back to dual-write.
    BackFromShadow,
    /// From live back to shadow.
    BackFromLive,
    /// From ramp-down back to live.
    BackFromRampDown,
    /// A hold was given up, and all is as it was.
    Abandoned,
}

impl Reach {
    /// What must be reachable, in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reach::Complete => "complete is reached",
            Reach::CompleteAfterFault => "complete is reached after a fault",
            Reach::LiveAfterFault => "live is reached after a fault",
            Reach::BackFromDualWrite => "back from dual-write",
            Reach::BackFromShadow => "back from shadow",
            Reach::BackFromLive => "back from live",
            Reach::BackFromRampDown => "back from ramp-down",
            Reach::Abandoned => "a hold is abandoned",
        }
    }
}

fn at(stage: Stage) -> Position {
    Position::at(stage)
}

/// Half of the keys are over the edge that leaves this stage: row `eve` is, row `bob` is not.
fn half(stage: Stage) -> Position {
    match (stage.edge(), HALF.parse::<Share>()) {
        (Some(edge), Ok(share)) => Position::ramping(edge, share),
        (None, _) | (_, Err(_)) => Position::at(stage),
    }
}

/// What most scopes have in common: one row at shadow, verified, nothing that fails.
fn base() -> Scope {
    Scope {
        name: "",
        about: "",
        instances: 1,
        up: 1,
        rows: 1,
        slots: 1,
        ways: Ways { start: at(Stage::Shadow), checked: true, goals: Vec::new(), toggle: false },
        history: [Some(0), None],
        converged: true,
        writes: vec![Work::Write(Write::Put)],
        reads: vec![Work::Read],
        lands: 1,
        repairs_inside: false,
        overstays: false,
        lone_writer: false,
        budget: Budget::default(),
        reach: Vec::new(),
    }
}

fn ways(start: Position, checked: bool, goals: Vec<Position>) -> Ways {
    Ways { start, checked, goals, toggle: false }
}

fn there_and_back() -> Ways {
    ways(at(Stage::Shadow), true, vec![at(Stage::Shadow), at(Stage::Live)])
}

fn unchecked(stage: Stage) -> Ways {
    ways(at(stage), false, Vec::new())
}

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

/// All of them.
#[must_use]
pub fn small() -> Vec<Scope> {
    vec![
        cut_over(),
        counters(),
        late_calls(),
        marks(),
        equal_values(),
        replay(),
        repair_beside_a_move(),
        backfill(),
        overstaying(),
        into_dual_write(),
        again(),
        newcomers(),
        comeback(),
        crashes(),
        gates(),
        unseen_overlaps(),
        half_ramped(),
        ramp(),
        edges(),
        lost_flags(),
        transactions(),
        restore(),
        forced_rollback(),
        whole_way(),
    ]
}

/// Larger worlds, for when there is time: the same families with more of everything.
#[must_use]
pub fn big() -> Vec<Scope> {
    let more = |scope: Scope, name, budget| Scope { name, budget, ..scope };
    vec![
        Scope {
            instances: 3,
            up: 3,
            reach: vec![Reach::Abandoned],
            ..more(
                cut_over(),
                "three instances cut over",
                Budget { writes: 2, reads: 1, revisions: 4, ..Budget::default() },
            )
        },
        more(
            late_calls(),
            "late calls, verified again",
            Budget { writes: 2, reads: 1, revisions: 4, losses: 1, repairs: 1, verifications: 1, ..Budget::default() },
        ),
        more(
            crashes(),
            "crashes under two writes",
            Budget { writes: 2, reads: 1, revisions: 3, losses: 1, crashes: 1, verifications: 1, ..Budget::default() },
        ),
        more(
            marks(),
            "marks under two repairs",
            Budget { writes: 3, refusals: 1, losses: 1, repairs: 2, ..Budget::default() },
        ),
        more(
            backfill(),
            "backfill under three writes",
            Budget { writes: 3, losses: 2, backfills: 3, kills: 1, ..Budget::default() },
        ),
    ]
}

/// The scope in which the checker shows that a rule is needed.
#[must_use]
pub fn of(rule: Rule) -> Scope {
    match rule {
        Rule::OneEdge => edges(),
        Rule::SameBucket | Rule::KeyNeeded | Rule::SplitKeys => half_ramped(),
        Rule::DecideOnce
        | Rule::Barrier
        | Rule::Drain
        | Rule::HoldThroughMove
        | Rule::AbandonByHold
        | Rule::CheckOwned
        | Rule::EvictDead => cut_over(),
        Rule::Linger | Rule::BackfillStart | Rule::BackfillReplace => into_dual_write(),
        Rule::MarksWithAck => late_calls(),
        Rule::RegisterWithPlan => newcomers(),
        Rule::NoCachedPlan => comeback(),
        Rule::Hold | Rule::FullChecks => counters(),
        Rule::MarkFailed
        | Rule::MarkUnknown
        | Rule::MarkAuthority
        | Rule::MarkOverlap
        | Rule::CopyTruth
        | Rule::RepairLinger
        | Rule::Generations
        | Rule::LinearizableReads => marks(),
        Rule::ChecksFirst | Rule::GateVerified | Rule::GateFresh => unseen_overlaps(),
        Rule::RepairCas | Rule::RepairOrder | Rule::BackfillOrder | Rule::BackfillCas => overstaying(),
        Rule::RepairHolds | Rule::GateMarks => repair_beside_a_move(),
        Rule::GateBackfill => gates(),
        Rule::Suspect | Rule::SuspectSince | Rule::HonestVerification => crashes(),
        Rule::BackfillReread | Rule::BackfillLinger | Rule::BackfillResume | Rule::DurableProgress => backfill(),
        Rule::NewClaim => again(),
        Rule::KeepPlan | Rule::WaitForPlan => lost_flags(),
        Rule::RepairReread => equal_values(),
        Rule::CarryState => replay(),
        Rule::TransactionOpen | Rule::TransactionMark => transactions(),
        Rule::RestoredWaits | Rule::RestoredListed | Rule::ReportIsNoAck | Rule::RestoredSuspects => restore(),
    }
}
