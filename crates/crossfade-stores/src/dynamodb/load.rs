//! The bulk path: batches of 25 puts, and again what the service left undone.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use futures::{StreamExt, TryStreamExt};

use super::{DynamodbTable, errors, schema::Item};
use crate::{ErrorKind, Recovery, Row, RowKey, StoreError};

/// DynamoDB's own limit.
const PUTS_AT_ONCE: usize = 25;

impl DynamodbTable {
    pub(super) async fn load_rows(&self, rows: &[Row]) -> Result<(), StoreError> {
        let batches = rows.len().div_ceil(PUTS_AT_ONCE);
        futures::stream::iter(0..batches)
            .map(|n| self.load_batch(&rows[n * PUTS_AT_ONCE..rows.len().min((n + 1) * PUTS_AT_ONCE)]))
            .buffer_unordered(self.store.at_once())
            .try_collect()
            .await
    }

    async fn load_batch(&self, rows: &[Row]) -> Result<(), StoreError> {
        let shape = &self.shape;
        let what = format!("cannot load into {}", shape.shown);
        let mut left = Vec::with_capacity(rows.len());
        // Of a key given twice the last counts, as if they had been put one after the other.
        let mut last: HashMap<RowKey, usize> = HashMap::with_capacity(rows.len());
        for row in rows {
            let key = row.key(&shape.key);
            shape.may_write(row).map_err(|e| e.at_key(&key))?;
            let item = shape.item(row).map_err(|e| e.at_key(&key))?;
            let request = put(item, &what)?;
            match last.get(&key) {
                Some(at) => left[*at] = request,
                None => {
                    last.insert(key, left.len());
                    left.push(request);
                }
            }
        }
        let mut n = 0;
        while !left.is_empty() {
            let asked = left.len();
            let permit = self.permit().await?;
            let answer = self.store.client().batch_write_item().request_items(&shape.table, left.clone()).send().await;
            drop(permit);
            match answer {
                Ok(out) => {
                    left = out.unprocessed_items.unwrap_or_default().remove(&shape.table).unwrap_or_default();
                    if left.len() < asked {
                        n = n.min(1);
                    }
                }
                Err(e) => {
                    let failure = errors::of(&what, self.store.shown(), e);
                    if failure.error.recovery() == Recovery::Row && left.len() > 1 {
                        // One of them spoils the batch: name it.
                        return self.one_by_one(left, &what).await;
                    }
                    if failure.error.recovery() == Recovery::Row {
                        return Err(self.named(failure.error, &left[0]));
                    }
                    if !failure.is_slow_down() {
                        return Err(failure.error);
                    }
                }
            }
            if !left.is_empty() {
                n += 1;
                if !self.store.pace().wait(n).await {
                    return Err(StoreError::new(
                        ErrorKind::Throttled,
                        format!("{what}: {} leaves rows undone, again and again: load slower", self.store.shown()),
                    ));
                }
            }
        }
        Ok(())
    }

    async fn one_by_one(&self, requests: Vec<WriteRequest>, what: &str) -> Result<(), StoreError> {
        for request in requests {
            let Some(item) = request.put_request.as_ref().map(|p| p.item.clone()) else { continue };
            let mut n = 0;
            while let Err(e) =
                self.store.client().put_item().table_name(&self.shape.table).set_item(Some(item.clone())).send().await
            {
                let failure = errors::of(what, self.store.shown(), e);
                n += 1;
                if !failure.is_slow_down() || !self.store.pace().wait(n).await {
                    return Err(self.named(failure.error, &request));
                }
            }
        }
        Ok(())
    }

    fn named(&self, error: StoreError, request: &WriteRequest) -> StoreError {
        match request.put_request.as_ref().map(|p| self.shape.row(&p.item)) {
            Some(Ok(row)) => error.at_key(&row.key(&self.shape.key)),
            _ => error,
        }
    }
}

fn put(item: Item, what: &str) -> Result<WriteRequest, StoreError> {
    let request = PutRequest::builder()
        .set_item(Some(item))
        .build()
        .map_err(|e| StoreError::new(ErrorKind::Protocol, what).caused_by(e))?;
    Ok(WriteRequest::builder().put_request(request).build())
}
