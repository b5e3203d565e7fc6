//! The small worlds in which the protocol is walked through: each is as small as the family of rules it is for allows.

use crate::application::{Work, Write};
use crate::plans::{HALF, Ways};
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

/// Half of the keys are over the edge that leaves this stage: row `ada` is, row `bob` is not.
fn half(stage: Stage) -> Position {
    match (stage.edge(), HALF.parse::<Share>()) {
        (Some(edge), Ok(share)) => Position::ramping(edge, share),
        (None, _) | (_, Err(_)) => Position::at(stage),
    }
}

/// One row, verified at shadow with full checks; two instances; the cut-over there and back.
#[must_use]
pub fn cut_over() -> Scope {
    Scope {
        name: "cut-over",
        about: "two instances move one row from shadow to live and back, under writes and reads",
        instances: 2,
        up: 2,
        rows: 1,
        slots: 1,
        ways: Ways {
            start: at(Stage::Shadow),
            checked: true,
            goals: vec![at(Stage::Shadow), at(Stage::Live)],
            toggle: false,
        },
        history: [Some(0), None],
        converged: true,
        writes: vec![Work::Write(Write::Put)],
        reads: vec![Work::Read],
        lands: 1,
        repairs_inside: false,
        lone_writer: false,
        budget: Budget { writes: 2, reads: 1, revisions: 6, ..Budget::default() },
        reach: vec![Reach::BackFromLive, Reach::Abandoned],
    }
}

/// All of them, smallest first.
#[must_use]
pub fn small() -> Vec<Scope> {
    let _ = half;
    vec![cut_over()]
}
