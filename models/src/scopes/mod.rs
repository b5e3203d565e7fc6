//! The small worlds in which the protocol is walked through: each is as small as the family of rules it is for allows.

use crate::application::{Work, Write};
use crate::plans::{HALF, KEYS, Ways};
use crate::properties::NOTHING_LOST;
use crate::rules::Rule;
use crate::state::Budget;
use crate::store::{ROWS, Value};
use crossfade_core::{Position, Share, Stage};

mod moves;
mod processes;
mod rows;
mod tables;

pub use moves::*;
pub use processes::*;
pub use rows::*;
pub use tables::*;

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
    /// Instances alone repair, no process of its own.
    pub only_inside: bool,
    /// Secondary writes of a row in one instance take turns, in the order of the authority.
    pub turns: bool,
    /// A repair begins only while no write of its row is under way in its instance, whenever that began.
    pub quiet_repairs: bool,
    /// Instances report a suspect table at any time, not only with an acknowledgement.
    pub tells: bool,
    /// A check after the fact may lose its connection.
    pub checks_fail: bool,
    /// Instances that cannot check what they write, a bit each.
    pub cannot_check: u8,
    /// What the two rows are called.
    pub names: [&'static str; ROWS],
    /// The one promise that is looked at, so that a page tells its run to the end; none for all.
    pub only: Option<&'static str>,
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
    /// Authority has moved for one row while an effect may still land on another.
    MovedBesideLinger,
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
            Reach::MovedBesideLinger => "authority moves beside an effect that may still land on another row",
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
        only_inside: false,
        turns: false,
        quiet_repairs: false,
        tells: false,
        checks_fail: false,
        cannot_check: 0,
        names: KEYS,
        only: None,
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
        skipped_turns(),
        two_tables(),
        tables_half_open(),
        predicates(),
        predicates_again(),
        predicates_elsewhere(),
        predicates_beside_keyed(),
        made_ids(),
        cannot_check(),
        failing_checks(),
        lingering_beside_a_move(),
        off_and_again(),
        goodbyes(),
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
        repairs_after_goodbye(),
        Scope {
            writes: vec![Work::Write(Write::Insert), Work::Write(Write::Put), Work::Write(Write::Clear)],
            ..more(
                made_ids(),
                "database-made ids beside predicates",
                Budget { writes: 3, refusals: 1, losses: 1, repairs: 1, ..Budget::default() },
            )
        },
        more(
            skipped_turns(),
            "skipped turns under two repairs",
            Budget { writes: 3, refusals: 1, losses: 1, skips: 2, repairs: 2, ..Budget::default() },
        ),
        Scope {
            reads: vec![Work::Read],
            ..more(
                lingering_beside_a_move(),
                "lingering beside a move, read meanwhile",
                Budget { writes: 2, reads: 1, losses: 1, revisions: 3, repairs: 1, ..Budget::default() },
            )
        },
        Scope {
            instances: 2,
            up: 2,
            repairs_inside: true,
            only_inside: true,
            reach: vec![Reach::LiveAfterFault],
            ..more(
                late_calls(),
                "late calls, repaired in a hold",
                Budget { writes: 2, reads: 1, revisions: 4, losses: 1, repairs: 1, ..Budget::default() },
            )
        },
        Scope {
            instances: 2,
            up: 2,
            lone_writer: false,
            reads: Vec::new(),
            reach: Vec::new(),
            ..more(
                forced_rollback(),
                "forced rollback of two instances",
                Budget { writes: 2, refusals: 1, revisions: 3, verifications: 1, forced: 1, ..Budget::default() },
            )
        },
        more(
            backfill(),
            "backfill under three writes",
            Budget { writes: 3, losses: 2, backfills: 3, kills: 1, ..Budget::default() },
        ),
    ]
}

/// The scope of R6 "effects under way" with a rule that asks for more: it makes two other clauses superfluous.
#[must_use]
pub fn quiet_repairs() -> Scope {
    Scope { quiet_repairs: true, ..skipped_turns() }
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
        Rule::LateOverlap | Rule::EffectsUnderWay => skipped_turns(),
        Rule::Tables => Scope { only: Some(NOTHING_LOST), ..two_tables() },
        Rule::TablesHalfOpen => tables_half_open(),
        Rule::WholeOverlap | Rule::WholeFailed | Rule::ClearedLater | Rule::MoveWaitsWhole | Rule::ReportTogether => {
            Scope { only: Some(NOTHING_LOST), ..predicates() }
        }
        Rule::ReportEachTime => Scope { only: Some(NOTHING_LOST), ..predicates_again() },
        Rule::WholeElsewhere => Scope { only: Some(NOTHING_LOST), ..predicates_elsewhere() },
        Rule::WholeToTheEnd => predicates_beside_keyed(),
        Rule::RowsMeanwhile => made_ids(),
        Rule::WhoCanCheck => Scope { only: Some(NOTHING_LOST), ..cannot_check() },
        Rule::DoubtIsMark => failing_checks(),
        Rule::SingleLinger => into_dual_write(),
        Rule::SecondaryLinger => off_and_again(),
        Rule::MoveWaits => lingering_beside_a_move(),
        Rule::ForcedDrain => forced_rollback(),
        Rule::NoOperation | Rule::GoodbyeMarks => Scope { only: Some(NOTHING_LOST), ..goodbyes() },
        Rule::NoRepair => repairs_after_goodbye(),
        Rule::RestoredWaits | Rule::RestoredListed | Rule::ReportIsNoAck | Rule::RestoredSuspects => restore(),
    }
}
