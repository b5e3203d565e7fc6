//! The backfill (R9, R16): it reconciles row by row beside live writes, and may be killed and resumed.

use crate::action::{Action, Outcome};
use crate::model::Protocol;
use crate::rules::Rule;
use crate::state::State;
use crate::store::{Call, Change, Owner, Value};
use crossfade_core::{BackfillState, Effect, Side};

/// The row that the backfill is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Backfill {
    /// The row.
    pub row: u8,
    /// Where it stands.
    pub at: BackfillAt,
}

/// What the backfill does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackfillAt {
    /// Read one side: the target, so that a put which lands late finds another value than the one seen.
    One,
    /// Read the other side, knowing what the first held.
    Other(Value),
    /// Put the source's value over what the target held.
    Put(Value, Value),
    /// Read the source again: is it still this?
    Again(Value),
    /// Wait until nothing of its put is on its way, then begin again.
    Linger,
}

impl Protocol {
    /// What the backfill may do next.
    pub fn backfill_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Some(backfill) = state.backfill else {
            self.backfill_beginnings(state, actions);
            return;
        };
        match backfill.at {
            BackfillAt::One | BackfillAt::Other(_) | BackfillAt::Again(_) => {
                actions.push(Action::BackfillStep(Outcome::Applied));
            }
            BackfillAt::Put(..) => {
                actions.push(Action::BackfillStep(Outcome::Applied));
                if state.left.losses > 0 {
                    actions.push(Action::BackfillStep(Outcome::Lost));
                }
            }
            BackfillAt::Linger => {
                if state.linger_passed(Owner::Backfill) || self.scope.overstays {
                    actions.push(Action::BackfillStep(Outcome::Applied));
                }
            }
        }
        if state.left.kills > 0 {
            actions.push(Action::BackfillKill);
        }
    }

    fn backfill_beginnings(&self, state: &State, actions: &mut Vec<Action>) {
        let control = &state.control;
        if matches!(control.backfill, BackfillState::Complete(_)) {
            return;
        }
        if control.backfilled.iter().take(self.scope.rows).all(|done| *done) {
            actions.push(Action::BackfillEnd);
            return;
        }
        let everywhere = self.acknowledged_everywhere(state) || self.dropped(Rule::BackfillStart);
        let settled = state.linger_passed(Owner::Backfill) || self.dropped(Rule::BackfillResume);
        if state.left.backfills == 0 || !everywhere || !settled {
            return;
        }
        let plan = self.plans.of(control.published);
        for row in 0..self.scope.rows {
            let stage = plan.decisions[row].stage;
            if !control.backfilled[row] && stage.is_mirrored() && stage.authority() == Side::Source {
                actions.push(Action::BackfillBegin(row as u8));
            }
        }
    }

    /// The backfill begins with a row.
    pub fn backfill_begin(&self, state: &mut State, row: u8) {
        state.left.backfills -= 1;
        state.control.backfill = BackfillState::Unfinished;
        state.backfill = Some(Backfill { row, at: BackfillAt::One });
    }

    /// The backfill takes its next step.
    pub fn backfill_step(&self, state: &mut State, outcome: Outcome) -> Option<()> {
        let backfill = state.backfill?;
        let row = backfill.row;
        let first = self.reads_first(Side::Source, Rule::BackfillOrder);
        let next = match backfill.at {
            BackfillAt::One => Some(BackfillAt::Other(state.cell(first, row))),
            BackfillAt::Other(one) => {
                let other = state.cell(first.other(), row);
                let (truth, seen) = if first == Side::Source { (one, other) } else { (other, one) };
                let lacking = seen.is_none() || !self.dropped(Rule::BackfillReplace);
                (seen != truth && lacking).then_some(BackfillAt::Put(truth, seen))
            }
            BackfillAt::Put(truth, seen) => {
                let call = Call {
                    owner: Owner::Backfill,
                    side: Side::Target,
                    row,
                    change: Change::Set(truth),
                    expected: (!self.dropped(Rule::BackfillCas)).then_some(seen),
                    authoritative: false,
                };
                let missed = call.expected.is_some_and(|expected| expected != state.cell(Side::Target, row));
                match self.call(state, call, outcome)? {
                    Effect::Unknown if self.dropped(Rule::BackfillLinger) => Some(BackfillAt::One),
                    Effect::Unknown => Some(BackfillAt::Linger),
                    Effect::Applied | Effect::Refused if missed => Some(BackfillAt::One),
                    Effect::Applied | Effect::Refused => {
                        (!self.dropped(Rule::BackfillReread)).then_some(BackfillAt::Again(truth))
                    }
                }
            }
            BackfillAt::Again(put) => (state.cell(Side::Source, row) != put).then_some(BackfillAt::One),
            BackfillAt::Linger => Some(BackfillAt::One),
        };
        let sent = matches!(next, Some(BackfillAt::Put(..))) && self.dropped(Rule::DurableProgress);
        if next.is_none() || sent {
            state.control.backfilled[row as usize] = true;
        }
        state.backfill = next.map(|at| Backfill { at, ..backfill });
        Some(())
    }

    /// The backfill has every row.
    pub fn backfill_end(&self, state: &mut State) {
        state.control.backfill = BackfillState::Complete(state.now());
    }

    /// The backfill is killed: what it had sent is on its way.
    pub fn backfill_kill(&self, state: &mut State) {
        state.left.kills -= 1;
        state.ghost.faulty = true;
        state.backfill = None;
    }
}
