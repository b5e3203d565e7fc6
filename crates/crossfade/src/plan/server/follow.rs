//! A process as a member of the fleet: one plan stream after the other, and what is said in between.

use super::adopt;
use super::cache::Keeper;
use super::heartbeat::Seen;
use super::marks::Ledger;
use super::wire::{Silence, Wire};
use super::{LONGEST_PAUSE, jittered};
use crate::broken::{self, Broken};
use crate::marks::Marked;
use crate::plan::Steward;
use crossfade_api::problem::Code;
use crossfade_api::wire::{Departure, Heartbeat, Publication};
use crossfade_core::{Phase, Revision};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// This process as a member of the fleet.
pub(super) struct Member {
    wire: Arc<Wire>,
    steward: Steward,
    ledger: Ledger,
    seen: Seen,
    beats: u64,
    keeper: Option<Keeper>,
}

impl Member {
    pub(super) fn new(wire: Arc<Wire>, steward: Steward, keeper: Option<Keeper>) -> Member {
        Member { wire, steward, ledger: Ledger::default(), seen: Seen::default(), beats: 0, keeper }
    }

    pub(super) async fn serve(&mut self, every: Duration, leaving: &mut mpsc::Receiver<oneshot::Sender<()>>) {
        let (sender, mut plans) = mpsc::channel::<Publication>(16);
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pause = Duration::from_millis(50);
        let mut to_acknowledge = None;
        let Some(mut marks) = self.steward.watch_marks() else { return };
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
                                self.leave().await;
                                // Whoever waited for it may have given up.
                                let _ = said.send(());
                            }
                            return;
                        }
                        plan = plans.recv() => {
                            if let Some(publication) = plan {
                                pause = Duration::from_millis(50);
                                if broken::is(Broken::NoBarrier) {
                                    self.install_later(publication).await;
                                } else if self.install(&publication) {
                                    to_acknowledge = Some(publication.revision.0);
                                }
                            }
                        }
                        ended = self.steward.acknowledged(), if to_acknowledge.is_some() => {
                            // Effects that may land late and repairs hold the epoch in which they began: those of earlier
                            // ones have ended too. Those of this one are waited for at its own end, not before: while a
                            // side is down there are always some, and the way back has to stay open.
                            let Some((revision, marks)) = ended else { return };
                            match self.acknowledge(revision, &marks).await {
                                Ok(()) => to_acknowledge = None,
                                Err(silence) => break silence,
                            }
                        }
                        // Writes wait, and the move waits for the last mark: it does not wait for a heartbeat too.
                        Ok(()) = marks.changed(), if to_acknowledge.is_none() && self.holds() => {
                            if let Err(silence) = self.beat().await {
                                break silence;
                            }
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
                match self.wire.register(Some(holding), None).await {
                    Ok(registered) => {
                        self.ledger.forget();
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
                said = leaving.recv() => {
                    if let Some(said) = said {
                        self.leave().await;
                        let _ = said.send(());
                    }
                    return;
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Puts a plan into force; `true` when it has to be acknowledged.
    fn install(&self, publication: &Publication) -> bool {
        let Some((_, standing)) = self.steward.standing() else { return false };
        if publication.revision.0 == standing {
            // The one in force, at the beginning of a stream: the plane may have missed its acknowledgement.
            return true;
        }
        if publication.revision.0 < standing {
            return false;
        }
        match adopt(publication) {
            Ok((plan, revision)) => {
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

    /// What [`Member::install`] must not be: acknowledged now, in force a while later, at each instance at another time.
    async fn install_later(&mut self, publication: Publication) {
        // Whether it was heard makes no difference to a variant that is wrong anyway.
        let _heard = self.acknowledge(publication.revision.0, &[]).await;
        let steward = self.steward.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(u64::from(std::process::id() % 7) * 100)).await;
            if let (Ok((plan, revision)), Some((_, standing))) = (adopt(&publication), steward.standing())
                && revision > standing
            {
                steward.install(plan, revision);
            }
        });
    }

    async fn acknowledge(&mut self, revision: Revision, marks: &[Marked]) -> Result<(), Silence> {
        let everything = self.steward.observe().is_some_and(|seen| seen.everything_suspect);
        loop {
            let change = self.ledger.change(marks, everything);
            if !change.more {
                self.wire.acknowledge(revision, change.message.clone()).await?;
                self.ledger.sent(change);
                return Ok(());
            }
            // An acknowledgement stands for all marks: the first thousands go ahead of it.
            self.wire.marks(&change.message).await?;
            self.ledger.sent(change);
        }
    }

    /// Writes of some keys wait.
    fn holds(&self) -> bool {
        self.steward.standing().is_some_and(|(plan, _)| !matches!(plan.phase(), Phase::Settled))
    }

    async fn beat(&mut self) -> Result<(), Silence> {
        let Some((plan, revision)) = self.steward.standing() else { return Ok(()) };
        let (Some(observation), marks) = (self.steward.observe(), self.steward.marks()) else { return Ok(()) };
        let change = self.ledger.change(&marks, observation.everything_suspect);
        let (observations, now) = self.seen.since(&observation, &plan);
        self.beats += 1;
        let beat = Heartbeat {
            revision: revision.into(),
            sequence: self.beats,
            observations,
            marks: change.message.clone(),
            progress: None,
        };
        self.wire.heartbeat(&beat).await?;
        self.ledger.sent(change);
        self.seen = now;
        Ok(())
    }

    async fn leave(&mut self) {
        // The same plan once more is another epoch: its grace period ends with the last operation that has begun by now,
        // secondary writes that went on without their caller and lingering effects among them. The caller bounds the time.
        let Some((plan, revision)) = self.steward.standing() else { return };
        self.steward.install(plan, revision);
        let Some((_, marks)) = self.steward.acknowledged().await else { return };
        let (Some(observation), Some((plan, _))) = (self.steward.observe(), self.steward.standing()) else { return };
        let change = self.ledger.change(&marks, observation.everything_suspect);
        let (observations, _) = self.seen.since(&observation, &plan);
        if let Err(silence) = self.wire.goodbye(&Departure { marks: change.message, observations }).await {
            tracing::warn!(%silence, "goodbye was not heard: the plane will miss this instance");
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.close().await;
        }
    }
}
