//! The jobs: each starts servers of its own, and says what it measured.

use super::evaluations::{Ask, Load, load};
use super::fleet::{Fleet, Sighting, Size};
use super::lab::{Goal, Server};
use super::peers::FastFeature;
use crate::measure::median;
use anyhow::{Context as _, ensure};
use crossfade_core::{Share, Stage};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Job {
    /// From the operator's wish to a plan in force in every instance.
    Publish,
    /// How long writes are held when authority moves.
    Move,
    /// What the server needs for heartbeats.
    Heartbeats,
    /// Flags evaluated by OFREP, beside fast-feature.
    Ofrep,
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Ten thousand instances instead of a thousand.
    pub(crate) big: bool,
    pub(crate) rounds: u32,
    /// How many instances may have a connection of their own for what they say.
    pub(crate) room: u64,
}

impl Extent {
    pub(crate) const fn instances(self) -> u64 {
        if self.big { 10_000 } else { 1_000 }
    }
}

/// A figure that the project has promised to itself.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) measured: f64,
    pub(crate) bar: f64,
    pub(crate) met: bool,
}

const fn at_most(name: &'static str, measured: f64, bar: f64) -> Bar {
    Bar { name, measured, bar, met: measured <= bar }
}

const fn at_least(name: &'static str, measured: f64, bar: f64) -> Bar {
    Bar { name, measured, bar, met: measured >= bar }
}

/// What a job measured, and what it was to reach.
pub(crate) type Measured = anyhow::Result<(Value, Vec<Bar>)>;

/// Long enough for anything that works at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// A fleet by the library alone would measure a thousand HTTP clients in one process.
const LIBRARY: u64 = 20;

impl Job {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Job::Publish => "publish",
            Job::Move => "move",
            Job::Heartbeats => "heartbeats",
            Job::Ofrep => "ofrep",
        }
    }

    pub(crate) async fn measure(self, crossfade: &Path, extent: Extent) -> Measured {
        match self {
            Job::Publish => publish(crossfade, extent).await,
            Job::Move => moves(crossfade, extent).await,
            Job::Heartbeats => heartbeats(crossfade, extent).await,
            Job::Ofrep => evaluations(crossfade, extent).await,
        }
    }
}

/// The value below which this share of them lies. NaN of none.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share).ceil() as usize;
    values.get(at.clamp(1, values.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}

async fn publish(crossfade: &Path, extent: Extent) -> Measured {
    let server = Server::start(crossfade, Duration::from_secs(10))?;
    let mut operator = server.operator().await?;
    operator.make(Stage::Off).await?;
    let alone_kb = server.resident_kb()?;
    let size = Size { instances: extent.instances(), library: LIBRARY, room: extent.room };
    let mut fleet = Fleet::start(server.address, size).await?;
    fleet.until(1, PATIENCE).await.context("at the beginning")?;
    let (mut all, mut slowest, mut settled) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=extent.rounds {
        let percent = Share::from_buckets(100_000 / (extent.rounds + 1) * round).context("no such share")?;
        let begun = operator.step(Goal::Ramp(Stage::DualWrite, percent)).await?;
        let seen = fleet.until(begun.revision, PATIENCE).await?;
        let mut took: Vec<f64> = seen.iter().map(|sighting| milliseconds(begun.at, sighting.at)).collect();
        slowest.push(quantile(&mut took, 1.0));
        all.extend(took);
        operator.settled().await?;
        settled.push(milliseconds(begun.at, Instant::now()));
    }
    let connected_kb = server.resident_kb()?;
    let each_kb = connected_kb.saturating_sub(alone_kb) as f64 / size.instances as f64;
    let p99 = quantile(&mut all, 0.99);
    let worst = quantile(&mut slowest, 1.0);
    let figures = json!({
        "instances": size.instances, "by_library": size.library, "revisions": extent.rounds,
        "connections": size.instances + size.room.min(size.instances),
        "applied_ms": { "p50": quantile(&mut all, 0.5), "p99": p99, "max": worst },
        "acknowledged_everywhere_ms": median(settled),
        "server_kb": { "alone": alone_kb, "connected": connected_kb, "each_instance": each_kb },
    });
    let bars = match extent.big {
        false => vec![at_most("publish to applied, p99 of 1,000 instances, ms", p99, 100.0)],
        true => vec![
            at_most("publish to applied, the slowest of 10,000 instances, ms", worst, 2_000.0),
            at_most("server memory for each of 10,000 instances, KB", each_kb, 40.0),
        ],
    };
    Ok((figures, bars))
}

/// From the first hold in force to the last release.
fn held_ms(seen: &[Sighting], release: u64) -> Option<f64> {
    let first = seen.iter().filter(|sighting| sighting.held).map(|sighting| sighting.at).min()?;
    let last = seen.iter().filter(|sighting| sighting.revision == release).map(|sighting| sighting.at).max()?;
    Some(milliseconds(first, last))
}

async fn moves(crossfade: &Path, extent: Extent) -> Measured {
    let server = Server::start(crossfade, Duration::from_secs(10))?;
    let mut operator = server.operator().await?;
    operator.make(Stage::Shadow).await?;
    let size = Size { instances: 100, library: LIBRARY, room: 100 };
    let mut fleet = Fleet::start(server.address, size).await?;
    fleet.until(1, PATIENCE).await.context("at the beginning")?;
    operator.open_the_gate().await?;
    let mut held = Vec::new();
    for round in 0..extent.rounds {
        // There and back again: both are moves of authority over all keys.
        let goal = if round % 2 == 0 { Goal::Ramp(Stage::Live, Share::ALL) } else { Goal::Back };
        let begun = operator.step(goal).await?;
        let release = begun.revision + 2;
        let seen = fleet.until(release, PATIENCE).await?;
        held.push(held_ms(&seen, release).context("nobody held its writes")?);
        let status = operator.settled().await?;
        let abandoned = status.last_step.and_then(|step| step.abandoned);
        ensure!(abandoned.is_none(), "a move was abandoned: {abandoned:?}");
    }
    let slowest = quantile(&mut held, 1.0);
    let figures = json!({
        "instances": size.instances, "by_library": size.library, "moves": held.len(),
        "held_ms": { "p50": quantile(&mut held, 0.5), "max": slowest },
    });
    Ok((figures, vec![at_most("writes held by a move over 100 instances, the longest, ms", slowest, 300.0)]))
}

async fn heartbeats(crossfade: &Path, extent: Extent) -> Measured {
    // A thousand a second, either way.
    let (every, time) = if extent.big { (10, 30) } else { (1, 10) };
    let server = Server::start(crossfade, Duration::from_secs(every))?;
    let mut operator = server.operator().await?;
    operator.make(Stage::Off).await?;
    let size = Size { instances: extent.instances(), library: 0, room: extent.room };
    let mut fleet = Fleet::start(server.address, size).await?;
    fleet.until(1, PATIENCE).await.context("at the beginning")?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (began, used, counted) = (Instant::now(), server.cpu_seconds()?, fleet.beats.load(Ordering::Relaxed));
    tokio::time::sleep(Duration::from_secs(time)).await;
    let (seconds, used) = (began.elapsed().as_secs_f64(), server.cpu_seconds()? - used);
    let per_second = (fleet.beats.load(Ordering::Relaxed) - counted) as f64 / seconds;
    ensure!(per_second > 900.0, "only {per_second:.0} heartbeats per second: this machine is too busy to say anything");
    let share = 100.0 * used / seconds;
    let figures = json!({
        "instances": size.instances, "every_s": every, "seconds": seconds, "heartbeats_per_second": per_second,
        "cpu_us_each": 1e6 * used / (per_second * seconds), "percent_of_a_core": share,
    });
    let name = "server's CPU for 1,000 heartbeats a second, percent of a core";
    Ok((figures, vec![at_most(name, share, 20.0)]))
}

async fn evaluations(crossfade: &Path, extent: Extent) -> Measured {
    let server = Server::start(crossfade, Duration::from_secs(10))?;
    let mut operator = server.operator().await?;
    operator.make(Stage::DualWrite).await?;
    operator.step(Goal::Ramp(Stage::Shadow, "50".parse()?)).await?;
    let peer = FastFeature::start().await?;
    let time = Duration::from_secs(2);
    let (mut ours, mut all, mut theirs, mut theirs_all) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..extent.rounds.div_ceil(4) {
        ours.push(load(server.address, Ask::One, time, || server.cpu_seconds()).await?);
        theirs.push(load(peer.address, Ask::One, time, || peer.cpu_seconds()).await?);
        all.push(load(server.address, Ask::All, time, || server.cpu_seconds()).await?);
        theirs_all.push(load(peer.address, Ask::All, time, || peer.cpu_seconds()).await?);
    }
    let of = |loads: &[Load], figure: fn(&Load) -> f64| median(loads.iter().map(figure).collect());
    let ratio =
        |figure: fn(&Load) -> f64| median(ours.iter().zip(&theirs).map(|(a, b)| figure(a) / figure(b)).collect());
    let told =
        |loads: &[Load]| json!({ "per_second": of(loads, |l| l.per_second), "per_core": of(loads, |l| l.per_core) });
    let (per_core, by_wall) = (of(&ours, |load| load.per_core), ratio(|load| load.per_second));
    let figures = json!({
        "rounds": ours.len(), "one_flag": told(&ours), "all_flags": told(&all),
        "fast_feature": { "one_flag": told(&theirs), "all_flags": told(&theirs_all) },
        "ratio": { "per_second": by_wall, "per_core": ratio(|load| load.per_core) },
    });
    let bars = vec![
        at_least("OFREP evaluations per second of CPU, one flag per request", per_core, 20_000.0),
        at_least("times what fast-feature evaluates per second", by_wall, 5.0),
    ];
    Ok((figures, bars))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.5), 100.0);
        assert_eq!(quantile(&mut values, 0.99), 198.0);
        assert_eq!(quantile(&mut values, 1.0), 200.0);
        assert!(quantile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn writes_are_held_from_the_first_hold_to_the_last_release() {
        let began = Instant::now();
        let seen = |revision, ms, held| Sighting { revision, at: began + Duration::from_millis(ms), held };
        let all = [seen(4, 1, false), seen(5, 12, true), seen(5, 10, true), seen(6, 20, true), seen(7, 50, false)];
        assert_eq!(held_ms(&all, 7), Some(40.0));
        assert_eq!(held_ms(&all[..1], 7), None);
    }
}
