//! Registers: every read returns a value that no later acknowledged write had superseded before the read began.

use super::{Circumstances, Fate, Staircase, Sweep, expiry, is_put};
use crate::history::Story;
use std::collections::BTreeMap;

/// Sweeps delete rows too: each deletes the rows that expire until its time.
pub(super) fn check(
    row: &str,
    story: &Story,
    around: &Circumstances,
    sweeps: &[Sweep],
    say: &mut impl FnMut(&'static str, String),
) {
    // By its end: the latest beginning of an acknowledged write. What had ended before that is superseded.
    let mut acknowledged = Vec::new();
    // By its beginning: the latest end of a delete that happened, or may have. At the beginning there is no row.
    let mut deletes = vec![(0, 0)];
    let mut puts: BTreeMap<&str, (Fate, u64, u64)> = BTreeMap::new();
    for write in &story.writes {
        let (fate, end) = around.fate(write);
        if fate == Fate::Done {
            acknowledged.push((end, write.begin));
        }
        match is_put(&write.act) {
            Some(value) => {
                puts.insert(value, (fate, write.begin, end));
            }
            None if fate != Fate::Never => deletes.push((write.begin, end)),
            None => {}
        }
    }
    let (acknowledged, deletes) = (Staircase::new(acknowledged), Staircase::new(deletes));
    let swept =
        Staircase::new(sweeps.iter().filter(|sweep| sweep.done).map(|sweep| (sweep.end, sweep.until)).collect());
    let quiet = around.quiet_of(row).map(|(at, seen)| (at, at, seen, true));
    let reads = story.reads.iter().map(|read| (read.begin, read.end, read.seen.as_ref(), false));
    for (begin, end, seen, quiet) in reads.chain(quiet) {
        let who = if quiet { "at a quiet moment the authority" } else { "a read" };
        // What ended before this beginning is no longer there.
        let superseded = begin.checked_sub(1).and_then(|before| acknowledged.up_to(before)).unwrap_or(0);
        let waived = around.waived_until(end).filter(|until| superseded <= *until);
        match seen {
            None => {
                let possible = deletes.up_to(end).is_some_and(|ended| ended >= superseded);
                // Swept away: by one that may have come after a put that was still there and had expired.
                let possible = possible || {
                    let there = puts.iter().filter(|(_, (fate, began, ended))| {
                        *fate != Fate::Never && *began <= end && *ended >= superseded
                    });
                    let first = there.filter_map(|(value, _)| expiry(value)).min().unwrap_or(u64::MAX);
                    sweeps.iter().any(|sweep| sweep.until >= first && sweep.begin <= end && sweep.end >= superseded)
                };
                if !possible && waived.is_none() {
                    say(
                        "P4",
                        format!("{who} at {begin} found no row: an acknowledged write (begun at {superseded}) is lost"),
                    );
                }
            }
            Some(seen) => match puts.get(seen.value.as_str()) {
                None => say("P4", format!("{who} at {begin} found a value that nobody wrote")),
                Some((Fate::Never, ..)) => {
                    say("P1", format!("{who} at {begin} found the value of a write that was refused ({})", seen.value));
                }
                Some((_, began, _)) if *began > end => {
                    say("P2", format!("{who} at {begin} found a value before it was written ({})", seen.value));
                }
                Some((_, began, ended)) => {
                    let forgiven = waived.is_some_and(|until| *began <= until);
                    let sweep = begin.checked_sub(1).and_then(|before| swept.up_to(before)).unwrap_or(0);
                    if *ended < sweep && expiry(&seen.value).is_some_and(|expired| expired <= sweep) && !forgiven {
                        say(
                            "P2",
                            format!(
                                "{who} at {begin} found {}, which expired before {sweep} and was deleted by a sweep of that time",
                                seen.value
                            ),
                        );
                    }
                    if *ended < superseded && !forgiven {
                        say(
                            "P2",
                            format!(
                                "{who} at {begin} found {} of a write that ended at {ended}; one that began at {superseded} had superseded it and was acknowledged",
                                seen.value
                            ),
                        );
                    }
                }
            },
        }
    }
}
