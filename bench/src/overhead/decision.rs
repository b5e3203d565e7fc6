//! The decision that every operation takes once.

use super::dao::user_of;
use super::subjects::migration;
use crate::measure::{cpu_ns, median, used};
use crossfade::Stage;
use serde::Serialize;
use std::hint::black_box;
use tokio::runtime::Runtime;

/// What deciding costs, ns of CPU.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Decision {
    /// Which stage a text key of 14 bytes has, under the plan in force.
    pub(crate) ns: f64,
    /// The same, by an integer key, whose digits are written first.
    pub(crate) integer_key_ns: f64,
    /// Beginning a read by a text key: the decision, its plan held for the grace period, the read counted.
    pub(crate) begun_ns: f64,
}

const KEYS: u64 = 1_024;
const TURNS: u64 = 100;

/// Measures decisions in the middle of a ramp.
pub(crate) fn measure(runtime: &Runtime, rounds: u32) -> anyhow::Result<Decision> {
    let migration = runtime.block_on(migration(Stage::Off))?;
    let operation = migration.operation("decision");
    let numbers: Vec<u64> = (0..KEYS).map(user_of).collect();
    let texts: Vec<String> = numbers.iter().map(|user| format!("user-{user:09}")).collect();
    let per_key = |work: &dyn Fn()| {
        let began = cpu_ns();
        for _ in 0..TURNS {
            work();
        }
        (cpu_ns() - began) / (KEYS * TURNS) as f64
    };
    let mut seen = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..=rounds {
        let nothing = per_key(&|| numbers.iter().for_each(used));
        let of_text = per_key(&|| texts.iter().for_each(|key| used(migration.stage_of(black_box(key.as_str())))));
        let of_number = per_key(&|| numbers.iter().for_each(|key| used(migration.stage_of(black_box(key)))));
        let begun = per_key(&|| texts.iter().for_each(|key| used(operation.begin_read(black_box(key.as_str())))));
        for (seen, took) in seen.iter_mut().zip([of_text, of_number, begun]) {
            seen.push(took - nothing);
        }
    }
    let [ns, integer_key_ns, begun_ns] = seen.map(median);
    Ok(Decision { ns, integer_key_ns, begun_ns })
}
