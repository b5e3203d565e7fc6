//! Reading by key, page by page, and cutting into ranges.

use rusqlite::{Connection, Row as SqlRow, types::ToSqlOutput};

use super::{errors, schema::Shape, values};
use crate::{ErrorKind, Page, Position, Range, Rest, Row, RowKey, StoreError, Value};

impl Shape {
    pub(super) fn value(&self, sql: &SqlRow<'_>, at: usize, column: usize) -> Result<Value, StoreError> {
        let stored = sql.get_ref(at).map_err(|e| errors::of(format!("cannot read {}", self.shown), e))?;
        let value = if self.as_text.contains(&column) {
            values::as_text(stored)
        } else {
            values::decode(&self.types[column], stored)
        };
        value.ok_or_else(|| {
            StoreError::new(
                ErrorKind::Unrepresentable,
                format!("{}: a stored {} cannot be read as {}", self.shown, stored.data_type(), self.types[column]),
            )
            .in_column(self.names[column].trim_matches('"'))
        })
    }

    fn row(&self, sql: &SqlRow<'_>) -> Result<Row, StoreError> {
        let mut out = Vec::with_capacity(self.types.len());
        for i in 0..self.types.len() {
            match self.value(sql, i, i) {
                Ok(value) => out.push(value),
                Err(e) => {
                    let key: Result<Vec<Value>, StoreError> =
                        self.key.iter().map(|k| self.value(sql, *k, *k)).collect();
                    return Err(match key {
                        Ok(key) => e.at_key(&RowKey(key)),
                        Err(_) => e,
                    });
                }
            }
        }
        Ok(Row(out))
    }

    pub(super) fn bind<'a>(&self, column: usize, value: &'a Value) -> Result<ToSqlOutput<'a>, StoreError> {
        values::encode(value, self.affinities[column]).ok_or_else(|| {
            StoreError::new(
                ErrorKind::Unrepresentable,
                format!("{}: sqlite does not keep this value (NaN and -0 are such)", self.shown),
            )
            .in_column(self.names[column].trim_matches('"'))
        })
    }

    fn bind_key<'a>(&self, key: &'a RowKey) -> Result<Vec<ToSqlOutput<'a>>, StoreError> {
        self.key.iter().zip(&key.0).map(|(i, v)| self.bind(*i, v)).collect()
    }
}

pub(super) fn by_key(c: &Connection, shape: &Shape, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
    let fail = |e| errors::of(format!("cannot read {}", shape.shown), e);
    let mut statement = c.prepare_cached(&shape.select).map_err(fail)?;
    let mut out = Vec::with_capacity(keys.len());
    for key in keys {
        let mut rows = statement.query(rusqlite::params_from_iter(shape.bind_key(key)?)).map_err(fail)?;
        let row = match rows.next().map_err(fail)? {
            Some(sql) => Some(shape.row(sql)?),
            None => None,
        };
        // A key column of another collation finds rows of another key.
        out.push(row.filter(|r| r.key(&shape.key) == *key));
    }
    Ok(out)
}

pub(super) fn page(
    c: &Connection,
    shape: &Shape,
    range: &Range,
    position: &Position,
    limit: usize,
) -> Result<Page, StoreError> {
    let fail = |e| errors::of(format!("cannot scan {}", shape.shown), e);
    let limit = limit.max(1);
    let Range::Keys { from, to } = range else {
        return Err(StoreError::new(
            ErrorKind::Unsupported,
            format!("{} is scanned by keys, not by segments", shape.shown),
        ));
    };
    let lower = match position {
        Position::After(key) => Some((key, ">")),
        Position::Start => from.as_ref().map(|key| (key, ">=")),
        Position::Cursor(_) => {
            return Err(StoreError::new(ErrorKind::Unsupported, format!("{} knows no cursors", shape.shown)));
        }
    };
    let mut conditions = Vec::new();
    let mut parameters = Vec::new();
    for (key, operator) in lower.into_iter().chain(to.as_ref().map(|key| (key, "<"))) {
        let slots: Vec<String> = (1..=key.0.len()).map(|n| format!("?{}", parameters.len() + n)).collect();
        conditions.push(format!("({}) {operator} ({})", shape.key_list, slots.join(", ")));
        parameters.extend(shape.bind_key(key)?);
    }
    let bounds = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let sql = format!("SELECT {} FROM {}{bounds} ORDER BY {} LIMIT {limit}", shape.list, shape.table, shape.key_list);
    let mut statement = c.prepare_cached(&sql).map_err(fail)?;
    let mut found = statement.query(rusqlite::params_from_iter(parameters)).map_err(fail)?;
    let mut rows = Vec::with_capacity(limit.min(65_536));
    while let Some(sql) = found.next().map_err(fail)? {
        rows.push(shape.row(sql)?);
    }
    let rest = match rows.last() {
        Some(last) if rows.len() >= limit => Rest::More(Position::After(last.key(&shape.key))),
        _ => Rest::End,
    };
    Ok(Page { rows, rest })
}

pub(super) fn cut(c: &Connection, shape: &Shape, rows: u64) -> Result<Vec<Range>, StoreError> {
    let fail = |e| errors::of(format!("cannot cut {} into ranges", shape.shown), e);
    let sql = format!(
        "SELECT {keys} FROM (SELECT {keys}, row_number() OVER (ORDER BY {keys}) AS crossfade_n FROM {table}) WHERE crossfade_n % {every} = 0 ORDER BY {keys}",
        keys = shape.key_list,
        table = shape.table,
        every = rows.max(1)
    );
    let mut statement = c.prepare(&sql).map_err(fail)?;
    let mut found = statement.query([]).map_err(fail)?;
    let mut ranges = Vec::new();
    let mut from = None;
    while let Some(sql) = found.next().map_err(fail)? {
        let key: Result<Vec<Value>, StoreError> =
            shape.key.iter().enumerate().map(|(n, i)| shape.value(sql, n, *i)).collect();
        let to = Some(RowKey(key?));
        ranges.push(Range::Keys { from, to: to.clone() });
        from = to;
    }
    ranges.push(Range::Keys { from, to: None });
    Ok(ranges)
}

pub(super) fn count(c: &Connection, shape: &Shape) -> Result<u64, StoreError> {
    let count: i64 = c
        .query_row(&format!("SELECT count(*) FROM {}", shape.table), [], |r| r.get(0))
        .map_err(|e| errors::of(format!("cannot count {}", shape.shown), e))?;
    Ok(count.cast_unsigned())
}
