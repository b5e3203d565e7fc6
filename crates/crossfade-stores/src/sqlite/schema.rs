//! What a table looks like, and the SQL of one opened table.

use rusqlite::{Connection, OptionalExtension};

use super::{
    errors,
    values::{self, Affinity},
};
use crate::{Column, ColumnType, ErrorKind, Fit, StoreError, TableName, TableSchema, TableSpec};

pub(super) struct Described {
    pub(super) schema: TableSchema,
    pub(super) affinities: Vec<Affinity>,
    /// Whether every key column sorts by its bytes.
    pub(super) binary_key: bool,
}

pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn describe(c: &Connection, table: &TableName, shown: &str) -> Result<Described, StoreError> {
    let fail = |e| errors::of(format!("cannot describe table {table}"), e);
    let mut statement = c.prepare("SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid").map_err(fail)?;
    let rows = statement
        .query_map([table.as_str()], |r| {
            Ok((
                r.get::<_, String>(0)?,
                r.get::<_, String>(1)?,
                r.get::<_, bool>(2)?,
                r.get::<_, bool>(3)?,
                r.get::<_, i64>(4)?,
                r.get::<_, i64>(5)?,
            ))
        })
        .map_err(fail)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(fail)?;
    if rows.is_empty() {
        return Err(StoreError::new(
            ErrorKind::NoSuchTable,
            format!("there is no table {table} in {shown}: check its name"),
        ));
    }
    let mut columns = Vec::new();
    let mut key = Vec::new();
    for (i, (name, declared, not_null, default, pk, hidden)) in rows.into_iter().enumerate() {
        if pk > 0 {
            key.push((pk, i));
        }
        columns.push(Column {
            name,
            ty: values::column_type(&declared),
            nullable: !not_null && pk == 0,
            generated: hidden != 0,
            optional: !not_null || default,
            native: declared,
            limits: crate::Limits::default(),
        });
    }
    if key.is_empty() {
        return Err(StoreError::new(
            ErrorKind::NoSuchTable,
            format!("table {table} in {shown} has no primary key: rows need one to be found again, add it"),
        ));
    }
    key.sort_unstable();
    let collated: Option<String> = c
        .query_row(
            "SELECT x.coll FROM pragma_index_list(?1) l JOIN pragma_index_xinfo(l.name) x WHERE l.origin = 'pk' AND x.key = 1 AND upper(x.coll) <> 'BINARY'",
            [table.as_str()],
            |r| r.get(0),
        )
        .optional()
        .map_err(fail)?;
    let affinities = columns.iter().map(|c| values::affinity(&c.native)).collect();
    let schema =
        TableSchema { name: table.clone(), columns, key: key.into_iter().map(|(_, i)| i).collect(), open: false };
    Ok(Described { schema, affinities, binary_key: collated.is_none() })
}

pub(super) fn warnings(c: &Connection, table: &TableName) -> Result<Vec<String>, StoreError> {
    let fail = |e| errors::of(format!("cannot look at table {table}"), e);
    let mut out = Vec::new();
    let mut triggers = c
        .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?1 ORDER BY 1")
        .map_err(fail)?;
    for name in triggers.query_map([table.as_str()], |r| r.get::<_, String>(0)).map_err(fail)? {
        out.push(format!("table {table}: trigger `{}` writes by itself, unseen by the flags", name.map_err(fail)?));
    }
    let ids: Option<String> = c
        .query_row(
            "SELECT name FROM pragma_table_info(?1) WHERE pk = 1 AND upper(type) = 'INTEGER' AND (SELECT count(*) FROM pragma_table_info(?1) WHERE pk > 0) = 1",
            [table.as_str()],
            |r| r.get(0),
        )
        .optional()
        .map_err(fail)?;
    if let Some(name) = ids {
        out.push(format!(
            "table {table}: column `{name}` takes its ids from the file: decide who makes ids after the cut-over"
        ));
    }
    Ok(out)
}

/// The SQL of one opened table.
pub(super) struct Shape {
    pub(super) shown: String,
    pub(super) table: String,
    pub(super) names: Vec<String>,
    pub(super) types: Vec<ColumnType>,
    pub(super) affinities: Vec<Affinity>,
    pub(super) key: Vec<usize>,
    pub(super) ordered: bool,
    pub(super) list: String,
    pub(super) key_list: String,
    pub(super) insert: String,
    pub(super) replace: String,
    pub(super) delete: String,
    /// The columns that `replace` and `delete` compare, in the order of their parameters.
    pub(super) compared: Vec<usize>,
    /// Those of them that are floats: their parameters come once more, behind the others, in the form that keeps every bit.
    pub(super) floats: Vec<usize>,
    /// Columns that are read as the text that is stored, or that SQLite would print.
    pub(super) as_text: Vec<usize>,
    /// Columns that may be written, in the order of their parameters.
    pub(super) written: Vec<usize>,
    pub(super) load: String,
    pub(super) select: String,
}

impl Shape {
    /// # Errors
    /// A column is only read.
    pub(super) fn may_write(&self) -> Result<(), StoreError> {
        match self.as_text.first() {
            Some(column) => Err(StoreError::read_as_text(&self.shown, self.names[*column].trim_matches('"'))),
            None => Ok(()),
        }
    }

    pub(super) fn new(described: &Described, spec: &TableSpec, location: &str) -> Result<Self, StoreError> {
        let shown = format!("table {} in {location}", spec.name);
        let mut affinities = Vec::new();
        let (mut as_text, mut written) = (Vec::new(), Vec::new());
        for (n, wanted) in spec.columns.iter().enumerate() {
            let Some(at) = described.schema.columns.iter().position(|c| c.name == wanted.name) else {
                return Err(StoreError::new(
                    ErrorKind::SchemaChanged,
                    format!("{shown} has no column `{}`: add it, map it or ignore it", wanted.name),
                ));
            };
            let found = &described.schema.columns[at];
            if spec.options.as_text.contains(&wanted.name) && wanted.ty == ColumnType::TEXT {
                as_text.push(n);
                affinities.push(described.affinities[at]);
                continue;
            }
            if !found.generated {
                written.push(n);
            }
            let why = match values::fit(&wanted.ty, Some(found)) {
                Fit::Lossless => None,
                // A file opened as what it is needs no consent: nothing is converted.
                Fit::Lossy(_) if wanted.accept_loss || wanted.ty == found.ty => None,
                Fit::Refused(_) if wanted.ty == found.ty => None,
                Fit::Lossy(why) => Some(format!(
                    "{shown} keeps {} as {} with a loss ({why}) that is not accepted: `crossfade check` names the words of `lossy` that accept it",
                    wanted.ty, found.native
                )),
                Fit::Refused(why) => Some(format!("{shown} does not keep {} as {}: {why}", wanted.ty, found.native)),
            };
            if let Some(why) = why {
                return Err(StoreError::new(ErrorKind::Unrepresentable, why).in_column(&wanted.name));
            }
            affinities.push(described.affinities[at]);
        }
        let own_key: Vec<&str> =
            described.schema.key.iter().map(|i| described.schema.columns[*i].name.as_str()).collect();
        let spec_key: Vec<&str> =
            spec.key.iter().filter_map(|i| spec.columns.get(*i)).map(|c| c.name.as_str()).collect();
        if own_key != spec_key {
            return Err(StoreError::new(
                ErrorKind::Config,
                format!(
                    "{shown} has the primary key ({}), not ({}): rows must have the same key on both sides",
                    own_key.join(", "),
                    spec_key.join(", ")
                ),
            ));
        }
        let compared: Vec<usize> = match &spec.options.version_column {
            None => (0..spec.columns.len()).collect(),
            Some(name) => {
                let version = spec.columns.iter().position(|c| c.name == *name).ok_or_else(|| {
                    StoreError::new(
                        ErrorKind::Config,
                        format!("{shown}: the version column `{name}` is not among its mapped columns"),
                    )
                })?;
                spec.key.iter().copied().chain([version]).collect()
            }
        };
        let floats: Vec<usize> =
            compared.iter().copied().filter(|i| spec.columns[*i].ty == ColumnType::Float32).collect();
        let ordered = described.binary_key
            && spec.key.iter().all(|i| {
                matches!(
                    spec.columns[*i].ty,
                    ColumnType::Int { .. }
                        | ColumnType::Text { .. }
                        | ColumnType::Bytes
                        | ColumnType::Uuid
                        | ColumnType::Bool
                )
            });
        let table = quote(spec.name.as_str());
        let names: Vec<String> = spec.columns.iter().map(|c| quote(&c.name)).collect();
        let list = names.join(", ");
        let key_list = spec.key.iter().map(|i| names[*i].as_str()).collect::<Vec<_>>().join(", ");
        let slots = (1..=written.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
        let write_list = written.iter().map(|i| names[*i].as_str()).collect::<Vec<_>>().join(", ");
        let sets = written
            .iter()
            .enumerate()
            .map(|(n, i)| format!("{} = ?{}", names[*i], n + 1))
            .collect::<Vec<_>>()
            .join(", ");
        let condition = |first: usize| {
            let key: Vec<String> = spec
                .key
                .iter()
                .filter_map(|i| {
                    compared.iter().position(|c| c == i).map(|at| format!("{} = ?{}", names[*i], first + at))
                })
                .collect();
            let all: Vec<String> = compared
                .iter()
                .enumerate()
                .map(|(n, i)| {
                    let (name, at) = (&names[*i], first + n);
                    if let Some(long) = floats.iter().position(|f| f == i) {
                        // A float is the same float in its short and in its long form.
                        let long = first + compared.len() + long;
                        return format!("({name} IS ?{at} OR {name} IS ?{long}) AND typeof({name}) = typeof(?{at})");
                    }
                    format!("{name} IS ?{at} COLLATE BINARY AND typeof({name}) = typeof(?{at})")
                })
                .collect();
            format!("{} AND {}", key.join(" AND "), all.join(" AND "))
        };
        let key_condition = spec
            .key
            .iter()
            .enumerate()
            .map(|(n, i)| format!("{} = ?{}", names[*i], n + 1))
            .collect::<Vec<_>>()
            .join(" AND ");
        Ok(Shape {
            insert: format!("INSERT INTO {table} ({write_list}) VALUES ({slots}) ON CONFLICT ({key_list}) DO NOTHING"),
            load: format!("INSERT INTO {table} ({write_list}) VALUES ({slots})"),
            replace: format!("UPDATE {table} SET {sets} WHERE {}", condition(written.len() + 1)),
            delete: format!("DELETE FROM {table} WHERE {}", condition(1)),
            select: format!("SELECT {list} FROM {table} WHERE {key_condition}"),
            types: spec.columns.iter().map(|c| c.ty.clone()).collect(),
            key: spec.key.clone(),
            shown,
            table,
            names,
            affinities,
            ordered,
            list,
            key_list,
            compared,
            floats,
            as_text,
            written,
        })
    }
}
