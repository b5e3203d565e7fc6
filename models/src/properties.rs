//! The promises, as questions to one state.
//!
//! P1 (the caller's answer is the authority's) holds by construction here: no path of the model hands the outcome of a
//! secondary call to a caller. Its tests are those of the library.

use crate::application::At;
use crate::model::Protocol;
use crate::scopes::{Reach, Scope};
use crate::state::State;
use crate::store::ROWS;
use crossfade_core::plan::Phase;
use crossfade_core::{Answer, BackfillState, Gate, Side, Stage};
use stateright::{Expectation, Property};
use std::sync::atomic::Ordering;

/// No read returns a superseded value.
pub const REGULAR_READS: &str = "P2 regular reads";
/// What is not known to differ is equal.
pub const CONVERGENCE: &str = "P3 convergence";
/// The authority has every acknowledged write.
pub const NOTHING_LOST: &str = "P4 nothing lost";

/// Every promise that a run can break.
pub const PROMISES: [&str; 3] = [REGULAR_READS, CONVERGENCE, NOTHING_LOST];

/// The properties of a scope.
#[must_use]
pub fn of(scope: &Scope) -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::always(REGULAR_READS, |protocol: &Protocol, state| protocol.keeps(!state.ghost.stale_read)),
        Property::always(CONVERGENCE, |protocol: &Protocol, state| protocol.keeps(protocol.converged(state))),
        Property::always(NOTHING_LOST, |protocol: &Protocol, state| protocol.keeps(protocol.nothing_lost(state))),
    ];
    properties.retain(|property| scope.only.is_none_or(|only| property.name == only));
    properties.extend(scope.reach.iter().map(|reach| reach.property()));
    properties
}

impl Reach {
    /// The property: this can be reached.
    #[must_use]
    pub fn property(self) -> Property<Protocol> {
        let condition: fn(&Protocol, &State) -> bool = match self {
            Reach::Complete => |protocol, state| protocol.everybody_at(state, Stage::Complete),
            Reach::CompleteAfterFault => {
                |protocol, state| state.ghost.faulty && protocol.everybody_at(state, Stage::Complete)
            }
            Reach::LiveAfterFault => |protocol, state| state.ghost.faulty && protocol.everybody_at(state, Stage::Live),
            Reach::BackFromDualWrite => |_, state| back_from(state, Stage::DualWrite),
            Reach::BackFromShadow => |_, state| back_from(state, Stage::Shadow),
            Reach::BackFromLive => |_, state| back_from(state, Stage::Live),
            Reach::BackFromRampDown => |_, state| back_from(state, Stage::RampDown),
            Reach::MovedBesideLinger => |protocol, state| {
                let phase = protocol.plans.of(state.control.published).plan.phase();
                let mut operations = state.instances.iter().flat_map(|instance| instance.operations).flatten();
                matches!(phase, Phase::Move { .. }) && operations.any(|operation| operation.at == At::Linger)
            },
            Reach::Abandoned => |protocol, state| {
                // Held once (two revisions at least), settled again where it began.
                let plan = protocol.plans.of(state.control.published);
                state.control.published.number > 2
                    && state.control.published.hash == 0
                    && matches!(plan.plan.phase(), Phase::Settled)
            },
        };
        Property { expectation: Expectation::Sometimes, name: self.name(), condition }
    }
}

fn back_from(state: &State, stage: Stage) -> bool {
    state.ghost.rolled_back & 1 << stage as u8 != 0
}

impl Protocol {
    /// Remembers the first violation, and keeps the checker from putting a later one in its place.
    fn keeps(&self, holds: bool) -> bool {
        holds || self.broken.swap(true, Ordering::Relaxed)
    }

    fn everybody_at(&self, state: &State, stage: Stage) -> bool {
        let plan = self.plans.of(state.control.published);
        self.acknowledged_everywhere(state) && plan.decisions.iter().all(|decision| decision.stage == stage)
    }

    /// No operation, effect, backfill or repair is under way, and everybody goes by the published plan.
    fn quiet(&self, state: &State) -> bool {
        let control = &state.control;
        let idle = |instance: &crate::application::Instance| instance.operations.iter().all(Option::is_none);
        let agreed = |i: &crate::application::Instance| !i.up || i.left || i.plan == Some(control.published);
        state.instances.iter().all(|instance| idle(instance) && agreed(instance))
            && state.late.iter().all(Option::is_none)
            && state.backfill.is_none()
            && state.repairs.iter().all(Option::is_none)
            && control.unheard == 0
            && self.acknowledged_everywhere(state)
    }

    /// P3: in the quiet, where nothing says that rows may differ, they are equal. Something says so: a mark, a suspect,
    /// an unfinished backfill; and, when several instances write and their overlaps are not all checked, the gate.
    fn converged(&self, state: &State) -> bool {
        let control = &state.control;
        let members = || state.instances.iter().zip(0..).filter(|(instance, _)| !instance.left);
        let marked = !control.marks.is_empty() || members().any(|(instance, _)| !instance.marks.is_empty());
        let doubted = control.doubted.is_some() || members().any(|(_, id)| self.has_doubts(state, id));
        let told =
            marked || doubted || control.suspects != 0 || !matches!(control.backfill, BackfillState::Complete(_));
        if told || state.ghost.waived || !self.quiet(state) || !(self.scope.lone_writer || self.gate_is_open(state)) {
            return true;
        }
        let plan = self.plans.of(control.published);
        (0..self.scope.rows as u8).all(|row| {
            !plan.decisions[row as usize].stage.is_mirrored()
                || state.cell(Side::Source, row) == state.cell(Side::Target, row)
        })
    }

    /// The law itself finds the sides shown equal.
    fn gate_is_open(&self, state: &State) -> bool {
        let plan = self.plans.of(state.control.published);
        plan.next
            .iter()
            .filter(|next| next.gate == Gate::Converged)
            .any(|next| next.gate.answer(&self.evidence(state, next)) == Answer::Go)
    }

    /// P4: while everybody goes by one plan, the authority holds what was acknowledged last or something newer, and
    /// every acknowledged increment.
    fn nothing_lost(&self, state: &State) -> bool {
        let control = &state.control;
        let agreed = state.instances.iter().all(|i| !i.up || i.left || i.plan == Some(control.published));
        if !agreed || control.unheard != 0 || state.ghost.waived {
            return true;
        }
        let plan = self.plans.of(control.published);
        (0..ROWS as u8).all(|row| {
            let value = state.cell(plan.decisions[row as usize].stage.authority(), row);
            let counted = state.ghost.increments[row as usize];
            state.ghost.regular(row, state.ghost.acknowledged[row as usize], value)
                && (counted == 0 || value.unwrap_or(0) >= counted)
        })
    }
}
