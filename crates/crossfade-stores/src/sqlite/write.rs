//! Conditional writes and the bulk path: one immediate transaction per call.

use rusqlite::{Connection, Transaction, TransactionBehavior, types::ToSqlOutput};

use super::{errors, schema::Shape};
use crate::{Change, ChangeOutcome, ErrorKind, Recovery, Row, StoreError};

pub(super) fn changes(c: &mut Connection, shape: &Shape, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
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
        for (i, value) in row.0.iter().enumerate() {
            parameters.push(shape.bind(i, value)?);
        }
    }
    if let Change::Replace { seen, .. } | Change::Delete { seen } = change {
        for i in &shape.compared {
            parameters.push(shape.bind(*i, &seen.0[*i])?);
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

pub(super) fn load(c: &mut Connection, shape: &Shape, rows: &[Row]) -> Result<(), StoreError> {
    let fail = |e| errors::of(format!("cannot load into {}", shape.shown), e);
    let transaction = c.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    {
        let mut statement = transaction.prepare_cached(&shape.load).map_err(fail)?;
        for row in rows {
            for (i, value) in row.0.iter().enumerate() {
                let bound = shape.bind(i, value).map_err(|e| e.at_key(&row.key(&shape.key)))?;
                statement.raw_bind_parameter(i + 1, bound).map_err(fail)?;
            }
            statement.raw_execute().map_err(|e| fail(e).at_key(&row.key(&shape.key)))?;
        }
    }
    transaction.commit().map_err(fail)
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
