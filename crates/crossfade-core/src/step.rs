//! From one plan to the next: one edge at a time (R1), through held revisions where authority moves (R4).

use crate::plan::{Phase, Plan, PlanError};
use crate::position::{End, Position};
use crate::share::Share;
use crate::stage::{Edge, Stage};

/// A lawful difference between two plans that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Nobody moves: options, or the same position again.
    Stay,
    /// Keys move along one edge and no authority moves with them.
    Ramp {
        /// The edge.
        edge: Edge,
        /// Towards complete, each of them: no key goes back, neither by the share nor by a pin.
        forward: bool,
    },
    /// Writes of the keys that are to move begin to wait.
    Hold {
        /// Towards complete.
        forward: bool,
    },
    /// Authority moves; writes still wait.
    Move {
        /// Towards complete.
        forward: bool,
    },
    /// Writes of the moved keys go on, under the new authority.
    Release,
    /// Back to the old roles, from hold at once, from move by way of hold; nothing was written between.
    Abandon,
}

impl Step {
    /// Keys go back from dual-write to off: the target's claim ends, and the next way forward starts a new backfill (R10).
    #[must_use]
    pub fn ends_target_claim(self) -> bool {
        matches!(self, Step::Ramp { edge, forward: false } if edge.earlier() == Stage::Off)
    }

    /// Keys leave the source behind: the point of no return.
    #[must_use]
    pub fn leaves_source(self) -> bool {
        matches!(self, Step::Ramp { edge, forward: true } if edge.leaves_source())
    }
}

/// Why one plan may not follow another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Plans of two migrations.
    #[error("the plan is of migration `{next}`, not of `{current}`")]
    OtherMigration {
        /// The migration in force.
        current: String,
        /// The one that the plan is of.
        next: String,
    },
    /// A key's bucket never changes during a migration (R1).
    #[error("the salt changed: it decides who is where and is fixed for the whole migration; put the old one back")]
    Salt,
    /// R18 is declared once.
    #[error("`whole` changed: it is a property of the application's operations; begin a new migration or put it back")]
    Whole,
    /// More than one edge (R1).
    #[error("from `{from}` to `{to}` crosses more than one edge: take the edges one by one")]
    TwoEdges {
        /// The position in force.
        from: String,
        /// The position asked for.
        to: String,
    },
    /// Keys are back from complete: there is no way back (the point of no return).
    #[error("from `{from}` there is no way back: the source has not been written since")]
    NoReturn {
        /// The position in force.
        from: String,
    },
    /// Authority would move without hold, move and release (R4).
    #[error("from `{from}` to `{to}` moves authority: it takes hold, move and release, one after the other")]
    Unheld {
        /// The position in force.
        from: String,
        /// The position asked for.
        to: String,
    },
    /// Another step is not finished.
    #[error("a move of authority is under way at `{at}`: let it end, or abandon it")]
    UnderWay {
        /// The position in force.
        at: String,
    },
    /// The position is not one that the plan can have.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl Plan {
    /// Whether `next` may follow this plan, and as what. Total: every pair of plans has an answer.
    ///
    /// # Errors
    /// The rule that `next` would break.
    pub fn admit(&self, next: &Plan) -> Result<Step, StepError> {
        if self.migration() != next.migration() {
            return Err(StepError::OtherMigration { current: self.migration().into(), next: next.migration().into() });
        }
        if self.salt() != next.salt() {
            return Err(StepError::Salt);
        }
        if self.whole() != next.whole() {
            return Err(StepError::Whole);
        }
        let (here, there) = (self.position(), next.position());
        match (self.phase(), next.phase()) {
            (Phase::Settled, Phase::Settled) => {
                let edge = self.edge_to(there)?;
                if here.moves_authority(there) {
                    return Err(StepError::Unheld { from: here.to_string(), to: there.to_string() });
                }
                let forward = !sends_back(here, there, edge);
                Ok(if here == there { Step::Stay } else { Step::Ramp { edge, forward } })
            }
            (Phase::Settled, Phase::Hold { next: goal }) if here == there => {
                let edge = self.edge_to(goal)?;
                Ok(Step::Hold { forward: direction(here, goal, edge).unwrap_or(true) })
            }
            // What a forced hold did not wait for, its move does not wait for either; and a move that is not forced relies on
            // what its hold has waited for.
            (Phase::Hold { next: goal }, Phase::Move { previous })
                if there == goal && previous == here && self.forced() == next.forced() =>
            {
                let edge = self.edge_to(goal)?;
                Ok(Step::Move { forward: direction(here, goal, edge).unwrap_or(true) })
            }
            (Phase::Hold { .. }, Phase::Settled) if there == here => Ok(Step::Abandon),
            (Phase::Move { .. }, Phase::Settled) if there == here => Ok(Step::Release),
            // Not settled at once: an instance still at move reads the new authority while others would write the old one.
            (Phase::Move { previous }, Phase::Hold { next: goal }) if there == previous && goal == here => {
                Ok(Step::Abandon)
            }
            (Phase::Settled, Phase::Hold { .. } | Phase::Move { .. }) => {
                Err(StepError::Unheld { from: here.to_string(), to: there.to_string() })
            }
            (Phase::Hold { .. } | Phase::Move { .. }, Phase::Settled | Phase::Hold { .. } | Phase::Move { .. }) => {
                // The same again, or the same by force (R20).
                if self == next || *next == self.clone().by_force() {
                    Ok(Step::Stay)
                } else {
                    Err(StepError::UnderWay { at: here.to_string() })
                }
            }
        }
    }

    /// The revisions that lead from this plan to `goal`: one where no authority moves, otherwise hold, move and release.
    ///
    /// # Errors
    /// The rule that the way there would break.
    pub fn steps_to(&self, goal: Position) -> Result<Vec<Plan>, StepError> {
        if !matches!(self.phase(), Phase::Settled) {
            return Err(StepError::UnderWay { at: self.position().to_string() });
        }
        self.edge_to(&goal)?;
        let settled = self.settled_at(goal.clone())?;
        if !self.position().moves_authority(&goal) {
            return Ok(vec![settled]);
        }
        let here = self.position().clone();
        let hold = self.in_phase(here.clone(), Phase::Hold { next: goal.clone() });
        let moved = self.in_phase(goal, Phase::Move { previous: here });
        Ok(vec![hold, moved, settled])
    }

    /// The revisions of a forced rollback to `goal` (R20): hold and move are forced, so that instances acknowledge them at
    /// once, and the last one is not. From a held move it leads on to either of its ends, with what is left of the way.
    ///
    /// # Errors
    /// The rule that the way there would break.
    pub fn forced_steps_to(&self, goal: Position) -> Result<Vec<Plan>, StepError> {
        let here = self.position();
        let plans = match self.phase() {
            Phase::Settled => self.steps_to(goal)?,
            Phase::Hold { next } if *next == goal => {
                let moved = self.in_phase(goal.clone(), Phase::Move { previous: here.clone() });
                vec![self.clone(), moved, self.in_phase(goal, Phase::Settled)]
            }
            Phase::Hold { .. } | Phase::Move { .. } if *here == goal => {
                vec![self.clone(), self.in_phase(goal, Phase::Settled)]
            }
            Phase::Move { previous } if *previous == goal => {
                let held = self.in_phase(goal.clone(), Phase::Hold { next: here.clone() });
                vec![held, self.in_phase(goal, Phase::Settled)]
            }
            Phase::Hold { .. } | Phase::Move { .. } => return Err(StepError::UnderWay { at: here.to_string() }),
        };
        Ok(plans.into_iter().map(Plan::by_force).collect())
    }

    /// The next plan on the way out of a held move, back to the old roles; none when no move is under way.
    ///
    /// From hold it is the settled plan. From move it is the hold again, which has to be acknowledged everywhere before
    /// it is abandoned in turn: writes go on only when nobody reads the new authority any more (R4). It is never forced.
    #[must_use]
    pub fn abandoned(&self) -> Option<Plan> {
        match self.phase() {
            Phase::Settled => None,
            Phase::Hold { .. } => Some(self.in_phase(self.position().clone(), Phase::Settled)),
            Phase::Move { previous } => {
                Some(self.in_phase(previous.clone(), Phase::Hold { next: self.position().clone() }))
            }
        }
    }

    fn edge_to(&self, goal: &Position) -> Result<Edge, StepError> {
        let here = self.position();
        let edge = here
            .common_edge(goal)
            .ok_or_else(|| StepError::TwoEdges { from: here.to_string(), to: goal.to_string() })?;
        // Raising is always lawful; a key that was at complete never goes back.
        let back = edge.leaves_source() && sends_back(here, goal, edge);
        if back { Err(StepError::NoReturn { from: here.to_string() }) } else { Ok(edge) }
    }
}

/// Some key may stand at the later end of the edge here, and at the earlier one there. Of a pinned key the bucket is not
/// looked at: where the share decides, it may stand at either end that is not empty.
fn sends_back(here: &Position, there: &Position, edge: Edge) -> bool {
    let share_on = |position: &Position| position.share_on(edge).unwrap_or(Share::NONE);
    let (before, after) = (share_on(here), share_on(there));
    // Pins sit at an end of a ramp: a position without one has none.
    let pin_of = |position: &Position, key: &str| {
        position.ramp()?;
        position.pins().iter().find(|pin| pin.key == key).map(|pin| pin.end)
    };
    let pin_sends_back = |key: &str| match (pin_of(here, key), pin_of(there, key)) {
        (None, None) | (Some(End::Earlier), _) | (_, Some(End::Later)) => false,
        (Some(End::Later), Some(End::Earlier)) => true,
        (Some(End::Later), None) => after < Share::ALL,
        (None, Some(End::Earlier)) => before > Share::NONE,
    };
    after < before || here.pins().iter().chain(there.pins()).any(|pin| pin_sends_back(&pin.key))
}

/// Towards complete (`true`), back (`false`), or nobody moves.
fn direction(here: &Position, there: &Position, edge: Edge) -> Option<bool> {
    if here == there {
        return None;
    }
    match (here.share_on(edge), there.share_on(edge)) {
        (Some(from), Some(to)) if from > to => Some(false),
        (Some(_), Some(_)) | (Some(_) | None, None) | (None, Some(_)) => Some(true),
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
