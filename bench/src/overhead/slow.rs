//! A target that takes 200 ms: what a shadow read's caller waits.

use super::dao::{AtOnce, SLOW, Slow, YieldsOnce};
use super::launchdarkly::{self, LocalCaller};
use super::subjects::{Caller, Direct, generated, migration};
use crate::measure::median;
use crossfade::Stage;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Latencies of a shadow read by the wall clock, µs; the source yields once.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct SlowTarget {
    target_ms: u64,
    direct_p50_us: f64,
    crossfade_p50_us: f64,
    direct_p99_us: f64,
    crossfade_p99_us: f64,
    launchdarkly_p50_us: f64,
    /// Comparisons that crossfade came to meanwhile, of so many reads.
    compared: u64,
    reads: u64,
}

const READS: u64 = 500;
const THEIR_READS: u64 = 10;

fn p99(mut latencies: Vec<f64>) -> f64 {
    latencies.sort_by(f64::total_cmp);
    latencies.get(latencies.len() * 99 / 100).copied().unwrap_or(f64::NAN)
}

/// Measures reads one after the other, ours and the DAO's own in turn.
pub(crate) fn measure() -> anyhow::Result<SlowTarget> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let migration = migration(Stage::Shadow).await?;
        let mut ours = generated(YieldsOnce, Slow, &migration);
        let mut direct = Direct(YieldsOnce);
        let (mut ours_us, mut direct_us, mut their_us) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..READS {
            direct_us.push(microseconds(Caller::read(&mut direct, number)).await);
            ours_us.push(microseconds(ours.read(number)).await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        migration.drain(SLOW * 10).await;
        let client = launchdarkly::client(Stage::Shadow).await?;
        let mut theirs = launchdarkly::caller(client, AtOnce, Slow)?;
        for number in 0..THEIR_READS {
            their_us.push(microseconds(theirs.read(number)).await);
        }
        Ok(SlowTarget {
            target_ms: SLOW.as_millis() as u64,
            direct_p50_us: median(direct_us.clone()),
            crossfade_p50_us: median(ours_us.clone()),
            direct_p99_us: p99(direct_us),
            crossfade_p99_us: p99(ours_us),
            launchdarkly_p50_us: median(their_us),
            compared: migration.observe().total(|operation| operation.compared),
            reads: READS,
        })
    })
}

async fn microseconds(work: impl Future<Output = ()>) -> f64 {
    let began = Instant::now();
    work.await;
    began.elapsed().as_nanos() as f64 / 1e3
}

impl std::fmt::Display for SlowTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "a shadow read whose target takes {} ms, wall clock µs, p50 (p99)", self.target_ms)?;
        writeln!(f, "  the DAO alone  {:>9.1} ({:.1})", self.direct_p50_us, self.direct_p99_us)?;
        writeln!(f, "  crossfade      {:>9.1} ({:.1})", self.crossfade_p50_us, self.crossfade_p99_us)?;
        write!(f, "  LaunchDarkly   {:>9.1}", self.launchdarkly_p50_us)
    }
}
