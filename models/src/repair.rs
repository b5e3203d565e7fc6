//! Repairs (R6), inside an instance from its own marks, or as a process of their own from the marks of the control plane.

use crate::action::{Action, Outcome};
use crate::application::{Mark, Operation};
use crate::model::Protocol;
use crate::rules::Rule;
use crate::state::State;
use crate::store::{Call, Change, Owner, ROWS, Value};
use crossfade_core::{Effect, Revision, Side};

/// A repair of one row under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repair {
    /// Its number.
    pub number: u8,
    /// The instance that it runs in; none for a process of its own.
    pub home: Option<u8>,
    /// The mark has been handed over: it is the control plane's.
    pub handed: bool,
    /// Its row.
    pub row: u8,
    /// The revision that it holds.
    pub revision: Revision,
    /// The mark that it began with.
    pub mark: Mark,
    /// Where it stands.
    pub at: RepairAt,
}

/// What a repair does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RepairAt {
    /// Read one side: the secondary, so that a put which lands late finds another value than the one seen.
    One,
    /// Read the other side, knowing what the first held.
    Other(Value),
    /// Put the authority's value over what the secondary held.
    Put(Value, Value),
    /// Read the authority again: is it still this?
    Again(Value),
    /// Wait until nothing of its put is on its way, then begin again.
    Linger,
}

impl Protocol {
    /// The mark of a row, and whether the control plane has it: an instance goes on with marks that were handed over.
    fn marked(&self, state: &State, home: Option<u8>, row: u8) -> Option<(Mark, bool)> {
        let handed = state.control.marks.rows[row as usize].map(|mark| (mark, true));
        match home {
            Some(instance) => {
                let instance = &state.instances[instance as usize];
                let own = instance.marks.rows[row as usize].map(|mark| (mark, false));
                own.or(handed.filter(|_| !instance.left))
            }
            None => handed,
        }
    }

    /// The side that a repair of this row takes for the authority; none where nothing is mirrored.
    fn repaired_from(&self, revision: Revision, row: u8, mark: &Mark) -> Option<Side> {
        let row = if self.dropped(Rule::TablesHalfOpen) { mark.of } else { row };
        let stage = self.plans.of(revision).decisions[row as usize].stage;
        stage.is_mirrored().then(|| stage.authority())
    }

    /// The side that is read first where a difference is looked for: the secondary.
    #[must_use]
    pub fn reads_first(&self, authority: Side, order: Rule) -> Side {
        if self.dropped(order) { authority } else { authority.other() }
    }

    /// What repairs may do next.
    pub fn repair_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.left.repairs > 0 && state.repairs.iter().any(Option::is_none) {
            let inside = state.instances.iter().enumerate();
            let inside = inside.filter(|(_, i)| i.up && (!i.left || self.dropped(Rule::NoRepair)));
            let inside = inside.map(|(id, instance)| (Some(id as u8), instance.plan));
            let alone = (!self.scope.only_inside).then_some((None, Some(state.control.published)));
            let homes = inside.filter(|_| self.scope.repairs_inside).chain(alone);
            for (home, revision) in homes {
                for row in 0..ROWS as u8 {
                    if let (Some((mark, _)), Some(revision)) = (self.marked(state, home, row), revision)
                        && self.repaired_from(revision, row, &mark).is_some()
                        && self.marked_long_enough(state, row, &mark)
                    {
                        actions.push(Action::RepairBegin(home, row));
                    }
                }
            }
        }
        for (place, repair) in state.repairs.iter().enumerate() {
            let Some(repair) = repair else { continue };
            let mut push = |outcome| actions.push(Action::RepairStep(place as u8, outcome));
            match repair.at {
                RepairAt::One | RepairAt::Other(_) | RepairAt::Again(_) => {
                    push(Outcome::Applied);
                    if self.dropped(Rule::LinearizableReads) {
                        push(Outcome::Lagging);
                    }
                }
                RepairAt::Put(..) => {
                    push(Outcome::Applied);
                    if state.left.losses > 0 {
                        push(Outcome::Lost);
                    }
                }
                RepairAt::Linger => {
                    if state.linger_passed(Owner::Repair(repair.number)) || self.scope.overstays {
                        push(Outcome::Applied);
                    }
                }
            }
        }
    }

    fn marked_long_enough(&self, state: &State, row: u8, mark: &Mark) -> bool {
        let waits = |number: u8| mark.lingering & 1 << number != 0;
        let mut operations = state.instances.iter().flat_map(|instance| instance.operations).flatten();
        let writes = |operation: &Operation| operation.row == row && operation.write().is_some();
        if operations.any(|operation| {
            mark.under_way & 1 << operation.number != 0 || (self.scope.quiet_repairs && writes(&operation))
        }) {
            return false;
        }
        self.dropped(Rule::RepairLinger)
            || !state.late.iter().flatten().any(|late| match late.call.owner {
                Owner::Operation(number) => waits(number),
                Owner::Repair(_) | Owner::Backfill => false,
            })
    }

    /// A repair begins with the mark that it finds.
    pub fn repair_begin(&self, state: &mut State, home: Option<u8>, row: u8) -> Option<()> {
        let (mark, handed) = self.marked(state, home, row)?;
        let revision = match home {
            Some(instance) => state.instances[instance as usize].plan?,
            None => state.control.published,
        };
        let number = state.left.repairs;
        state.left.repairs -= 1;
        let at = match mark.payload {
            Some(payload) if self.dropped(Rule::CopyTruth) => RepairAt::Put(payload, payload),
            _ => RepairAt::One,
        };
        let place = state.repairs.iter_mut().find(|place| place.is_none())?;
        *place = Some(Repair { number, home, handed, row, revision, mark, at });
        Some(())
    }

    /// A repair takes its next step.
    pub fn repair_step(&self, state: &mut State, place: u8, outcome: Outcome) -> Option<()> {
        let repair = state.repairs[place as usize]?;
        let authority = self.repaired_from(repair.revision, repair.row, &repair.mark)?;
        let secondary = authority.other();
        let first = self.reads_first(authority, Rule::RepairOrder);
        let read = |state: &State, side: Side| match outcome {
            Outcome::Lagging => state.stores[side as usize].replica[repair.row as usize],
            Outcome::Applied | Outcome::Refused | Outcome::Lost | Outcome::Dropped | Outcome::Skipped => {
                state.cell(side, repair.row)
            }
        };
        let next = match repair.at {
            RepairAt::One => Some(RepairAt::Other(read(state, first))),
            RepairAt::Other(one) => {
                let other = read(state, first.other());
                let (truth, seen) = if first == authority { (one, other) } else { (other, one) };
                (seen != truth).then_some(RepairAt::Put(truth, seen))
            }
            RepairAt::Put(truth, seen) => {
                let blind = self.dropped(Rule::RepairCas) || self.dropped(Rule::CopyTruth);
                let call = Call {
                    owner: Owner::Repair(repair.number),
                    side: secondary,
                    row: repair.row,
                    change: Change::Set(truth),
                    expected: (!blind).then_some(seen),
                    authoritative: false,
                };
                let missed = call.expected.is_some_and(|expected| expected != state.cell(secondary, repair.row));
                match self.call(state, call, outcome)? {
                    Effect::Unknown => Some(RepairAt::Linger),
                    Effect::Applied | Effect::Refused if missed => Some(RepairAt::One),
                    Effect::Applied | Effect::Refused => {
                        let done = self.dropped(Rule::RepairReread) || self.dropped(Rule::CopyTruth);
                        (!done).then_some(RepairAt::Again(truth))
                    }
                }
            }
            RepairAt::Again(put) => (read(state, authority) != put).then_some(RepairAt::One),
            RepairAt::Linger => Some(RepairAt::One),
        };
        state.repairs[place as usize] = next.map(|at| Repair { at, ..repair });
        if next.is_none() {
            self.repaired(state, &repair);
        }
        Some(())
    }

    fn repaired(&self, state: &mut State, repair: &Repair) {
        let marks = match repair.home {
            Some(instance) if !repair.handed => &mut state.instances[instance as usize].marks,
            Some(_) | None => &mut state.control.marks,
        };
        let mark = &mut marks.rows[repair.row as usize];
        let same = mark.is_some_and(|mark| mark.generation == repair.mark.generation);
        if same || self.dropped(Rule::Generations) {
            *mark = None;
        }
        if repair.home.is_none() {
            state.control.last_repair = Some(state.now());
        }
    }

    /// Somebody waits for the repairs that run in this instance, or, for none, on their own (R6).
    #[must_use]
    pub fn repairs_hold(&self, state: &State, home: Option<u8>, revision: Revision) -> bool {
        !self.dropped(Rule::RepairHolds)
            && state
                .repairs
                .iter()
                .flatten()
                .any(|repair| repair.home == home && (home.is_none() || repair.revision != revision))
    }
}
