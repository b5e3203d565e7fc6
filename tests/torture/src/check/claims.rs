//! Claims: the first writer wins, and everybody hears the same name.

use super::{Circumstances, Fate};
use crate::history::{Act, Outcome, Story};
use std::collections::BTreeMap;

pub(super) fn check(row: &str, story: &Story, around: &Circumstances, say: &mut impl FnMut(&'static str, String)) {
    let owner = |act: &Act| match act {
        Act::Claim(owner) => Some(owner.clone()),
        Act::Put(_) | Act::Create(_) | Act::Delete | Act::Increment | Act::Sweep(_) => None,
    };
    let tried = |name: &str, until: u64| {
        let one = |write: &crate::history::Written| {
            around.fate(write).0 != Fate::Never && write.begin <= until && owner(&write.act).as_deref() == Some(name)
        };
        story.writes.iter().any(one)
    };
    let mut winners: BTreeMap<usize, (String, u64)> = BTreeMap::new();
    let mut first_heard: BTreeMap<usize, u64> = BTreeMap::new();
    let answered = story.writes.iter().filter_map(|write| match &write.answer {
        Some((end, Outcome::Done(winner))) => Some((write.begin, *end, winner.clone())),
        Some((_, Outcome::Refused | Outcome::Unknown)) | None => None,
    });
    let reads = story.reads.iter().map(|read| (read.begin, read.end, read.seen.as_ref()));
    let quiet = around.quiet_of(row).map(|(at, seen)| (at, at, seen));
    let looks: Vec<_> = reads.chain(quiet).collect();
    let seen = looks.iter().filter_map(|(begin, end, seen)| seen.map(|seen| (*begin, *end, seen.value.clone())));
    for (begin, end, winner) in answered.chain(seen) {
        if !tried(&winner, end) {
            say("P4", format!("at {begin} the claim belonged to {winner}, who had not asked for it"));
        }
        let Some(era) = around.era(begin, end) else { continue };
        let heard = first_heard.entry(era).or_insert(end);
        *heard = (*heard).min(end);
        match winners.get(&era) {
            None => {
                winners.insert(era, (winner, begin));
            }
            Some((other, at)) if *other != winner => {
                say("P4", format!("the claim belonged to {other} (asked at {at}) and to {winner} (asked at {begin})"));
            }
            Some(_) => {}
        }
    }
    for (begin, end, _) in looks.iter().filter(|(_, _, seen)| seen.is_none()) {
        if let Some(era) = around.era(*begin, *end)
            && first_heard.get(&era).is_some_and(|heard| heard < begin)
        {
            say("P4", format!("at {begin} the claim was gone, after it had been won"));
        }
    }
}
