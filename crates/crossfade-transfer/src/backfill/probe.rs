//! Small requests beside the copy: they feel what the application's requests feel.

use std::{convert::Infallible, sync::Arc, time::Duration};

use crossfade_stores::{Position, Range, Table};
use tokio::time::Instant;

use super::{Path, Run};
use crate::{
    Pair,
    pace::{Adaptive, Change},
    progress::{Counters, Event},
};

/// So much slower than usual is slow.
const SLOW: u32 = 2;
/// And slower than this at all.
const FLOOR: Duration = Duration::from_millis(5);
/// Requests of one measurement.
const REQUESTS: usize = 11;
/// So many chunks tell how fast it goes.
const TELLING: u64 = 30;
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(40);

/// What requests take before the copy begins.
pub(super) async fn usual(pair: &Pair) -> Option<Duration> {
    // The first ones connect and prepare.
    request(pair).await;
    measurement(pair, Duration::ZERO).await
}

impl Run {
    /// Measures, and changes how many chunks run at a time, until dropped. Where nobody else writes, nobody is slowed down: only the speed of the copy counts.
    pub(super) async fn watch(&self, path: Path, adaptive: &Adaptive, mut usual: Option<Duration>) -> Infallible {
        let pair = &self.pair;
        loop {
            let slow = match path {
                Path::Bulk => {
                    tokio::time::sleep(PAUSE).await;
                    false
                }
                Path::Reconcile => {
                    let Some(took) = measurement(pair, PAUSE).await else { continue };
                    let least = usual.map_or(took, |least: Duration| least.min(took));
                    usual = Some(least);
                    took > least * SLOW && took > FLOOR
                }
            };
            let (rows, enough) = (Counters::get(&self.counters.read), self.chunk_rows * TELLING);
            if let Some(Change { to, why }) = adaptive.measured(slow, rows, enough) {
                self.observer.event(Event::Pace { parallel: to, why });
            }
        }
    }
}

/// The median of some requests. The slowest ones tell of the machine (a turn of its scheduler is 4 ms where both run on two cores), and not of the copy.
async fn measurement(pair: &Pair, pause: Duration) -> Option<Duration> {
    let mut took = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        tokio::time::sleep(pause).await;
        took.extend(request(pair).await);
    }
    took.sort_unstable();
    took.get(took.len() / 2).copied()
}

/// `None` where one side does not answer: that is the copy's business to report.
async fn request(pair: &Pair) -> Option<Duration> {
    let start = Instant::now();
    let (a, b) = futures::join!(small(&pair.source), small(&pair.target));
    (a && b).then(|| start.elapsed())
}

/// Whether it answers. One that throttles says by itself when it is too much, and is not asked.
async fn small(table: &Arc<dyn Table>) -> bool {
    table.capabilities().throttles || table.scan(&Range::ALL, &Position::Start, 1).await.is_ok()
}
