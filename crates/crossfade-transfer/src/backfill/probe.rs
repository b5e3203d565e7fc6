//! Small requests beside the copy: they feel what the application's requests feel.

use std::{convert::Infallible, sync::Arc, time::Duration};

use crossfade_stores::{Position, Range, Table};
use tokio::time::Instant;

use crate::{
    Pair,
    pace::Adaptive,
    progress::{Event, Observer},
};

/// So much slower than usual is slow.
const SLOW: u32 = 2;
/// And slower than this at all.
const FLOOR: Duration = Duration::from_millis(5);
/// Requests of one measurement.
const REQUESTS: usize = 5;
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(80);

/// What requests take before the copy begins.
pub(super) async fn usual(pair: &Pair) -> Option<Duration> {
    // The first ones connect and prepare.
    request(pair).await;
    measurement(pair, Duration::ZERO).await
}

/// Measures until dropped.
pub(super) async fn watch(
    pair: &Pair,
    adaptive: &Adaptive,
    mut usual: Option<Duration>,
    observer: &dyn Observer,
) -> Infallible {
    loop {
        let Some(took) = measurement(pair, PAUSE).await else { continue };
        let least = usual.map_or(took, |u| u.min(took));
        usual = Some(least);
        let slow = took > least * SLOW && took > FLOOR;
        if let Some(parallel) = adaptive.measured(slow) {
            observer.event(Event::Pace {
                parallel,
                why: if slow { "the databases answer slower than usual" } else { "the databases answer as usual" },
            });
        }
    }
}

/// The second slowest of some requests: users feel the slow ones, and one alone says little.
async fn measurement(pair: &Pair, pause: Duration) -> Option<Duration> {
    let mut took = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        tokio::time::sleep(pause).await;
        took.extend(request(pair).await);
    }
    took.sort_unstable();
    took.pop();
    took.pop()
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
