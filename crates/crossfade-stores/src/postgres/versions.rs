//! Which versions of its rows a range has, by what the server keeps of every row anyway: the place of a version and the transaction that wrote it.
//!
//! A version never changes and, once it is no longer the row, never is again; another one at the same place has another transaction. So a version that
//! was there before and after was there all the time in between. A place says nothing after `VACUUM FULL` or `CLUSTER`: then all rows are newer.

use super::{PostgresTable, errors, statements::field};
use crate::{Range, RowKey, StoreError, Value, port::Versions};

impl PostgresTable {
    pub(super) async fn versions_of(&self, range: &Range, without: &[RowKey]) -> Result<Versions, StoreError> {
        let shape = &self.shape;
        // The oldest transaction that this statement may not see: whatever it does not see is at least that old.
        let sql = format!(
            "SELECT count(*), coalesce(sum(hashtextextended(ctid::text, (tableoid::int8 << 32) | xmin::text::int8)), 0)::text, \
             pg_snapshot_xmin(pg_current_snapshot())::text FROM {}{}",
            shape.table,
            self.within(range, without)?
        );
        let client = self.store.client().await?;
        let row = client
            .query_one(sql.as_str(), &[])
            .await
            .map_err(|e| errors::of(format!("cannot read the versions of {}", shape.shown), e))?;
        Ok(Versions { rows: row.get::<_, i64>(0).cast_unsigned(), digest: row.get(1), moment: row.get(2) })
    }

    pub(super) async fn newer_than(&self, range: &Range, than: &Versions) -> Result<Vec<RowKey>, StoreError> {
        // A row's number has no epoch; `age` counts from now, in the same circle.
        let newer = format!("age(xmin) <= age('{}'::xid8::xid)", than.moment);
        self.keys_of(range, &newer).await
    }

    /// The keys of a range, in order, of rows for which `also` holds.
    pub(super) async fn keys_of(&self, range: &Range, also: &str) -> Result<Vec<RowKey>, StoreError> {
        let shape = &self.shape;
        let mut within = self.within(range, &[])?;
        if !also.is_empty() {
            within = if within.is_empty() { format!(" WHERE {also}") } else { format!("{within} AND {also}") };
        }
        let sql = format!("SELECT {0} FROM {1}{within} ORDER BY {0}", shape.key_list, shape.table);
        let client = self.store.client().await?;
        let found = client
            .query(sql.as_str(), &[])
            .await
            .map_err(|e| errors::of(format!("cannot read the keys of {}", shape.shown), e))?;
        found
            .iter()
            .map(|row| {
                let values: Result<Vec<Value>, StoreError> =
                    shape.key.iter().enumerate().map(|(n, i)| shape.value(*i, field(row, n)?)).collect();
                Ok(RowKey(values?))
            })
            .collect()
    }
}
