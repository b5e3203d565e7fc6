//! Conditional writes and the bulk path: one immediate transaction per call.

use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior, types::ToSqlOutput};
use tokio::sync::oneshot;

use super::{errors, schema::Shape};
use crate::{Change, ChangeOutcome, ErrorKind, Recovery, Row, StoreError, Value};

pub(super) fn changes(c: &mut Connection, shape: &Shape, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    shape.may_write()?;
    let fail = |e| errors::of(format!("cannot write to {}", shape.shown), e);
    let transaction = c.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    let mut out = Vec::with_capacity(changes.len());
    for change in changes {
        out.push(match one(&transaction, shape, change) {
            Ok(true) => ChangeOutcome::Applied,
            Ok(false) => ChangeOutcome::LostRace,
            // A statement that is refused undoes itself alone; anything else ends the transaction, which rolls back when dropped.
            Err(e) if e.recovery() == Recovery::Row => ChangeOutcome::Refused(e.at_key(&change.key(&shape.key))),
            Err(e) => return Err(e),
        });
    }
    match transaction.commit() {
        Ok(()) => Ok(out),
        Err(e) if errors::kind(&e) == ErrorKind::Lost => {
            let text = errors::of(format!("cannot commit to {}", shape.shown), e).to_string();
            Ok(changes
                .iter()
                .map(|_| ChangeOutcome::Ambiguous(StoreError::new(ErrorKind::Lost, text.clone())))
                .collect())
        }
        Err(e) => Err(fail(e)),
    }
}

fn one(transaction: &Transaction<'_>, shape: &Shape, change: &Change) -> Result<bool, StoreError> {
    let mut parameters: Vec<ToSqlOutput<'_>> = Vec::with_capacity(shape.names.len() * 2);
    if let Change::Insert { row } | Change::Replace { row, .. } = change {
        for i in &shape.written {
            parameters.push(shape.bind(*i, &row.0[*i])?);
        }
    }
    if let Change::Replace { seen, .. } | Change::Delete { seen } = change {
        for i in &shape.compared {
            parameters.push(shape.bind(*i, &seen.0[*i])?);
        }
        for i in &shape.floats {
            parameters.push(match &seen.0[*i] {
                Value::Float32(f) => ToSqlOutput::from(f64::from(*f)),
                other => shape.bind(*i, other)?,
            });
        }
    }
    let sql = match change {
        Change::Insert { .. } => &shape.insert,
        Change::Replace { .. } => &shape.replace,
        Change::Delete { .. } => &shape.delete,
    };
    let fail = |e| errors::of(format!("cannot write to {}", shape.shown), e);
    let mut statement = transaction.prepare_cached(sql).map_err(fail)?;
    Ok(statement.execute(rusqlite::params_from_iter(parameters)).map_err(fail)? == 1)
}

/// Rows that wait to be loaded, and who waits for them.
pub(super) struct Load {
    pub(super) shape: Arc<Shape>,
    pub(super) rows: Vec<Row>,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
}

/// Loads all of them in one transaction. One whose row is refused is undone alone; what hurts the file hurts all.
pub(super) fn load(c: &mut Connection, loads: Vec<Load>) {
    let (mut good, mut waiting) = (Vec::new(), loads.into_iter());
    let done = (|| {
        let mut transaction = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for load in waiting.by_ref() {
            let savepoint = transaction.savepoint()?;
            match rows(&savepoint, &load.shape, &load.rows) {
                Ok(()) => {
                    savepoint.commit()?;
                    good.push(load);
                }
                Err(Broken::Row(e)) => {
                    // Undone when it is dropped; nobody may be left to hear of it.
                    drop(savepoint);
                    drop(load.answer.send(Err(e)));
                }
                Err(Broken::File(e)) => {
                    good.push(load);
                    return Err(e);
                }
            }
        }
        transaction.commit()
    })();
    let broken = done.err().map(|e| errors::of("the rows were not taken", e));
    for load in good.into_iter().chain(waiting) {
        let done = broken
            .as_ref()
            .map_or(Ok(()), |e| Err(StoreError::new(e.kind(), format!("cannot load into {}: {e}", load.shape.shown))));
        drop(load.answer.send(done));
    }
}

enum Broken {
    Row(StoreError),
    File(rusqlite::Error),
}

fn rows(transaction: &Connection, shape: &Shape, rows: &[Row]) -> Result<(), Broken> {
    shape.may_write().map_err(Broken::Row)?;
    let mut statement = transaction.prepare_cached(&shape.load).map_err(Broken::File)?;
    for row in rows {
        for (n, i) in shape.written.iter().enumerate() {
            let bound = shape.bind(*i, &row.0[*i]).map_err(|e| Broken::Row(e.at_key(&row.key(&shape.key))))?;
            statement.raw_bind_parameter(n + 1, bound).map_err(Broken::File)?;
        }
        statement.raw_execute().map_err(|e| match errors::kind(&e).recovery() {
            Recovery::Row => {
                Broken::Row(errors::of(format!("cannot load into {}", shape.shown), e).at_key(&row.key(&shape.key)))
            }
            _ => Broken::File(e),
        })?;
    }
    Ok(())
}

pub(super) fn nobody_else_writes(c: &mut Connection) -> Result<bool, StoreError> {
    match c.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => {
            let _ = transaction.rollback();
            Ok(true)
        }
        Err(e) => match errors::kind(&e) {
            ErrorKind::Conflict => Ok(false),
            // A file that nobody may write has no writers.
            ErrorKind::Denied => Ok(true),
            _ => Err(errors::of("cannot see whether somebody writes to the file", e)),
        },
    }
}
