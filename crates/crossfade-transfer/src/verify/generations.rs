//! Reading differences again: beside live writes most of them are rows in flight.

use std::{collections::HashSet, time::Duration};

use crossfade_stores::{Row, RowKey, StoreError};
use tokio::time::Instant;

use super::{Difference, Flush, Kind, MOST_DIFFERENCES, Moments, Run, SUSPECTS, Suspect};
use crate::{TransferError, progress::Event};

/// Beyond this many generations a row that keeps changing is unknown.
const MOST: usize = 12;

/// What both sides had.
#[derive(Clone, PartialEq)]
struct Values {
    source: Option<Row>,
    target: Option<Row>,
}

impl Run {
    pub(super) async fn generations(&self, flush: Flush) -> Result<(), TransferError> {
        let enough = |n: usize| n > 0 && (flush == Flush::All || n >= SUSPECTS);
        if !enough(self.with(|f| f.suspects.len())) {
            return Ok(());
        }
        let _one = self.settling.lock().await;
        let suspects =
            self.with(|f| if enough(f.suspects.len()) { std::mem::take(&mut f.suspects) } else { Vec::new() });
        let mut open: Vec<(Suspect, Option<Values>)> = suspects.into_iter().map(|s| (s, None)).collect();
        for generation in 0..MOST {
            if open.is_empty() {
                return Ok(());
            }
            self.control.may_go_on().await?;
            let wait = self
                .options
                .generations
                .get(generation)
                .or(self.options.generations.last())
                .copied()
                .unwrap_or_default();
            tokio::time::sleep(wait).await;
            self.observer.event(Event::Generation {
                number: u32::try_from(generation + 1).unwrap_or(u32::MAX),
                rows: open.len(),
            });
            let last_of_plan = generation + 1 >= self.options.generations.len();
            open = self.generation(open, last_of_plan).await?;
        }
        for (suspect, _) in open {
            let why = crossfade_stores::StoreError::new(
                crossfade_stores::ErrorKind::Conflict,
                "keeps changing while it is read: verify again in a quieter moment",
            );
            self.unknown(format!("row {}", suspect.source_key.digest()), &why);
        }
        Ok(())
    }

    /// One generation; what is still open after it.
    async fn generation(
        &self,
        open: Vec<(Suspect, Option<Values>)>,
        may_decide: bool,
    ) -> Result<Vec<(Suspect, Option<Values>)>, TransferError> {
        let mut next = Vec::with_capacity(open.len());
        for mut chunk in open.chunks(1_000).map(<[_]>::to_vec) {
            match self.read_again(&mut chunk).await {
                Ok(now) => {
                    let long_ago = self.long_ago(&chunk, &now).await;
                    for ((suspect, before), (values, failure)) in chunk.into_iter().zip(now) {
                        let same = match (&values.source, &values.target) {
                            (None, None) => failure.is_none(),
                            (Some(s), Some(t)) => s.same(t, self.pair.closeness),
                            _ => false,
                        };
                        if same {
                            // By now both have it, or neither has.
                            let now = u64::from(values.source.is_some());
                            self.with(|f| {
                                f.rows_source = (f.rows_source + now).saturating_sub(suspect.counted.0);
                                f.rows_target = (f.rows_target + now).saturating_sub(suspect.counted.1);
                            });
                            continue;
                        }
                        let twice = may_decide && before.as_ref() == Some(&values);
                        if twice || long_ago.contains(&suspect.source_key) {
                            self.difference(suspect, &values, failure);
                        } else {
                            next.push((suspect, Some(values)));
                        }
                    }
                }
                Err(e) => {
                    for (suspect, _) in &chunk {
                        self.unknown(format!("row {}", suspect.source_key.digest()), &e);
                    }
                }
            }
        }
        Ok(next)
    }

    /// Remembers when the verification began, in the words of both sides: where one has none, rows are waited for.
    pub(super) async fn note_moments(&self) {
        let (Some(source), Some(target)) = (self.pair.source.raw(), self.pair.target.raw()) else { return };
        if let (Ok(source), Ok(target)) = futures::join!(source.moment(), target.moment()) {
            // Set once: a run has one beginning.
            let _first = self.began.set(Moments { source, target, ours: Instant::now() });
        }
    }

    /// The source's keys of the rows that both sides have, and that neither has written since the verification began: what was read now is what it would have
    /// seen then. None while that is less long ago than all generations take.
    async fn long_ago(&self, chunk: &[(Suspect, Option<Values>)], now: &[(Values, Option<String>)]) -> HashSet<RowKey> {
        let asked = async {
            let began = self.began.get()?;
            let patience: Duration = self.options.generations.iter().sum();
            if began.ours.elapsed() < patience {
                return None;
            }
            let (mut sources, mut targets) = (Vec::new(), Vec::new());
            for ((suspect, _), (values, _)) in chunk.iter().zip(now) {
                if let (Some(_), Some(_), Some(target)) = (&values.source, &values.target, &suspect.target_key) {
                    sources.push(suspect.source_key.clone());
                    targets.push(target.clone());
                }
            }
            let old = self.old(began, &sources, &targets).await.ok()?;
            let both = sources.into_iter().zip(targets);
            Some(both.filter(|(s, t)| old.0.contains(s) && old.1.contains(t)).map(|(s, _)| s).collect())
        };
        asked.await.unwrap_or_default()
    }

    async fn old(
        &self,
        began: &Moments,
        sources: &[RowKey],
        targets: &[RowKey],
    ) -> Result<(HashSet<RowKey>, HashSet<RowKey>), StoreError> {
        let (Some(source), Some(target)) = (self.pair.source.raw(), self.pair.target.raw()) else {
            return Ok(Default::default());
        };
        if sources.is_empty() {
            return Ok(Default::default());
        }
        let (a, b) = futures::join!(source.old_among(sources, &began.source), target.old_among(targets, &began.target));
        Ok((a?.into_iter().collect(), b?.into_iter().collect()))
    }

    /// The target, then the source; with the reason where the source's row has no form in the target.
    async fn read_again(
        &self,
        chunk: &mut [(Suspect, Option<Values>)],
    ) -> Result<Vec<(Values, Option<String>)>, crossfade_stores::StoreError> {
        let retry = &self.options.retry;
        let with_key: Vec<usize> = (0..chunk.len()).filter(|i| chunk[*i].0.target_key.is_some()).collect();
        let target_keys: Vec<RowKey> = with_key.iter().filter_map(|i| chunk[*i].0.target_key.clone()).collect();
        let found = retry.run(|| self.pair.target.read(&target_keys)).await?;
        let mut targets: Vec<Option<Row>> = vec![None; chunk.len()];
        for (i, row) in with_key.into_iter().zip(found) {
            targets[i] = row;
        }
        let source_keys: Vec<RowKey> = chunk.iter().map(|(s, _)| s.source_key.clone()).collect();
        let sources = retry.run(|| self.pair.source.read(&source_keys)).await?;
        let mut out = Vec::with_capacity(chunk.len());
        for ((suspect, _), (source, target)) in chunk.iter_mut().zip(sources.into_iter().zip(targets)) {
            let (source, failure) = match source.map(|s| self.pair.map.forward(&s)).transpose() {
                Ok(source) => (source, None),
                Err(e) => (None, Some(e.to_string())),
            };
            // The source's row may belong to another key of the target: then it is not this row's counterpart.
            let source = source.filter(|s| {
                suspect.target_key.get_or_insert_with(|| self.pair.target_key(s)) == &self.pair.target_key(s)
            });
            out.push((Values { source, target }, failure));
        }
        Ok(out)
    }

    fn difference(&self, suspect: Suspect, values: &Values, failure: Option<String>) {
        let (kind, fields) = match (&values.source, &values.target) {
            (Some(s), Some(t)) => {
                let names = self.pair.map.names();
                (
                    Kind::Different,
                    s.differing(t, self.pair.closeness).into_iter().filter_map(|i| names.get(i).cloned()).collect(),
                )
            }
            (None, Some(_)) if failure.is_none() => (Kind::ExtraInTarget, Vec::new()),
            (None, Some(_)) => (Kind::Different, failure.into_iter().collect()),
            _ => (Kind::MissingInTarget, Vec::new()),
        };
        let difference = Difference {
            table: self.pair.name.clone(),
            source_key: suspect.source_key,
            target_key: suspect.target_key,
            kind,
            fields,
        };
        self.with(|f| {
            match kind {
                Kind::MissingInTarget => f.missing += 1,
                Kind::ExtraInTarget => f.extra += 1,
                Kind::Different => f.different += 1,
            }
            if f.differences.len() < MOST_DIFFERENCES {
                f.differences.push(difference);
            }
        });
    }
}
