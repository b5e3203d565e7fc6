//! The bulk path: `LOAD DATA LOCAL INFILE` in a transaction of its own. `LOCAL` turns errors into warnings, so a warning undoes it.

use bytes::Bytes;
use futures::StreamExt;
use mysql_async::{Error, Params, Row as SqlRow, ServerError, Value as Sql, prelude::Queryable};

use super::{MysqlTable, errors, values};
use crate::{ErrorKind, Row, StoreError};

/// Bytes of one piece of the stream.
const PIECE: usize = 256 * 1024;

impl MysqlTable {
    pub(super) async fn load_rows(&self, rows: &[Row]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let shape = &self.shape;
        shape.may_write()?;
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut piece = Vec::with_capacity(PIECE + 4096);
        for row in rows {
            for (n, i) in shape.written.iter().copied().enumerate() {
                let value = &row.0[i];
                if n > 0 {
                    piece.push(b'\t');
                }
                let sql = shape.parameter(i, value).map_err(|e| e.at_key(&row.key(&shape.key)))?;
                values::field(&sql, shape.columns[i].physical, &mut piece);
            }
            piece.push(b'\n');
            if piece.len() >= PIECE {
                pieces.push(std::mem::replace(&mut piece, Vec::with_capacity(PIECE + 4096)).into());
            }
        }
        pieces.push(piece.into());
        let what = format!("cannot load into {}", shape.shown);
        let fail = |e| errors::of(&what, e);
        let mut session = self.store.session().await?;
        session.begin();
        session.query_drop("START TRANSACTION").await.map_err(fail)?;
        session.set_infile_handler(async move { Ok(futures::stream::iter(pieces.into_iter().map(Ok)).boxed()) });
        match session.query_drop(self.load_sql()).await {
            Ok(()) => {}
            // The server does not take local files.
            Err(Error::Server(ServerError { code: 1148 | 3948 | 4166, .. })) => {
                session.query_drop("ROLLBACK").await.map_err(fail)?;
                session.finish();
                drop(session);
                return self.load_by_inserts(rows).await;
            }
            Err(e) => return Err(fail(e)),
        }
        let taken = session.affected_rows();
        if session.get_warnings() > 0 || taken != rows.len() as u64 {
            let warnings: Vec<SqlRow> = session.query("SHOW WARNINGS").await.map_err(fail)?;
            // Dropped without an end, the session is closed and the transaction undone.
            return Err(match warnings.into_iter().find_map(first_error) {
                Some(server) => errors::of(&what, Error::Server(server)),
                None => StoreError::new(
                    ErrorKind::Refused,
                    format!(
                        "{what}: {taken} of {} rows were taken: keys are there already, or twice in the load",
                        rows.len()
                    ),
                ),
            });
        }
        session.query_drop("COMMIT").await.map_err(fail)?;
        session.finish();
        Ok(())
    }

    fn load_sql(&self) -> String {
        let shape = &self.shape;
        let (mut list, mut sets) = (Vec::new(), Vec::new());
        for (i, col) in shape.written.iter().map(|i| (*i, &shape.columns[*i])) {
            if values::as_hex(col.physical) {
                list.push(format!("@f{i}"));
                sets.push(format!("{} = UNHEX(@f{i})", col.quoted));
            } else if col.physical == values::Physical::Bit {
                list.push(format!("@f{i}"));
                sets.push(format!("{} = CAST(@f{i} AS UNSIGNED)", col.quoted));
            } else {
                list.push(col.quoted.clone());
            }
        }
        let set = if sets.is_empty() { String::new() } else { format!(" SET {}", sets.join(", ")) };
        format!(
            "LOAD DATA LOCAL INFILE 'crossfade' INTO TABLE {} CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({}){set}",
            shape.table,
            list.join(", ")
        )
    }

    async fn load_by_inserts(&self, rows: &[Row]) -> Result<(), StoreError> {
        let what = format!("cannot load into {}", self.shape.shown);
        let fail = |e| errors::of(&what, e);
        let all = &self.shape.written;
        let mut session = self.store.session().await?;
        session.begin();
        session.query_drop("START TRANSACTION").await.map_err(fail)?;
        for group in rows.chunks(64) {
            let mut parameters: Vec<Sql> = Vec::with_capacity(group.len() * all.len());
            for row in group {
                parameters.extend(self.shape.parameters(row, all).map_err(|e| e.at_key(&row.key(&self.shape.key)))?);
            }
            session.exec_drop(self.insert_sql(group.len()), Params::Positional(parameters)).await.map_err(fail)?;
        }
        session.query_drop("COMMIT").await.map_err(fail)?;
        session.finish();
        Ok(())
    }
}

/// The first row of `SHOW WARNINGS` as the error it would have been.
fn first_error(row: SqlRow) -> Option<ServerError> {
    let (_level, code, message): (String, u16, String) = mysql_async::from_row_opt(row).ok()?;
    Some(ServerError { code, message, state: String::new() })
}
