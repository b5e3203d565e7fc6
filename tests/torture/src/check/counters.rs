//! Counters: every acknowledged increment is in the sum; answers rise.

use super::{Circumstances, Fate, count_of};
use crate::history::Story;
use std::collections::BTreeMap;

pub(super) fn check(row: &str, story: &Story, around: &Circumstances, say: &mut impl FnMut(&'static str, String)) {
    let possible = |until: u64| {
        let might = |write: &&crate::history::Written| around.fate(write).0 != Fate::Never && write.begin <= until;
        i64::try_from(story.writes.iter().filter(might).count()).unwrap_or(i64::MAX)
    };
    // Two acknowledged increments never have the same answer.
    let mut answers: BTreeMap<(usize, i64), u64> = BTreeMap::new();
    // By era: (beginning, end, count) of increments and reads.
    let mut eras: BTreeMap<usize, Vec<(u64, u64, i64, bool)>> = BTreeMap::new();
    for write in &story.writes {
        let (Some(count), (Fate::Done, end)) = (count_of(&write.answer), around.fate(write)) else { continue };
        let Some(era) = around.era(write.begin, end) else { continue };
        if let Some(other) = answers.insert((era, count), write.begin) {
            say(
                "P4",
                format!(
                    "two increments (begun at {other} and {}) were both answered {count}: one is lost",
                    write.begin
                ),
            );
        }
        eras.entry(era).or_default().push((write.begin, end, count, true));
    }
    let quiet = around.quiet_of(row).map(|(at, seen)| (at, at, seen.map_or(0, |seen| seen.count)));
    let reads = story.reads.iter().map(|read| (read.begin, read.end, read.seen.as_ref().map_or(0, |seen| seen.count)));
    let mut reads: Vec<(u64, u64, i64)> = reads.chain(quiet).collect();
    reads.sort_unstable();
    for (begin, end, count) in reads {
        if let Some(era) = around.era(begin, end) {
            eras.entry(era).or_default().push((begin, end, count, false));
        }
    }
    for seen in eras.into_values() {
        rises(seen, say);
    }
    let last = story.reads.iter().map(|read| (read.end, read.seen.as_ref().map_or(0, |seen| seen.count)));
    if let Some((end, count)) = last.max_by_key(|(_, count)| *count)
        && count > possible(u64::MAX)
    {
        say("P4", format!("a read that ended at {end} found {count}: more than were ever tried"));
    }
    sums(row, story, around, say);
}

/// Whatever had ended before another began has a smaller count; a read may have the same.
fn rises(mut seen: Vec<(u64, u64, i64, bool)>, say: &mut impl FnMut(&'static str, String)) {
    seen.sort_unstable();
    let mut by_end: Vec<(u64, i64)> = seen.iter().map(|(_, end, count, _)| (*end, *count)).collect();
    by_end.sort_unstable();
    let (mut next, mut most, mut of) = (0, i64::MIN, 0);
    for (begin, _, count, increment) in seen {
        while let Some((end, count)) = by_end.get(next).filter(|(end, _)| *end < begin) {
            if *count > most {
                (most, of) = (*count, *end);
            }
            next += 1;
        }
        let needs = if increment { most.saturating_add(1) } else { most };
        if count < needs && most != i64::MIN {
            let what = if increment { "an increment" } else { "a read" };
            say(
                "P2",
                format!("{what} at {begin} was answered {count}, after one that ended at {of} was answered {most}"),
            );
        }
    }
}

/// From one quiet moment to the next: as much as was acknowledged, and at most what was tried besides.
fn sums(row: &str, story: &Story, around: &Circumstances, say: &mut impl FnMut(&'static str, String)) {
    let quiet: Vec<(u64, i64)> = std::iter::once((0, 0))
        .chain(around.quiet_of(row).map(|(at, seen)| (at, seen.map_or(0, |seen| seen.count))))
        .collect();
    for pair in quiet.windows(2) {
        let [(from, before), (until, after)] = pair else { continue };
        if around.waivers.iter().any(|waiver| waiver.from <= *until && waiver.until >= *from) {
            continue;
        }
        let (mut done, mut maybe) = (0i64, 0i64);
        for write in &story.writes {
            let (fate, end) = around.fate(write);
            match fate {
                Fate::Done if write.begin > *from && write.begin <= *until => done += 1,
                Fate::Maybe if end > *from && write.begin <= *until => maybe += 1,
                Fate::Done | Fate::Maybe | Fate::Never => {}
            }
        }
        let grown = after - before;
        if grown < done {
            say(
                "P4",
                format!("{done} increments were acknowledged between {from} and {until}, the count grew by {grown}"),
            );
        } else if grown > done + maybe {
            say(
                "P4",
                format!(
                    "the count grew by {grown} between {from} and {until}; {done} increments were acknowledged, {maybe} more were tried"
                ),
            );
        }
    }
}
