//! An independent look at every row: straight into both databases, past the library.

use super::sides::Events;
use super::traffic::World;
use crossfade_example_events::{Event, EventDao, EventError};
use std::collections::{BTreeSet, HashMap};

/// Every row of one side, by its number.
pub(crate) async fn rows_of(events: &Events) -> Result<HashMap<u64, Event>, EventError> {
    let mut rows = HashMap::new();
    let mut after = None;
    loop {
        let page = events.scan(after, 1_000).await?;
        rows.extend(page.rows.into_iter().map(|event| (event.id, event)));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(rows),
        }
    }
}

/// Rows that are not the same on both sides, missing ones included.
pub(crate) fn differing(source: &HashMap<u64, Event>, target: &HashMap<u64, Event>) -> u64 {
    let changed = source.iter().filter(|(id, event)| target.get(id) != Some(event)).count();
    let extra = target.keys().filter(|id| !source.contains_key(id)).count();
    (changed + extra) as u64
}

/// Names of the fields in which rows differ that both sides have.
pub(crate) fn differing_fields(source: &HashMap<u64, Event>, target: &HashMap<u64, Event>) -> BTreeSet<String> {
    let pairs = source.iter().filter_map(|(id, ours)| Some((ours, target.get(id).filter(|theirs| *theirs != ours)?)));
    pairs
        .filter_map(|(ours, theirs)| Some((serde_json::to_value(ours).ok()?, serde_json::to_value(theirs).ok()?)))
        .flat_map(|(ours, theirs)| {
            let names: Vec<String> =
                ours.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default();
            names.into_iter().filter(move |name| ours.get(name) != theirs.get(name)).collect::<Vec<_>>()
        })
        .collect()
}

/// Acknowledged writes that are not in these rows. Where the last write was never acknowledged, nothing is expected.
pub(crate) fn lost(world: &World, rows: &HashMap<u64, Event>) -> u64 {
    let lost = |place: &usize| match world.expected(*place) {
        Ok(expected) => rows.get(&(*place as u64)) != expected.as_ref(),
        Err(_unknown) => false,
    };
    (0..world.flights.len()).filter(lost).count() as u64
}
