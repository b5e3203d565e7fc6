//! OFREP servers under load: the same requests, by the same connections, to whoever speaks it.

use super::lab::TOKEN;
use super::wire::Wire;
use anyhow::ensure;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Connections, each with one request under way.
const CONNECTIONS: u64 = 32;
/// Flags in an answer of all flags.
pub(crate) const FLAGS: u64 = 6;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    One,
    All,
}

impl Ask {
    const fn path(self) -> &'static str {
        match self {
            Ask::One => "/ofrep/v1/evaluate/flags/bench.stage",
            Ask::All => "/ofrep/v1/evaluate/flags",
        }
    }

    /// Evaluations in an answer: a flag for a context is one.
    const fn evaluations(self) -> u64 {
        match self {
            Ask::One => 1,
            Ask::All => FLAGS,
        }
    }
}

/// What came out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) per_second: f64,
    /// Per second of the server's CPU time.
    pub(crate) per_core: f64,
}

/// Asks for so long; `cpu` reads the server's CPU time.
pub(crate) async fn load(
    address: SocketAddr,
    ask: Ask,
    time: Duration,
    cpu: impl Fn() -> anyhow::Result<f64>,
) -> anyhow::Result<Load> {
    let (answers, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        let mut wire = Wire::open(address, TOKEN).await?;
        let (answers, over) = (answers.clone(), over.clone());
        connections.spawn(async move {
            let mut user = number;
            while !over.load(Ordering::Relaxed) {
                let body = format!("{{\"context\":{{\"targetingKey\":\"user-{user}\",\"country\":\"CH\"}}}}");
                let answer = wire.post(ask.path(), body.as_bytes()).await?.good()?;
                let values = answer.windows(8).filter(|eight| eight == b"\"value\":").count() as u64;
                ensure!(values == ask.evaluations(), "{values} values: {}", String::from_utf8_lossy(&answer));
                answers.fetch_add(1, Ordering::Relaxed);
                user += CONNECTIONS;
            }
            anyhow::Ok(())
        });
    }
    // Whatever is slow only at first is over by then.
    tokio::time::sleep(time / 4).await;
    let (began, counted, used) = (Instant::now(), answers.load(Ordering::Relaxed), cpu()?);
    tokio::time::sleep(time).await;
    let (seconds, used) = (began.elapsed().as_secs_f64(), cpu()? - used);
    let evaluations = ((answers.load(Ordering::Relaxed) - counted) * ask.evaluations()) as f64;
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    Ok(Load { per_second: evaluations / seconds, per_core: evaluations / used })
}
