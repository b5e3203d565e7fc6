//! One range of a table: page by page, by either path.

use std::sync::Arc;

use crossfade_stores::{ErrorKind, Page, Position, Range, Rest, Row, RowKey, StoreError, Table};

use super::Run;
use crate::{
    TransferError, crew,
    pace::Adaptive,
    pair::walk,
    progress::Counters,
    reconcile::{self, Failed, Seen},
};

/// Rows of a page.
const PAGE: usize = 10_000;

impl Run {
    async fn page(&self, table: &Arc<dyn Table>, range: &Range, position: &Position) -> Result<Page, TransferError> {
        // One more than a chunk has: then its page also says that it is the end.
        let limit = PAGE.min(usize::try_from(self.options.chunk_rows).unwrap_or(PAGE)) + 1;
        Ok(self.options.retry.run(|| table.scan(range, position, limit)).await?)
    }

    /// Makes every row of a range of the source equal; how many rows failed.
    pub(super) async fn reconcile(&self, range: &Range) -> Result<u64, TransferError> {
        let mergeable = self.pair.mergeable();
        let mut position = Position::Start;
        let mut target_position = Position::Start;
        let mut failures = 0;
        loop {
            self.control.may_go_on().await?;
            let page = self.page(&self.pair.source, range, &position).await?;
            Counters::add(&self.counters.read, page.rows.len());
            self.rate.take(page.rows.len()).await;
            let mut mapped = Vec::with_capacity(page.rows.len());
            for row in page.rows {
                let key = self.pair.source_key(&row);
                match self.pair.map.forward(&row) {
                    Ok(row) => mapped.push((key, row)),
                    Err(e) => {
                        failures += 1;
                        self.failure(Failed { key, why: e.to_string() });
                    }
                }
            }
            let seen = if mergeable {
                let until = match &page.rest {
                    Rest::More(Position::After(key)) => Some(key.clone()),
                    _ => None,
                };
                let targets =
                    walk::target_rows(&self.pair, &self.options.retry, range, &mut target_position, until, PAGE)
                        .await?;
                walk::merged(&self.pair, mapped, targets)
            } else {
                self.looked_up(mapped).await?
            };
            failures += self.count(reconcile::settle(&self.pair, &self.options.retry, seen).await?);
            match page.rest {
                Rest::More(next) => position = next,
                Rest::End => return Ok(failures),
            }
        }
    }

    async fn looked_up(&self, mapped: Vec<(RowKey, Row)>) -> Result<Vec<Seen>, TransferError> {
        let keys: Vec<RowKey> = mapped.iter().map(|(_, row)| self.pair.target_key(row)).collect();
        let targets = self.options.retry.run(|| self.pair.target.read(&keys)).await?;
        Ok(mapped
            .into_iter()
            .zip(keys)
            .zip(targets)
            .map(|(((source_key, row), key), target)| Seen {
                source_key,
                target_key: Some(key),
                source: Some(row),
                target,
            })
            .collect())
    }

    /// Puts a range without reading it again. Rows that are there already (an earlier run was killed in this chunk) are reconciled.
    pub(super) async fn bulk(&self, range: &Range) -> Result<u64, TransferError> {
        if self.pair.same_bytes() {
            return match self.raw(range).await {
                Ok(rows) => {
                    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
                    Counters::add(&self.counters.read, rows);
                    Counters::add(&self.counters.written, rows);
                    Ok(0)
                }
                Err(e) if reconcilable(&e) => self.reconcile(range).await,
                Err(e) => Err(e.into()),
            };
        }
        let mut position = Position::Start;
        let mut failures = 0;
        // The next page is read while this one is loaded.
        let mut next = Some(self.page(&self.pair.source, range, &position).await?);
        while let Some(page) = next.take() {
            self.control.may_go_on().await?;
            self.rate.take(page.rows.len()).await;
            if let Rest::More(p) = &page.rest {
                position = p.clone();
            }
            let more = page.rest != Rest::End;
            let read = page.rows.len();
            let mut mapped = Vec::with_capacity(read);
            for row in page.rows {
                match self.pair.map.forward(&row) {
                    Ok(row) => mapped.push(row),
                    Err(e) => {
                        failures += 1;
                        self.failure(Failed { key: self.pair.source_key(&row), why: e.to_string() });
                    }
                }
            }
            let (loaded, following) = futures::join!(self.pair.target.load(&mapped), async {
                match more {
                    true => self.page(&self.pair.source, range, &position).await.map(Some),
                    false => Ok(None),
                }
            });
            match loaded {
                Ok(()) => {}
                // Which row, or whether all of it is there, is found out the careful way, for the whole range.
                Err(e) if reconcilable(&e) => return self.reconcile(range).await,
                Err(e) => return Err(e.into()),
            }
            Counters::add(&self.counters.read, read);
            Counters::add(&self.counters.written, mapped.len());
            next = following?;
        }
        Ok(failures)
    }

    async fn raw(&self, range: &Range) -> Result<u64, StoreError> {
        let (Some(from), Some(into)) = (self.pair.source.raw(), self.pair.target.raw()) else {
            return Err(StoreError::new(ErrorKind::Unsupported, "no bulk path without decoding"));
        };
        let dump = from.dump(range).await?;
        into.load(dump).await
    }

    /// Rows of the target that the source does not have, where ranges cannot be merged.
    pub(super) async fn target_only(self: &Arc<Self>, adaptive: &Arc<Adaptive>) -> Result<(), TransferError> {
        let ranges = self.options.retry.run(|| self.pair.target.split(self.options.chunk_rows)).await?;
        crew::each(self.options.parallel, ranges, |range| {
            let (run, adaptive) = (self.clone(), adaptive.clone());
            async move {
                let _place = adaptive.place().await;
                run.target_only_in(&range).await
            }
        })
        .await?;
        Ok(())
    }

    async fn target_only_in(&self, range: &Range) -> Result<(), TransferError> {
        let mut position = Position::Start;
        loop {
            self.control.may_go_on().await?;
            let page = self.page(&self.pair.target, range, &position).await?;
            self.rate.take(page.rows.len()).await;
            let keys: Vec<RowKey> = page.rows.iter().map(|row| self.pair.map.source_key_of(row)).collect();
            let sources = self.options.retry.run(|| self.pair.source.read(&keys)).await?;
            let extra: Vec<Seen> = page
                .rows
                .into_iter()
                .zip(keys)
                .zip(sources)
                .filter(|(_, source)| source.is_none())
                .map(|((row, source_key), _)| Seen {
                    source_key,
                    target_key: Some(self.pair.target_key(&row)),
                    source: None,
                    target: Some(row),
                })
                .collect();
            self.count(reconcile::settle(&self.pair, &self.options.retry, extra).await?);
            match page.rest {
                Rest::More(next) => position = next,
                Rest::End => return Ok(()),
            }
        }
    }
}

/// Whether a failed load leaves something that reconciling the range sorts out.
fn reconcilable(e: &StoreError) -> bool {
    matches!(
        e.kind(),
        ErrorKind::Refused
            | ErrorKind::Unrepresentable
            | ErrorKind::TooLarge
            | ErrorKind::Lost
            | ErrorKind::Conflict
            | ErrorKind::Throttled
    )
}
