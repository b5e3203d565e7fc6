//! The three ways to look at every row of both sides.

use std::sync::Arc;

use crossfade_stores::{Checksum, Position, Range, Rest, Row, RowKey, StoreError};

use super::{Flush, Run, Suspect};
use crate::{
    TransferError, crew,
    pair::walk,
    progress::{Counters, Event},
    reconcile::Seen,
};

/// Rows of a page.
const PAGE: usize = 5_000;

/// A range without its keys, which are values: their digests.
fn shown(range: &Range) -> String {
    let digest = |key: &Option<RowKey>| key.as_ref().map_or_else(|| "…".to_owned(), RowKey::digest);
    match range {
        Range::Keys { from, to } => format!("rows {} to {}", digest(from), digest(to)),
        Range::Segment { index, of } => format!("segment {} of {of}", index + 1),
    }
}

/// How a range is looked at.
#[derive(Clone, Copy)]
enum Way {
    /// Both sides in key order, rows counted.
    Merge,
    /// From the source.
    Forth,
    /// From the target.
    Back,
}

impl Run {
    fn begun(&self, ranges: usize, path: &str) {
        self.observer.event(Event::Table { name: self.pair.name.clone(), ranges, resumed: 0, path: path.to_owned() });
    }

    pub(super) async fn checksums(self: &Arc<Self>) -> Result<(), TransferError> {
        let retry = &self.options.retry;
        let fences = retry.run(|| self.pair.source.fences(self.options.part_rows)).await?;
        let from = std::iter::once(None).chain(fences.iter().cloned().map(Some));
        let to = fences.iter().cloned().map(Some).chain(std::iter::once(None));
        let parts: Vec<Range> = from.zip(to).map(|(from, to)| Range::Keys { from, to }).collect();
        self.begun(parts.len(), "checksums computed in both databases");
        self.control.may_go_on().await?;
        self.note_moments().await;
        let (source, target) = futures::join!(
            retry.run(|| self.pair.source.checksums(&fences)),
            retry.run(|| self.pair.target.checksums(&fences))
        );
        let (source, target) = match (source, target) {
            (Ok(source), Ok(target)) if source.len() == parts.len() && target.len() == parts.len() => (source, target),
            (Ok(_), Ok(_)) => {
                let why = StoreError::new(
                    crossfade_stores::ErrorKind::Protocol,
                    "a database gave fewer checksums than it was asked for",
                );
                self.unknown(shown(&Range::ALL), &why);
                return Ok(());
            }
            (Err(e), _) | (_, Err(e)) => {
                self.unknown(shown(&Range::ALL), &e);
                return Ok(());
            }
        };
        let rows = |sums: &[Checksum]| sums.iter().map(|s| s.rows).sum::<u64>();
        Counters::add(&self.counters.read, usize::try_from(rows(&source)).unwrap_or(usize::MAX));
        // The rows of a part that differs are counted when it is looked at: live writes may have come between the two sums.
        let equal: u64 = source.iter().zip(&target).filter(|(a, b)| a == b).map(|(a, _)| a.rows).sum();
        self.with(|f| {
            f.rows_source += equal;
            f.rows_target += equal;
        });
        let differing: Vec<Range> = parts
            .into_iter()
            .zip(source.iter().zip(&target))
            .filter(|(_, (a, b))| a != b)
            .map(|(part, _)| part)
            .collect();
        self.each(differing, Way::Merge).await
    }

    pub(super) async fn streams(self: &Arc<Self>) -> Result<(), TransferError> {
        let ranges = self.options.retry.run(|| self.pair.source.split(self.options.range_rows)).await?;
        self.begun(ranges.len(), "ordered streams, merged");
        self.each(ranges, Way::Merge).await
    }

    pub(super) async fn lookups(self: &Arc<Self>) -> Result<(), TransferError> {
        let ranges = self.options.retry.run(|| self.pair.source.split(self.options.range_rows)).await?;
        let back = self.options.retry.run(|| self.pair.target.split(self.options.range_rows)).await?;
        self.begun(ranges.len() + back.len(), "lookups, both ways");
        self.each(ranges, Way::Forth).await?;
        self.each(back, Way::Back).await
    }

    /// Looks at ranges in parallel. One that fails is unknown, and the others go on.
    async fn each(self: &Arc<Self>, ranges: Vec<Range>, way: Way) -> Result<(), TransferError> {
        crew::each(self.options.parallel, ranges, |range| {
            let run = self.clone();
            async move {
                run.control.may_go_on().await?;
                if let Err(e) = run.look(&range, way).await {
                    run.unknown(shown(&range), &e);
                }
                run.generations(Flush::IfMany).await
            }
        })
        .await?;
        Ok(())
    }

    async fn look(&self, range: &Range, way: Way) -> Result<(), StoreError> {
        match way {
            Way::Merge => {
                let (source, target) = self.merge(range).await?;
                self.with(|f| {
                    f.rows_source += source;
                    f.rows_target += target;
                });
                Ok(())
            }
            Way::Forth => self.forth(range).await,
            Way::Back => self.back(range).await,
        }
    }

    fn suspect(&self, seen: Vec<Seen>) {
        let suspects: Vec<Suspect> = seen
            .into_iter()
            .filter(|s| match (&s.source, &s.target) {
                (Some(a), Some(b)) => !a.same(b, self.pair.closeness),
                (None, None) => false,
                _ => true,
            })
            .map(|s| Suspect {
                counted: (u64::from(s.source.is_some()), u64::from(s.target.is_some())),
                source_key: s.source_key,
                target_key: s.target_key,
            })
            .collect();
        if !suspects.is_empty() {
            Counters::add(&self.counters.suspected, suspects.len());
            self.with(|f| f.suspects.extend(suspects));
        }
    }

    /// Rows of the source that cannot be mapped differ from whatever the target has.
    fn mapped(&self, rows: Vec<Row>) -> Vec<(RowKey, Row)> {
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            let source_key = self.pair.source_key(&row);
            match self.pair.map.forward(&row) {
                Ok(row) => out.push((source_key, row)),
                Err(_) => self.with(|f| {
                    let target_key = self.pair.map.target_key_of(&source_key);
                    f.suspects.push(Suspect { target_key, source_key, counted: (1, 0) });
                }),
            }
        }
        out
    }

    /// Both sides of a range in key order; how many rows each has.
    async fn merge(&self, range: &Range) -> Result<(u64, u64), StoreError> {
        let (mut position, mut target_position) = (Position::Start, Position::Start);
        let (mut sources, mut targets) = (0, 0);
        loop {
            let page = self.options.retry.run(|| self.pair.source.scan(range, &position, PAGE)).await?;
            Counters::add(&self.counters.read, page.rows.len());
            sources += page.rows.len() as u64;
            let until = match &page.rest {
                Rest::More(Position::After(key)) => Some(key.clone()),
                _ => None,
            };
            let rows =
                walk::target_rows(&self.pair, &self.options.retry, range, &mut target_position, until, PAGE).await?;
            Counters::add(&self.counters.read_target, rows.len());
            targets += rows.len() as u64;
            self.suspect(walk::merged(&self.pair, self.mapped(page.rows), rows));
            match page.rest {
                Rest::More(next) => position = next,
                Rest::End => return Ok((sources, targets)),
            }
        }
    }

    /// Each row of the source, looked up in the target.
    async fn forth(&self, range: &Range) -> Result<(), StoreError> {
        let mut position = Position::Start;
        loop {
            let page = self.options.retry.run(|| self.pair.source.scan(range, &position, PAGE)).await?;
            Counters::add(&self.counters.read, page.rows.len());
            self.with(|f| f.rows_source += page.rows.len() as u64);
            let rows = self.mapped(page.rows);
            let keys: Vec<RowKey> = rows.iter().map(|(_, row)| self.pair.target_key(row)).collect();
            let targets = self.options.retry.run(|| self.pair.target.read(&keys)).await?;
            // The way back counts only what is not counted here, so that a row that comes in between is counted on both sides or on neither.
            self.with(|f| f.rows_target += targets.iter().flatten().count() as u64);
            let seen = rows
                .into_iter()
                .zip(keys)
                .zip(targets)
                .map(|(((source_key, row), key), target)| Seen {
                    source_key,
                    target_key: Some(key),
                    source: Some(row),
                    target,
                })
                .collect();
            self.suspect(seen);
            match page.rest {
                Rest::More(next) => position = next,
                Rest::End => return Ok(()),
            }
        }
    }

    /// Each row of the target, looked up in the source. (Rows that both have were compared on the way forth.)
    async fn back(&self, range: &Range) -> Result<(), StoreError> {
        let mut position = Position::Start;
        loop {
            let page = self.options.retry.run(|| self.pair.target.scan(range, &position, PAGE)).await?;
            Counters::add(&self.counters.read_target, page.rows.len());
            let keys: Vec<RowKey> = page.rows.iter().map(|row| self.pair.map.source_key_of(row)).collect();
            let sources = self.options.retry.run(|| self.pair.source.read(&keys)).await?;
            let mut extra = Vec::new();
            for ((row, source_key), source) in page.rows.into_iter().zip(keys).zip(sources) {
                let target_key = self.pair.target_key(&row);
                // A row whose source row is elsewhere by now is as extra as one without any.
                let counterpart = source
                    .and_then(|s| self.pair.map.forward(&s).ok())
                    .is_some_and(|s| self.pair.target_key(&s) == target_key);
                if !counterpart {
                    extra.push(Suspect { source_key, target_key: Some(target_key), counted: (0, 1) });
                }
            }
            Counters::add(&self.counters.suspected, extra.len());
            self.with(|f| {
                f.rows_target += extra.len() as u64;
                f.suspects.extend(extra);
            });
            match page.rest {
                Rest::More(next) => position = next,
                Rest::End => return Ok(()),
            }
        }
    }
}
