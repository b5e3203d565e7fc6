//! Reading by key and page by page.

use std::collections::HashMap;

use futures::{StreamExt, pin_mut};

use super::{
    PostgresTable,
    binary::{self, Parameter},
    errors,
};
use crate::{ErrorKind, Page, Position, Range, Rest, Row, RowKey, StoreError, Value};

/// Keys of one statement.
const KEYS_AT_ONCE: usize = 10_000;

impl PostgresTable {
    pub(super) async fn read_keys(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let mut out: Vec<Option<Row>> = vec![None; keys.len()];
        for (n, keys) in keys.chunks(KEYS_AT_ONCE).enumerate() {
            self.read_some(keys, &mut out[n * KEYS_AT_ONCE..]).await?;
        }
        Ok(out)
    }

    /// Chooses `list` (of the table `t`) in the rows of some keys: the statement and its parameters.
    pub(super) fn by_keys(&self, list: &str, keys: &[RowKey]) -> Result<(String, Vec<Parameter>), StoreError> {
        let shape = &self.shape;
        let sql = match &shape.key[..] {
            [one] => format!(
                "SELECT {list} FROM {} AS t WHERE t.{} = ANY($1::{}[])",
                shape.table, shape.columns[*one].quoted, shape.columns[*one].physical.cast
            ),
            several => {
                let slots: Vec<String> = several
                    .iter()
                    .enumerate()
                    .map(|(n, i)| format!("${}::{}[]", n + 1, shape.columns[*i].physical.cast))
                    .collect();
                let names: Vec<String> = (0..several.len()).map(|n| format!("k{n}")).collect();
                let joins: Vec<String> = several
                    .iter()
                    .enumerate()
                    .map(|(n, i)| format!("t.{} = w.k{n}", shape.columns[*i].quoted))
                    .collect();
                format!(
                    "SELECT {list} FROM unnest({}) AS w({}) JOIN {} AS t ON {}",
                    slots.join(", "),
                    names.join(", "),
                    shape.table,
                    joins.join(" AND ")
                )
            }
        };
        let mut parameters = Vec::with_capacity(shape.key.len());
        for (n, i) in shape.key.iter().enumerate() {
            let col = &shape.columns[*i];
            let mut items = Vec::with_capacity(keys.len());
            for key in keys {
                let value = key.0.get(n).cloned().unwrap_or_default();
                items.push(if col.converts { value.convert(&col.physical.ty) } else { Some(value) });
            }
            // A key this column cannot hold is a key that is not there.
            let items: Vec<Value> = items.into_iter().map(Option::unwrap_or_default).collect();
            let mut bytes = Vec::new();
            if binary::list(&col.physical, col.oid, &items, &mut bytes).is_none() {
                let kept: Vec<Value> = items
                    .into_iter()
                    .map(|v| if binary::encode(&col.physical, &v, &mut Vec::new()).is_some() { v } else { Value::Null })
                    .collect();
                bytes.clear();
                binary::list(&col.physical, col.oid, &kept, &mut bytes).ok_or_else(|| {
                    StoreError::new(ErrorKind::Unrepresentable, format!("{}: keys cannot be sent", shape.shown))
                        .in_column(&col.name)
                })?;
            }
            parameters.push(Parameter(Some(bytes)));
        }
        Ok((sql, parameters))
    }

    async fn read_some(&self, keys: &[RowKey], out: &mut [Option<Row>]) -> Result<(), StoreError> {
        let shape = &self.shape;
        let list: Vec<String> = shape.columns.iter().map(|c| c.read(&format!("t.{}", c.quoted))).collect();
        let (sql, parameters) = self.by_keys(&list.join(", "), keys)?;
        let client = self.store.client().await?;
        let fail = |e| errors::of(format!("cannot read {}", shape.shown), e);
        let statement = client.prepare_cached(&sql).await.map_err(fail)?;
        let rows = client.query_raw(&statement, &parameters).await.map_err(fail)?;
        pin_mut!(rows);
        let mut wanted: HashMap<&RowKey, Vec<usize>> = HashMap::with_capacity(keys.len());
        for (i, key) in keys.iter().enumerate() {
            wanted.entry(key).or_default().push(i);
        }
        while let Some(sql_row) = rows.next().await {
            let row = shape.row(&sql_row.map_err(fail)?)?;
            if let Some(at) = wanted.get(&row.key(&shape.key)) {
                for i in at {
                    out[*i] = Some(row.clone());
                }
            }
        }
        Ok(())
    }

    /// `WHERE …` with its parameters, from `$1` on.
    pub(super) fn bounds(&self, range: &Range, position: &Position) -> Result<(String, Vec<Parameter>), StoreError> {
        let shape = &self.shape;
        let Range::Keys { from, to } = range else {
            return Err(StoreError::new(
                ErrorKind::Unsupported,
                format!("{} is scanned by keys, not by segments", shape.shown),
            ));
        };
        let mut conditions = Vec::new();
        let mut parameters = Vec::new();
        let lower = match position {
            Position::After(key) => Some((key, ">")),
            Position::Start => from.as_ref().map(|key| (key, ">=")),
            Position::Cursor(_) => {
                return Err(StoreError::new(ErrorKind::Unsupported, format!("{} knows no cursors", shape.shown)));
            }
        };
        for (key, operator) in lower.into_iter().chain(to.as_ref().map(|key| (key, "<"))) {
            conditions.push(format!("({}) {operator} {}", shape.key_list, shape.key_slots(parameters.len() + 1)));
            parameters.extend(shape.key_parameters(key)?);
        }
        let sql = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        Ok((sql, parameters))
    }

    pub(super) async fn page(&self, range: &Range, position: &Position, limit: usize) -> Result<Page, StoreError> {
        let shape = &self.shape;
        let limit = limit.max(1);
        let (bounds, parameters) = self.bounds(range, position)?;
        let sql =
            format!("SELECT {} FROM {}{bounds} ORDER BY {} LIMIT {limit}", shape.list, shape.table, shape.key_list);
        let client = self.store.client().await?;
        let fail = |e| errors::of(format!("cannot scan {}", shape.shown), e);
        let statement = client.prepare_cached(&sql).await.map_err(fail)?;
        let stream = client.query_raw(&statement, &parameters).await.map_err(fail)?;
        pin_mut!(stream);
        let mut rows = Vec::with_capacity(limit.min(65_536));
        while let Some(row) = stream.next().await {
            rows.push(shape.row(&row.map_err(fail)?)?);
        }
        // The command's completion came; fewer rows than the limit is the server's word that there are no more.
        let rest = match rows.last() {
            Some(last) if rows.len() >= limit => Rest::More(Position::After(last.key(&shape.key))),
            _ => Rest::End,
        };
        Ok(Page { rows, rest })
    }

    /// Keys that several rows have. A primary key rules them out within one table, and not between a table and those that inherit from it.
    pub(super) async fn repeated(&self, most: usize) -> Result<Vec<RowKey>, StoreError> {
        let shape = &self.shape;
        let client = self.store.client().await?;
        let fail = |e| errors::of(format!("cannot look for repeated keys of {}", shape.shown), e);
        let inherited = "SELECT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent WHERE c.oid = to_regclass($1) AND c.relkind = 'r')";
        if !client.query_one(inherited, &[&shape.table]).await.map_err(fail)?.get::<_, bool>(0) {
            return Ok(Vec::new());
        }
        let (keys, table, list) = (&shape.key_list, &shape.table, &shape.list);
        let sql = format!(
            "SELECT DISTINCT ON ({keys}) {list} FROM {table} WHERE ({keys}) IN (SELECT {keys} FROM {table} GROUP BY {keys} HAVING count(*) > 1 LIMIT {most}) ORDER BY {keys}"
        );
        let rows = client.query(sql.as_str(), &[]).await.map_err(fail)?;
        rows.iter().map(|row| Ok(shape.row(row)?.key(&shape.key))).collect()
    }

    pub(super) async fn about(&self) -> Result<u64, StoreError> {
        let shape = &self.shape;
        let client = self.store.client().await?;
        let fail = |e| errors::of(format!("cannot estimate {}", shape.shown), e);
        let row = client
            .query_one("SELECT reltuples::int8 FROM pg_class WHERE oid = to_regclass($1)", &[&shape.table])
            .await
            .map_err(fail)?;
        let estimate: i64 = row.get(0);
        if estimate >= 10_000 {
            return Ok(estimate.cast_unsigned());
        }
        // Never analysed, partitioned, or small: count.
        let row =
            client.query_one(format!("SELECT count(*) FROM {}", shape.table).as_str(), &[]).await.map_err(fail)?;
        Ok(row.get::<_, i64>(0).cast_unsigned())
    }
}
