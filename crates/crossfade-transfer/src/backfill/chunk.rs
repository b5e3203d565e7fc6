//! One range of a table: page by page, by either path.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use crossfade_stores::{
    ErrorKind, Page, Position, Range, Recovery, Rest, Row, RowKey, StoreError, Table,
    port::{Moment, RawRows},
};
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
    /// Every row is settled, except so many that failed.
    Settled(u64),
    /// Not so: row by row.
    ByRows,
}

/// Bytes of a range that were put.
struct Put {
    bytes: Vec<Bytes>,
    rows: u64,
    /// Rows that the target had before.
    there: Vec<RowKey>,
    /// Before the bytes were read.
    moment: Moment,
}

/// Of the rows of a chunk, at most one in so many may be in the target for the others' bytes to be put as a whole.
const FEW: u64 = 10;

/// How often the bytes of a range are put, where others put rows of it meanwhile.
const ATTEMPTS: u32 = 3;

/// Bytes of a range that are kept for the put.
const MOST_KEPT: usize = 16 * 1024 * 1024;

/// Rows of a page.
const PAGE: usize = 10_000;

impl Run {
    async fn page(&self, table: &Arc<dyn Table>, range: &Range, position: &Position) -> Result<Page, TransferError> {
        // One more than a chunk has: then its page also says that it is the end.
        let limit = PAGE.min(usize::try_from(self.chunk_rows).unwrap_or(PAGE)) + 1;
        Ok(self.options.retry.run(|| table.scan(range, position, limit)).await?)
    }

    /// Makes every row of a range of the source equal; how many rows failed.
    pub(super) async fn reconcile(&self, range: &Range) -> Result<u64, TransferError> {
        if self.pair.mergeable()
            && self.pair.same_bytes()
            && let Undecoded::Settled(failures) = self.undecoded(range).await?
        {
            return Ok(failures);
        }
        self.by_rows(range).await
    }

    /// The same loop of R9 without looking into most rows. Rows that the target has are settled one by one; the bytes of all others are put, and none of them
    /// is there. The second read is one of when rows were written: where all that were put are still there and nothing is newer than the moment before their
    /// bytes were read, those bytes are what the source still has. Elsewhere, the rows that may have changed are settled one by one.
    async fn undecoded(&self, range: &Range) -> Result<Undecoded, TransferError> {
        let (Some(from), Some(into)) = (self.pair.source.raw(), self.pair.target.raw()) else {
            return Ok(Undecoded::ByRows);
        };
        let retry = &self.options.retry;
        // Where most rows are there already, as in a second run, sending all of them again would be a waste.
        let few = usize::try_from(self.chunk_rows / FEW).unwrap_or(PAGE).max(1);
        for _ in 0..ATTEMPTS {
            let there = retry.run(|| into.keys(range, few)).await?;
            if there.len() >= few {
                return Ok(Undecoded::ByRows);
            }
            let moment = match retry.run(|| from.moment()).await {
                Err(e) if e.kind() == ErrorKind::Unsupported => return Ok(Undecoded::ByRows),
                moment => moment?,
            };
            let Some(bytes) = self.kept(from, range, &there).await? else { return Ok(Undecoded::ByRows) };
            self.control.may_go_on().await?;
            let dump = futures::stream::iter(bytes.clone()).map(Ok).boxed();
            // Never asked again: an answer that was lost may still land, and only the linger settles that.
            let rows = match into.insert_all(dump).await {
                Ok(rows) => rows,
                // Nothing of it was put: somebody else has put one of the rows meanwhile.
                Err(e) if e.kind() == ErrorKind::Refused => continue,
                Err(e) if e.kind() == ErrorKind::Lost => {
                    // It may still land: the range stays open for as long.
                    tokio::time::sleep(self.pair.target.capabilities().linger).await;
                    return Ok(Undecoded::ByRows);
                }
                Err(e) if reconcilable(&e) || e.kind() == ErrorKind::Unsupported => return Ok(Undecoded::ByRows),
                Err(e) => return Err(e.into()),
            };
            self.rate.take(usize::try_from(rows).unwrap_or(usize::MAX)).await;
            return self.read_again(from, range, Put { bytes, rows, there, moment }).await;
        }
        Ok(Undecoded::ByRows)
    }

    /// The second read of R9. What is old was there when the bytes were read, and so was put; if it is as many, it is all of it.
    async fn read_again(&self, from: &dyn RawRows, range: &Range, put: Put) -> Result<Undecoded, TransferError> {
        let retry = &self.options.retry;
        let Put { bytes, rows, there, moment } = put;
        let since = match retry.run(|| from.since(range, &there, &moment)).await {
            Err(e) if e.kind() == ErrorKind::Unsupported => return Ok(Undecoded::ByRows),
            since => since?,
        };
        let mut changed = since.newer;
        if changed.is_empty() && since.old == rows {
            return Ok(Undecoded::Settled(self.settle_few(rows, there).await?));
        }
        let put: HashSet<RowKey> = from.keys_in(&bytes)?.into_iter().collect();
        let written_over = changed.iter().filter(|key| put.contains(*key)).count() as u64;
        if since.old + written_over < rows {
            // Some were put that the source has no more, or has again.
            let now: HashSet<RowKey> = retry.run(|| from.keys(range, usize::MAX)).await?.into_iter().collect();
            changed.extend(put.iter().filter(|key| !now.contains(*key)).cloned());
            changed.sort_unstable();
            changed.dedup();
        }
        // Each row counts once, and as what became of it at last.
        let good = rows - changed.iter().filter(|key| put.contains(*key)).count() as u64;
        let keys = there.into_iter().chain(changed).collect();
        Ok(Undecoded::Settled(self.settle_few(good, keys).await?))
    }

    /// Settles the rows that the target had, and those that were put and may have changed, one by one; `good` ones need no more. How many failed.
    async fn settle_few(&self, good: u64, keys: Vec<RowKey>) -> Result<u64, TransferError> {
        let retry = &self.options.retry;
        let mut failures = 0;
        if !keys.is_empty() {
            // The target, then the source.
            let targets = retry.run(|| self.pair.target.read(&keys)).await?;
            let sources = retry.run(|| self.pair.source.read(&keys)).await?;
            let seen: Vec<Seen> = keys
                .into_iter()
                .zip(targets.into_iter().zip(sources))
                .filter(|(_, (target, source))| target.is_some() || source.is_some())
                .map(|(key, (target, source))| Seen { source_key: key.clone(), target_key: Some(key), source, target })
                .collect();
            Counters::add(&self.counters.read, seen.iter().filter(|s| s.source.is_some()).count());
            failures = self.count(reconcile::settle_with(&self.pair, retry, seen, self.deletes).await?);
        }
        let good = usize::try_from(good).unwrap_or(usize::MAX);
        Counters::add(&self.counters.read, good);
        Counters::add(&self.counters.written, good);
        Ok(failures)
    }

    /// The bytes of a range, without the rows of some keys; `None` if they are too many to keep (a range that has grown since it was cut).
    async fn kept(
        &self,
        from: &dyn RawRows,
        range: &Range,
        without: &[RowKey],
    ) -> Result<Option<Vec<Bytes>>, TransferError> {
        let read = || async move {
            let mut dump = from.dump_without(range, without).await?;
            let (mut all, mut len) = (Vec::new(), 0);
            while let Some(bytes) = dump.next().await {
                let bytes = bytes?;
                len += bytes.len();
                if len > MOST_KEPT {
                    return Ok(None);
                }
                all.push(bytes);
            }
            Ok::<_, StoreError>(Some(all))
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
            failures += self.count(reconcile::settle_with(&self.pair, &self.options.retry, seen, self.deletes).await?);
            match page.rest {
                Rest::More(next) => position = next,
                Rest::End => return Ok(failures),
            }
        }
    }

    async fn looked_up(&self, mapped: Vec<(RowKey, Row)>) -> Result<Vec<Seen>, TransferError> {
        let keys: Vec<RowKey> = mapped.iter().map(|(_, row)| self.pair.target_key(row)).collect();
        let targets = match self.was_empty {
            // Most are not there; where one is, the put loses, and both sides are read again.
            true => vec![None; keys.len()],
            false => self.options.retry.run(|| self.pair.target.read(&keys)).await?,
        };
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
                Err(e) if reconcilable(&e) => self.after_load(range, &e).await,
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
            let mut mapped = Vec::new();
            if self.pair.map.is_identity() {
                mapped = page.rows;
            } else {
                for row in page.rows {
                    match self.pair.map.forward(&row) {
                        Ok(row) => mapped.push(row),
                        Err(e) => {
                            failures += 1;
                            self.failure(Failed { key: self.pair.source_key(&row), why: e.to_string() });
                        }
                    }
                }
            }
            let written = mapped.len();
            let (loaded, following) = futures::join!(self.pair.target.load(mapped), async {
                match more {
                    true => self.page(&self.pair.source, range, &position).await.map(Some),
                    false => Ok(None),
                }
            });
            match loaded {
                Ok(()) => {}
                // Which row, or whether all of it is there, is found out the careful way, for the whole range.
                Err(e) if reconcilable(&e) => return self.after_load(range, &e).await,
                Err(e) => return Err(e.into()),
            }
            Counters::add(&self.counters.read, read);
            Counters::add(&self.counters.written, written);
            next = following?;
        }
        Ok(failures)
    }

    /// The careful way, for a range of which a load failed.
    async fn after_load(&self, range: &Range, why: &StoreError) -> Result<u64, TransferError> {
        if why.kind() == ErrorKind::Lost {
            // It may still land, over whatever is written there when this run is over.
            tokio::time::sleep(self.pair.target.capabilities().linger).await;
        }
        self.reconcile(range).await
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
        let ranges = self.options.retry.run(|| self.pair.target.split(self.chunk_rows)).await?;
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
            self.count(reconcile::settle_with(&self.pair, &self.options.retry, extra, self.deletes).await?);
            match page.rest {
                Rest::More(next) => position = next,
                Rest::End => return Ok(()),
            }
        }
    }
}

/// Whether a failed load leaves something that reconciling the range sorts out, which also asks again.
fn reconcilable(e: &StoreError) -> bool {
    e.recovery() != Recovery::Stop
}
