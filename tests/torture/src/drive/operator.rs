//! The operator: ramps forward and back without pause, and does what the gates ask for.

use super::fleet::{App, Process};
use super::world::{World, count};
use crate::broken::Broken;
use crate::check::{Violation, Waiver};
use crate::clock::{Dice, now};
use crate::plane::{MIGRATION, Trouble};
use crate::roles::data::Kind;
use anyhow::Context as _;
use crossfade_api::problem::{Code, Problem};
use crossfade_api::wire::{MarksPage, RampRequest, RollbackRequest, Status, StepAnswer};
use crossfade_core::{BackfillState, Plan, Position, Share, Stage, Verdict};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a step or a run may take before the run is given up as stuck: long, since a machine may stand still for a
/// while.
const STUCK: Duration = Duration::from_secs(240);

/// Expired sessions are not deleted for so long at most, where no move of authority ends it sooner.
const SWEEPS_WAIT: Duration = Duration::from_secs(25);

pub(crate) struct Operator {
    dice: Dice,
    forward: bool,
    /// Somebody asked for a forced rollback at the next chance.
    pub(crate) force: std::sync::Arc<AtomicBool>,
    refused: u32,
    /// Something has just ended that leaves both sides equal, if it was right.
    pub(crate) curious: bool,
    /// A wish that only marks of the moment stand against: asked again.
    again: Option<(Stage, u64)>,
    /// Since when expired sessions are not deleted.
    paused: Option<Instant>,
    /// Authority has moved.
    moved_once: bool,
    /// What the last refusal said.
    pub(crate) refusal: String,
    /// Whether it was tried to move authority while an instance could not check a table.
    pub(crate) tried_unchecked: bool,
    /// Promises that the control plane broke.
    pub(crate) violations: Vec<Violation>,
    /// Stays about the stages at which history moves: a backfill that breaks its rule shows only when there are many.
    at_history: bool,
}

/// Whether both sides can be compared here, or why not.
pub(crate) fn comparable(here: &Position, backfill: &BackfillState) -> Result<(), String> {
    let (earlier, later) = here.occupied();
    if !(earlier.is_mirrored() && later.is_mirrored()) {
        return Err(format!("at `{here}` not every write goes to both sides"));
    }
    if later >= Stage::Live && !matches!(backfill, BackfillState::Complete(_)) {
        return Err(format!("at `{here}` the control plane knows of no complete backfill, and none can run there"));
    }
    Ok(())
}

/// Where everybody is.
pub(crate) fn position(status: &Status) -> anyhow::Result<Position> {
    Ok(Plan::new(status.publication.plan.clone())?.position().clone())
}

fn share(percent: u64) -> Share {
    Share::from_buckets(u32::try_from(percent * 1_000).unwrap_or(0)).unwrap_or(Share::ALL)
}

impl Operator {
    pub(crate) fn new(seed: u64, broken: Option<Broken>) -> Operator {
        Operator {
            dice: Dice::new(seed ^ 0x6f70),
            forward: true,
            force: std::sync::Arc::default(),
            refused: 0,
            again: None,
            curious: false,
            paused: None,
            moved_once: false,
            refusal: String::new(),
            tried_unchecked: false,
            violations: Vec::new(),
            at_history: broken == Some(Broken::InsertIfAbsent),
        }
    }

    /// Does the next thing.
    pub(crate) async fn turn(&mut self, world: &World) -> anyhow::Result<()> {
        let Ok(status) = world.status().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            return Ok(());
        };
        let _later = world.evict().await;
        if status.step.is_some() {
            return self.settle(world).await.map(drop);
        }
        if self.paused.is_some_and(|since| since.elapsed() > SWEEPS_WAIT) {
            self.sweeps(world, true).await?;
        }
        let here = position(&status)?;
        if self.at_history
            && here.occupied() == (Stage::DualWrite, Stage::DualWrite)
            && !matches!(status.evidence.backfill.state, BackfillState::Complete(_))
        {
            data(world, Kind::Backfill).await?;
            self.curious = true;
            return Ok(());
        }
        let back_moves =
            here.occupied() == (Stage::Live, Stage::Live) || here.occupied() == (Stage::Shadow, Stage::Live);
        if back_moves && self.force.swap(false, Ordering::Relaxed) {
            return self.force_back(world, &status, &here).await;
        }
        if !self.tried_unchecked && self.may_try_unchecked(world, &status, &here) {
            return self.try_unchecked(world).await;
        }
        let (stage, mut percent) = self.again.take().unwrap_or_else(|| self.wish(&here));
        // A run first goes where there is something to lose; what is short would end before.
        if self.forward && !self.moved_once && !self.at_history {
            percent = 100;
        }
        if world.ground.whole && stage == Stage::Live {
            percent = if self.forward { 100 } else { 0 };
        }
        let request = RampRequest {
            stage,
            percent: share(percent),
            pins: None,
            if_revision: status.publication.revision,
            confirm: None,
        };
        let answer: Result<StepAnswer, Trouble> = world.plane.post(&format!("/{MIGRATION}/ramp"), &request).await;
        match answer {
            Ok(_) => {
                self.refused = 0;
                world.say(&format!("ramp {stage} {percent} %  from {here}"));
                let after = self.settle(world).await?;
                self.tell(world, &here, &after).await
            }
            Err(Trouble::Refused(problem)) => {
                let marks =
                    problem.blockers.iter().all(|blocker| blocker.code == "marks") && problem.code == Code::Gate;
                if marks && !self.refused.is_multiple_of(40) {
                    self.again = Some((stage, percent));
                }
                self.answer(world, &problem, &status).await
            }
            Err(Trouble::Lost(_)) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(())
            }
        }
    }

    /// Where to next: a stage of the edge, and a share.
    fn wish(&mut self, here: &Position) -> (Stage, u64) {
        if self.dice.percent(12) && (self.moved_once || self.at_history) {
            self.forward = !self.forward;
        }
        let some = 10 + self.dice.below(80);
        if let Some((edge, at)) = here.ramp() {
            let at = u64::from(at.buckets() / 1_000);
            let percent = match (self.forward, self.dice.percent(60)) {
                (true, true) => 100,
                (true, false) => (at + 1 + some / 3).min(100),
                (false, true) => 0,
                (false, false) => at.saturating_sub(1 + some / 3),
            };
            return (edge.later(), percent);
        }
        match here.stage() {
            Stage::Off => self.forward = true,
            // Back to off costs a whole backfill: now and then.
            Stage::DualWrite if !self.forward => self.forward = !(self.at_history || self.dice.percent(40)),
            Stage::Shadow if self.at_history => self.forward = false,
            Stage::RampDown => self.forward = false,
            Stage::DualWrite | Stage::Shadow | Stage::Live | Stage::Complete => {}
        }
        let next = here.stage().edge().map(|edge| edge.later()).filter(|_| self.forward);
        match (next, self.dice.percent(40)) {
            (Some(next), true) => (next, 100),
            (Some(next), false) => (next, some),
            (None, true) => (here.stage(), 0),
            (None, false) => (here.stage(), some),
        }
    }

    /// Goes where both sides can be compared: every key mirrored, history moved. Says why they cannot be when the time is
    /// over.
    pub(crate) async fn come_home(&mut self, world: &World, within: Duration) -> anyhow::Result<Result<(), String>> {
        let began = Instant::now();
        let _peace = world.peace.write().await;
        for proxy in &world.proxies {
            proxy.set(super::proxy::Weather::Fair);
        }
        loop {
            let status = self.settle(world).await?;
            let here = position(&status)?;
            let Err(why) = comparable(&here, &status.evidence.backfill.state) else { return Ok(Ok(())) };
            if began.elapsed() > within {
                let last = if self.refusal.is_empty() { "no step was refused" } else { self.refusal.as_str() };
                return Ok(Err(format!("{why}; {} s later still ({last})", within.as_secs())));
            }
            // Behind live without a complete backfill the way is back; below it is forward.
            self.forward = here.occupied().1 < Stage::Live;
            self.turn(world).await?;
        }
    }

    /// Waits for the end of the step under way.
    pub(crate) async fn settle(&self, world: &World) -> anyhow::Result<Status> {
        let began = Instant::now();
        let mut told = 5;
        loop {
            let _later = world.evict().await;
            if let Ok(status) = world.status().await {
                if let Some(step) = status.step.as_ref().filter(|_| began.elapsed().as_secs() > told) {
                    told += 5;
                    let (who, why) = (step.waiting_for.join(", "), step.waiting_also.join(", "));
                    world.say(&format!("waiting {told} s for `{}`: {who} {why}", step.phase));
                }
                if status.step.is_none() {
                    return Ok(status);
                }
                if began.elapsed() > STUCK {
                    anyhow::bail!("a step does not end: {:?}", status.step);
                }
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// Whether expired sessions are deleted: not from before a verification until after the move of authority that relies
    /// on it, since a delete by a predicate that overlaps other writes leaves its table suspect (R24).
    async fn sweeps(&mut self, world: &World, on: bool) -> anyhow::Result<()> {
        if world.ground.whole && world.sweeping.swap(on, Ordering::SeqCst) != on {
            world.say(if on { "expired sessions are deleted again" } else { "no expired session is deleted" });
            for app in world.apps.lock().await.iter_mut() {
                app.sweep(world).await?;
            }
        }
        self.paused = (!on).then(Instant::now);
        Ok(())
    }

    /// Where the gate would be asked for a move of authority, once in a run.
    fn may_try_unchecked(&self, world: &World, status: &Status, here: &Position) -> bool {
        world.ground.broken.is_none()
            && here.occupied() == (Stage::Shadow, Stage::Shadow)
            && self.forward
            && self.moved_once
            && matches!(status.evidence.backfill.state, BackfillState::Complete(_))
    }

    /// An instance joins that can neither check nor repair the sessions: no gate may move authority then (R25).
    async fn try_unchecked(&mut self, world: &World) -> anyhow::Result<()> {
        let _peace = world.peace.write().await;
        self.tried_unchecked = true;
        world.say("an instance joins that cannot check the sessions");
        let mut app = App::start_bare(world).await?;
        self.sweeps(world, false).await?;
        app.sweep(world).await?;
        let mut codes = String::new();
        for _ in 0..2 {
            let before = self.settle(world).await?;
            let here = position(&before)?;
            data(world, Kind::Verify).await?;
            let status = self.settle(world).await?;
            let request = RampRequest {
                stage: Stage::Live,
                percent: Share::ALL,
                pins: None,
                if_revision: status.publication.revision,
                confirm: None,
            };
            match world.plane.post::<StepAnswer>(&format!("/{MIGRATION}/ramp"), &request).await {
                Ok(_) => {
                    let after = self.settle(world).await?;
                    if here.moves_authority(&position(&after)?) {
                        self.violations.push(Violation {
                            row: "all".to_owned(),
                            promise: "R25",
                            what: "authority moved while an instance could check no write of the sessions".to_owned(),
                        });
                    }
                    break;
                }
                Err(Trouble::Refused(problem)) => {
                    codes = problem.blockers.iter().map(|blocker| blocker.code.clone()).collect::<Vec<_>>().join(", ");
                    count(&world.counts.unchecked_refused);
                    // Marks and a divergence pass; whatever stays is what the instance is refused for.
                    if problem
                        .blockers
                        .iter()
                        .any(|blocker| !["marks", "diverged", "suspect", "table-suspect"].contains(&&*blocker.code))
                    {
                        break;
                    }
                }
                Err(Trouble::Lost(_)) => {}
            }
        }
        world.say(&format!("it leaves; the gate had refused with: {codes}"));
        let left = app.process.order("stop", Duration::from_secs(60)).await;
        if left.is_ok_and(|said| said == "left true") {
            app.process.ended(Duration::from_secs(60)).await?;
            world.died(&format!("{}-", app.process.name), Some(app.number), now());
        } else {
            app.kill(world).await;
        }
        self.sweeps(world, true).await
    }

    async fn tell(&mut self, world: &World, before: &Position, after: &Status) -> anyhow::Result<()> {
        let there = position(after)?;
        if let Some(why) = after.last_step.as_ref().and_then(|last| last.abandoned.as_ref()) {
            count(&world.counts.abandoned);
            world.say(&format!("abandoned: {why}"));
        } else if there != *before {
            count(&world.counts.stage_changes);
            if before.moves_authority(&there) {
                count(&world.counts.authority_moves);
                self.moved_once = true;
                self.sweeps(world, true).await?;
            }
        }
        Ok(())
    }

    /// Authority back without the gate (R20).
    async fn force_back(&mut self, world: &World, status: &Status, here: &Position) -> anyhow::Result<()> {
        let request = RollbackRequest {
            if_revision: status.publication.revision,
            force: true,
            confirm: Some(MIGRATION.to_owned()),
        };
        // From before it is asked for: the answer may get lost.
        let from = now();
        // One side is in trouble: the source has missed writes, or the target, the new authority, is why there is no other way.
        let side = &world.proxies[usize::from(self.dice.percent(40))];
        side.set(super::proxy::Weather::Refuse);
        tokio::time::sleep(Duration::from_millis(300 + self.dice.below(400))).await;
        let answer: Result<StepAnswer, Trouble> = world.plane.post(&format!("/{MIGRATION}/rollback"), &request).await;
        let waived = match &answer {
            Ok(answer) => answer.status.evidence.waived_since.is_some(),
            Err(Trouble::Lost(_)) => true,
            Err(Trouble::Refused(_)) => false,
        };
        if waived {
            let mut around = world.around();
            if around.waivers.last().is_none_or(|waiver| waiver.until != u64::MAX) {
                around.waivers.push(Waiver { from, until: u64::MAX });
            }
        }
        side.set(super::proxy::Weather::Fair);
        if answer.is_ok() {
            world.say(&format!("rollback --force from {here}{}", if waived { ", waived" } else { "" }));
            let after = self.settle(world).await?;
            if waived && after.last_step.as_ref().is_some_and(|last| last.abandoned.is_none()) {
                count(&world.counts.forced);
            }
            self.tell(world, here, &after).await?;
            self.forward = false;
        }
        Ok(())
    }

    /// Does what a refusal asks for.
    async fn answer(&mut self, world: &World, problem: &Problem, status: &Status) -> anyhow::Result<()> {
        self.refused += 1;
        self.refusal = format!("{}: {}", problem.code.name(), problem.detail);
        let blocked = |code: &str| problem.blockers.iter().any(|blocker| blocker.code == code);
        if problem.code != Code::Gate {
            tokio::time::sleep(Duration::from_millis(80)).await;
            return Ok(());
        }
        let codes: Vec<&str> = problem.blockers.iter().map(|blocker| blocker.code.as_str()).collect();
        if codes != ["marks"] {
            world.say(&format!("the gate refuses: {}", codes.join(", ")));
        }
        if blocked("run-under-way") || blocked("repair-running") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        } else if blocked("backfill-not-started") || blocked("backfill-unfinished") {
            // A backfill copies source to target: under another authority the way is back.
            if position(status)?.occupied().1 >= Stage::Live {
                self.forward = false;
            } else {
                data(world, Kind::Backfill).await?;
                self.curious = true;
            }
        } else if blocked("diverged") {
            self.sweeps(world, false).await?;
            data(world, Kind::Repair).await?;
            data(world, Kind::Verify).await?;
        } else if [
            "table-suspect",
            "not-verified",
            "verification-too-old",
            "verification-unknown",
            "checks-not-full",
            "suspect",
        ]
        .into_iter()
        .any(blocked)
        {
            self.sweeps(world, false).await?;
            data(world, Kind::Verify).await?;
        } else if blocked("marks") && self.refused.is_multiple_of(8) {
            orphans(world).await?;
        } else {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        Ok(())
    }
}

/// Repairs rows that were marked by processes which are gone.
async fn orphans(world: &World) -> anyhow::Result<()> {
    let Ok(marks) = world.plane.get::<MarksPage>(&format!("/{MIGRATION}/marks")).await else { return Ok(()) };
    let living = world.plane.get::<crossfade_api::wire::Instances>(&format!("/{MIGRATION}/instances")).await;
    let Ok(living) = living else { return Ok(()) };
    let orphaned = |mark: &&crossfade_api::wire::OwnedMark| {
        living.instances.iter().all(|instance| instance.instance != mark.instance)
    };
    if marks.marks.iter().any(|mark| orphaned(&mark)) {
        data(world, Kind::Repair).await?;
    }
    Ok(())
}

/// The line that ends a run has this.
const RESULT: &str = "\"event\":\"result\"";

/// A run of this program, which goes by the rows of the DAOs.
fn own(world: &World, name: &str, kind: Kind) -> anyhow::Result<Process> {
    let mut arguments = vec!["data".to_owned()];
    arguments.extend(world.places("data.token"));
    let more = [
        ("--kind", kind.name().to_owned()),
        ("--name", name.to_owned()),
        ("--linger-ms", super::LINGER_MS.to_string()),
        ("--progress", world.ground.folder.join("progress").display().to_string()),
    ];
    arguments.extend(more.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    let mut ground = world.ground.clone();
    ground.broken = ground.broken.filter(|variant| match variant {
        // A backfill puts rows as a repair does, and is not the one that is broken.
        Broken::ReplayRepair => kind == Kind::Repair,
        Broken::InsertIfAbsent => kind == Kind::Backfill,
        Broken::NoBarrier | Broken::NoHold | Broken::EarlyAck | Broken::EarlyClear => true,
    });
    Process::start(&ground, name, &arguments)
}

/// Runs a piece of the data side in a process of its own; answers its last word.
pub(crate) async fn data(world: &World, kind: Kind) -> anyhow::Result<String> {
    let said = one_run(world, kind, false).await?;
    // After a forced rollback, or a restore of the control plane, rows of one side alone are deleted only where somebody says so.
    let kept =
        |name: &str| serde_json::from_str::<serde_json::Value>(&said).is_ok_and(|told| told[name].as_u64() > Some(0));
    if kept("kept") || kept("rows_kept") { one_run(world, kind, true).await } else { Ok(said) }
}

async fn one_run(world: &World, kind: Kind, agreed: bool) -> anyhow::Result<String> {
    let number = world.number();
    let name = format!("{}{number}", kind.name());
    let mut process = match &world.shipped {
        Some(shipped) => shipped.start(world, &name, kind, agreed)?,
        None => own(world, &name, kind)?,
    };
    // What the control plane calls it, and the instance of the library that it is besides.
    let known = match (&world.shipped, process.id()) {
        (Some(_), Some(id)) => vec![format!("{}-{id}-", kind.name())],
        (_, _) => vec![format!("{}-{name}-", kind.name()), format!("{name}-")],
    };
    let died = |at: u64| known.iter().for_each(|known| world.died(known, None, at));
    // One in ten is killed half-way, by the dice of its number.
    let doomed = Dice::new(world.ground.seed ^ number).percent(10) && !world.peaceful();
    let mut last = String::new();
    let work = async {
        loop {
            let line = process.said(STUCK).await.with_context(|| format!("after `{last}`"))?;
            last.clone_from(&line);
            if line.contains(RESULT) {
                return Ok::<String, anyhow::Error>(line);
            }
        }
    };
    let within = if doomed { Duration::from_millis(200 + number % 700) } else { STUCK };
    let waiting = async {
        // Somebody has to evict the dead, while a run waits for a step that waits for them.
        for turn in 1u64.. {
            let _later = world.evict().await;
            if turn.is_multiple_of(25)
                && let Ok(status) = world.status().await
                && let Some(step) = &status.step
            {
                world.say(&format!("{name} waits for a step that waits for {}", step.waiting_for.join(", ")));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let told = tokio::select! {
        told = tokio::time::timeout(within, work) => told,
        () = waiting => return Ok(String::new()),
    };
    let said = match told {
        Ok(Ok(line)) => {
            process.ended(Duration::from_secs(60)).await?;
            died(now());
            line
        }
        Ok(Err(error)) => {
            died(process.kill().await);
            // No other run would do better.
            anyhow::ensure!(process.exit_code().await != Some(2), "{name} was used wrongly: {error:#}");
            format!("no result: {error:#}")
        }
        Err(_) => {
            died(process.kill().await);
            if doomed {
                count(&world.counts.kills);
            }
            "killed".to_owned()
        }
    };
    count(match kind {
        Kind::Backfill => &world.counts.backfills,
        Kind::Verify => &world.counts.verifications,
        Kind::Repair => &world.counts.repairs,
    });
    world.say(&format!("{name}: {said}"));
    Ok(said)
}

/// What repairs and verifications came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Converged {
    /// Both sides were shown to be equal.
    Equal,
    /// Rows differ after repair upon repair.
    Never,
    /// It could not be found out, and why.
    Unknown(String),
}

/// Repairs and verifies until both sides are shown to be equal.
pub(crate) async fn converge(world: &World, operator: &Operator) -> anyhow::Result<Converged> {
    let began = Instant::now();
    let mut last = "nothing was verified".to_owned();
    while began.elapsed() < STUCK {
        let status = operator.settle(world).await?;
        let evidence = &status.evidence;
        let verified = evidence.verification.as_ref().is_some_and(|seen| seen.verdict == Verdict::Verified);
        let fresh = verified && evidence.suspects.is_empty() && evidence.waived_since.is_none();
        if !matches!(evidence.backfill.state, BackfillState::Complete(_)) {
            if let Err(why) = comparable(&position(&status)?, &evidence.backfill.state) {
                return Ok(Converged::Unknown(why));
            }
            last = data(world, Kind::Backfill).await?;
            continue;
        }
        if evidence.marks > 0 {
            orphans(world).await?;
        }
        let said = data(world, Kind::Verify).await?;
        if said.contains("\"verified\"") && (fresh || operator.settle(world).await?.evidence.suspects.is_empty()) {
            return Ok(Converged::Equal);
        }
        if said.contains("\"diverged\"") {
            data(world, Kind::Repair).await?;
        }
        last = said;
    }
    if last.contains("\"diverged\"") {
        return Ok(Converged::Never);
    }
    Ok(Converged::Unknown(format!("no verification passed within {} s; the last one: {last}", STUCK.as_secs())))
}
