//! The control plane: who has acknowledged what, what has been shown, and which revision comes next.

use crate::action::Action;
use crate::application::{Instance, Marks};
use crate::model::Protocol;
use crate::plans::Next;
use crate::rules::Rule;
use crate::state::{INSTANCES, State};
use crate::store::{Owner, ROWS};
use crossfade_core::plan::Phase;
use crossfade_core::{Answer, BackfillState, Blocker, Evidence, Revision, Side, Step, Tick, Verification};

/// Everything that the control plane keeps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Control {
    /// The newest revision.
    pub published: Revision,
    /// Which life of the control plane this is.
    pub incarnation: u32,
    /// The registered instances, with the revision that each has acknowledged.
    pub members: [Option<Revision>; INSTANCES],
    /// Instances that died registered and have not been evicted, a bit each.
    pub silent: u8,
    /// Instances that vanished, a bit each; the highest bit is a restore.
    pub suspects: u8,
    /// Since when somebody is suspect.
    pub suspected: Option<Tick>,
    /// Per instance, how often it has reported the table as suspect (R24).
    pub reported: [u8; INSTANCES],
    /// When the table was last reported as suspect; none when a verification has cleared it since.
    pub doubted: Option<Tick>,
    /// Per instance, the rows on which effects may still land, as it last reported (R26).
    pub landing: [u8; INSTANCES],
    /// Marks that instances and verifications have handed over.
    pub marks: Marks,
    /// How far history has been moved.
    pub backfill: BackfillState,
    /// The rows that the backfill has.
    pub backfilled: [bool; ROWS],
    /// When the last repair ended that ran on its own.
    pub last_repair: Option<Tick>,
    /// When the last revision that brought keys into dual-write was acknowledged everywhere.
    pub dual_write_since: Option<Tick>,
    /// The published revision brings keys into dual-write and is not acknowledged everywhere yet.
    pub entering: bool,
    /// Since when all dual writes are checked.
    pub full_checks_since: Option<Tick>,
    /// The newest verification.
    pub verification: Option<Verification>,
    /// A published move was abandoned: its hold is waited for before writes go on (R4).
    pub retreating: bool,
    /// A rollback past the gate is under way (R20).
    pub forced: bool,
    /// A forced rollback has ended, and not everybody has ended what began before it (R20, R26).
    pub draining: bool,
    /// After a restore, the instances that have not reported yet, a bit each.
    pub unheard: u8,
}

/// The suspect that a restore leaves.
pub const RESTORED: u8 = 1 << 7;

/// The suspect that a forced rollback leaves.
pub const FORCED: u8 = 1 << 6;

impl State {
    /// A tick after all others.
    #[must_use]
    pub fn now(&self) -> Tick {
        let mut state = self.clone();
        Tick(state.ticks().iter().map(|tick| tick.0).max().unwrap_or(0) + 1)
    }

    fn ticks(&mut self) -> Vec<&mut Tick> {
        let control = &mut self.control;
        let backfill = match &mut control.backfill {
            BackfillState::Complete(tick) => Some(tick),
            BackfillState::NotStarted | BackfillState::Unfinished => None,
        };
        let ticks = [
            control.suspected.as_mut(),
            control.doubted.as_mut(),
            backfill,
            control.last_repair.as_mut(),
            control.dual_write_since.as_mut(),
            control.full_checks_since.as_mut(),
            control.verification.as_mut().map(|verification| &mut verification.began),
            self.verification.as_mut().map(|verifying| &mut verifying.began),
        ];
        ticks.into_iter().flatten().collect()
    }

    /// Only the order of ticks means anything: states with the same order are made the same state.
    pub fn number_ticks(&mut self) {
        let mut ticks = self.ticks();
        ticks.sort();
        let (mut last, mut rank) = (Tick(0), 0);
        for tick in ticks {
            if *tick != last {
                last = *tick;
                rank += 1;
            }
            *tick = Tick(rank);
        }
    }
}

impl Protocol {
    /// Every registered instance has acknowledged the published revision, and none is silent.
    #[must_use]
    pub fn acknowledged_everywhere(&self, state: &State) -> bool {
        let control = &state.control;
        control.silent == 0 && control.members.iter().flatten().all(|revision| *revision == control.published)
    }

    /// What the control plane, and instances towards it, may do next.
    pub fn control_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let control = &state.control;
        for (i, instance) in state.instances.iter().enumerate().take(self.scope.instances) {
            let id = i as u8;
            if control.silent & 1 << i != 0 && (self.dropped(Rule::EvictDead) || !orphans(state)) {
                actions.push(Action::Evict(id));
            }
            if !instance.up {
                continue;
            }
            let member = control.members[i].is_some();
            if member && self.dropped(Rule::EvictDead) && control.members[i] != Some(control.published) {
                actions.push(Action::Evict(id));
            }
            if control.unheard & 1 << i != 0 {
                actions.push(Action::Report(id));
            }
            if control.unheard != 0 || instance.left {
                continue;
            }
            // Instances are alike: one of them, the last, is the one that leaves.
            let last = i + 1 == self.scope.instances;
            if state.left.leaves > 0 && member && last && self.may_leave(state, id) {
                actions.push(Action::Leave(id));
            }
            let landed = control.landing[i] & !self.landing(instance) != 0;
            if member && (landed || (self.scope.tells && self.has_doubts(state, id))) {
                actions.push(Action::Tell(id));
            }
            if !instance.registered {
                actions.push(Action::Register(id));
            }
            if instance.plan.is_some_and(|plan| control.published > plan) {
                actions.push(Action::Receive(id));
            }
            let newest = instance.plan == Some(control.published) && control.members[i] != instance.plan;
            if member && newest && self.drained(state, id, control.published) {
                actions.push(Action::Acknowledge(id));
            }
            if state.left.lost_flags > 0 && self.dropped(Rule::KeepPlan) {
                actions.push(Action::FallBack(id));
            }
        }
        if state.left.revisions > 0 {
            for (place, next) in self.plans.of(control.published).next.iter().enumerate() {
                if self.may_publish(state, next) {
                    actions.push(Action::Publish(place as u8));
                } else if state.left.forced > 0
                    && next.step == Some(Step::Hold { forward: false })
                    && control.unheard == 0
                    && self.runs_ended(state)
                {
                    actions.push(Action::Force(place as u8));
                }
            }
        }
        if state.left.restores > 0 {
            actions.push(Action::Restore);
        }
    }

    fn may_publish(&self, state: &State, next: &Next) -> bool {
        let control = &state.control;
        let waited = self.waited_for(state);
        // Whoever has not seen a hold yet has the same roles as whoever has seen it given up.
        let here = self.plans.of(control.published).plan.phase();
        let given_up = next.step == Some(Step::Abandon) && matches!(here, Phase::Hold { .. }) && !control.retreating;
        if control.unheard != 0 || !(waited || given_up || self.dropped(Rule::Barrier)) {
            return false;
        }
        if control.forced {
            return true;
        }
        let moving = self.plans.of(control.published).moving(&self.plans.entries[next.plan as usize]);
        if matches!(next.step, Some(Step::Move { .. })) && self.may_land_on(state, moving) {
            return false;
        }
        match next.gate.answer(&self.evidence(state, next)) {
            Answer::Go => true,
            Answer::NoGo(blockers) => blockers.iter().all(|blocker| self.waived(blocker)),
        }
    }

    /// Everybody that a revision waits for has ended what was begun.
    fn waited_for(&self, state: &State) -> bool {
        self.acknowledged_everywhere(state) && self.runs_ended(state)
    }

    /// No backfill and no repair of its own is under way, nor a put of the backfill.
    fn runs_ended(&self, state: &State) -> bool {
        state.backfill.is_none()
            && state.linger_passed(Owner::Backfill)
            && !self.repairs_hold(state, None, state.control.published)
    }

    /// A rollback begins that does not ask the gate (R20).
    pub fn force(&self, state: &mut State, place: u8) -> Option<()> {
        state.left.forced -= 1;
        state.ghost.faulty = true;
        state.ghost.waived = true;
        state.control.forced = true;
        self.publish(state, place)
    }

    /// The rollback has ended; what it may have lost is looked for by a verification.
    fn forced_to_the_end(&self, state: &mut State) {
        state.control.forced = false;
        state.control.suspects |= FORCED;
        state.control.draining = !self.dropped(Rule::ForcedDrain);
        state.control.suspected = Some(state.now());
    }

    /// What was waived holds again, from what the authority has now.
    pub fn promises_again(&self, state: &mut State) {
        state.ghost.waived = false;
        let plan = self.plans.of(state.control.published);
        for row in 0..self.scope.rows as u8 {
            let value = state.cell(plan.decisions[row as usize].stage.authority(), row);
            state.ghost.begin_anew(row, value);
        }
    }

    /// What has been shown, as the gate before this step sees it.
    #[must_use]
    pub fn evidence(&self, state: &State, next: &Next) -> Evidence {
        let control = &state.control;
        let moving = self.plans.of(control.published).moving(&self.plans.entries[next.plan as usize]);
        let stops = |row: usize| {
            let equal = state.cell(Side::Source, row as u8) == state.cell(Side::Target, row as u8);
            control.marks.rows[row].is_some_and(|mark| mark.lingering == 0 || !equal || !self.dropped(Rule::MoveWaits))
        };
        let marks = (0..ROWS).filter(|row| moving[*row] && stops(*row)).count();
        let suspect = control.suspects != 0 || control.doubted.is_some();
        let repairs_running = state.repairs.iter().flatten().filter(|repair| repair.home.is_none()).count();
        Evidence {
            marks: marks as u64,
            suspects: if suspect { vec![String::new()] } else { Vec::new() },
            tables_in_doubt: Vec::new(),
            unchecked_writers: Vec::new(),
            different_operations: Vec::new(),
            repairs_running: repairs_running as u64,
            backfill: control.backfill,
            last_repair: control.last_repair,
            dual_write_since: control.dual_write_since,
            full_checks_since: control.full_checks_since,
            verification: control.verification,
            bypassing_writers: Vec::new(),
        }
    }

    /// A rule that is dropped would have given this reason.
    fn waived(&self, blocker: &Blocker) -> bool {
        match blocker {
            Blocker::Marks(_) => self.dropped(Rule::GateMarks),
            Blocker::Suspect(_) => self.dropped(Rule::Suspect),
            Blocker::RepairRunning(_) => self.dropped(Rule::RepairHolds),
            Blocker::BackfillNotStarted | Blocker::BackfillUnfinished => self.dropped(Rule::GateBackfill),
            Blocker::NotVerified | Blocker::Diverged(_) | Blocker::VerificationUnknown(_) => {
                self.dropped(Rule::GateVerified)
            }
            Blocker::VerificationTooOld(_) => self.dropped(Rule::GateFresh) || self.dropped(Rule::GateVerified),
            Blocker::ChecksNotFull => self.dropped(Rule::FullChecks),
            Blocker::BypassingWriter(_)
            | Blocker::TableSuspect(_)
            | Blocker::CannotCheck(_)
            | Blocker::OperationsDiffer(_) => false,
        }
    }

    /// A revision is published.
    pub fn publish(&self, state: &mut State, place: u8) -> Option<()> {
        let here = self.plans.of(state.control.published);
        let next = here.next.get(place as usize)?;
        let there = &self.plans.entries[next.plan as usize];
        state.left.revisions -= 1;
        let control = &mut state.control;
        if next.step.is_some_and(Step::ends_target_claim) && !self.dropped(Rule::NewClaim) {
            control.backfill = BackfillState::NotStarted;
            control.backfilled = [false; ROWS];
        }
        for (before, after) in here.decisions.iter().zip(there.decisions) {
            if after.stage < before.stage && !matches!(there.plan.phase(), Phase::Hold { .. }) {
                state.ghost.rolled_back |= 1 << before.stage as u8;
            }
        }
        let control = &mut state.control;
        control.entering |= next.enters_dual_write;
        control.retreating = next.step == Some(Step::Abandon) && matches!(here.plan.phase(), Phase::Move { .. });
        if !there.full_checks() {
            control.full_checks_since = None;
        }
        let number = control.published.next(u64::from(next.plan));
        control.published = Revision { incarnation: control.incarnation, ..number };
        if there.full_checks() && control.full_checks_since.is_none() && self.dropped(Rule::ChecksFirst) {
            state.control.full_checks_since = Some(state.now());
        }
        if state.control.forced && matches!(there.plan.phase(), Phase::Settled) {
            self.forced_to_the_end(state);
        }
        self.told(state);
        Some(())
    }

    /// Somebody acknowledged, came or went: perhaps the revision is now acknowledged everywhere.
    fn told(&self, state: &mut State) {
        if !self.acknowledged_everywhere(state) || state.control.unheard != 0 {
            return;
        }
        if state.control.entering {
            state.control.entering = false;
            state.control.dual_write_since = Some(state.now());
        }
        if state.control.draining {
            state.control.draining = false;
            state.control.suspected = Some(state.now());
        }
        let plan = self.plans.of(state.control.published);
        if plan.full_checks() && state.control.full_checks_since.is_none() && self.all_can_check(state) {
            state.control.full_checks_since = Some(state.now());
        }
        // Where nothing is mirrored any more, no row has to be equal: what was marked is forgotten.
        for (row, decision) in plan.decisions.iter().enumerate().filter(|(_, decision)| !decision.stage.is_mirrored()) {
            debug_assert!(!decision.held, "authority moves only where rows are mirrored");
            state.control.marks.rows[row] = None;
            state.instances.iter_mut().for_each(|instance| instance.marks.rows[row] = None);
        }
    }

    /// Every member can check what it writes (R25).
    fn all_can_check(&self, state: &State) -> bool {
        let mut members = state.control.members.iter().zip(0..);
        self.dropped(Rule::WhoCanCheck) || members.all(|(member, id)| member.is_none() || self.can_check(id))
    }

    /// An instance starts: it registers and gets its first plan in one transaction (R3).
    pub fn start(&self, state: &mut State, id: u8) -> Option<()> {
        state.left.starts -= 1;
        let published = state.control.published;
        let instance = &mut state.instances[id as usize];
        instance.up = true;
        let had = instance.plan;
        if self.dropped(Rule::NoCachedPlan) && had.is_some() {
            return Some(());
        }
        if self.dropped(Rule::WaitForPlan) && had.is_none() {
            instance.plan = Some(self.default_revision());
            return Some(());
        }
        // A control plane that was restored hands out nothing yet; a start is then a start later.
        if state.control.unheard != 0 {
            return None;
        }
        instance.plan = Some(published);
        if !self.dropped(Rule::RegisterWithPlan) {
            self.register(state, id);
        }
        Some(())
    }

    fn default_revision(&self) -> Revision {
        Revision { incarnation: 0, number: 0, hash: u64::from(self.plans.default) }
    }

    /// An instance becomes a member; with what it has, until it acknowledges more.
    pub fn register(&self, state: &mut State, id: u8) {
        let instance = &mut state.instances[id as usize];
        instance.registered = true;
        state.control.members[id as usize] = instance.plan;
        if !self.all_can_check(state) {
            state.control.full_checks_since = None;
        }
        self.told(state);
    }

    /// An instance gets the published plan; operations that began keep theirs (R2).
    pub fn receive(&self, state: &mut State, id: u8) {
        state.instances[id as usize].plan = Some(state.control.published);
    }

    /// An instance acknowledges the plan that it has, and hands its marks over.
    pub fn acknowledge(&self, state: &mut State, id: u8) {
        let instance = &mut state.instances[id as usize];
        state.control.members[id as usize] = instance.plan;
        if !self.dropped(Rule::MarksWithAck) {
            self.hand_over(state, id);
        }
        state.control.landing[id as usize] = self.landing(&state.instances[id as usize]);
        self.told(state);
    }

    fn hand_over(&self, state: &mut State, id: u8) {
        for (row, mark) in state.instances[id as usize].marks.rows.iter_mut().enumerate() {
            if let Some(mark) = mark.take() {
                state.control.marks.set(row as u8, mark);
            }
        }
        if self.has_doubts(state, id) {
            state.control.reported[id as usize] = state.instances[id as usize].raised;
            state.control.doubted = Some(state.now());
        }
    }

    /// The instance has found the table suspect since it last reported that.
    #[must_use]
    pub fn has_doubts(&self, state: &State, id: u8) -> bool {
        let reported = state.control.reported[id as usize];
        let silent = reported > 0 && self.dropped(Rule::ReportEachTime);
        state.instances[id as usize].raised > reported && !silent
    }

    /// An instance reports what may still land, with the marks and the suspicion that it has (R24, R26).
    pub fn tell(&self, state: &mut State, id: u8) {
        self.hand_over(state, id);
        state.control.landing[id as usize] &= self.landing(&state.instances[id as usize]);
    }

    /// Nothing of the instance is under way.
    fn may_leave(&self, state: &State, id: u8) -> bool {
        let repairs = state.repairs.iter().flatten().any(|repair| repair.home == Some(id));
        let idle = state.instances[id as usize].operations.iter().all(Option::is_none);
        idle && (!repairs || self.dropped(Rule::NoRepair))
    }

    /// An instance says goodbye, and hands over what it knows (R30).
    pub fn leave(&self, state: &mut State, id: u8) {
        state.left.leaves -= 1;
        let marks = state.instances[id as usize].marks;
        if !self.dropped(Rule::GoodbyeMarks) {
            self.hand_over(state, id);
        }
        state.control.members[id as usize] = None;
        state.control.reported[id as usize] = 0;
        state.control.landing[id as usize] = 0;
        let instance = &mut state.instances[id as usize];
        let plan = instance.plan;
        *instance = match (self.dropped(Rule::NoOperation), self.dropped(Rule::NoRepair)) {
            (false, false) => Instance { plan, ..Instance::default() },
            (_, repairs) => {
                let marks = if repairs { marks } else { Marks::default() };
                Instance { left: true, up: true, registered: true, marks, plan, ..Instance::default() }
            }
        };
        self.told(state);
    }

    /// An instance falls back to a default that nobody published.
    pub fn fall_back(&self, state: &mut State, id: u8) {
        state.left.lost_flags -= 1;
        state.ghost.faulty = true;
        state.instances[id as usize].plan = Some(self.default_revision());
    }

    /// The operator evicts an instance (R8).
    pub fn evict(&self, state: &mut State, id: u8) {
        let now = state.now();
        let control = &mut state.control;
        // A process that started again in the same place is another member.
        if control.silent & 1 << id == 0 {
            control.members[id as usize] = None;
        }
        control.silent &= !(1 << id);
        control.unheard &= !(1 << id);
        if !self.dropped(Rule::Suspect) {
            control.suspects |= 1 << id;
            control.suspected = Some(now);
        }
        self.told(state);
    }

    /// The control plane is restored from its backup (R21).
    pub fn restore(&self, state: &mut State) -> Option<()> {
        state.left.restores -= 1;
        state.ghost.faulty = true;
        let backup = state.backup.take()?;
        state.control = *backup;
        state.verification = None;
        let control = &mut state.control;
        for (i, member) in control.members.iter_mut().enumerate() {
            if member.is_some() && !state.instances[i].up {
                *member = None;
                control.silent |= 1 << i;
            }
        }
        if !self.dropped(Rule::RestoredWaits) {
            control.incarnation += 1;
            // A hold that is reported may be one that a move was abandoned by.
            control.retreating = true;
            let listed = !self.dropped(Rule::RestoredListed);
            let runs = |i: usize| listed && state.instances[i].up && state.instances[i].plan.is_some();
            let awaited = control.members.iter().enumerate().filter(|(i, member)| member.is_some() || runs(*i));
            control.unheard = awaited.fold(0, |bits, (i, _)| bits | 1 << i) | control.silent;
        }
        if !self.dropped(Rule::RestoredSuspects) {
            control.suspects |= RESTORED;
            control.full_checks_since = None;
            let now = state.now();
            state.control.suspected = Some(now);
        }
        Some(())
    }

    /// An instance tells a restored control plane what it knows; a higher revision wins.
    pub fn report(&self, state: &mut State, id: u8) -> Option<()> {
        let plan = state.instances[id as usize].plan?;
        let control = &mut state.control;
        control.published = control.published.max(plan);
        // A report is no acknowledgement: operations of an older revision may still run.
        let member = &mut control.members[id as usize];
        if self.dropped(Rule::ReportIsNoAck) {
            *member = Some(plan);
        } else if member.is_none() {
            *member = Some(self.default_revision());
        }
        control.unheard &= !(1 << id);
        self.told(state);
        Some(())
    }
}

/// Something is on its way whose process is gone.
fn orphans(state: &State) -> bool {
    let running = |number| state.instances.iter().flat_map(|i| i.operations).flatten().any(|o| o.number == number);
    let repairing = |number| state.repairs.iter().flatten().any(|repair| repair.number == number);
    state.late.iter().flatten().any(|late| match late.call.owner {
        Owner::Operation(number) => !running(number),
        Owner::Repair(number) => !repairing(number),
        Owner::Backfill => false,
    })
}
