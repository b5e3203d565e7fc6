//! Decides whether a history keeps the promises: P2 for reads, P4 for writes, one winner per claim.
//!
//! What it takes as proven wrong, it can show by times alone: one operation had ended before another began. Between
//! operations that overlap it takes either order. An operation without a clear answer may have happened, at any time
//! until its linger has passed, or never. Inside a waiver (R20) nothing is promised; after it, everything again, from
//! whatever is there then.

mod claims;
mod counters;
mod registers;
#[cfg(test)]
mod tests;

use crate::history::{Act, Outcome, Seen, Story, Written};
use std::collections::BTreeMap;

/// How long after its answer, or its process's death, an unclear effect may still land, in microseconds.
pub(crate) const LINGER: u64 = 3_500_000;

/// A span of time in which P2 to P4 are waived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiver {
    pub(crate) from: u64,
    /// `u64::MAX` while it lasts.
    pub(crate) until: u64,
}

/// All rows at a moment when nothing was under way, as the authority had them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quiet {
    pub(crate) at: u64,
    pub(crate) rows: BTreeMap<String, Seen>,
}

/// What is known besides the histories.
#[derive(Debug, Clone, Default)]
pub(crate) struct Circumstances {
    /// When processes died, by their number.
    pub(crate) deaths: BTreeMap<usize, u64>,
    pub(crate) waivers: Vec<Waiver>,
    pub(crate) quiet: Vec<Quiet>,
}

/// A promise that was broken, in words without values of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) row: String,
    pub(crate) promise: &'static str,
    pub(crate) what: String,
}

/// Everything that is wrong with these stories.
pub(crate) fn check(stories: &BTreeMap<String, Story>, around: &Circumstances) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (row, story) in stories {
        let mut say = |promise, what| violations.push(Violation { row: row.clone(), promise, what });
        match row.chars().next() {
            Some('r') => registers::check(row, story, around, &mut say),
            Some('n') => counters::check(row, story, around, &mut say),
            Some('c') => claims::check(row, story, around, &mut say),
            Some(_) | None => say("P4", "nobody writes such a row".to_owned()),
        }
    }
    let last = around.quiet.last().map(|quiet| &quiet.rows);
    for row in last.into_iter().flat_map(BTreeMap::keys).filter(|row| !stories.contains_key(*row)) {
        violations.push(Violation {
            row: row.clone(),
            promise: "P4",
            what: "it is there, and nobody wrote it".to_owned(),
        });
    }
    violations
}

/// What became of a write, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Between its two times it happened.
    Done,
    /// It may have happened, until then.
    Maybe,
    /// It did not happen.
    Never,
}

impl Circumstances {
    fn fate(&self, write: &Written) -> (Fate, u64) {
        match &write.answer {
            Some((end, Outcome::Done(_))) => (Fate::Done, *end),
            Some((end, Outcome::Refused)) => (Fate::Never, *end),
            Some((end, Outcome::Unknown)) => (Fate::Maybe, end.saturating_add(LINGER)),
            None => (Fate::Maybe, self.deaths.get(&write.process).map_or(u64::MAX, |died| died.saturating_add(LINGER))),
        }
    }

    /// How many waivers had ended before; none for what touches one.
    fn era(&self, begin: u64, end: u64) -> Option<usize> {
        if self.waivers.iter().any(|waiver| begin <= waiver.until && end >= waiver.from) {
            return None;
        }
        Some(self.waivers.iter().filter(|waiver| waiver.until < begin).count())
    }

    /// The end of the last waiver that had begun by then.
    fn waived_until(&self, time: u64) -> Option<u64> {
        self.waivers.iter().filter(|waiver| waiver.from <= time).map(|waiver| waiver.until).max()
    }

    /// What the quiet moments saw of a row.
    fn quiet_of<'a>(&'a self, row: &'a str) -> impl Iterator<Item = (u64, Option<&'a Seen>)> + 'a {
        self.quiet.iter().map(move |quiet| (quiet.at, quiet.rows.get(row)))
    }
}

fn count_of(answer: &Option<(u64, Outcome)>) -> Option<i64> {
    match answer {
        Some((_, Outcome::Done(count))) => count.parse().ok(),
        Some((_, Outcome::Refused | Outcome::Unknown)) | None => None,
    }
}

fn is_put(act: &Act) -> Option<&str> {
    match act {
        Act::Put(value) => Some(value),
        Act::Delete | Act::Increment | Act::Claim(_) => None,
    }
}

/// For the greatest of one number over everything whose other number is at most something.
struct Staircase(Vec<(u64, u64)>);

impl Staircase {
    fn new(mut pairs: Vec<(u64, u64)>) -> Staircase {
        pairs.sort_unstable();
        let mut most = 0;
        for (_, value) in &mut pairs {
            most = most.max(*value);
            *value = most;
        }
        Staircase(pairs)
    }

    /// The greatest second number among those whose first is at most `limit`.
    fn up_to(&self, limit: u64) -> Option<u64> {
        let place = self.0.partition_point(|(first, _)| *first <= limit);
        place.checked_sub(1).and_then(|last| self.0.get(last)).map(|(_, most)| *most)
    }
}
