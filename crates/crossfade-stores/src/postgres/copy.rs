//! Binary `COPY`: rows of ours into a table, and a table's bytes into another one.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt, pin_mut};
use tokio_postgres::CopyInSink;

use super::{PostgresTable, connect::Session, errors};
use crate::{
    ErrorKind, Range, Row, RowKey, StoreError,
    port::{Moment, RawDump, RawFormat, RawRows, Since},
};

/// Signature, flags, no header extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
pub(super) const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Bytes of one message.
pub(super) const BLOCK: usize = 64 * 1024;

impl PostgresTable {
    /// Appends one row in the copy format.
    fn copy_row(&self, row: &Row, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let count = i16::try_from(self.shape.written.len())
            .map_err(|_| StoreError::new(ErrorKind::TooLarge, "more columns than a row can have"))?;
        out.extend_from_slice(&count.to_be_bytes());
        for (i, value) in self.shape.written.iter().map(|i| (*i, &row.0[*i])) {
            if value.is_null() {
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                continue;
            }
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            self.shape.encode(i, value, out, Some(row))?;
            let len = i32::try_from(out.len() - at - 4).map_err(|_| {
                StoreError::new(ErrorKind::TooLarge, format!("{}: a value is larger than 2 GB", self.shape.shown))
                    .at_key(&row.key(&self.shape.key))
            })?;
            out[at..at + 4].copy_from_slice(&len.to_be_bytes());
        }
        Ok(())
    }

    /// Copies rows into `into`, a table with this shape's columns. Encodes everything before the first byte is sent, so that
    /// an `Unrepresentable` row sends nothing.
    pub(super) async fn copy_into(
        &self,
        session: &Session,
        into: &str,
        rows: &mut (dyn Iterator<Item = &Row> + Send),
    ) -> Result<u64, CopyError> {
        let mut blocks: Vec<Bytes> = Vec::new();
        let mut block = Vec::with_capacity(BLOCK + 4_096);
        block.extend_from_slice(HEADER);
        for row in rows {
            self.copy_row(row, &mut block).map_err(CopyError::Row)?;
            if block.len() >= BLOCK {
                blocks.push(Bytes::from(std::mem::replace(&mut block, Vec::with_capacity(BLOCK + 4_096))));
            }
        }
        block.extend_from_slice(&TRAILER);
        blocks.push(Bytes::from(block));
        let sql = format!("COPY {into} ({}) FROM STDIN (FORMAT binary)", self.shape.write_list);
        let sink: CopyInSink<Bytes> = session.copy_in(sql.as_str()).await.map_err(CopyError::Database)?;
        pin_mut!(sink);
        for block in blocks {
            sink.feed(block).await.map_err(CopyError::Database)?;
        }
        sink.finish().await.map_err(CopyError::Database)
    }

    pub(super) async fn load_rows(&self, rows: &[Row]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.shape.may_write()?;
        let mut session = self.store.client().await?;
        session.begin();
        let done = self.copy_into(&session, &self.shape.table, &mut rows.iter()).await;
        match done {
            Ok(_) => {
                session.finish();
                Ok(())
            }
            Err(CopyError::Row(e)) => {
                session.finish();
                Err(e)
            }
            Err(CopyError::Database(e)) => Err(errors::of(format!("cannot load into {}", self.shape.shown), e)),
        }
    }
}

/// Why a copy failed.
pub(super) enum CopyError {
    /// A row cannot be sent. Nothing was.
    Row(StoreError),
    /// The database said no, or nothing any more.
    Database(tokio_postgres::Error),
}

impl PostgresTable {
    /// `WHERE …` of a range, without some keys, as literals: `COPY` takes no parameters.
    pub(super) fn within(&self, range: &Range, without: &[RowKey]) -> Result<String, StoreError> {
        let shape = &self.shape;
        let Range::Keys { from, to } = range else {
            return Err(StoreError::new(
                ErrorKind::Unsupported,
                format!("{} is scanned by keys, not by segments", shape.shown),
            ));
        };
        let mut conditions = Vec::new();
        for (key, operator) in from.iter().map(|k| (k, ">=")).chain(to.iter().map(|k| (k, "<"))) {
            conditions.push(format!("({}) {operator} {}", shape.key_list, shape.key_literal(key)?));
        }
        if !without.is_empty() {
            conditions.push(self.but(without)?);
        }
        Ok(if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) })
    }

    /// A condition that holds for all rows but some.
    pub(super) fn but(&self, keys: &[RowKey]) -> Result<String, StoreError> {
        let literals: Result<Vec<String>, StoreError> = keys.iter().map(|k| self.shape.key_literal(k)).collect();
        Ok(format!("({}) NOT IN ({})", self.shape.key_list, literals?.join(", ")))
    }

    async fn copy_out(&self, range: &Range, without: &[RowKey]) -> Result<RawDump, StoreError> {
        let shape = &self.shape;
        let sql = format!(
            "COPY (SELECT {} FROM {}{}) TO STDOUT (FORMAT binary)",
            shape.list,
            shape.table,
            self.within(range, without)?
        );
        let what = format!("cannot copy out of {}", shape.shown);
        let mut session = self.store.client().await?;
        session.begin();
        let rows = match session.copy_out(sql.as_str()).await {
            Ok(rows) => Box::pin(rows),
            Err(e) => return Err(errors::of(what, e)),
        };
        // The server sends a message per row; joined into blocks they cost a tenth.
        let blocks = futures::stream::unfold(Some((session, rows, what)), |state| async move {
            let (mut session, mut rows, what) = state?;
            let mut block = BytesMut::with_capacity(BLOCK + 4_096);
            loop {
                match rows.next().await {
                    Some(Ok(bytes)) => {
                        block.extend_from_slice(&bytes);
                        if block.len() >= BLOCK {
                            return Some((Ok(block.freeze()), Some((session, rows, what))));
                        }
                    }
                    Some(Err(e)) => return Some((Err(errors::of(what, e)), None)),
                    // `CopyDone`: the server's own word for the end.
                    None => {
                        session.finish();
                        return Some((Ok(block.freeze()), None));
                    }
                }
            }
        });
        Ok(Box::pin(blocks))
    }
}

#[async_trait]
impl RawRows for PostgresTable {
    fn format(&self) -> &RawFormat {
        &self.raw
    }

    async fn dump(&self, range: &Range) -> Result<RawDump, StoreError> {
        self.copy_out(range, &[]).await
    }

    async fn dump_without(&self, range: &Range, keys: &[RowKey]) -> Result<RawDump, StoreError> {
        self.copy_out(range, keys).await
    }

    fn keys_in(&self, dump: &[Bytes]) -> Result<Vec<RowKey>, StoreError> {
        self.keys_of_rows(&dump.concat())
    }

    async fn moment(&self) -> Result<Moment, StoreError> {
        self.now().await
    }

    async fn since(&self, range: &Range, without: &[RowKey], moment: &Moment) -> Result<Since, StoreError> {
        self.since_then(range, without, moment).await
    }

    async fn old_among(&self, keys: &[RowKey], moment: &Moment) -> Result<Vec<RowKey>, StoreError> {
        self.old_of(keys, moment).await
    }

    async fn keys(&self, range: &Range, most: usize) -> Result<Vec<RowKey>, StoreError> {
        self.keys_of(range, most).await
    }

    async fn insert_all(&self, mut dump: RawDump) -> Result<u64, StoreError> {
        let shape = &self.shape;
        let what = format!("cannot write to {}", shape.shown);
        let mut session = self.store.client().await?;
        session.begin();
        let limit = self.store.write_timeout();
        let begin =
            format!("BEGIN; SET LOCAL statement_timeout = {0}; SET LOCAL lock_timeout = {0}", limit.as_millis());
        // Nothing is committed before the last statement: until then every failure undoes all of it, also a connection that is lost.
        let undone = |e: tokio_postgres::Error| match errors::of(what.clone(), e) {
            e if e.kind() == ErrorKind::Lost => {
                StoreError::new(ErrorKind::Unreachable, format!("{what}: the connection was lost before the commit"))
                    .caused_by(e)
            }
            e => e,
        };
        session.batch_execute(&begin).await.map_err(undone)?;
        let sql = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", shape.table, shape.list);
        let statement = session.prepare_cached(&sql).await.map_err(undone)?;
        let sink: CopyInSink<Bytes> = session.copy_in(&statement).await.map_err(undone)?;
        pin_mut!(sink);
        while let Some(block) = dump.next().await {
            sink.feed(block?).await.map_err(undone)?;
        }
        let rows = match sink.finish().await {
            Ok(rows) => rows,
            Err(e) => {
                // The server goes on with this session; it is only the rows that it did not take.
                if session.batch_execute("ROLLBACK").await.is_ok() {
                    session.finish();
                }
                return Err(undone(e));
            }
        };
        match tokio::time::timeout(limit, session.batch_execute("COMMIT")).await {
            Ok(Ok(())) => {
                session.finish();
                Ok(rows)
            }
            Ok(Err(e)) => Err(errors::of(format!("{what}: no answer to the commit"), e)),
            Err(_) => {
                Err(StoreError::new(ErrorKind::Lost, format!("{what}: no answer to the commit within {limit:?}")))
            }
        }
    }

    async fn load(&self, mut dump: RawDump) -> Result<u64, StoreError> {
        let fail = |e| errors::of(format!("cannot load into {}", self.shape.shown), e);
        let mut session = self.store.client().await?;
        session.begin();
        let sql = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", self.shape.table, self.shape.list);
        let sink: CopyInSink<Bytes> = session.copy_in(sql.as_str()).await.map_err(fail)?;
        pin_mut!(sink);
        while let Some(block) = dump.next().await {
            // A broken dump drops the sink unfinished, and the session with it: the server rolls the copy back.
            sink.feed(block?).await.map_err(fail)?;
        }
        let rows = sink.finish().await.map_err(fail)?;
        session.finish();
        Ok(rows)
    }
}
