//! Reading by key, page by page, and cutting into ranges.

use std::collections::HashMap;

use mysql_async::{Params, Row as SqlRow, Value as Sql, prelude::Queryable};

use super::{MysqlTable, errors};
use crate::{ErrorKind, Page, Position, Range, Rest, Row, RowKey, StoreError};

/// Keys of one statement.
const KEYS_AT_ONCE: usize = 512;

impl MysqlTable {
    pub(super) async fn read_keys(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let mut out = vec![None; keys.len()];
        if keys.is_empty() {
            return Ok(out);
        }
        let mut wanted: HashMap<&RowKey, Vec<usize>> = HashMap::with_capacity(keys.len());
        let mut parameters: Vec<Vec<Sql>> = Vec::with_capacity(keys.len());
        for (i, key) in keys.iter().enumerate() {
            let at = wanted.entry(key).or_default();
            if at.is_empty() {
                // A key this column cannot hold is a key that is not there.
                parameters.extend(self.shape.key_parameters(key));
            }
            at.push(i);
        }
        let all: Vec<usize> = (0..self.shape.columns.len()).collect();
        let mut session = self.store.session().await?;
        for chunk in parameters.chunks(KEYS_AT_ONCE) {
            // Few sizes, so that few statements are prepared: the last key fills up.
            let size = chunk.len().next_power_of_two();
            let (first, last) = (chunk.iter().flatten().cloned(), chunk.last().cloned().unwrap_or_default());
            let filled: Vec<Sql> = first.chain(std::iter::repeat_n(last, size - chunk.len()).flatten()).collect();
            session.begin();
            let rows: Vec<SqlRow> = session
                .exec(self.by_keys(size), Params::Positional(filled))
                .await
                .map_err(|e| errors::of(format!("cannot read {}", self.shape.shown), e))?;
            session.finish();
            for sql in rows {
                let row = Row(self.shape.values(sql, &all)?);
                // A collation finds rows of other keys, too.
                for i in wanted.get(&row.key(&self.shape.key)).into_iter().flatten() {
                    out[*i] = Some(row.clone());
                }
            }
        }
        Ok(out)
    }

    fn by_keys(&self, size: usize) -> String {
        let shape = &self.shape;
        let condition = match shape.key.as_slice() {
            [one] => {
                let slot = shape.columns[*one].slot();
                format!("{} IN ({})", shape.key_list, vec![slot; size].join(", "))
            }
            several => {
                let one: Vec<String> = several.iter().map(|i| shape.columns[*i].equals()).collect();
                vec![format!("({})", one.join(" AND ")); size].join(" OR ")
            }
        };
        format!("SELECT {} FROM {} WHERE {condition}", shape.list, shape.table)
    }

    /// `(a, b) > (?, ?)` in a form that uses the index everywhere.
    fn bound(
        &self,
        key: &RowKey,
        strictly: &str,
        or_equal: bool,
        sql: &mut Vec<String>,
        parameters: &mut Vec<Sql>,
    ) -> Result<(), StoreError> {
        let shape = &self.shape;
        let values = shape.key_parameters(key)?;
        let names: Vec<&str> = shape.key.iter().map(|i| shape.columns[*i].quoted.as_str()).collect();
        let slots: Vec<String> = shape.key.iter().map(|i| shape.columns[*i].slot()).collect();
        let last = names.len() - 1;
        let mut either = Vec::new();
        for n in 0..names.len() {
            let mut both: Vec<String> = (0..n).map(|m| format!("{} = {}", names[m], slots[m])).collect();
            let operator = if n == last && or_equal { format!("{strictly}=") } else { strictly.to_owned() };
            both.push(format!("{} {operator} {}", names[n], slots[n]));
            parameters.extend(values[..=n].iter().cloned());
            either.push(format!("({})", both.join(" AND ")));
        }
        if last > 0 {
            // The optimiser sees the leading column's range by this.
            sql.push(format!("{} {strictly}= {}", names[0], slots[0]));
            let at = parameters.len() - (1..=names.len()).sum::<usize>();
            parameters.insert(at, values[0].clone());
        }
        sql.push(format!("({})", either.join(" OR ")));
        Ok(())
    }

    pub(super) async fn page(&self, range: &Range, position: &Position, limit: usize) -> Result<Page, StoreError> {
        let shape = &self.shape;
        let limit = limit.max(1);
        let Range::Keys { from, to } = range else {
            return Err(StoreError::new(
                ErrorKind::Unsupported,
                format!("{} is scanned by keys, not by segments", shape.shown),
            ));
        };
        let (mut conditions, mut parameters) = (Vec::new(), Vec::new());
        match position {
            Position::After(key) => self.bound(key, ">", false, &mut conditions, &mut parameters)?,
            Position::Start => {
                if let Some(key) = from {
                    self.bound(key, ">", true, &mut conditions, &mut parameters)?;
                }
            }
            Position::Cursor(_) => {
                return Err(StoreError::new(ErrorKind::Unsupported, format!("{} knows no cursors", shape.shown)));
            }
        }
        if let Some(key) = to {
            self.bound(key, "<", false, &mut conditions, &mut parameters)?;
        }
        let bounds = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let sql =
            format!("SELECT {} FROM {}{bounds} ORDER BY {} LIMIT {limit}", shape.list, shape.table, shape.key_list);
        let all: Vec<usize> = (0..shape.columns.len()).collect();
        let mut session = self.store.session().await?;
        session.begin();
        // The binary protocol, also without parameters: texts of floats are rounded.
        let parameters = if parameters.is_empty() { Params::Empty } else { Params::Positional(parameters) };
        let found: Vec<SqlRow> =
            session.exec(sql, parameters).await.map_err(|e| errors::of(format!("cannot scan {}", shape.shown), e))?;
        session.finish();
        let rows = found.into_iter().map(|sql| shape.values(sql, &all).map(Row)).collect::<Result<Vec<_>, _>>()?;
        let rest = match rows.last() {
            Some(last) if rows.len() >= limit => Rest::More(Position::After(last.key(&shape.key))),
            _ => Rest::End,
        };
        Ok(Page { rows, rest })
    }

    pub(super) async fn cut(&self, rows: u64) -> Result<Vec<Range>, StoreError> {
        let shape = &self.shape;
        let mut session = self.store.session().await?;
        let mut ranges = Vec::new();
        let mut from: Option<RowKey> = None;
        loop {
            let (mut conditions, mut parameters) = (Vec::new(), Vec::new());
            if let Some(key) = &from {
                self.bound(key, ">", true, &mut conditions, &mut parameters)?;
            }
            let bounds =
                if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
            let sql = format!(
                "SELECT {0} FROM {1}{bounds} ORDER BY {0} LIMIT 1 OFFSET {2}",
                shape.key_list,
                shape.table,
                rows.max(1)
            );
            let parameters = if parameters.is_empty() { Params::Empty } else { Params::Positional(parameters) };
            session.begin();
            let found: Option<SqlRow> = session
                .exec_first(sql, parameters)
                .await
                .map_err(|e| errors::of(format!("cannot cut {} into ranges", shape.shown), e))?;
            session.finish();
            match found {
                Some(sql) => {
                    let to = Some(RowKey(shape.values(sql, &shape.key)?));
                    ranges.push(Range::Keys { from, to: to.clone() });
                    from = to;
                }
                None => {
                    ranges.push(Range::Keys { from, to: None });
                    return Ok(ranges);
                }
            }
        }
    }

    pub(super) async fn about(&self) -> Result<u64, StoreError> {
        let (schema, name) = self.spec.name.parts();
        let mut session = self.store.session().await?;
        let rows: Option<Option<u64>> = session
            .exec_first("SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?", (schema, name))
            .await
            .map_err(|e| errors::of(format!("cannot count {}", self.shape.shown), e))?;
        Ok(rows.flatten().unwrap_or(0))
    }
}
