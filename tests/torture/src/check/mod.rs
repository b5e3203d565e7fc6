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

use crate::history::{Act, CREATED, Outcome, SWEPT, Seen, Story, Written};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How long after its answer, or its process's death, an unclear effect may still land, in microseconds.
pub(crate) const LINGER: u64 = 6_000_000;

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
    let open = open_creations(stories);
    let sweeps = sweeps(stories, around);
    for (row, story) in stories {
        let mut say = |promise, what| violations.push(Violation { row: row.clone(), promise, what });
        match row.split_once('/') {
            Some(("orders", "?")) | Some(("sessions", "*")) => {}
            Some(("orders", _)) => {
                let story = with_open(row, story, &open, around);
                let done = |write: &&Written| matches!(write.act, Act::Create(_)) && around.fate(write).0 == Fate::Done;
                let created: Vec<_> = story.writes.iter().filter(done).collect();
                if created.len() > 1 && around.waivers.is_empty() {
                    say("P4", format!("{} orders were created with this id", created.len()));
                }
                registers::check(row, &story, around, &[], &mut say);
            }
            Some(("sessions", _)) => registers::check(row, story, around, &sweeps, &mut say),
            Some(_) => say("P4", "nobody writes such a row".to_owned()),
            None => match row.chars().next() {
                Some('r') => registers::check(row, story, around, &[], &mut say),
                Some('n') => counters::check(row, story, around, &mut say),
                Some('c') => claims::check(row, story, around, &mut say),
                Some(_) | None => say("P4", "nobody writes such a row".to_owned()),
            },
        }
    }
    let last = around.quiet.last().map(|quiet| &quiet.rows);
    for (row, seen) in last.into_iter().flatten().filter(|(row, _)| !stories.contains_key(*row)) {
        if row.starts_with("orders/") && open.contains_key(seen.value.as_str()) {
            continue;
        }
        violations.push(Violation {
            row: row.clone(),
            promise: "P4",
            what: "it is there, and nobody wrote it".to_owned(),
        });
    }
    violations
}

/// Creations without an answer, by value: each may be a row of any id.
fn open_creations(stories: &BTreeMap<String, Story>) -> BTreeMap<&str, &Written> {
    let written = stories.get(CREATED).into_iter().flat_map(|story| &story.writes);
    let open = written.filter(|write| matches!(write.answer, None | Some((_, Outcome::Unknown))));
    open.filter_map(|write| Some((is_put(&write.act)?, write))).collect()
}

/// A story of an order with the creation that somebody saw there, where that has no answer.
fn with_open<'a>(
    row: &str,
    story: &'a Story,
    open: &BTreeMap<&str, &Written>,
    around: &Circumstances,
) -> Cow<'a, Story> {
    let reads = story.reads.iter().filter_map(|read| read.seen.as_ref());
    let seen = reads.chain(around.quiet_of(row).filter_map(|(_, seen)| seen));
    let mut found: Vec<&Written> = seen.filter_map(|seen| open.get(seen.value.as_str()).copied()).collect();
    found.sort_by_key(|write| write.begin);
    found.dedup();
    if found.is_empty() {
        return Cow::Borrowed(story);
    }
    let mut story = story.clone();
    story.writes.extend(found.into_iter().cloned());
    Cow::Owned(story)
}

/// A delete of everything that expires until a time, which is not after its beginning.
#[derive(Debug, Clone, Copy)]
struct Sweep {
    until: u64,
    begin: u64,
    end: u64,
    done: bool,
}

fn sweeps(stories: &BTreeMap<String, Story>, around: &Circumstances) -> Vec<Sweep> {
    let written = stories.get(SWEPT).into_iter().flat_map(|story| &story.writes);
    let sweep = |write: &Written| match (&write.act, around.fate(write)) {
        (_, (Fate::Never, _)) => None,
        (Act::Sweep(until), (fate, end)) => {
            Some(Sweep { until: *until, begin: write.begin, end, done: fate == Fate::Done })
        }
        (Act::Put(_) | Act::Create(_) | Act::Delete | Act::Increment | Act::Claim(_), _) => None,
    };
    written.filter_map(sweep).collect()
}

/// When the session with this value expires: its value says so.
fn expiry(value: &str) -> Option<u64> {
    value.rsplit_once('~')?.1.parse().ok()
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
        Act::Put(value) | Act::Create(value) => Some(value),
        Act::Delete | Act::Increment | Act::Claim(_) | Act::Sweep(_) => None,
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
