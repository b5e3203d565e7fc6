//! Consistent reads: by key in batches, and scans by segment with the service's own word for the end.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, Select};
use futures::{StreamExt, TryStreamExt};

use super::{DynamodbTable, errors, schema::Item};
use crate::{
    ErrorKind, Page, Position, Range, Rest, Row, RowKey, StoreError,
    value::text::{hex, unhex},
};

/// DynamoDB's own limit.
const KEYS_AT_ONCE: usize = 100;
/// More segments than this are of no use to anybody.
const MOST_SEGMENTS: u64 = 100_000;
/// Where DynamoDB does not know how many rows there are: its count is hours old.
const SEGMENTS_UNKNOWN: u64 = 64;

impl DynamodbTable {
    pub(super) async fn read_keys(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let mut wanted: HashMap<&RowKey, Vec<usize>> = HashMap::with_capacity(keys.len());
        let mut items = Vec::with_capacity(keys.len());
        for (i, key) in keys.iter().enumerate() {
            let at = wanted.entry(key).or_default();
            if at.is_empty() {
                // A key that cannot be one here is a key that is not there.
                items.extend(self.shape.key_item(key));
            }
            at.push(i);
        }
        let batches: Vec<Vec<Item>> = items.chunks(KEYS_AT_ONCE).map(<[Item]>::to_vec).collect();
        let found: Vec<Vec<Item>> = futures::stream::iter(batches)
            .map(|batch| self.read_batch(batch))
            .buffer_unordered(16)
            .try_collect()
            .await?;
        let mut out = vec![None; keys.len()];
        for item in found.into_iter().flatten().filter(|item| self.shape.is_ours(item)) {
            let row = self.shape.row(&item)?;
            for i in wanted.get(&row.key(&self.shape.key)).into_iter().flatten() {
                out[*i] = Some(row.clone());
            }
        }
        Ok(out)
    }

    async fn read_batch(&self, batch: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let shape = &self.shape;
        let what = format!("cannot read {}", shape.shown);
        let mut found = Vec::with_capacity(batch.len());
        let mut left = batch;
        let mut n = 0;
        while !left.is_empty() {
            let asked = left.len();
            let mut request =
                KeysAndAttributes::builder().set_keys(Some(std::mem::take(&mut left))).consistent_read(true);
            if let Some(projection) = &shape.projection {
                request =
                    request.projection_expression(projection).set_expression_attribute_names(Some(shape.all_names()));
            }
            let request =
                request.build().map_err(|e| StoreError::new(ErrorKind::Protocol, what.clone()).caused_by(e))?;
            let _permit = self.permit().await?;
            match self.store.client().batch_get_item().request_items(&shape.table, request.clone()).send().await {
                Ok(out) => {
                    found.extend(out.responses.unwrap_or_default().remove(&shape.table).unwrap_or_default());
                    left = out
                        .unprocessed_keys
                        .unwrap_or_default()
                        .remove(&shape.table)
                        .map(|k| k.keys)
                        .unwrap_or_default();
                    if left.len() < asked {
                        // Some went through: that is not a reason to give up soon.
                        n = n.min(1);
                    }
                }
                Err(e) => {
                    let failure = errors::of(&what, self.store.shown(), e);
                    if !failure.is_slow_down() {
                        return Err(failure.error);
                    }
                    left = request.keys;
                }
            }
            if !left.is_empty() {
                n += 1;
                drop(_permit);
                if !self.store.pace().wait(n).await {
                    return Err(StoreError::new(
                        ErrorKind::Throttled,
                        format!("{what}: {} leaves keys unread, again and again: read slower", self.store.shown()),
                    ));
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn page(&self, range: &Range, position: &Position, limit: usize) -> Result<Page, StoreError> {
        let shape = &self.shape;
        let what = format!("cannot scan {}", shape.shown);
        let segment = match range {
            Range::Keys { from: None, to: None } => None,
            Range::Segment { index, of } => {
                Some((i32::try_from(*index).unwrap_or(i32::MAX), i32::try_from(*of).unwrap_or(i32::MAX)))
            }
            Range::Keys { .. } => {
                return Err(StoreError::new(
                    ErrorKind::Unsupported,
                    format!("{} is scanned by segments, not by keys", shape.shown),
                ));
            }
        };
        let start = match position {
            Position::Start => None,
            Position::Cursor(bytes) => Some(from_cursor(bytes).ok_or_else(|| {
                StoreError::new(
                    ErrorKind::Config,
                    format!("{what}: the saved position is not one of this table: start this range again"),
                )
            })?),
            Position::After(_) => {
                return Err(StoreError::new(
                    ErrorKind::Unsupported,
                    format!("{} goes on by the service's own cursors, not by keys", shape.shown),
                ));
            }
        };
        let mut names = if shape.projection.is_some() { shape.all_names() } else { HashMap::new() };
        let mut values = HashMap::new();
        let mut filter = Vec::new();
        for (n, (i, prefix)) in shape.prefixes.iter().enumerate() {
            names.extend(shape.names([i]));
            values.insert(format!(":p{n}"), AttributeValue::S(prefix.clone()));
            filter.push(format!("begins_with({}, :p{n})", shape.columns[*i].alias));
        }
        let mut n = 0;
        let out = loop {
            let request = self
                .store
                .client()
                .scan()
                .table_name(&shape.table)
                .consistent_read(true)
                .set_segment(segment.map(|s| s.0))
                .set_total_segments(segment.map(|s| s.1))
                .set_exclusive_start_key(start.clone())
                .set_projection_expression(shape.projection.clone())
                .set_filter_expression((!filter.is_empty()).then(|| filter.join(" AND ")))
                .set_expression_attribute_values((!values.is_empty()).then(|| values.clone()))
                .set_expression_attribute_names((!names.is_empty()).then(|| names.clone()))
                .limit(i32::try_from(limit.max(1)).unwrap_or(i32::MAX));
            let permit = self.permit().await?;
            let answer = request.send().await;
            drop(permit);
            match answer {
                Ok(out) => break out,
                Err(e) => {
                    let failure = errors::of(&what, self.store.shown(), e);
                    n += 1;
                    if !failure.is_slow_down() || !self.store.pace().wait(n).await {
                        return Err(failure.error);
                    }
                }
            }
        };
        let rows = out.items.unwrap_or_default().iter().map(|item| shape.row(item)).collect::<Result<Vec<_>, _>>()?;
        // The end is where the service names no key to go on from.
        let rest = match out.last_evaluated_key.filter(|k| !k.is_empty()) {
            None => Rest::End,
            Some(key) => Rest::More(Position::Cursor(to_cursor(&key).ok_or_else(|| {
                StoreError::new(
                    ErrorKind::Protocol,
                    format!("{what}: the service goes on from a key of an unknown type"),
                )
            })?)),
        };
        Ok(Page { rows, rest })
    }

    pub(super) async fn about(&self) -> Result<u64, StoreError> {
        let description = self.store.table_description(&self.spec.name).await?;
        Ok(description.item_count().and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
    }

    pub(super) async fn cut(&self, rows: u64) -> Result<Vec<Range>, StoreError> {
        let rows = rows.max(1);
        let mut segments = self.about().await?.div_ceil(rows);
        if segments <= 1 && self.is_more_than_a_page().await? {
            segments = SEGMENTS_UNKNOWN;
        }
        let of = u32::try_from(segments.clamp(1, MOST_SEGMENTS)).unwrap_or(1);
        Ok((0..of).map(|index| Range::Segment { index, of }).collect())
    }

    /// Whether the table is larger than the megabyte of one page.
    async fn is_more_than_a_page(&self) -> Result<bool, StoreError> {
        let what = format!("cannot scan {}", self.shape.shown);
        let out = self
            .store
            .client()
            .scan()
            .table_name(&self.shape.table)
            .select(Select::Count)
            .send()
            .await
            .map_err(|e| errors::of(&what, self.store.shown(), e).error)?;
        Ok(out.last_evaluated_key.is_some_and(|k| !k.is_empty()))
    }
}

/// A position as text that outlives this process: `[["id","N","7"]]`.
fn to_cursor(key: &Item) -> Option<Vec<u8>> {
    let mut parts = Vec::with_capacity(key.len());
    for (name, attribute) in key {
        parts.push(match attribute {
            AttributeValue::S(s) => [name.as_str(), "S", s].map(str::to_owned),
            AttributeValue::N(n) => [name.as_str(), "N", n].map(str::to_owned),
            AttributeValue::B(b) => [name.clone(), "B".to_owned(), hex(b.as_ref())],
            _ => return None,
        });
    }
    parts.sort();
    serde_json::to_vec(&parts).ok()
}

fn from_cursor(bytes: &[u8]) -> Option<Item> {
    let parts: Vec<[String; 3]> = serde_json::from_slice(bytes).ok()?;
    let mut out = HashMap::with_capacity(parts.len());
    for [name, ty, text] in parts {
        let attribute = match ty.as_str() {
            "S" => AttributeValue::S(text),
            "N" => AttributeValue::N(text),
            "B" => AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new(unhex(&text)?)),
            _ => return None,
        };
        out.insert(name, attribute);
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_give_the_key_back_and_others_are_refused() {
        let key: Item = [
            ("pk".to_owned(), AttributeValue::S("USER#\"7\"".to_owned())),
            ("sk".to_owned(), AttributeValue::N("12".to_owned())),
            ("b".to_owned(), AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new([0, 255]))),
        ]
        .into();
        assert_eq!(to_cursor(&key).and_then(|c| from_cursor(&c)), Some(key));
        for wrong in ["", "[]", "{}", "[[\"a\",\"X\",\"1\"]]", "[[\"a\",\"B\",\"0\"]]"] {
            assert_eq!(from_cursor(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
