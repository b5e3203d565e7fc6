//! One range of a table: page by page, by either path.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crossfade_stores::{ErrorKind, Page, Position, Range, Rest, Row, RowKey, StoreError, Table, port::RawRows};
use futures::StreamExt;

use super::Run;
use crate::{
    TransferError, crew,
    pace::Adaptive,
    pair::walk,
    progress::Counters,
    reconcile::{self, Failed, Seen},
};

/// What became of a range whose bytes were put.
enum Undecoded {
    /// Every row is in the target, and was still the source's when it was read again.
    Settled,
    /// Something differs: row by row.
    Differs {
        /// Rows that were put all the same.
        put: u64,
    },
}

/// Of the rows of a chunk, at most one in so many may be in the target for its bytes to be put as a whole.
const FEW: u64 = 10;

/// Bytes of a block that is kept for the second read.
const BLOCK: usize = 64 * 1024;

/// Bytes of a range that are kept for the second read.
const MOST_KEPT: usize = 16 * 1024 * 1024;

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
        if self.pair.mergeable() && self.pair.same_bytes() {
            match self.undecoded(range).await? {
                Undecoded::Settled => return Ok(0),
                Undecoded::Differs { put } => {
                    let failures = self.by_rows(range).await?;
                    self.counters.put_not_unchanged(put);
                    return Ok(failures);
                }
            }
        }
        self.by_rows(range).await
    }

    /// The same loop of R9 on bytes: where the target has few rows in the range, the source's bytes are put by insert-if-absent, and the source is
    /// dumped a second time. The range is settled if the target had nothing, every row was put, and those are the same bytes; or if a dump of
    /// the target, begun after that, is the same bytes, live writes and all. Anything else is sorted out row by row.
    async fn undecoded(&self, range: &Range) -> Result<Undecoded, TransferError> {
        let (Some(from), Some(into)) = (self.pair.source.raw(), self.pair.target.raw()) else {
            return Ok(Undecoded::Differs { put: 0 });
        };
        self.control.may_go_on().await?;
        let retry = &self.options.retry;
        // Where most rows are there already, as in a second run, sending all of them again would be a waste.
        let few = usize::try_from(self.options.chunk_rows / FEW).unwrap_or(PAGE).max(1);
        let there = retry.run(|| self.pair.target.scan(range, &Position::Start, few)).await?;
        if there.rest != Rest::End {
            return Ok(Undecoded::Differs { put: 0 });
        }
        let Some(first) = self.kept(from, range).await? else { return Ok(Undecoded::Differs { put: 0 }) };
        // Never asked again: an answer that was lost may still land, and only the linger settles that.
        let put = into.insert_absent(Box::pin(futures::stream::iter(first.clone().into_iter().map(Ok)))).await;
        let put = match put {
            Ok(put) => put,
            Err(e) if e.kind() == ErrorKind::Lost => {
                // It may still land: the range stays open for as long.
                tokio::time::sleep(self.pair.target.capabilities().linger).await;
                return Ok(Undecoded::Differs { put: 0 });
            }
            Err(e) if reconcilable(&e) || e.kind() == ErrorKind::Unreachable => {
                return Ok(Undecoded::Differs { put: 0 });
            }
            Err(e) => return Err(e.into()),
        };
        self.rate.take(usize::try_from(put.rows).unwrap_or(usize::MAX)).await;
        // The second read of R9.
        let Some(second) = self.kept(from, range).await? else { return Ok(Undecoded::Differs { put: put.inserted }) };
        // With rows in the target before, one of them may be its own alone: only its dump tells.
        let stood_still = there.rows.is_empty() && put.rows == put.inserted && second == first;
        if !stood_still && self.kept(into, range).await?.as_ref() != Some(&second) {
            return Ok(Undecoded::Differs { put: put.inserted });
        }
        let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        Counters::add(&self.counters.read, count(put.rows));
        Counters::add(&self.counters.written, count(put.inserted));
        Counters::add(&self.counters.unchanged, count(put.rows - put.inserted));
        Ok(Undecoded::Settled)
    }

    /// The bytes of a range, in key order and in blocks of one size; `None` if they are too many to keep (a range that has grown since it was cut).
    async fn kept(&self, from: &dyn RawRows, range: &Range) -> Result<Option<Vec<Bytes>>, TransferError> {
        let read = || async move {
            let mut dump = from.dump_in_order(range).await?;
            let mut blocks = Vec::new();
            let mut block = BytesMut::with_capacity(BLOCK);
            let mut most = MOST_KEPT;
            while let Some(bytes) = dump.next().await {
                let mut bytes = bytes?;
                most = match most.checked_sub(bytes.len()) {
                    Some(left) => left,
                    None => return Ok(None),
                };
                // However the server cuts its messages, the same rows are the same blocks.
                while !bytes.is_empty() {
                    let part = bytes.split_to(bytes.len().min(BLOCK - block.len()));
                    block.extend_from_slice(&part);
                    if block.len() == BLOCK {
                        blocks.push(block.split().freeze());
                        block.reserve(BLOCK);
                    }
                }
            }
            blocks.push(block.freeze());
            Ok::<_, StoreError>(Some(blocks))
        };
        Ok(self.options.retry.run(read).await?)
    }

    async fn by_rows(&self, range: &Range) -> Result<u64, TransferError> {
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
