//! A quiet moment: nothing is under way, and both databases are read by plain SQL, past everything that is tested.

use super::operator::{Converged, Operator, comparable, converge, position};
use super::proxy::Weather;
use super::world::{World, count};
use crate::check::{Circumstances, Quiet, Violation, check};
use crate::clock::now;
use crate::dao::{Row, TABLES, named};
use crate::history::{Outcome, Seen, Written};
use crate::roles::DRAINED_WITHIN;
use crate::roles::app::plain;
use crate::stores::dump;
use anyhow::Context;
use crossfade_api::wire::EvidenceDoc;
use crossfade_core::{CohortKey, Plan, Side, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What a quiet moment showed.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) violations: Vec<Violation>,
    /// Both sides were to be equal, and were; or why nobody knows.
    pub(crate) equal: Result<(), String>,
    /// A check of every history under way: they are long, and nobody stands still for it.
    histories: Option<JoinHandle<Vec<Violation>>>,
}

/// How long a quiet moment lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Until both sides were read.
    Glance,
    /// Until both sides were verified and repaired; a check of every history begins with it.
    Whole,
}

/// What the histories read so far show.
fn judge(world: &World, around: &Circumstances) -> Vec<Violation> {
    let library = world.library();
    let violations = check(&library.stories, around);
    let (mut operations, mut acknowledged) = (0u64, 0u64);
    for story in library.stories.values() {
        let done = |write: &&Written| matches!(write.answer, Some((_, Outcome::Done(_))));
        operations += (story.writes.len() + story.reads.len()) as u64;
        acknowledged += (story.writes.iter().filter(done).count() + story.reads.len()) as u64;
    }
    drop(library);
    world.counts.operations.store(operations, Ordering::Relaxed);
    world.counts.acknowledged.store(acknowledged, Ordering::Relaxed);
    world.say(&format!(
        "checked: {operations} operations, {acknowledged} acknowledged, {} violations",
        violations.len()
    ));
    violations
}

impl Default for Shown {
    fn default() -> Shown {
        Shown { violations: Vec::new(), equal: Err("both sides were never compared".to_owned()), histories: None }
    }
}

impl Shown {
    /// Waits for what the histories show, while everybody works on.
    pub(crate) async fn judged(mut self) -> anyhow::Result<Shown> {
        if let Some(histories) = self.histories.take() {
            self.violations.extend(histories.await.context("the check fell")?);
        }
        Ok(self)
    }

    /// Whether waiting for it takes no time.
    pub(crate) fn is_judged(&self) -> bool {
        self.histories.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// Whether every dual write was checked since the first one, or since the verification that passed last.
fn checked(world: &World, evidence: &EvidenceDoc) -> bool {
    let Some(full) = evidence.full_checks_since else { return false };
    let since = [Some(full), evidence.dual_write_since, evidence.last_repair].into_iter().flatten().max();
    let verified = evidence.verification.as_ref().filter(|seen| seen.verdict == Verdict::Verified);
    // A broken variant is checked from the first dual write on.
    world.ground.broken.is_some() || verified.is_some_and(|seen| since.is_some_and(|since| seen.began > since))
}

pub(crate) async fn moment(world: &Arc<World>, operator: &Operator, depth: Depth) -> anyhow::Result<Shown> {
    let _peace = world.peace.write().await;
    for proxy in &world.proxies {
        proxy.set(Weather::Fair);
    }
    if depth == Depth::Whole {
        world.say("a quiet moment");
    }
    let mut apps = world.apps.lock().await;
    let mut shown = Shown::default();
    let mut marks = 0;
    for app in apps.iter_mut() {
        let said = app.process.order("pause", DRAINED_WITHIN * 2).await?;
        marks += said.strip_prefix("paused ").and_then(|marks| marks.parse::<u64>().ok()).context("no pause")?;
    }
    let mut say = |promise, what: String| {
        shown.violations.push(Violation { row: "all".to_owned(), promise, what });
    };
    if marks > 0 {
        say("P3", format!("{marks} rows are still marked {} s after everything was over", DRAINED_WITHIN.as_secs()));
    }
    let mut status = operator.settle(world).await?;
    for _ in 0..10 {
        // What was cleared is told with the next heartbeat.
        if status.evidence.marks == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        status = operator.settle(world).await?;
    }
    let here = position(&status)?;
    let (earlier, later) = here.occupied();
    let mirrored = earlier.is_mirrored() && later.is_mirrored();
    let complete = matches!(status.evidence.backfill.state, crossfade_core::BackfillState::Complete(_));
    let status_now = &status.evidence;
    // Every dual write was checked since a moment when both sides were equal: without a mark or a suspect nothing can differ any more.
    let trusted = mirrored
        && complete
        && marks == 0
        && status_now.marks == 0
        && status_now.suspects.is_empty()
        && checked(world, status_now)
        // A table in doubt has rows that may differ without a mark (R24).
        && status.gate.blockers.iter().all(|blocker| blocker.code != "table-suspect")
        && status_now.waived_since.is_none()
        && !world.anybody_dead().await?;
    if trusted {
        let differing = differing(&sides(world).await?);
        if let Some(first) = differing.first() {
            say(
                "P3",
                format!(
                    "{} rows differ at `{}` though none is marked and nobody is suspect, {} among them",
                    differing.len(),
                    status.position,
                    first
                ),
            );
        }
    }
    let here = comparable(&here, &status_now.backfill.state);
    let compared = match (depth, here) {
        (Depth::Glance, _) => Err("this was a glance only".to_owned()),
        (Depth::Whole, Err(why)) => Err(why),
        (Depth::Whole, Ok(())) => match converge(world, operator).await? {
            Converged::Equal => Ok(()),
            Converged::Never => {
                say("P3", "rows differ after repair upon repair".to_owned());
                Ok(())
            }
            Converged::Unknown(why) => Err(why),
        },
    };
    let status = operator.settle(world).await?;
    let at = now();
    let sides = sides(world).await?;
    if compared.is_ok() {
        count(&world.counts.compares);
        let differing = differing(&sides);
        if let Some(first) = differing.first() {
            say(
                "P3",
                format!(
                    "{} rows differ at `{}` after everything was verified, {} among them",
                    differing.len(),
                    status.position,
                    first
                ),
            );
        }
        let unequal = || format!("{} rows differ", differing.len());
        shown.equal = if differing.is_empty() { Ok(()) } else { Err(unequal()) };
    } else {
        shown.equal = compared;
    }
    let plan = Plan::new(status.publication.plan.clone())?;
    let mut rows = BTreeMap::new();
    for (name, (table, row)) in sides[0].iter().chain(&sides[1]) {
        let owner = row.count.to_string();
        let key = if *table == "orders" { owner.as_str() } else { row.id.group() };
        let side = match plan.decide(CohortKey::new(key)?).stage.authority() {
            Side::Source => &sides[0],
            Side::Target => &sides[1],
        };
        if let Some((_, row)) = side.get(name) {
            rows.insert(name.clone(), Seen { value: plain(&world.ground.secret, &row.value), count: row.count });
        }
    }
    world.around().quiet.push(Quiet { at, rows });
    if depth == Depth::Whole || !shown.violations.is_empty() {
        // What is written from now on is judged next time, with what is known then.
        world.library().read_on()?;
        let (around, world) = (world.around().clone(), Arc::clone(world));
        shown.histories = Some(tokio::task::spawn_blocking(move || judge(&world, &around)));
    }
    let what = if depth == Depth::Whole { "read and verified" } else { "a glance" };
    let trusted = if trusted { ", trusted" } else { "" };
    world.say(&format!("{what} at `{}`: {} violations{trusted}", status.position, shown.violations.len()));
    for app in apps.iter_mut() {
        app.process.order("go", Duration::from_secs(10)).await?;
    }
    Ok(shown)
}

/// Every row of both sides, by the name that histories give it.
type Sides = [BTreeMap<String, (&'static str, Row)>; 2];

async fn sides(world: &World) -> anyhow::Result<Sides> {
    let [source, target] = &world.databases;
    Ok([side(&source.url).await?, side(&target.url).await?])
}

fn differing(sides: &Sides) -> Vec<String> {
    let [source, target] = sides;
    let ids: std::collections::BTreeSet<&String> = source.keys().chain(target.keys()).collect();
    ids.into_iter().filter(|id| source.get(*id) != target.get(*id)).cloned().collect()
}

async fn side(url: &str) -> anyhow::Result<BTreeMap<String, (&'static str, Row)>> {
    let mut rows = BTreeMap::new();
    for table in TABLES {
        rows.extend(dump(url, table).await?.into_iter().map(|row| (named(table, &row.id), (table, row))));
    }
    Ok(rows)
}
