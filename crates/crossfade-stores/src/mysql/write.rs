//! Conditional writes: one transaction for each call, in key order. A refused row is refused alone: the server undoes its statement, not the transaction.

use mysql_async::{Params, Value as Sql, prelude::Queryable};

use super::{MysqlTable, connect::Session, errors};
use crate::{Change, ChangeOutcome, ErrorKind, Recovery, StoreError};

/// Rows of one insert statement: a few sizes, so that few statements are prepared.
const SIZES: [usize; 4] = [256, 32, 4, 1];
/// Parameters of one statement, by the protocol, and a bit less.
const PARAMETERS: usize = 60_000;
/// Bytes of one statement: the smallest `max_allowed_packet` that is in use, and a bit less.
const BYTES: usize = 3 << 20;

/// Why a batch was not done.
enum Broken {
    /// Nothing of it was done, and nothing will be.
    Undone(StoreError),
    /// The commit, or something sent before it, got no answer.
    Unknown(StoreError),
}

impl MysqlTable {
    pub(super) async fn write_all(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
        self.shape.may_write()?;
        self.shape.may_write()?;
        let mut out = Vec::with_capacity(changes.len());
        for batch in changes.chunks(5_000) {
            match self.transaction(batch).await {
                Ok(outcomes) => out.extend(outcomes),
                Err(Broken::Undone(e)) if out.is_empty() => return Err(e),
                // What came before is done: this batch's rows say the error each.
                Err(Broken::Undone(e)) => {
                    out.extend(batch.iter().map(|_| ChangeOutcome::Refused(StoreError::new(e.kind(), e.to_string()))))
                }
                Err(Broken::Unknown(e)) => {
                    out.extend(batch.iter().map(|_| ChangeOutcome::Ambiguous(StoreError::new(e.kind(), e.to_string()))))
                }
            }
        }
        Ok(out)
    }

    async fn transaction(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, Broken> {
        let what = format!("cannot write to {}", self.shape.shown);
        let mut session = self.store.session().await.map_err(Broken::Undone)?;
        session.begin();
        let limit = self.store.write_timeout();
        match tokio::time::timeout(limit + limit / 2, self.in_transaction(&mut session, changes)).await {
            Ok(Ok(outcomes)) => {
                session.finish();
                Ok(outcomes)
            }
            // The session is closed, and with it ends the transaction.
            Ok(Err(broken)) => Err(broken),
            Err(_) => {
                Err(Broken::Unknown(StoreError::new(ErrorKind::Lost, format!("{what}: no answer within {limit:?}"))))
            }
        }
    }

    async fn in_transaction(&self, session: &mut Session, changes: &[Change]) -> Result<Vec<ChangeOutcome>, Broken> {
        let shape = &self.shape;
        let what = format!("cannot write to {}", shape.shown);
        let undone = |e| Broken::Undone(errors::of(&what, e));
        let mut order: Vec<usize> = (0..changes.len()).collect();
        // One order for all writers: fewer deadlocks among us.
        order.sort_by_cached_key(|i| changes[*i].key(&shape.key));
        let mut out: Vec<Option<ChangeOutcome>> = changes.iter().map(|_| None).collect();
        session.query_drop("START TRANSACTION").await.map_err(undone)?;
        let mut inserts: Vec<(usize, Vec<Sql>)> = Vec::new();
        let mut bytes = 0;
        for i in order {
            let made = match &changes[i] {
                Change::Insert { row } => shape.parameters(row, &shape.written).map(|values| {
                    bytes += values.iter().map(size).sum::<usize>();
                    inserts.push((i, values));
                    None
                }),
                Change::Replace { seen, row } => shape.parameters(row, &shape.rest).and_then(|mut parameters| {
                    parameters.extend(shape.key_parameters(&seen.key(&shape.key))?);
                    parameters.extend(shape.parameters(seen, &shape.compared)?);
                    Ok(Some((&shape.update, parameters)))
                }),
                Change::Delete { seen } => shape.key_parameters(&seen.key(&shape.key)).and_then(|mut parameters| {
                    parameters.extend(shape.parameters(seen, &shape.compared)?);
                    Ok(Some((&shape.delete, parameters)))
                }),
            };
            match made {
                Ok(None) => {}
                Ok(Some((sql, parameters))) => out[i] = Some(self.single(session, sql, parameters, &changes[i]).await?),
                // A value that the column cannot hold is not what is there; a new one is refused.
                Err(e) => out[i] = Some(ChangeOutcome::Refused(e.at_key(&changes[i].key(&shape.key)))),
            }
            if bytes > BYTES || (inserts.len() + 1) * shape.columns.len() > PARAMETERS || inserts.len() == SIZES[0] {
                self.insert(session, changes, std::mem::take(&mut inserts), &mut out).await?;
                bytes = 0;
            }
        }
        self.insert(session, changes, inserts, &mut out).await?;
        match session.query_drop("COMMIT").await {
            Ok(()) => {}
            Err(e) if errors::kind(&e) == ErrorKind::Lost => {
                return Err(Broken::Unknown(errors::of(format!("{what}: no answer to the commit"), e)));
            }
            Err(e) => return Err(undone(e)),
        }
        out.into_iter()
            .map(|o| {
                o.ok_or_else(|| {
                    Broken::Unknown(StoreError::new(ErrorKind::Protocol, format!("{what}: a row without an outcome")))
                })
            })
            .collect()
    }

    /// An update or a delete of what was seen.
    async fn single(
        &self,
        session: &mut Session,
        sql: &str,
        parameters: Vec<Sql>,
        change: &Change,
    ) -> Result<ChangeOutcome, Broken> {
        match session.exec_drop(sql, Params::Positional(parameters)).await {
            // Rows that were found, also where nothing changed.
            Ok(()) if session.affected_rows() >= 1 => Ok(ChangeOutcome::Applied),
            Ok(()) => Ok(ChangeOutcome::LostRace),
            Err(e) => self.refused(e, change),
        }
    }

    /// A row's own fault; anything else breaks the transaction.
    fn refused(&self, e: mysql_async::Error, change: &Change) -> Result<ChangeOutcome, Broken> {
        let error = errors::of(format!("cannot write to {}", self.shape.shown), e);
        match error.recovery() {
            Recovery::Row => Ok(ChangeOutcome::Refused(error.at_key(&change.key(&self.shape.key)))),
            _ => Err(Broken::Undone(error)),
        }
    }

    /// Many at once; where one of them does not go in, each by itself.
    async fn insert(
        &self,
        session: &mut Session,
        changes: &[Change],
        rows: Vec<(usize, Vec<Sql>)>,
        out: &mut [Option<ChangeOutcome>],
    ) -> Result<(), Broken> {
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let size = SIZES.into_iter().find(|s| *s <= rest.len()).unwrap_or(1);
            let (group, more) = rest.split_at(size);
            rest = more;
            let parameters: Vec<Sql> = group.iter().flat_map(|(_, values)| values.iter().cloned()).collect();
            match session.exec_drop(self.insert_sql(size), Params::Positional(parameters)).await {
                Ok(()) => {
                    for (i, _) in group {
                        out[*i] = Some(ChangeOutcome::Applied);
                    }
                }
                Err(e) if matches!(errors::kind(&e), ErrorKind::Refused | ErrorKind::TooLarge) => {
                    for (i, values) in group {
                        out[*i] = Some(self.insert_one(session, values.clone(), &changes[*i]).await?);
                    }
                }
                Err(e) => return Err(Broken::Undone(errors::of(format!("cannot write to {}", self.shape.shown), e))),
            }
        }
        Ok(())
    }

    async fn insert_one(
        &self,
        session: &mut Session,
        values: Vec<Sql>,
        change: &Change,
    ) -> Result<ChangeOutcome, Broken> {
        match session.exec_drop(self.insert_sql(1), Params::Positional(values)).await {
            Ok(()) => Ok(ChangeOutcome::Applied),
            Err(e) if errors::is_duplicate(&e) => {
                // Of this very key, or of one that the collation takes for it, or in another unique index?
                let key = self.shape.key_parameters(&change.key(&self.shape.key)).map_err(Broken::Undone)?;
                let twice: Vec<Sql> = key.iter().chain(&key).cloned().collect();
                let found: Option<i64> = session
                    .exec_first(&self.shape.exists, Params::Positional(twice))
                    .await
                    .map_err(|e| Broken::Undone(errors::of(format!("cannot read {}", self.shape.shown), e)))?;
                match found {
                    Some(_) => Ok(ChangeOutcome::LostRace),
                    None => {
                        let why = "another row has the same value in a unique index, or a key that the column's collation takes for the same: give it a binary collation";
                        let error =
                            StoreError::new(ErrorKind::Refused, format!("cannot write to {}: {why}", self.shape.shown));
                        Ok(ChangeOutcome::Refused(error.at_key(&change.key(&self.shape.key))))
                    }
                }
            }
            Err(e) => self.refused(e, change),
        }
    }

    pub(super) fn insert_sql(&self, rows: usize) -> String {
        let slots = vec!["?"; self.shape.written.len()].join(", ");
        format!(
            "INSERT INTO {} ({}) VALUES {}",
            self.shape.table,
            self.shape.write_list,
            vec![format!("({slots})"); rows].join(", ")
        )
    }
}

fn size(value: &Sql) -> usize {
    match value {
        Sql::Bytes(b) => b.len() + 9,
        _ => 12,
    }
}
