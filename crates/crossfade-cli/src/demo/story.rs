//! The plot: off → dual-write → shadow → backfill → verify → live → ramp-down → complete, while traffic runs.

use super::inject::{Trouble, Troubled, Troubles};
use super::picture::{Picture, Scene};
use super::report::{Report, StageReport};
use super::serve::{Conductor, Plane, Watched};
use super::sides::{Events, Opened, Sides};
use super::traffic::{Traffic, World};
use super::{Args, Inject, Order, check, rows};
use crate::say::Failure;
use anyhow::{Context as _, anyhow};
use crossfade::core::{
    Answer, BackfillState, Evidence, Gate, History, Phase, Plan, PlanSpec, Position, Step, Tick, Verdict, Verification,
};
use crossfade::{Checks, Migration, Options, Share, Stage};
use crossfade_api::exit::Exit;
use crossfade_api::wire::{InstanceKind, Outcome};
use crossfade_example_events::{EventError, MigratingEventDao};
use crossfade_transfer::pace::Control;
use crossfade_transfer::progress::{Counters, Observer, Silent};
use crossfade_transfer::{Pair, backfill, verify};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

struct Story<'a> {
    args: &'a Args,
    world: Arc<World>,
    picture: Picture,
    source: Events,
    target: Events,
    /// The rows of both, for backfill and verification.
    pair: Pair,
    troubles: Troubles,
    control: Conductor,
    migration: Migration,
    traffic: Traffic,
    options: Options,
    report: Report,
    /// Places in the story, for the evidence of the gate.
    clock: u64,
    evidence: Evidence,
}

/// Rows of a chunk of the backfill: few, so that there is something to see.
const CHUNK: u64 = 1_000;

/// Chunks at a time: both databases are in this process.
const AT_ONCE: usize = 2;

/// A run of the data side, as far as it is.
#[derive(Clone)]
pub(super) struct Work {
    counters: Arc<Counters>,
    /// Rows that it will have read, about.
    pub(super) of: u64,
}

impl Work {
    /// Rows read so far, on either side.
    pub(super) fn done(&self) -> u64 {
        Counters::get(&self.counters.read) + Counters::get(&self.counters.read_target)
    }
}

/// Who hears of the events of a run: the story has its own picture.
fn nobody() -> Arc<dyn Observer> {
    Arc::new(Silent)
}

/// How the story goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    On,
    /// The sides differ: back to off.
    Back,
}

pub(crate) async fn tell(
    args: &Args,
    sides: Sides,
    world: Arc<World>,
    mut picture: Picture,
    plane: Option<Plane>,
) -> Result<Exit, Failure> {
    let troubles = Troubles::default();
    let pair = rows::open(&sides, args.inject.is_some().then_some(&troubles)).await?;
    let Sides { source: Opened { events: source, name: source_name, .. }, target, folder: _until_the_end } = sides;
    let Opened { events: target, name: target_name, .. } = target;
    picture.say(&format!("source: {source_name} · target: {target_name}"));
    picture.say(&format!("{} events are history, {} arrive live", world.history, world.flights.len() - world.history));
    source.load(world.past()).await.context("the source does not take the history")?;
    // The stores of the demo answer or are gone within the second.
    let options = Options { linger: Duration::from_secs(1), history: History::Pending, ..Options::default() };
    let first = Plan::new(PlanSpec { options: options.clone(), ..PlanSpec::at("events", Stage::Off) })
        .map_err(anyhow::Error::from)?;
    let (control, migration) = Conductor::begin(first, plane).await?;
    // Before the DAO is made, which would attach its own: both are lawful, and these are what any table has.
    migration.attach_rows(rows::of(&pair)?);
    let troubled = Troubled { events: target.clone(), troubles: troubles.clone() };
    let dao = Arc::new(MigratingEventDao::new(source.clone(), troubled, migration.clone()));
    let traffic = Traffic::start(&world, &dao);
    let report = Report {
        event: "result",
        source: source_name,
        target: target_name,
        order: match args.order {
            Order::Classic => "classic",
            Order::Seed => "seed",
        },
        ..Report::default()
    };
    let mut story = Story {
        args,
        world,
        picture,
        source,
        target,
        pair,
        troubles,
        control,
        migration,
        traffic,
        options,
        report,
        clock: 0,
        evidence: Evidence::default(),
    };
    let began = Instant::now();
    let told = story.plot().await;
    story.traffic.end().await;
    let exit = match told {
        Ok(Turn::On) => story.epilogue().await?,
        Ok(Turn::Back) => story.way_back().await?,
        Err(failure) => return Err(failure),
    };
    story.report.seconds = began.elapsed().as_secs_f64();
    story.picture.finish(&story.report).map_err(anyhow::Error::from)?;
    let Story { control, picture, .. } = story;
    let watched = if matches!(picture, Picture::Terminal(_)) { Watched::AtATerminal } else { Watched::ByNobody };
    drop(picture);
    control.farewell(watched).await?;
    Ok(exit)
}

impl Story<'_> {
    async fn plot(&mut self) -> Result<Turn, Failure> {
        if self.args.inject == Some(Inject::TargetBug) {
            self.troubles.set(Trouble::Bug);
        }
        self.stay(Position::at(Stage::Off), 0.05).await?;
        self.picture.say("dual-write: more and more users' writes go to both");
        if self.args.inject == Some(Inject::TargetSlow) {
            self.troubles.set(Trouble::Slow);
            self.picture.say("the target is slow now: 200 ms for everything");
        }
        self.ramp(Stage::Off, &["10", "50"], 0.04).await?;
        self.advance(Position::at(Stage::DualWrite)).await?;
        self.clock += 1;
        self.evidence.dual_write_since = Some(Tick(self.clock));
        if self.args.inject == Some(Inject::TargetDown) {
            self.target_down().await?;
        }
        self.stay(Position::at(Stage::DualWrite), 0.08).await?;
        if self.args.order == Order::Classic {
            self.relieve_target();
            self.move_history().await?;
        }
        self.picture.say("shadow: more and more users' reads are compared");
        if self.ramp(Stage::DualWrite, &["10", "50"], 0.06).await? == Turn::Back {
            return Ok(Turn::Back);
        }
        self.advance(Position::at(Stage::Shadow)).await?;
        if self.stay(Position::at(Stage::Shadow), 0.14).await? == Turn::Back {
            return Ok(Turn::Back);
        }
        self.relieve_target();
        if self.hear_comparisons().await == Turn::Back {
            return Ok(Turn::Back);
        }
        if self.args.order == Order::Seed {
            self.move_history().await?;
        }
        if self.prove_equal().await? == Turn::Back {
            return Ok(Turn::Back);
        }
        self.picture.say("live: authority moves to the target, some users first; their writes are held for a moment");
        if self.ramp(Stage::Shadow, &["1", "10", "50"], 0.05).await? == Turn::Back {
            return Ok(Turn::Back);
        }
        self.advance(Position::at(Stage::Live)).await?;
        if self.stay(Position::at(Stage::Live), 0.10).await? == Turn::Back {
            return Ok(Turn::Back);
        }
        self.picture.say("ramp-down: the source is written, but no longer read");
        self.ramp(Stage::Live, &["50"], 0.05).await?;
        self.advance(Position::at(Stage::RampDown)).await?;
        self.stay(Position::at(Stage::RampDown), 0.06).await?;
        if self.look_at_every_row().await? == Turn::Back {
            return Ok(Turn::Back);
        }
        self.picture.say("complete: the point of no return; the source is left");
        self.ramp(Stage::RampDown, &["50"], 0.05).await?;
        self.advance(Position::at(Stage::Complete)).await?;
        self.stay(Position::at(Stage::Complete), 0.08).await
    }

    /// Nobody leaves shadow while comparisons are still being read again: the traffic rests until they have spoken.
    async fn hear_comparisons(&mut self) -> Turn {
        self.traffic.rest().await;
        let ends = Instant::now() + Duration::from_secs(8);
        while self.migration.observe().secondary_in_flight > 0 && Instant::now() < ends {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.traffic.go_on();
        if self.migration.observe().total(|seen| seen.mismatched) > 0 { Turn::Back } else { Turn::On }
    }

    fn relieve_target(&mut self) {
        if self.args.inject == Some(Inject::TargetSlow) {
            self.troubles.set(Trouble::None);
            self.picture.say("the target is as fast as before again");
        }
    }

    /// Opens the ramp that leaves `stage`, step by step.
    async fn ramp(&mut self, stage: Stage, percents: &[&str], share_of_time: f64) -> Result<Turn, Failure> {
        for percent in percents {
            let share: Share = percent.parse().map_err(anyhow::Error::from)?;
            let edge = stage.edge().ok_or_else(|| anyhow!("no edge leaves {stage}"))?;
            let position = Position::ramping(edge, share);
            self.advance(position.clone()).await?;
            if self.stay(position, share_of_time).await? == Turn::Back {
                return Ok(Turn::Back);
            }
        }
        Ok(Turn::On)
    }

    /// Takes one step, past its gate, and tells what it took.
    async fn advance(&mut self, position: Position) -> Result<(), Failure> {
        let here = self.migration.standing().plan;
        let steps = here.steps_to(position.clone()).map_err(anyhow::Error::from)?;
        let step = steps.first().map(|first| here.admit(first)).transpose().map_err(anyhow::Error::from)?;
        let gate = step.map_or(Gate::Open, Gate::of);
        if gate == Gate::Converged {
            // Marks of this moment are repaired within a moment; whoever waits for them is not refused for them.
            self.migration.converged(Duration::from_secs(20)).await;
            self.evidence.marks = self.migration.marks().len() as u64;
        }
        if let Answer::NoGo(blockers) = gate.answer(&self.evidence) {
            let reasons: Vec<String> = blockers.iter().map(ToString::to_string).collect();
            return Err(Failure::new(Exit::Refused, anyhow!("the gate to {position} is shut: {}", reasons.join("; "))));
        }
        let control = self.control.clone();
        let moving = matches!(step, Some(Step::Hold { .. }));
        let advanced = self.watching(async move { control.advance(position).await }, None).await;
        if let (true, Some(held)) = (moving, advanced?) {
            let place = self.migration.standing().plan.position().to_string();
            self.picture
                .say(&format!("{place}: authority moved; its writes were held for {:.1} ms", held.as_secs_f64() * 1e3));
        }
        debug_assert!(matches!(self.migration.standing().plan.phase(), Phase::Settled));
        Ok(())
    }

    /// Lets the traffic run for a part of the story's time, and says whether it may go on.
    async fn stay(&mut self, position: Position, share_of_time: f64) -> Result<Turn, Failure> {
        let time = Duration::from_secs_f64(f64::from(self.args.seconds) * share_of_time);
        self.watching(tokio::time::sleep(time), None).await;
        self.stop_over(&position);
        let mismatched = self.migration.observe().total(|seen| seen.mismatched);
        Ok(if mismatched > 0 { Turn::Back } else { Turn::On })
    }

    /// Puts down what users felt since the last stop.
    fn stop_over(&mut self, position: &Position) {
        let felt = self.traffic.seen.take();
        let (stage, percent) = match position.ramp() {
            Some((edge, share)) => (edge.later(), share.percent()),
            None => (position.stage(), 100.0),
        };
        let stop = StageReport {
            stage: stage.name(),
            percent,
            seconds: felt.since.elapsed().as_secs_f64(),
            reads: felt.reads.len(),
            writes: felt.writes.len(),
            read_p50_us: felt.reads.value_at_quantile(0.5),
            read_p99_us: felt.reads.value_at_quantile(0.99),
            write_p50_us: felt.writes.value_at_quantile(0.5),
            write_p99_us: felt.writes.value_at_quantile(0.99),
        };
        self.picture.stage(&stop);
        self.report.stages.push(stop);
    }

    /// Awaits something while the picture stays alive.
    async fn watching<T>(&mut self, work: impl Future<Output = T>, at: Option<(&'static str, &Work)>) -> T {
        let mut work = std::pin::pin!(work);
        let mut beat = tokio::time::interval(self.picture.beat());
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beat.tick().await;
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = beat.tick() => {
                    let standing = self.migration.standing();
                    let scene = Scene {
                        position: standing.plan.position(),
                        felt: &self.traffic.seen.look(),
                        seen: &self.migration.observe(),
                        acknowledged: self.traffic.seen.acknowledged.load(Ordering::SeqCst),
                        work: at.map(|(what, work)| (what, work.done(), work.of)),
                    };
                    self.picture.show(&scene);
                }
            }
        }
    }

    async fn target_down(&mut self) -> Result<(), Failure> {
        self.picture.say("the target is down now: it refuses everything for 5 s");
        self.troubles.set(Trouble::Down);
        self.watching(tokio::time::sleep(Duration::from_secs(5)), None).await;
        self.troubles.set(Trouble::None);
        let marked = self.migration.observe().marked;
        self.picture.say(&format!("the target is back; {marked} rows were marked and are being repaired"));
        let migration = self.migration.clone();
        let repaired = self.watching(async move { migration.converged(Duration::from_secs(60)).await }, None).await;
        let seen = self.migration.observe();
        self.picture.say(&format!("{} rows repaired, {} marked", seen.repaired, seen.marked));
        if repaired { Ok(()) } else { Err(anyhow!("rows stayed marked after the target was back").into()) }
    }

    /// What a run that begins now has before it: the rows of so many sides.
    fn work(&self, sides: u64) -> Work {
        Work { counters: Arc::default(), of: self.world.flights.len() as u64 * sides }
    }

    /// Backfill, beside the traffic (R9).
    async fn move_history(&mut self) -> Result<(), Failure> {
        self.picture.say("backfill: history follows, beside live writes");
        // A target that takes in history has less time for comparisons: one in ten meanwhile, as an operator would.
        self.options.compare = Share::from_buckets(10_000).unwrap_or_default();
        self.control.options(self.options.clone()).await?;
        let (pair, control, work) = (self.pair.clone(), Control::default(), self.work(1));
        let options = backfill::Options {
            chunk_rows: Some(CHUNK),
            parallel: AT_ONCE,
            // The demo made both tables.
            extra: backfill::Extra::Delete,
            ..backfill::Options::default()
        };
        let known = self.control.run(InstanceKind::Backfill, &control, &work).await?;
        self.evidence.backfill = BackfillState::Unfinished;
        let counters = Arc::clone(&work.counters);
        let run = async move { backfill::run(&pair, &options, &control, &counters, &nobody()).await };
        let moved = self.watching(run, Some(("backfill", &work))).await.map_err(anyhow::Error::from)?;
        known.end(Outcome::Complete).await?;
        self.clock += 1;
        self.evidence.backfill = BackfillState::Complete(Tick(self.clock));
        self.options.history = History::Moved;
        self.options.compare = Share::ALL;
        self.control.options(self.options.clone()).await?;
        self.picture.say(&format!(
            "{} rows copied, {} equal already, {} deleted, in {:.1} s",
            moved.rows_written, moved.rows_unchanged, moved.rows_deleted, moved.seconds
        ));
        let position = self.migration.standing().plan.position().clone();
        self.stop_over(&position);
        Ok(())
    }

    /// Full checks of every dual write, then a verification of every row: what the gate relies on (R5, R7, R14).
    async fn prove_equal(&mut self) -> Result<Turn, Failure> {
        self.options.checks = Checks::Full;
        self.control.options(self.options.clone()).await?;
        self.clock += 1;
        self.evidence.full_checks_since = Some(Tick(self.clock));
        self.picture.say("verify: every row of both sides, and every write from now on");
        self.clock += 1;
        let seen = Tick(self.clock);
        let (pair, control, work) = (self.pair.clone(), Control::default(), self.work(2));
        let known = self.control.run(InstanceKind::Verify, &control, &work).await?;
        let counters = Arc::clone(&work.counters);
        let run = async move { verify::run(&pair, &verify::Options::default(), &control, &counters, &nobody()).await };
        let found = self.watching(run, Some(("verify", &work))).await.map_err(anyhow::Error::from)?.report;
        let differing = found.missing_in_target + found.extra_in_target + found.different;
        let verdict = match found.verdict {
            verify::Verdict::Verified => Verdict::Verified,
            verify::Verdict::Diverged => Verdict::Diverged(differing),
            verify::Verdict::Unknown => Verdict::Unknown(found.unknown_ranges.len() as u64),
        };
        known.judged(verdict).await?;
        self.evidence.verification = Some(Verification { began: seen, verdict });
        self.picture.say(&match verdict {
            Verdict::Verified => format!("verified: {} rows on both sides are equal", found.rows_source),
            Verdict::Diverged(rows) => format!("diverged: {rows} rows differ"),
            Verdict::Unknown(ranges) => format!("unknown: {ranges} ranges of rows could not be read"),
        });
        let position = self.migration.standing().plan.position().clone();
        self.stop_over(&position);
        Ok(if matches!(verdict, Verdict::Diverged(_)) { Turn::Back } else { Turn::On })
    }

    /// Pauses the traffic and compares every row of both databases, past the library.
    async fn look_at_every_row(&mut self) -> Result<Turn, Failure> {
        self.traffic.rest().await;
        self.migration.drain(Duration::from_secs(30)).await;
        let (source, target) = self.both_sides().await?;
        self.report.rows_source = source.len() as u64;
        self.report.rows_target = target.len() as u64;
        self.report.diverged = check::differing(&source, &target);
        self.report.lost_writes = check::lost(&self.world, &source).max(check::lost(&self.world, &target));
        self.picture.say(&format!(
            "traffic paused; {} rows in the source, {} in the target, {} different, {} writes lost",
            self.report.rows_source, self.report.rows_target, self.report.diverged, self.report.lost_writes
        ));
        self.traffic.go_on();
        self.traffic.seen.take();
        let sound = self.report.diverged == 0 && self.report.lost_writes == 0;
        Ok(if sound { Turn::On } else { Turn::Back })
    }

    async fn both_sides(&self) -> Result<(Rows, Rows), Failure> {
        let read = |error: EventError| anyhow!(error).context("the independent check cannot read every row");
        let source = check::rows_of(&self.source).await.map_err(read)?;
        let target = check::rows_of(&self.target).await.map_err(read)?;
        Ok((source, target))
    }

    /// At complete: every acknowledged write must be in the target.
    async fn epilogue(&mut self) -> Result<Exit, Failure> {
        let (_, target) = self.both_sides().await?;
        self.report.lost_writes = self.report.lost_writes.max(check::lost(&self.world, &target));
        self.totals();
        let report = &self.report;
        Ok(match (report.lost_writes + report.stale_reads, report.diverged) {
            (0, 0) => Exit::Done,
            (_, diverged) if diverged > 0 => Exit::Diverged,
            _ => Exit::Failed,
        })
    }

    /// The sides differ: says where, and takes everybody back to off, edge by edge, as safely as they came.
    async fn way_back(&mut self) -> Result<Exit, Failure> {
        let seen = self.migration.observe();
        let samples = seen.operations.iter().flat_map(|operation| &operation.samples);
        let mut fields: BTreeSet<String> = samples.flat_map(|sample| sample.fields.iter().cloned()).collect();
        let (source, target) = self.both_sides().await?;
        fields.extend(check::differing_fields(&source, &target));
        let fields: Vec<String> = fields.into_iter().collect();
        self.picture.say(&format!("source and target differ in: {}", fields.join(", ")));
        self.report.differing_fields = fields;
        self.migration.drain(Duration::from_secs(10)).await;
        loop {
            let here = self.migration.standing().plan.position().clone();
            let Some(back) = one_back(&here) else { break };
            self.control.advance(back).await?;
        }
        let stage = self.migration.standing().plan.position().stage();
        self.report.rolled_back = stage == Stage::Off;
        self.picture.say(&format!("rolled back: every user is at {stage} again, as before"));
        let (source, target) = self.both_sides().await?;
        (self.report.rows_source, self.report.rows_target) = (source.len() as u64, target.len() as u64);
        // Rows that were never moved are not wrong; those that are there have to be right.
        self.report.diverged = target.iter().filter(|(id, event)| source.get(id) != Some(event)).count() as u64;
        self.report.lost_writes = check::lost(&self.world, &source);
        self.totals();
        Ok(Exit::Diverged)
    }

    fn totals(&mut self) {
        let seen = self.migration.observe();
        let traffic = &self.traffic.seen;
        self.report.acknowledged_writes = traffic.acknowledged.load(Ordering::SeqCst);
        self.report.stale_reads = traffic.stale.load(Ordering::SeqCst);
        self.report.failed_writes = traffic.failed_writes.load(Ordering::SeqCst);
        self.report.failed_reads = traffic.failed_reads.load(Ordering::SeqCst);
        self.report.comparisons = seen.total(|seen| seen.compared);
        self.report.mismatches = seen.total(|seen| seen.mismatched);
        self.report.not_backfilled = seen.total(|seen| seen.not_backfilled);
        self.report.repaired = seen.repaired;
        self.report.longest_hold_ms = seen.longest_hold_ms;
    }
}

type Rows = std::collections::HashMap<u64, crossfade_example_events::Event>;

/// An open ramp is emptied; a stage is left by its whole edge.
fn one_back(here: &Position) -> Option<Position> {
    if here.ramp().is_some() {
        return Some(Position::at(here.stage()));
    }
    here.stage().previous().map(Position::at)
}
