//! Cutting a table into ranges, as cheaply as its size asks for.

use tokio_postgres::Row as SqlRow;

use super::{PostgresTable, errors, statements::field};
use crate::{Range, RowKey, StoreError, Value};

/// Below so many rows, or where the database does not know how many there are, fences are looked for in the whole key.
const SMALL: f32 = 10_000.0;

/// Below so many rows, ranges are of exactly as many rows as were asked for: reading the whole key takes less than a moment.
const EXACT: f32 = 200_000.0;

/// So many fences are drawn for each that is kept: then few ranges are much longer than asked for.
const DRAWS: u64 = 16;

impl PostgresTable {
    /// Keys that cut the table into parts of about `rows` rows: quite uneven ones where they are drawn.
    pub(super) async fn drawn(&self, rows: u64) -> Result<Vec<RowKey>, StoreError> {
        match self.full_pages(SMALL).await? {
            Some(per_page) => self.draw(per_page, rows).await,
            None => self.counted(rows).await,
        }
    }

    /// The whole table in ranges of about `rows` rows.
    pub(super) async fn ranges(&self, rows: u64) -> Result<Vec<Range>, StoreError> {
        let fences = match self.full_pages(EXACT).await? {
            // Each page has a fence at most.
            Some(per_page) if per_page <= rows => {
                let between = (rows / DRAWS).max(per_page);
                let every = usize::try_from(rows / between).unwrap_or(1).max(1);
                self.draw(per_page, between).await?.into_iter().skip(every - 1).step_by(every).collect()
            }
            _ => self.counted(rows).await?,
        };
        let mut ranges = Vec::with_capacity(fences.len() + 1);
        let mut from = None;
        for fence in fences {
            ranges.push(Range::Keys { from, to: Some(fence.clone()) });
            from = Some(fence);
        }
        ranges.push(Range::Keys { from, to: None });
        Ok(ranges)
    }

    /// How many rows a page has; `None` where the database knows of fewer rows than `least`.
    async fn full_pages(&self, least: f32) -> Result<Option<u64>, StoreError> {
        let client = self.store.client().await?;
        let sql = "SELECT reltuples, ceil(reltuples / relpages)::int8 FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'r' AND relpages > 0";
        let known = client
            .query_opt(sql, &[&self.shape.table])
            .await
            .map_err(|e| errors::of(format!("cannot cut {} into parts", self.shape.shown), e))?;
        Ok(known.filter(|row| row.get::<_, f32>(0) >= least).map(|row| row.get::<_, i64>(1).cast_unsigned().max(1)))
    }

    /// The first keys of pages drawn at random, about every `rows` rows, for the price of those pages.
    async fn draw(&self, per_page: u64, rows: u64) -> Result<Vec<RowKey>, StoreError> {
        let shape = &self.shape;
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let percent = (100.0 * per_page as f64 / rows.max(1) as f64).min(100.0);
        let sql = format!(
            "SELECT {keys} FROM (SELECT DISTINCT ON ((ctid::text::point)[0]) {keys} FROM {table} TABLESAMPLE SYSTEM ({percent})) s ORDER BY {keys}",
            keys = shape.key_list,
            table = shape.table,
        );
        let client = self.store.client().await?;
        let found = client
            .query(sql.as_str(), &[])
            .await
            .map_err(|e| errors::of(format!("cannot cut {} into parts", shape.shown), e))?;
        found.iter().map(|row| self.key_in(row)).collect()
    }

    /// Every key that has a multiple of `rows` of them before it.
    async fn counted(&self, rows: u64) -> Result<Vec<RowKey>, StoreError> {
        let shape = &self.shape;
        let client = self.store.client().await?;
        let fail = |e| errors::of(format!("cannot cut {} into ranges", shape.shown), e);
        let sql = format!(
            "SELECT {keys} FROM (SELECT {keys}, row_number() OVER (ORDER BY {keys}) AS crossfade_n FROM {table}) s WHERE crossfade_n % {every} = 0 ORDER BY {keys}",
            keys = shape.key_list,
            table = shape.table,
            every = rows.max(1),
        );
        let found = client.query(sql.as_str(), &[]).await.map_err(fail)?;
        found.iter().map(|row| self.key_in(row)).collect()
    }

    /// A result whose fields are the key's columns.
    pub(super) fn key_in(&self, row: &SqlRow) -> Result<RowKey, StoreError> {
        let shape = &self.shape;
        let values: Result<Vec<Value>, StoreError> =
            shape.key.iter().enumerate().map(|(n, i)| shape.value(*i, field(row, n)?)).collect();
        Ok(RowKey(values?))
    }
}
