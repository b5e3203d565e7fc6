//! Walking both sides of a range in key order, page by page, without an open cursor: each page is a statement of its own, so memory is flat
//! and a lost connection costs a page.

use std::collections::HashMap;

use crossfade_stores::{Position, Range, Rest, Row, RowKey, StoreError};

use super::Pair;
use crate::{reconcile::Seen, retry::Retry};

/// The target's rows of `range`, from `position` to `until` (inclusive; `None` is the range's end). Moves `position` behind them.
pub(crate) async fn target_rows(
    pair: &Pair,
    retry: &Retry,
    range: &Range,
    position: &mut Position,
    until: Option<RowKey>,
    limit: usize,
) -> Result<Vec<Row>, StoreError> {
    let part = match (range, &until) {
        (Range::Keys { from, .. }, Some(until)) => Range::Keys { from: from.clone(), to: Some(until.clone()) },
        _ => range.clone(),
    };
    let mut rows = Vec::new();
    loop {
        let page = retry.run(|| pair.target.scan(&part, position, limit)).await?;
        rows.extend(page.rows);
        match page.rest {
            Rest::More(next) => *position = next,
            Rest::End => break,
        }
    }
    if let Some(until) = until {
        let last = retry.run(|| pair.target.read(std::slice::from_ref(&until))).await?;
        rows.extend(last.into_iter().flatten());
        *position = Position::After(until);
    }
    Ok(rows)
}

/// Both sides of a range, row by row; the keys of both are the same.
pub(crate) fn merged(pair: &Pair, sources: Vec<(RowKey, Row)>, targets: Vec<Row>) -> Vec<Seen> {
    let mut out = Vec::with_capacity(sources.len());
    // Mostly both are the same keys in the same order.
    let mut targets = targets.into_iter().peekable();
    let mut behind: HashMap<RowKey, Row> = HashMap::new();
    for (source_key, row) in sources {
        let mut target = None;
        while let Some(next) = targets.peek() {
            let key = pair.target_key(next);
            if key > source_key {
                break;
            }
            if let Some(found) = targets.next() {
                if key == source_key {
                    target = Some(found);
                    break;
                }
                behind.insert(key, found);
            }
        }
        out.push(Seen { target_key: Some(source_key.clone()), source_key, source: Some(row), target });
    }
    let extra = behind.into_iter().chain(targets.map(|row| (pair.target_key(&row), row)));
    out.extend(extra.map(|(key, row)| Seen {
        source_key: key.clone(),
        target_key: Some(key),
        source: None,
        target: Some(row),
    }));
    out
}
