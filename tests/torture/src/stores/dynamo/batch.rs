//! Several rows at once. A batch is no transaction: a real service answers a part of it now and then, and leaves the
//! rest unprocessed, to be asked for again. The endpoint of the run never does, so this client leaves a row out itself.

use super::{DynamoRows, Item, PATIENCE, item, row, text};
use crate::dao::{Row, RowError, RowId};
use aws_sdk_dynamodb::types::{KeysAndAttributes, PutRequest, WriteRequest};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One batch in so many is processed in part.
const IN_PART: u64 = 5;

/// Before what was left unprocessed is asked for again.
const AGAIN_AFTER: Duration = Duration::from_millis(25);

/// What the request itself says of a batch that cannot even be written down.
fn not_sent<E>(_: E) -> RowError {
    RowError::Rejected("not sent")
}

impl DynamoRows {
    /// What a busy service would not get to: the last of several, now and then.
    fn unprocessed<T>(&self, batch: &mut Vec<T>) -> Vec<T> {
        let busy = self.batches.fetch_add(1, Ordering::Relaxed) % IN_PART == 2;
        let processed = if busy { batch.len().saturating_sub(1).max(1) } else { batch.len() };
        batch.split_off(processed.min(batch.len()))
    }

    /// These rows, each as of some moment of the call.
    pub(super) async fn get_batch(&self, ids: &[RowId]) -> Result<Vec<Row>, RowError> {
        self.patiently().await;
        let mut found = Vec::with_capacity(ids.len());
        let mut left: Vec<Item> = ids.iter().map(|id| Item::from([("id".to_owned(), text(&id.0))])).collect();
        while !left.is_empty() {
            let mut later = self.unprocessed(&mut left);
            let asked = KeysAndAttributes::builder().set_keys(Some(left)).consistent_read(true);
            let get = self.client.batch_get_item().request_items(self.table, asked.build().map_err(not_sent)?);
            let answer = get.send().await.map_err(|error| self.failed(&error))?;
            for item in answer.responses().and_then(|tables| tables.get(self.table)).into_iter().flatten() {
                found.push(row(item)?);
            }
            let unprocessed = answer.unprocessed_keys().and_then(|tables| tables.get(self.table));
            later.extend(unprocessed.into_iter().flat_map(KeysAndAttributes::keys).cloned());
            left = later;
            if !left.is_empty() {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
        Ok(found)
    }

    /// Puts all of these rows. After the first part nothing is refused any more: that part is there.
    pub(super) async fn put_batch(&self, rows: &[Row]) -> Result<(), RowError> {
        self.trouble()?;
        let put = |row: &Row| PutRequest::builder().set_item(Some(item(row))).build().map_err(not_sent);
        let write = |row| Ok(WriteRequest::builder().put_request(put(row)?).build());
        let mut left = rows.iter().map(write).collect::<Result<Vec<_>, RowError>>()?;
        let mut begun = false;
        while !left.is_empty() {
            let mut later = self.unprocessed(&mut left);
            let answer = self.client.batch_write_item().request_items(self.table, left).send().await;
            let answer = answer.map_err(|error| match self.failed(&error) {
                RowError::Rejected(_) if begun => RowError::Unknown("a part of it was done"),
                error => error,
            })?;
            begun = true;
            let unprocessed = answer.unprocessed_items().and_then(|tables| tables.get(self.table));
            later.extend(unprocessed.into_iter().flatten().cloned());
            left = later;
            if !left.is_empty() {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
        Ok(())
    }

    /// A batch takes no longer than any other call.
    pub(super) async fn in_time<T>(&self, batch: impl Future<Output = Result<T, RowError>>) -> Result<T, RowError> {
        let answer = tokio::time::timeout(PATIENCE, batch).await;
        answer.unwrap_or(Err(RowError::Unknown("no answer in time")))
    }
}
