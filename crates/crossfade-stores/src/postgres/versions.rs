//! Which rows of a range are newer than a moment, by what the server keeps of every row anyway: the transaction that wrote it.
//!
//! A moment is the oldest transaction that a statement could not see. What an older one wrote was there for that statement, in this very version: a version
//! never changes and, once it is no longer the row, never is again. So a row that is old now was there at the moment, and all the time since.
//! It errs to one side only: a row that was written while an older transaction was open, or more than two thousand million transactions ago, may count as newer.

use futures::TryStreamExt;
use tokio_postgres::Row as SqlRow;

use super::{PostgresTable, binary::Parameter, errors, statements::field, tuples};
use crate::{
    ColumnType, ErrorKind, Position, Range, RowKey, StoreError, Value,
    port::{Moment, Since},
};

impl PostgresTable {
    pub(super) async fn now(&self) -> Result<Moment, StoreError> {
        let fail = |e| errors::of(format!("cannot ask for the moment of {}", self.shape.shown), e);
        let client = self.store.client().await?;
        let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot())::xid::text";
        let statement = client.prepare_cached(sql).await.map_err(fail)?;
        Ok(Moment(client.query_one(&statement, &[]).await.map_err(fail)?.get(0)))
    }

    pub(super) async fn since_then(
        &self,
        range: &Range,
        without: &[RowKey],
        moment: &Moment,
    ) -> Result<Since, StoreError> {
        let shape = &self.shape;
        let fail = |e| errors::of(format!("cannot look for newer rows of {}", shape.shown), e);
        if shape.key.iter().any(|i| matches!(shape.columns[*i].physical.ty, ColumnType::Array(_))) {
            return Err(StoreError::new(ErrorKind::Unsupported, format!("{}: a list in its key", shape.shown)));
        }
        let (mut within, mut parameters) = self.bounds(range, &Position::Start)?;
        if !without.is_empty() {
            let but = self.but(without)?;
            within = if within.is_empty() { format!(" WHERE {but}") } else { format!("{within} AND {but}") };
        }
        parameters.push(self.number_of(moment)?);
        let moment = format!("${}::text::xid", parameters.len());
        // A row's number has no epoch; `age` counts from now, in the same circle. `OFFSET 0` has it computed once for each row.
        let keys: Vec<String> = shape.key.iter().map(|i| shape.columns[*i].quoted.clone()).collect();
        let newer: Vec<String> = (0..keys.len()).map(|n| format!("array_agg(k{n}) FILTER (WHERE newer)")).collect();
        let names: Vec<String> = (0..keys.len()).map(|n| format!("k{n}")).collect();
        let sql = format!(
            "SELECT count(*) FILTER (WHERE NOT newer), {} FROM (SELECT {}, age(xmin) <= (SELECT age({moment})) FROM {}{within} OFFSET 0) s({}, newer)",
            newer.join(", "),
            keys.join(", "),
            shape.table,
            names.join(", ")
        );
        let client = self.store.client().await?;
        // Without the keys in its text it is one statement for all ranges.
        let statement = match without {
            [] => client.prepare_cached(&sql).await,
            _ => client.prepare(&sql).await,
        };
        let rows: Vec<SqlRow> = client
            .query_raw(&statement.map_err(fail)?, &parameters)
            .await
            .map_err(fail)?
            .try_collect()
            .await
            .map_err(fail)?;
        let broken = || StoreError::new(ErrorKind::Protocol, format!("{}: keys that are not understood", shape.shown));
        let row = rows.first().ok_or_else(broken)?;
        let mut columns = Vec::with_capacity(shape.key.len());
        for n in 0..shape.key.len() {
            columns.push(field(row, n + 1)?.map_or_else(|| Some(Vec::new()), tuples::elements).ok_or_else(broken)?);
        }
        let mut newer = Vec::new();
        for at in 0..columns.first().map_or(0, Vec::len) {
            let values: Result<Vec<Value>, StoreError> = shape
                .key
                .iter()
                .zip(&columns)
                .map(|(i, column)| shape.value(*i, column.get(at).copied().flatten()))
                .collect();
            newer.push(RowKey(values?));
        }
        let old: i64 = row.try_get(0).map_err(fail)?;
        Ok(Since { old: old.cast_unsigned(), newer })
    }

    /// The number of a transaction, as text.
    fn number_of(&self, moment: &Moment) -> Result<Parameter, StoreError> {
        let number: u32 = moment.0.parse().map_err(|e| {
            StoreError::new(ErrorKind::Protocol, format!("{}: a moment that is none", self.shape.shown)).caused_by(e)
        })?;
        Ok(Parameter(Some(number.to_string().into_bytes())))
    }

    pub(super) async fn old_of(&self, keys: &[RowKey], moment: &Moment) -> Result<Vec<RowKey>, StoreError> {
        let shape = &self.shape;
        let fail = |e| errors::of(format!("cannot look for older rows of {}", shape.shown), e);
        let mut list: Vec<String> = shape.key.iter().map(|i| format!("t.{}", shape.columns[*i].quoted)).collect();
        // After the parameters that hold the keys.
        list.push(format!("age(t.xmin) > (SELECT age(${}::text::xid))", shape.key.len() + 1));
        let (sql, mut parameters) = self.by_keys(&list.join(", "), keys)?;
        parameters.push(self.number_of(moment)?);
        let client = self.store.client().await?;
        let statement = client.prepare_cached(&sql).await.map_err(fail)?;
        let rows: Vec<SqlRow> =
            client.query_raw(&statement, &parameters).await.map_err(fail)?.try_collect().await.map_err(fail)?;
        let mut old = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.try_get(shape.key.len()).map_err(fail)? {
                old.push(self.key_in(row)?);
            }
        }
        Ok(old)
    }

    pub(super) async fn keys_of(&self, range: &Range, most: usize) -> Result<Vec<RowKey>, StoreError> {
        let shape = &self.shape;
        let fail = |e| errors::of(format!("cannot read the keys of {}", shape.shown), e);
        let (within, parameters) = self.bounds(range, &Position::Start)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = format!("SELECT {0} FROM {1}{within} ORDER BY {0} LIMIT {most}", shape.key_list, shape.table);
        let client = self.store.client().await?;
        let statement = client.prepare_cached(&sql).await.map_err(fail)?;
        let rows: Vec<SqlRow> =
            client.query_raw(&statement, &parameters).await.map_err(fail)?.try_collect().await.map_err(fail)?;
        rows.iter().map(|row| self.key_in(row)).collect()
    }
}
