//! A process as a member of the fleet: one plan stream after the other, and what is said in between.

use super::adopt;
use super::cache::Keeper;
use super::heartbeat::Seen;
use super::marks::{Report, Reporter, describe};
use super::wire::{Silence, Wire};
use super::{LONGEST_PAUSE, jittered};
use crate::migration::Inner;
use crate::plan::Steward;
use crossfade_api::problem::Code;
use crossfade_api::wire::{Departure, Heartbeat, Publication};
use crossfade_core::{Phase, Plan, Revision};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// This process as a member of the fleet.
pub(super) struct Member {
    wire: Arc<Wire>,
    steward: Steward,
    reporter: Reporter,
    seen: Seen,
    beats: u64,
    keeper: Option<Keeper>,
    /// The hold that it is in, while it may still leave it by itself.
    hold: Option<UnacknowledgedHold>,
}

/// A hold that this process has not acknowledged, nor begun to. The control plane publishes the move only when every
/// instance has acknowledged the hold: so it has not been published, and will not be. Past its bound the process may
/// therefore go back to the plan from before by itself, with the control plane away (R4).
struct UnacknowledgedHold {
    before: (Plan, Revision),
    until: Instant,
}

impl Member {
    pub(super) fn new(wire: Arc<Wire>, steward: Steward, keeper: Option<Keeper>) -> Member {
        Member { wire, steward, reporter: Reporter::default(), seen: Seen::default(), beats: 0, keeper, hold: None }
    }

    pub(super) async fn serve(&mut self, every: Duration, leaving: &mut mpsc::Receiver<oneshot::Sender<bool>>) {
        let (sender, mut plans) = mpsc::channel::<Publication>(16);
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pause = Duration::from_millis(50);
        let mut to_acknowledge = None;
        let Some(mut marks) = self.steward.watch_marks() else { return };
        if let Some(inner) = self.steward.inner() {
            self.reporter.forget(&inner);
        }
        loop {
            let Some((_, holds)) = self.steward.standing() else { return };
            // One stream after the other; between them the last plan stays.
            let ended = {
                let wire = Arc::clone(&self.wire);
                let stream = wire.follow(holds, &sender);
                tokio::pin!(stream);
                loop {
                    tokio::select! {
                        biased;
                        said = leaving.recv() => {
                            if let Some(said) = said {
                                // The caller may have given up waiting.
                                let _ = said.send(self.leave().await);
                            }
                            return;
                        }
                        plan = plans.recv() => {
                            if let Some(publication) = plan {
                                pause = Duration::from_millis(50);
                                if self.install(&publication) {
                                    to_acknowledge = Some(publication.revision.0);
                                }
                            }
                        }
                        ended = self.steward.acknowledged_revision(), if to_acknowledge.is_some() => {
                            // Repairs pin the epoch in which they began, and effects that may still land delay the plans
                            // that route their buckets another way: those of earlier epochs are not in doubt any more.
                            // Do not wait for the current epoch's: while a side is down there are always some, and
                            // rollback must stay possible.
                            let Some(revision) = ended else { return };
                            match self.acknowledge(revision).await {
                                Ok(()) => to_acknowledge = None,
                                Err(silence) => break silence,
                            }
                        }
                        // Writes wait, and the move waits for the last mark: it does not wait for a heartbeat too.
                        Ok(()) = marks.changed(), if to_acknowledge.is_none() && self.has_urgent_news() => {
                            if let Err(silence) = self.beat().await {
                                break silence;
                            }
                        }
                        () = past(self.hold.as_ref().map(|hold| hold.until)) => {
                            self.leave_hold();
                            to_acknowledge = None;
                        }
                        _ = ticks.tick() => {
                            if let Err(silence) = self.beat().await {
                                break silence;
                            }
                        }
                        ended = &mut stream => break ended,
                    }
                }
            };
            if let Silence::Refused(problem) = &ended
                && problem.code == Code::UnknownInstance
                && let Some((plan, revision)) = self.steward.standing()
            {
                // The plane forgot this process, or a revision: it is told both (R21).
                let holding = Publication { revision: revision.into(), plan: plan.spec() };
                let tables = self.steward.inner().map(|inner| describe(&inner));
                match self.wire.register(Some(holding), None, tables).await {
                    Ok(registered) => {
                        if let Some(inner) = self.steward.inner() {
                            self.reporter.forget(&inner);
                        }
                        self.install(&registered.publication);
                        to_acknowledge = Some(registered.publication.revision.0);
                        continue;
                    }
                    Err(silence) => tracing::warn!(%silence, "the control plane does not take this instance back"),
                }
            }
            tracing::warn!(silence = %ended, "lost the control plane; the last plan stays");
            // A goodbye is not kept waiting by a server that is gone.
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                () = past(self.hold.as_ref().map(|hold| hold.until)) => {
                    self.leave_hold();
                    to_acknowledge = None;
                }
                said = leaving.recv() => {
                    if let Some(said) = said {
                        // The caller may have given up waiting.
                        let _ = said.send(self.leave().await);
                    }
                    return;
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Puts a plan into force; `true` when it has to be acknowledged.
    fn install(&mut self, publication: &Publication) -> bool {
        let Some((here, standing)) = self.steward.standing() else { return false };
        if publication.revision.0 == standing {
            // The one in force, at the beginning of a stream: the plane may have missed its acknowledgement.
            return true;
        }
        if publication.revision.0 < standing {
            return false;
        }
        match adopt(publication) {
            Ok((plan, revision)) => {
                self.hold = match (here.phase(), plan.phase()) {
                    (Phase::Settled, Phase::Hold { .. }) => {
                        let until = Instant::now() + plan.options().hold_bound + LEAVES_LATER;
                        Some(UnacknowledgedHold { before: (here, standing), until })
                    }
                    (_, Phase::Hold { .. } | Phase::Move { .. } | Phase::Settled) => None,
                };
                self.steward.install(plan, revision);
                if let Some(keeper) = &self.keeper {
                    keeper.keep(publication);
                }
                true
            }
            Err(why) => {
                self.steward.refused(&why);
                false
            }
        }
    }

    async fn acknowledge(&mut self, revision: Revision) -> Result<(), Silence> {
        // From here on the control plane may know, and may publish the move: the hold is its to end.
        self.hold = None;
        loop {
            let Some(inner) = self.steward.inner() else { return Ok(()) };
            let report = self.reporter.next(&inner);
            if report.more {
                // An acknowledgement stands for all marks: the first thousands go ahead of it.
                self.report_marks(&inner, report).await?;
                continue;
            }
            let sent = self.wire.acknowledge(revision, report.message.clone(), report.tables.clone()).await;
            if self.settle(&inner, sent.map(drop), report)? {
                return Ok(());
            }
        }
    }

    async fn report_marks(&mut self, inner: &Inner, report: Report) -> Result<(), Silence> {
        let sent = self.wire.marks(&report.message).await;
        match sent {
            Ok(()) => {
                self.reporter.heard_marks(report);
                Ok(())
            }
            Err(_) => self.settle(inner, sent, report).map(drop),
        }
    }

    /// Takes note of whether a report was heard. `false`: it was refused, and is to be made anew without what the control
    /// plane does not take.
    fn settle(&mut self, inner: &Inner, sent: Result<(), Silence>, report: Report) -> Result<bool, Silence> {
        match sent {
            Ok(()) => {
                self.reporter.heard(report);
                Ok(true)
            }
            Err(Silence::Refused(problem))
                if matches!(problem.code, Code::Invalid | Code::Malformed | Code::TooLarge)
                    && !report.message.set.is_empty() =>
            {
                tracing::error!(
                    why = %problem.detail, marks = report.message.set.len(),
                    "the control plane does not take these marks: their tables are suspect until they are verified"
                );
                Reporter::refused(inner, report);
                Ok(false)
            }
            Err(silence) => {
                Reporter::unheard(inner, report);
                Err(silence)
            }
        }
    }

    /// Something that a step may wait for: marks while writes are held, or tables that the control plane does not know.
    fn has_urgent_news(&self) -> bool {
        let holds = self.steward.standing().is_some_and(|(plan, _)| !matches!(plan.phase(), Phase::Settled));
        holds || self.steward.inner().is_some_and(|inner| self.reporter.has_new_tables(&inner))
    }

    /// Goes back to the plan from before a hold that this process has not acknowledged.
    fn leave_hold(&mut self) {
        let Some(UnacknowledgedHold { before: (plan, revision), until: _ }) = self.hold.take() else { return };
        tracing::warn!(
            "writes were held past their bound, and this process has not acknowledged the hold, so that authority cannot \
             have moved: it goes on with the plan from before"
        );
        self.steward.install(plan, revision);
    }

    async fn beat(&mut self) -> Result<(), Silence> {
        let Some((plan, revision)) = self.steward.standing() else { return Ok(()) };
        let (Some(observation), Some(inner)) = (self.steward.observe(), self.steward.inner()) else { return Ok(()) };
        let report = self.reporter.next(&inner);
        let (observations, now) = self.seen.since(&observation, &plan);
        self.beats += 1;
        let beat = Heartbeat {
            revision: revision.into(),
            sequence: self.beats,
            observations,
            marks: report.message.clone(),
            progress: None,
            tables: report.tables.clone(),
        };
        let sent = self.wire.heartbeat(&beat).await;
        if self.settle(&inner, sent.map(drop), report)? {
            self.seen = now;
        }
        Ok(())
    }

    /// Begins no operation any more, waits for those that have begun, and says goodbye (R30). `false`: the migration is
    /// gone, or the control plane does not know this process. The caller bounds the time; this goes on until it is heard.
    async fn leave(&mut self) -> bool {
        {
            let Some(inner) = self.steward.inner() else { return false };
            let closed = inner.epochs.close();
            // Operations, secondary writes that went on without their caller, checks and repairs.
            inner.epochs.grace(closed).await;
            while let Some(until) = inner.lingering.in_buckets(|_| true) {
                tokio::time::sleep_until(until.max(Instant::now()) + Duration::from_millis(1)).await;
            }
        }
        let heard = loop {
            match self.goodbye().await {
                Ok(heard) => break heard,
                Err(Silence::Refused(problem)) => {
                    tracing::warn!(why = %problem.detail, "the control plane did not take the goodbye");
                    break false;
                }
                Err(silence) => tracing::warn!(%silence, "goodbye was not heard: it is said again"),
            }
            tokio::time::sleep(jittered(Duration::from_millis(200))).await;
        };
        if let Some(keeper) = self.keeper.take() {
            keeper.close().await;
        }
        heard
    }

    async fn goodbye(&mut self) -> Result<bool, Silence> {
        loop {
            let Some(inner) = self.steward.inner() else { return Ok(false) };
            let (observation, Some((plan, _))) = (inner.observe(), self.steward.standing()) else { return Ok(false) };
            let report = self.reporter.next(&inner);
            if report.more {
                self.report_marks(&inner, report).await?;
                continue;
            }
            let (observations, _) = self.seen.since(&observation, &plan);
            let sent = self.wire.goodbye(&Departure { marks: report.message.clone(), observations }).await;
            if self.settle(&inner, sent, report)? {
                return Ok(true);
            }
        }
    }
}

/// How long after its bound a process leaves an unacknowledged hold by itself: the control plane goes first.
const LEAVES_LATER: Duration = Duration::from_millis(500);

/// Returns at that moment; never when there is none.
async fn past(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
