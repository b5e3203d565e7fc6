//! The operator: ramps forward and back without pause, and does what the gates ask for.

use super::fleet::Process;
use super::world::{World, count};
use crate::check::Waiver;
use crate::clock::{Dice, now};
use crate::plane::{MIGRATION, Trouble};
use crate::roles::data::Kind;
use crossfade_api::problem::{Code, Problem};
use crossfade_api::wire::{MarksPage, RampRequest, RollbackRequest, Status, StepAnswer};
use crossfade_core::{BackfillState, Plan, Position, Share, Stage, Verdict};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a step or a run may take before the run is given up as stuck: long, since a machine may stand still for a
/// while.
const STUCK: Duration = Duration::from_secs(240);

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
    /// Stays about the stages at which history moves: a backfill that breaks its rule shows only when there are many.
    at_history: bool,
}

/// Where everybody is.
pub(crate) fn position(status: &Status) -> anyhow::Result<Position> {
    Ok(Plan::new(status.publication.plan.clone())?.position().clone())
}

fn share(percent: u64) -> Share {
    Share::from_buckets(u32::try_from(percent * 1_000).unwrap_or(0)).unwrap_or(Share::ALL)
}

impl Operator {
    pub(crate) fn new(seed: u64, broken: Option<&str>) -> Operator {
        Operator {
            dice: Dice::new(seed ^ 0x6f70),
            forward: true,
            force: std::sync::Arc::default(),
            refused: 0,
            again: None,
            curious: false,
            at_history: broken == Some("insert-if-absent"),
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
        let (stage, percent) = self.again.take().unwrap_or_else(|| self.wish(&here));
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
                self.tell(world, &here, &after)
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
        if self.dice.percent(12) {
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

    /// Ends where both sides can be compared: every key mirrored, history moved.
    pub(crate) async fn come_home(&mut self, world: &World) -> anyhow::Result<()> {
        let began = Instant::now();
        let _peace = world.peace.write().await;
        for proxy in &world.proxies {
            proxy.set(super::proxy::Weather::Fair);
        }
        while began.elapsed() < STUCK {
            let status = self.settle(world).await?;
            let (earlier, later) = position(&status)?.occupied();
            if earlier.is_mirrored() && later.is_mirrored() {
                return Ok(());
            }
            self.forward = true;
            self.turn(world).await?;
        }
        anyhow::bail!("the way to a mirrored stage does not end")
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

    fn tell(&self, world: &World, before: &Position, after: &Status) -> anyhow::Result<()> {
        let there = position(after)?;
        if let Some(why) = after.last_step.as_ref().and_then(|last| last.abandoned.as_ref()) {
            count(&world.counts.abandoned);
            world.say(&format!("abandoned: {why}"));
        } else if there != *before {
            count(&world.counts.stage_changes);
            if before.moves_authority(&there) {
                count(&world.counts.authority_moves);
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
            self.tell(world, here, &after)?;
            self.forward = false;
        }
        Ok(())
    }

    /// Does what a refusal asks for.
    async fn answer(&mut self, world: &World, problem: &Problem, status: &Status) -> anyhow::Result<()> {
        self.refused += 1;
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
            data(world, Kind::Repair).await?;
            data(world, Kind::Verify).await?;
        } else if ["not-verified", "verification-too-old", "verification-unknown", "checks-not-full", "suspect"]
            .into_iter()
            .any(blocked)
        {
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

/// Runs a piece of the data side in a process of its own; answers its last word.
pub(crate) async fn data(world: &World, kind: Kind) -> anyhow::Result<String> {
    let number = world.number();
    let name = format!("{}{number}", kind.name());
    let mut arguments = vec!["data".to_owned()];
    arguments.extend(world.places("data.token"));
    let more = [
        ("--kind", kind.name().to_owned()),
        ("--number", number.to_string()),
        ("--linger-ms", super::LINGER_MS.to_string()),
    ];
    arguments.extend(more.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    let mut process = Process::start(&world.ground, &name, &arguments)?;
    // One in ten is killed half-way, by the dice of its number.
    let doomed = Dice::new(world.ground.seed ^ number).percent(10) && !world.peaceful();
    let work = async {
        process.said(STUCK).await?;
        loop {
            let line = process.said(STUCK).await?;
            if line.starts_with('{') {
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
            world.died(&name, None, now());
            line
        }
        Ok(Err(_)) | Err(_) => {
            world.died(&name, None, process.kill().await);
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

/// Repairs and verifies until both sides are shown to be equal; says whether they are.
pub(crate) async fn converge(world: &World, operator: &Operator) -> anyhow::Result<bool> {
    let began = Instant::now();
    while began.elapsed() < STUCK {
        let status = operator.settle(world).await?;
        let evidence = &status.evidence;
        let verified = evidence.verification.as_ref().is_some_and(|seen| seen.verdict == Verdict::Verified);
        let fresh = verified && evidence.suspects.is_empty() && evidence.waived_since.is_none();
        if !matches!(evidence.backfill.state, BackfillState::Complete(_)) {
            if position(&status)?.occupied().1 >= Stage::Live {
                return Ok(false);
            }
            data(world, Kind::Backfill).await?;
            continue;
        }
        if evidence.marks > 0 {
            orphans(world).await?;
        }
        let said = data(world, Kind::Verify).await?;
        if said.contains("\"verified\"") && (fresh || operator.settle(world).await?.evidence.suspects.is_empty()) {
            return Ok(true);
        }
        if said.contains("\"diverged\"") {
            data(world, Kind::Repair).await?;
        }
    }
    Ok(false)
}
