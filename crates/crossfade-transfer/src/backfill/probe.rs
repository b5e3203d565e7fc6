//! Small requests beside the copy: they feel what the application's requests feel.

use std::{convert::Infallible, time::Duration};

use crossfade_stores::{Position, Range};
use tokio::time::Instant;

use crate::{
    Pair,
    pace::Adaptive,
    progress::{Event, Observer},
};

/// So much slower than usual is slow.
const SLOW: u32 = 4;
/// And slower than this at all.
const FLOOR: Duration = Duration::from_millis(30);

/// Measures until dropped.
pub(super) async fn watch(pair: &Pair, adaptive: &Adaptive, observer: &dyn Observer) -> Infallible {
    let mut usual: Option<Duration> = None;
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let start = Instant::now();
        // A failing database is the copy's business to report.
        let (a, b) = futures::join!(
            pair.source.scan(&Range::ALL, &Position::Start, 1),
            pair.target.scan(&Range::ALL, &Position::Start, 1)
        );
        if a.is_err() || b.is_err() {
            continue;
        }
        let took = start.elapsed();
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
