//! Conditional writes: one transaction for many, single ones where one of them is refused.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt, pin_mut};
use postgres_types::ToSql;

use super::{PostgresTable, binary::Parameter, connect::Session, copy::CopyError, errors, statements::field};
use crate::{Change, ChangeOutcome, ErrorKind, Recovery, RowKey, StoreError, Value};

/// Up to this many inserts go as single statements.
const FEW: usize = 24;

/// Why a batch was not done.
enum Broken {
    /// Nothing of it was done, and nothing will be.
    Undone(StoreError),
    /// The commit, or something sent before it, got no answer.
    Unknown(StoreError),
}

impl PostgresTable {
    pub(super) async fn write_all(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
        self.shape.may_write()?;
        let mut out = Vec::with_capacity(changes.len());
        for batch in changes.chunks(20_000) {
            match self.write_batch(batch).await {
                Ok(outcomes) => out.extend(outcomes),
                // What came before is done: this batch's rows say the error each.
                Err(e) if out.is_empty() => return Err(e),
                Err(e) => {
                    out.extend(batch.iter().map(|_| ChangeOutcome::Refused(StoreError::new(e.kind(), e.to_string()))))
                }
            }
        }
        Ok(out)
    }

    async fn write_batch(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let mut order: Vec<usize> = (0..changes.len()).collect();
        // One order for all writers: no deadlocks among us.
        order.sort_by_cached_key(|i| changes[*i].key(&self.shape.key));
        match self.transaction(changes, &order).await {
            Ok(outcomes) => Ok(outcomes),
            Err(Broken::Undone(e)) if e.recovery() == Recovery::Row && changes.len() > 1 => {
                // One row spoils the transaction: find it by going one by one.
                let mut out = Vec::with_capacity(changes.len());
                for change in changes {
                    out.push(match self.transaction(std::slice::from_ref(change), &[0]).await {
                        Ok(mut outcomes) => outcomes.remove(0),
                        Err(Broken::Undone(e)) => ChangeOutcome::Refused(self.named(e, change)),
                        Err(Broken::Unknown(e)) => ChangeOutcome::Ambiguous(e),
                    });
                }
                Ok(out)
            }
            Err(Broken::Undone(e)) if e.recovery() == Recovery::Row => {
                Ok(vec![ChangeOutcome::Refused(self.named(e, &changes[0]))])
            }
            Err(Broken::Undone(e)) => Err(e),
            Err(Broken::Unknown(e)) => {
                Ok(changes.iter().map(|_| ChangeOutcome::Ambiguous(StoreError::new(e.kind(), e.to_string()))).collect())
            }
        }
    }

    fn named(&self, e: StoreError, change: &Change) -> StoreError {
        e.at_key(&change.key(&self.shape.key))
    }

    async fn transaction(&self, changes: &[Change], order: &[usize]) -> Result<Vec<ChangeOutcome>, Broken> {
        let mut session = self.store.client().await.map_err(Broken::Undone)?;
        session.begin();
        let what = format!("cannot write to {}", self.shape.shown);
        let limit = self.store.write_timeout();
        // The server gives up after `limit`; a server that does not even say so is given up after twice that.
        let done = tokio::time::timeout(limit + limit / 2, self.in_transaction(&session, changes, order)).await;
        match done {
            Ok(Ok(outcomes)) => {
                session.finish();
                Ok(outcomes)
            }
            Ok(Err(Failed::Row(e))) => {
                let _ = session.batch_execute("ROLLBACK").await.map(|()| session.finish());
                Err(Broken::Undone(e))
            }
            Ok(Err(Failed::Statement(e))) => {
                let kind = errors::kind(&e);
                if kind == ErrorKind::Lost {
                    // Without a commit the server rolls back when it notices; a statement under way is part of that.
                    return Err(Broken::Undone(errors::of(what, e)));
                }
                let _ = session.batch_execute("ROLLBACK").await.map(|()| session.finish());
                Err(Broken::Undone(errors::of(what, e)))
            }
            Ok(Err(Failed::Commit(e))) => match e.as_db_error() {
                // The server answered: deferred constraints and serialization failures roll back.
                Some(_) if errors::kind(&e) != ErrorKind::Lost => Err(Broken::Undone(errors::of(what, e))),
                _ => Err(Broken::Unknown(errors::of(format!("{what}: no answer to the commit"), e))),
            },
            Err(_) => {
                Err(Broken::Unknown(StoreError::new(ErrorKind::Lost, format!("{what}: no answer within {limit:?}"))))
            }
        }
    }

    async fn in_transaction(
        &self,
        session: &Session,
        changes: &[Change],
        order: &[usize],
    ) -> Result<Vec<ChangeOutcome>, Failed> {
        let millis = self.store.write_timeout().as_millis();
        session
            .batch_execute(&format!("BEGIN; SET LOCAL statement_timeout = {millis}; SET LOCAL lock_timeout = {millis}"))
            .await
            .map_err(Failed::Statement)?;
        let inserts: Vec<usize> =
            order.iter().copied().filter(|i| matches!(changes[*i], Change::Insert { .. })).collect();
        let mut applied = vec![false; changes.len()];
        let single = if inserts.len() > FEW {
            self.insert_staged(session, changes, &inserts, &mut applied).await?;
            order.iter().copied().filter(|i| !matches!(changes[*i], Change::Insert { .. })).collect::<Vec<_>>()
        } else {
            order.to_vec()
        };
        self.pipelined(session, changes, &single, &mut applied).await?;
        session.batch_execute("COMMIT").await.map_err(Failed::Commit)?;
        Ok(applied.into_iter().map(|a| if a { ChangeOutcome::Applied } else { ChangeOutcome::LostRace }).collect())
    }

    async fn insert_staged(
        &self,
        session: &Session,
        changes: &[Change],
        inserts: &[usize],
        applied: &mut [bool],
    ) -> Result<(), Failed> {
        let shape = &self.shape;
        session.batch_execute(&shape.create_stage()).await.map_err(Failed::Statement)?;
        let mut rows = inserts.iter().map(|i| changes[*i].keyed());
        self.copy_into(session, &shape.stage, &mut rows).await.map_err(|e| match e {
            CopyError::Row(e) => Failed::Row(e),
            CopyError::Database(e) => Failed::Statement(e),
        })?;
        let all = inserts.len() as u64;
        // Mostly all of them go in, and the keys need not come back; where not, the same transaction tells which are ours.
        let probe = format!("{} RETURNING {}", shape.insert_staged(), shape.key_list);
        let statement = session.prepare_cached(&probe).await.map_err(Failed::Statement)?;
        let stream = session.query_raw(&statement, Vec::<Parameter>::new()).await.map_err(Failed::Statement)?;
        pin_mut!(stream);
        let mut keys: HashSet<RowKey> = HashSet::new();
        while let Some(row) = stream.next().await {
            let row = row.map_err(Failed::Statement)?;
            let key: Result<Vec<Value>, StoreError> =
                shape.key.iter().enumerate().map(|(n, i)| shape.value(*i, field(&row, n)?)).collect();
            keys.insert(RowKey(key.map_err(Failed::Row)?));
        }
        if keys.len() as u64 == all {
            inserts.iter().for_each(|i| applied[*i] = true);
        } else {
            for i in inserts {
                applied[*i] = keys.contains(&changes[*i].key(&shape.key));
            }
        }
        Ok(())
    }

    async fn pipelined(
        &self,
        session: &Session,
        changes: &[Change],
        which: &[usize],
        applied: &mut [bool],
    ) -> Result<(), Failed> {
        let shape = &self.shape;
        let all = &shape.written;
        let slot = |n: usize, i: usize| format!("${}::{}", n + 1, shape.columns[i].physical.cast);
        let slots = || all.iter().enumerate().map(|(n, i)| (*i, slot(n, *i)));
        let mut sql: BTreeMap<u8, (String, Vec<usize>)> = BTreeMap::new();
        let kind = |c: &Change| match c {
            Change::Insert { .. } => 0,
            Change::Replace { .. } => 1,
            Change::Delete { .. } => 2,
        };
        for i in which {
            let change = &changes[*i];
            sql.entry(kind(change)).or_insert_with(|| match change {
                Change::Insert { .. } => {
                    let slots: Vec<String> = slots().map(|(_, slot)| slot).collect();
                    (
                        format!(
                            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({}) ON CONFLICT ({}) DO NOTHING",
                            shape.table,
                            shape.write_list,
                            slots.join(", "),
                            shape.key_list
                        ),
                        Vec::new(),
                    )
                }
                Change::Replace { .. } => {
                    let set = |(i, slot): (usize, String)| format!("{} = {slot}", shape.columns[i].quoted);
                    let mut sets: Vec<String> = slots().filter(|(i, _)| !shape.key.contains(i)).map(set).collect();
                    if sets.is_empty() {
                        // A row that is all key is replaced by itself.
                        sets = slots().map(set).collect();
                    }
                    // Every parameter must occur.
                    let used: Vec<String> = slots()
                        .filter(|(i, _)| shape.key.contains(i))
                        .map(|(_, slot)| format!("{slot} IS NOT NULL AND "))
                        .collect();
                    let (seen, compared) = shape.seen(all.len() + 1);
                    (format!("UPDATE {} SET {} WHERE {}{seen}", shape.table, sets.join(", "), used.concat()), compared)
                }
                Change::Delete { .. } => {
                    let (seen, compared) = shape.seen(1);
                    (format!("DELETE FROM {} WHERE {seen}", shape.table), compared)
                }
            });
        }
        let mut prepared = BTreeMap::new();
        for (kind, (text, compared)) in sql {
            prepared.insert(kind, (session.prepare_cached(&text).await.map_err(Failed::Statement)?, compared));
        }
        // Bounded: each future holds its parameters.
        for chunk in which.chunks(512) {
            let mut asked = Vec::with_capacity(chunk.len());
            for i in chunk {
                let change = &changes[*i];
                let Some((statement, compared)) = prepared.get(&kind(change)) else { continue };
                let mut parameters = Vec::with_capacity(all.len() * 2);
                if let Change::Insert { row } | Change::Replace { row, .. } = change {
                    for c in all {
                        parameters.push(shape.parameter(*c, &row.0[*c], Some(row)).map_err(Failed::Row)?);
                    }
                }
                if let Change::Replace { seen, .. } | Change::Delete { seen } = change {
                    for c in compared {
                        parameters.push(shape.parameter(*c, &seen.0[*c], Some(seen)).map_err(Failed::Row)?);
                    }
                }
                asked.push((*i, statement, parameters));
            }
            let answers = futures::future::join_all(asked.iter().map(|(i, statement, parameters)| async move {
                let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|p| p as _).collect();
                (*i, session.execute(*statement, &parameters).await)
            }))
            .await;
            for (i, answer) in answers {
                applied[i] = answer.map_err(Failed::Statement)? == 1;
            }
        }
        Ok(())
    }
}

enum Failed {
    Row(StoreError),
    Statement(tokio_postgres::Error),
    Commit(tokio_postgres::Error),
}
