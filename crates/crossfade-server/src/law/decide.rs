//! What may be appended when somebody asks for something: the entries, or why not. Pure; asking twice is harmless.

use super::event::{Event, Happening, Waived};
use super::evidence::Presence;
use super::step::share_moving;
use super::{Migration, State};
use crossfade_api::problem::{Code, Problem};
use crossfade_api::revision::RevisionText;
use crossfade_api::wire::{
    AutoRequest, ConfirmOperationsRequest, CreateRequest, GateDoc, MARKS_AT_ONCE, OptionsRequest, Preview, Publication,
    RampRequest, RetireRequest, RollbackRequest, TableDoubt, WriterRequest,
};
use crossfade_core::{Options, Phase, Plan, Position, Revision, Share, Stage, Step, Tick};
use std::collections::BTreeSet;

/// Entries to append, or why not.
pub type Decision = Result<Vec<Event>, Problem>;

pub(super) fn to(migration: &Migration, what: Happening) -> Event {
    Event::To { migration: migration.plan.migration().to_owned(), what }
}

impl State {
    /// The migration of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn migration(&self, id: &str) -> Result<&Migration, Problem> {
        self.migrations.get(id).ok_or_else(|| {
            let id: String = id.chars().take(64).collect();
            Problem::new(Code::NotFound, format!("there is no migration `{id}`: `crossfade status` lists them"))
        })
    }

    /// Makes a migration; the same declaration again changes nothing.
    ///
    /// # Errors
    /// When the plan is not valid, or not one to begin with, or the name is taken by another.
    pub fn create(&self, request: &CreateRequest) -> Decision {
        let plan = Plan::new(request.plan.clone()).map_err(|error| Problem::new(Code::Invalid, error.to_string()))?;
        if !matches!(plan.phase(), Phase::Settled) || plan.position().ramp().is_some() {
            return Err(Problem::new(Code::Invalid, "a first plan is settled and has no ramp: begin at a stage"));
        }
        for writer in &request.bypassing_writers {
            plain("writer", writer)?;
        }
        if let Some(known) = self.migrations.get(plan.migration()) {
            let writers: BTreeSet<&String> = known.writers.keys().collect();
            // A salt that is left out is the id.
            let same = Plan::new(known.declared.clone()).is_ok_and(|declared| declared == plan);
            if same && writers == request.bypassing_writers.iter().collect() {
                return Ok(Vec::new());
            }
            let plan = Box::new(request.plan.clone());
            return Ok(vec![to(known, Happening::Declared { plan, writers: request.bypassing_writers.clone() })]);
        }
        let revision = Revision { incarnation: self.incarnation.max(1), number: 1, hash: plan.fingerprint() };
        let publication = Publication { revision: revision.into(), plan: plan.spec() };
        Ok(vec![Event::Created { publication, writers: request.bypassing_writers.clone() }])
    }

    /// As [`State::create`], and changes nothing of a migration that is there with another declaration.
    ///
    /// # Errors
    /// As [`State::create`], and when the name is taken by another declaration.
    pub fn create_new(&self, request: &CreateRequest) -> Decision {
        let events = self.create(request)?;
        if self.migrations.contains_key(&request.plan.migration) && !events.is_empty() {
            let detail = format!(
                "there is a migration `{}` with another salt, other options or other declared writers: look at it with `crossfade status`, or choose another name",
                request.plan.migration
            );
            return Err(Problem::new(Code::Exists, detail));
        }
        Ok(events)
    }
}

pub(super) fn plain(what: &str, name: &str) -> Result<(), Problem> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    if name.is_empty() || name.len() > 128 || !name.chars().all(fine) {
        let detail = format!("the name of {what} has 1 to 128 of a-z, A-Z, 0-9, `-`, `_`, `.`, `:` and `@`");
        return Err(Problem::new(Code::Invalid, detail));
    }
    Ok(())
}

/// The revision that follows, for this plan.
#[must_use]
pub fn following(migration: &Migration, incarnation: u32, plan: &Plan) -> Publication {
    let Revision { incarnation: last, number, hash: _ } = migration.revision;
    let revision = Revision { incarnation: last.max(incarnation), number: number + 1, hash: plan.fingerprint() };
    Publication { revision: revision.into(), plan: plan.spec() }
}

impl Migration {
    /// Why the next revision cannot be published now, if it cannot (R3, R8, R21).
    #[must_use]
    pub fn waiting_for(&self, presence: &Presence) -> BTreeSet<String> {
        self.unacknowledged
            .iter()
            .cloned()
            .chain(presence.absent())
            .filter(|id| self.instances.contains_key(id))
            .collect()
    }

    /// Instances that are not heard of, and what to do about them; none when every one is.
    #[must_use]
    pub fn waits_for_absent(&self, presence: &Presence) -> Option<(Vec<String>, String)> {
        let absent: Vec<String> = presence.absent().into_iter().filter(|id| self.instances.contains_key(id)).collect();
        if absent.is_empty() {
            return None;
        }
        let unheard: Vec<&str> =
            absent.iter().filter(|id| presence.unheard.contains(*id)).map(String::as_str).collect();
        let alive = if unheard.is_empty() {
            String::new()
        } else {
            format!("; {} may be alive, they have only not been heard of since this server began", unheard.join(", "))
        };
        let why = format!(
            "the next revision waits for {}: wait until they are heard of, or, when their processes are dead and reach neither database, state so by name: `crossfade instances {} evict {} --dead`{alive}",
            absent.join(", "),
            self.plan.migration(),
            absent.join(" ")
        );
        Some((absent, why))
    }

    /// A step may begin, whatever is under way.
    fn may_force(&self, if_revision: RevisionText) -> Result<(), Problem> {
        if self.retired {
            return Err(Problem::new(Code::Retired, "it was retired: begin a new migration under another name"));
        }
        if if_revision.0 != self.revision {
            let now = RevisionText(self.revision);
            let detail = format!("revision {now} is in force, not {if_revision}: look at the status and decide again");
            return Err(Problem::new(Code::RevisionChanged, detail));
        }
        if self.paused {
            return Err(Problem::new(Code::Paused, "steps wait until `crossfade resume`"));
        }
        Ok(())
    }

    fn may_step(&self, if_revision: RevisionText) -> Result<(), Problem> {
        if let (Some(step), true) = (&self.step, if_revision.0 == self.revision && !self.retired) {
            let waiting = self.unacknowledged.iter().cloned().collect();
            let detail = format!("the step to `{}` has not ended: let it end, or abandon it", step.goal);
            return Err(Problem::new(Code::StepUnderWay, detail).waiting_for(waiting));
        }
        self.may_force(if_revision)
    }

    fn begin(
        &self,
        state: &State,
        plans: Vec<Plan>,
        goal: String,
        waived: Option<Waived>,
        presence: &Presence,
    ) -> Decision {
        if let Some((absent, why)) = self.waits_for_absent(presence) {
            return Err(Problem::new(Code::Silent, why).waiting_for(absent));
        }
        let forced = waived.is_some();
        let began = Happening::StepBegan { goal, plans: plans.iter().map(Plan::spec).collect(), forced, waived };
        let mut events = vec![to(self, began)];
        // What is forced waits for no operation of an earlier plan (R20, R26).
        if let Some(first) = plans.first()
            && (self.unacknowledged.is_empty() || forced)
        {
            let publication = following(self, state.incarnation, first);
            events.push(to(self, Happening::Published { publication }));
        }
        Ok(events)
    }

    fn plans_to(&self, goal: Position) -> Result<(Step, Vec<Plan>), Problem> {
        let unlawful = |error: crossfade_core::StepError| Problem::new(Code::Unlawful, error.to_string());
        let plans = self.plan.steps_to(goal).map_err(unlawful)?;
        let first = plans.first().ok_or_else(|| Problem::new(Code::Unlawful, "there is nothing to do"))?;
        let step = self.plan.admit(first).map_err(unlawful)?;
        if matches!(step, Step::Stay) && first.position() == self.plan.position() {
            let detail = format!("it is at `{}` already", self.plan.position());
            return Err(Problem::new(Code::Unlawful, detail));
        }
        Ok((step, plans))
    }

    fn confirmed(&self, confirm: Option<&String>, why: &str) -> Result<(), Problem> {
        if confirm.is_some_and(|typed| typed == self.plan.migration()) {
            return Ok(());
        }
        let detail = format!("{why}: confirm by typing `{}`", self.plan.migration());
        Err(Problem::new(Code::ConfirmationNeeded, detail))
    }

    fn through(&self, gate: &GateDoc, goal: &Position) -> Result<(), Problem> {
        if gate.go {
            return Ok(());
        }
        let names: Vec<&str> = gate.blockers.iter().map(|blocker| blocker.code.as_str()).collect();
        let detail = format!("the gate before `{goal}` refuses: {}", names.join(", "));
        Err(Problem::new(Code::Gate, detail).with_blockers(gate.blockers.clone()))
    }

    /// Begins a step towards a stage.
    ///
    /// # Errors
    /// The rule that it would break, and the blockers of the gate.
    pub fn ramp(&self, state: &State, request: &RampRequest, presence: &Presence) -> Decision {
        self.may_step(request.if_revision)?;
        let goal = self.ramp_goal(request.stage, request.percent, request.pins.clone())?;
        let (step, plans) = self.plans_to(goal.clone())?;
        self.through(&self.gate(step, &goal, presence), &goal)?;
        if step.leaves_source() {
            self.confirmed(request.confirm.as_ref(), "this is the point of no return, the source is written no more")?;
        }
        self.begin(state, plans, goal.to_string(), None, presence)
    }

    /// Begins a step back, or abandons a held one. By force where that is asked and authority would move: without the gate.
    ///
    /// # Errors
    /// The rule that it would break, and the blockers of the gate unless it is forced.
    pub fn rollback(&self, state: &State, request: &RollbackRequest, presence: &Presence) -> Decision {
        if request.force
            && let Some(goal) = self.forced_goal()?
        {
            return self.force_back(state, request, goal, presence);
        }
        if self.is_held() && request.if_revision.0 == self.revision {
            return self.abandon(state, "rolled back while writes were held");
        }
        self.may_step(request.if_revision)?;
        let goal = self.rollback_goal()?;
        let (step, plans) = self.plans_to(goal.clone())?;
        self.through(&self.gate(step, &goal, presence), &goal)?;
        self.begin(state, plans, goal.to_string(), None, presence)
    }

    /// Where a forced rollback leads from here; none when it would move no authority, so that there is nothing to force.
    fn forced_goal(&self) -> Result<Option<Position>, Problem> {
        let here = self.plan.position();
        let given_up = self.step.as_ref().is_some_and(|step| step.abandoned.is_some());
        Ok(match self.plan.phase() {
            Phase::Settled => {
                let waits = self.step.is_some() || !self.unacknowledged.is_empty();
                // From ramp-down the way to the source leads over live, and what is not acknowledged would end it there.
                let at_target = here.occupied().0 >= Stage::Live && here.occupied().1 == Stage::RampDown;
                Some(self.rollback_goal()?).filter(|goal| here.moves_authority(goal) || at_target && waits)
            }
            // Given up from a move, and held until nobody reads the other side any more.
            Phase::Hold { .. } if given_up => Some(here.clone()),
            // On its way back already: what is left of it, by force.
            Phase::Hold { next } if self.leads_back(here, next) => Some(next.clone()),
            // On its way forward. Given up, every key has its old authority; some may have the target still.
            Phase::Hold { .. } => {
                let settled = self.given_up()?;
                settled.forced_goal()?
            }
            Phase::Move { previous } if self.leads_back(previous, here) => Some(here.clone()),
            Phase::Move { previous } => Some(previous.clone()),
        })
    }

    /// From `from` to `to` keys go back.
    fn leads_back(&self, from: &Position, to: &Position) -> bool {
        let share = |position: &Position, edge| position.share_on(edge).unwrap_or(Share::NONE);
        let settled = self.plan.settled_at(from.clone());
        let steps = settled.map_err(crossfade_core::StepError::from).and_then(|here| {
            let first = here.steps_to(to.clone())?;
            first.first().map_or(Ok(Step::Stay), |first| here.admit(first))
        });
        match steps {
            Ok(Step::Hold { forward }) => !forward,
            Ok(_) | Err(_) => from.common_edge(to).is_some_and(|edge| share(from, edge) > share(to, edge)),
        }
    }

    /// This migration, once the hold under way is given up: the old roles, settled.
    fn given_up(&self) -> Result<Migration, Problem> {
        let invalid = |error: crossfade_core::PlanError| Problem::new(Code::Invalid, error.to_string());
        let plan = self.plan.settled_at(self.plan.position().clone()).map_err(invalid)?;
        Ok(Migration { plan, step: None, ..self.clone() })
    }

    /// A forced rollback (R20): when the new authority is down, what waits for it would wait for ever. It takes the place
    /// of the step under way, begins over a revision that is not acknowledged, and asks no gate. Silent instances keep it
    /// back all the same, since they may write under an old plan: those that are dead are evicted by name.
    fn force_back(&self, state: &State, request: &RollbackRequest, goal: Position, presence: &Presence) -> Decision {
        self.may_force(request.if_revision)?;
        if self.plan.forced() {
            let waiting = self.unacknowledged.iter().cloned().collect();
            let detail = "a forced rollback is under way: it goes on when every instance has its plan in force";
            return Err(Problem::new(Code::StepUnderWay, detail).waiting_for(waiting));
        }
        self.confirmed(request.confirm.as_ref(), "a forced rollback may lose writes")?;
        let unlawful = |error: crossfade_core::StepError| Problem::new(Code::Unlawful, error.to_string());
        let mut events = Vec::new();
        let on_the_way = |goal: &Position| match self.plan.phase() {
            Phase::Settled => false,
            Phase::Hold { next: other } | Phase::Move { previous: other } => {
                goal == other || goal == self.plan.position()
            }
        };
        let from = if self.is_held() && !on_the_way(&goal) {
            // A hold on its way forward: its old roles are settled first. Nobody has written under others.
            let settled = self.given_up()?;
            let publication = following(self, state.incarnation, &settled.plan);
            let revision = publication.revision.0;
            let why = "a forced rollback takes its place".to_owned();
            events.push(to(self, Happening::Abandoned { why, publication: Some(publication) }));
            Migration { revision, ..settled }
        } else {
            if self.step.as_ref().is_some_and(|step| !step.plans.is_empty() && step.abandoned.is_none())
                && !self.is_held()
            {
                let why = "a forced rollback takes its place".to_owned();
                events.push(to(self, Happening::Abandoned { why, publication: None }));
            }
            self.clone()
        };
        let plans = from.plan.forced_steps_to(goal.clone()).map_err(unlawful)?;
        events.extend(from.begin(state, plans, goal.to_string(), Some(self.waived()), presence)?);
        Ok(events)
    }

    /// What a forced rollback of this moment waives: writes since the last place at which the sides were known equal.
    #[must_use]
    pub fn waived(&self) -> Waived {
        let rows = self.marks.keys().take(MARKS_AT_ONCE).map(|key| (key.table.clone(), key.row.clone())).collect();
        let verified = self.verification.map_or(Tick(0), |seen| seen.began);
        let doubts = self.doubts.iter();
        let suspect = doubts.map(|(table, doubt)| TableDoubt { table: table.clone(), count: doubt.count }).collect();
        Waived { rows, marks: self.marks.len() as u64, since: verified, suspect }
    }

    /// Gives up the step under way. Lawful from hold and from move, since nothing was written between (R4).
    ///
    /// # Errors
    /// When there is none, or it cannot be taken back any more.
    pub fn abandon(&self, state: &State, why: &str) -> Decision {
        let retreating = self.is_held() && self.step.as_ref().is_some_and(|step| step.abandoned.is_some());
        if retreating && !self.unacknowledged.is_empty() {
            let waiting = self.unacknowledged.iter().cloned().collect();
            let detail =
                "its move was abandoned already: writes go on when every instance has acknowledged the old roles";
            return Err(Problem::new(Code::StepUnderWay, detail).waiting_for(waiting));
        }
        if let Some(plan) = self.plan.abandoned() {
            let publication = Some(following(self, state.incarnation, &plan));
            return Ok(vec![to(self, Happening::Abandoned { why: why.to_owned(), publication })]);
        }
        match &self.step {
            Some(step) if !step.plans.is_empty() => {
                Ok(vec![to(self, Happening::Abandoned { why: why.to_owned(), publication: None })])
            }
            Some(_) => Err(Problem::new(
                Code::NotReady,
                "its last revision is published: let it be acknowledged, then roll back",
            )),
            None => Err(Problem::new(Code::NoStep, "there is nothing to abandon")),
        }
    }

    /// Publishes other options.
    ///
    /// # Errors
    /// When an option is out of range, or another step is under way.
    pub fn set_options(&self, state: &State, request: &OptionsRequest, presence: &Presence) -> Decision {
        self.may_step(request.if_revision)?;
        self.publish_options(state, request.options.clone(), presence)
    }

    pub(super) fn publish_options(&self, state: &State, options: Options, presence: &Presence) -> Decision {
        let invalid = |error: crossfade_core::PlanError| Problem::new(Code::Invalid, error.to_string());
        let next = self.plan.with_options(options).map_err(invalid)?;
        if next == self.plan {
            return Err(Problem::new(Code::Unlawful, "these options are in force already"));
        }
        let goal = format!("{} with other options", self.plan.position());
        self.begin(state, vec![next], goal, None, presence)
    }

    /// What a step to the goal of this ramp, or of a rollback without one, would do.
    ///
    /// # Errors
    /// When the protocol allows no such step.
    pub fn preview(&self, ramp: Option<&RampRequest>, presence: &Presence) -> Result<Preview, Problem> {
        let goal = match ramp {
            Some(wish) => self.ramp_goal(wish.stage, wish.percent, wish.pins.clone())?,
            None => self.rollback_goal()?,
        };
        let (step, plans) = self.plans_to(goal.clone())?;
        let held = plans.len() > 1;
        let moving = share_moving(self.plan.position(), &goal);
        let names = if held { vec!["hold", "move", "release"] } else { vec!["ramp"] };
        let bound = self.plan.options().hold_bound.as_millis();
        Ok(Preview {
            goal: goal.to_string(),
            revisions: names.into_iter().map(str::to_owned).collect(),
            moving,
            effects: effects(self.plan.position(), &goal, moving, held),
            held_at_most_ms: held.then(|| u64::try_from(bound).unwrap_or(u64::MAX)),
            way_back: way_back(&goal).to_owned(),
            needs_confirmation: step.leaves_source(),
            gate: self.gate(step, &goal, presence),
            waiting_for: self.waiting_for(presence).into_iter().collect(),
        })
    }

    /// A declared writer is paused, or writes again. Where authority has moved, or is moving, it would write the side
    /// that has lost it: that asks for the migration's name.
    ///
    /// # Errors
    /// When no writer of this name is declared, or the name is missing.
    pub fn pause_writer(&self, request: &WriterRequest) -> Decision {
        let WriterRequest { writer, paused, confirm } = request;
        match self.writers.get(writer) {
            None => return Err(Problem::new(Code::NotFound, "no writer of this name is declared: see the status")),
            Some(known) if known == paused => return Ok(Vec::new()),
            Some(_) => {}
        }
        let (_, later) = self.plan.position().occupied();
        if !paused && (self.is_held() || later >= Stage::Live) {
            let why = format!(
                "at `{}` the authority of some keys has moved or is moving, and {writer} writes without the library: its writes would go to the side that has lost authority, nobody would read them, and a repair would take them back",
                self.plan.position()
            );
            self.confirmed(confirm.as_ref(), &why)?;
        }
        Ok(vec![to(self, Happening::WriterPaused { writer: writer.clone(), paused: *paused })])
    }

    /// An operator confirms that exactly these operations may run on a table side by side while authority moves.
    ///
    /// # Errors
    /// When the instances report others than these.
    pub fn confirm_operations(&self, request: &ConfirmOperationsRequest) -> Decision {
        let table = request.table.as_str();
        let asked: BTreeSet<&str> = request.operations.iter().map(String::as_str).collect();
        let found: BTreeSet<&str> = self.operations_by_table().remove(table).unwrap_or_default().into_keys().collect();
        if found.is_empty() {
            let table: String = table.chars().take(128).collect();
            let detail = format!("no instance reports operations on a table `{table}`: see `crossfade instances`");
            return Err(Problem::new(Code::NotFound, detail));
        }
        if asked != found {
            let found: Vec<&str> = found.into_iter().collect();
            let detail = format!(
                "instances report the operations {} on table {table}, and these are not the ones you confirmed: look at the instances and decide again",
                found.join(", ")
            );
            return Err(Problem::new(Code::NotReady, detail));
        }
        if self.confirmed.get(table).is_some_and(|known| known.iter().map(String::as_str).eq(found.iter().copied())) {
            return Ok(Vec::new());
        }
        let operations = found.into_iter().map(str::to_owned).collect();
        Ok(vec![to(self, Happening::OperationsConfirmed { table: table.to_owned(), operations })])
    }

    /// Steps are refused from now on, or no longer.
    ///
    /// # Errors
    /// When the migration is retired.
    pub fn pause(&self, paused: bool) -> Decision {
        if self.retired {
            return Err(Problem::new(Code::Retired, "it was retired"));
        }
        if self.paused == paused {
            return Ok(Vec::new());
        }
        Ok(vec![to(self, if paused { Happening::Paused } else { Happening::Resumed })])
    }

    /// Sets the guarded rollout out.
    ///
    /// # Errors
    /// When it would cross the point of no return, or its shares do not rise.
    pub fn begin_auto(&self, request: &AutoRequest) -> Decision {
        if self.retired {
            return Err(Problem::new(Code::Retired, "it was retired"));
        }
        if request.until == Stage::Complete {
            let detail = "the point of no return asks for a person: roll out until ramp-down";
            return Err(Problem::new(Code::Invalid, detail));
        }
        let rising = request.percents.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || request.percents.first().is_some_and(|share| *share == Share::NONE) {
            return Err(Problem::new(Code::Invalid, "percents rise, and begin above 0"));
        }
        Ok(vec![to(self, Happening::AutoBegan { request: request.clone() })])
    }

    /// Ends the guarded rollout.
    #[must_use]
    pub fn end_auto(&self, why: &str) -> Vec<Event> {
        match &self.auto {
            Some(auto) if auto.ended.is_none() => vec![to(self, Happening::AutoEnded { why: why.to_owned() })],
            Some(_) | None => Vec::new(),
        }
    }

    /// Ends the migration.
    ///
    /// # Errors
    /// When not every key is at complete, acknowledged everywhere.
    pub fn retire(&self, request: &RetireRequest, presence: &Presence) -> Decision {
        self.may_step(request.if_revision)?;
        if self.plan.position().occupied() != (Stage::Complete, Stage::Complete) {
            let detail = format!("it is at `{}`: only what is complete can be retired", self.plan.position());
            return Err(Problem::new(Code::NotReady, detail));
        }
        let waiting: Vec<String> = self.waiting_for(presence).into_iter().collect();
        if !waiting.is_empty() {
            let detail = "not every instance has acknowledged that it runs at complete";
            return Err(Problem::new(Code::NotReady, detail).waiting_for(waiting));
        }
        self.confirmed(Some(&request.confirm), "retiring ends the migration")?;
        Ok(vec![to(self, Happening::Retired)])
    }
}

fn effects(here: &Position, goal: &Position, moving: Share, held: bool) -> Vec<String> {
    let mut effects = Vec::new();
    let Some(edge) = here.common_edge(goal) else { return effects };
    let forward = goal.share_on(edge) >= here.share_on(edge);
    let (from, to) = if forward { (edge.earlier(), edge.later()) } else { (edge.later(), edge.earlier()) };
    let (before, after) = (from.switches(), to.switches());
    let mut say = |before: bool, after: bool, gained: &str, lost: &str| {
        if after && !before {
            effects.push(format!("{moving} of keys will {gained}"));
        }
        if before && !after {
            effects.push(format!("{moving} of keys will no longer {lost}"));
        }
    };
    say(before.write_target, after.write_target, "write the target too", "write the target");
    say(before.read_target, after.read_target, "read the target", "read the target");
    say(before.write_source, after.write_source, "write the source too", "write the source");
    say(before.read_source, after.read_source, "read the source, to compare", "read the source");
    if before.authority != after.authority {
        effects.push(format!("the {} becomes the authority for {moving} of keys", after.authority));
    }
    if held {
        effects.push(format!("writes of {moving} of keys are held for a few propagations"));
    }
    effects
}

fn way_back(goal: &Position) -> &'static str {
    let (_, later) = goal.occupied();
    match later {
        Stage::Off => "nothing to go back from",
        Stage::DualWrite | Stage::Shadow => "yes, free",
        Stage::Live | Stage::RampDown => "yes, while the source is kept converged",
        Stage::Complete => "none: this is the point of no return",
    }
}
