//! What a table looks like.

use tokio_postgres::Row as SqlRow;

use super::{Postgres, binary::Physical, errors};
use crate::{Blanks, Column, ColumnType, ErrorKind, Limits, StoreError, TableName, TableSchema};

/// A table with what only this store needs to know.
pub(super) struct Described {
    pub(super) schema: TableSchema,
    pub(super) physical: Vec<Physical>,
    /// Type numbers, for key arrays.
    pub(super) oids: Vec<u32>,
    /// Whether the column sorts by its bytes.
    pub(super) bytewise: Vec<bool>,
    /// `server_version_num`
    pub(super) version: i32,
    /// Quoted, with its schema.
    pub(super) quoted: String,
}

pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) async fn tables(store: &Postgres) -> Result<Vec<TableName>, StoreError> {
    let sql = "SELECT CASE WHEN n.nspname = current_schema() THEN c.relname ELSE n.nspname || '.' || c.relname END
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1";
    let rows = store.client().await?.query(sql, &[]).await.map_err(|e| errors::of("cannot list the tables", e))?;
    Ok(rows.iter().map(|r| TableName::new(r.get::<_, String>(0))).collect())
}

pub(super) async fn describe(store: &Postgres, table: &TableName) -> Result<Described, StoreError> {
    let client = store.client().await?;
    let fail = |e| errors::of(format!("cannot describe table {table}"), e);
    let (schema, name) = table.parts();
    let quoted = match schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(name)),
        None => quote(name),
    };
    let sql = "SELECT a.attname::text, t.typname::text, t.typtype::text, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            a.attgenerated::text <> '', a.attidentity::text <> '' OR a.atthasdef, a.atttypmod, t.oid, coalesce(e.oid, 0::oid), coalesce(e.typname::text, ''), coalesce(e.typtype::text, ''),
            CASE WHEN a.attcollation = 0 THEN true
                 ELSE coalesce((SELECT CASE WHEN l.oid = 100 THEN d.datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8') ELSE l.collname IN ('C', 'POSIX', 'ucs_basic', 'C.utf8') END
                                FROM pg_collation l, pg_database d WHERE l.oid = a.attcollation AND d.datname = current_database()), false) END,
            coalesce((SELECT array_agg(v.enumlabel::text ORDER BY v.enumsortorder) FROM pg_enum v WHERE v.enumtypid = t.oid), '{}'::text[]),
            coalesce((SELECT array_position(i.indkey::int2[], a.attnum) FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary), -1)::int4,
            current_setting('server_version_num')::int4
        FROM pg_attribute a
        JOIN pg_type declared ON declared.oid = a.atttypid
        JOIN pg_type t ON t.oid = CASE WHEN declared.typtype = 'd' THEN declared.typbasetype ELSE declared.oid END
        LEFT JOIN pg_type e ON t.typcategory = 'A' AND e.oid = t.typelem
        WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let rows = client.query(sql, &[&quoted]).await.map_err(fail)?;
    if rows.is_empty() {
        return Err(StoreError::new(
            ErrorKind::NoSuchTable,
            format!("there is no table {table} in {}: check its name and the search path", store.shown()),
        ));
    }
    let mut columns = Vec::new();
    let mut physical = Vec::new();
    let (mut oids, mut bytewise, mut key) = (Vec::new(), Vec::new(), Vec::new());
    for (i, row) in rows.iter().enumerate() {
        let ty = column_type(row);
        let native: String = row.get(3);
        let nullable = !row.get::<_, bool>(4);
        columns.push(Column {
            name: row.get(0),
            ty: ty.clone(),
            limits: limits(&ty, &native),
            native: native.clone(),
            nullable,
            generated: row.get(5),
            optional: nullable || row.get::<_, bool>(6),
        });
        let type_name: &str = row.get(1);
        physical.push(Physical {
            ty,
            jsonb: type_name == "jsonb" || row.get::<_, &str>(10) == "jsonb",
            element: row.get(9),
            cast: native,
        });
        oids.push(row.get(8));
        bytewise.push(
            row.get::<_, bool>(12)
                && !matches!(
                    physical[i].ty,
                    ColumnType::Enum { .. } | ColumnType::Native { .. } | ColumnType::Array(_) | ColumnType::Json
                )
                && type_name != "citext"
                && type_name != "bpchar",
        );
        // int2vector subscripts begin at 0.
        let position: i32 = row.get(14);
        if position >= 0 {
            key.push((position, i));
        }
    }
    if key.is_empty() {
        return Err(StoreError::new(
            ErrorKind::NoSuchTable,
            format!("table {table} in {} has no primary key: rows need one to be found again, add it", store.shown()),
        ));
    }
    key.sort_unstable();
    let schema =
        TableSchema { name: table.clone(), columns, key: key.into_iter().map(|(_, i)| i).collect(), open: false };
    Ok(Described { schema, physical, oids, bytewise, version: rows[0].get(15), quoted })
}

/// By what the server calls the type: `timestamp(3) without time zone`, `character(4)`.
fn limits(ty: &ColumnType, native: &str) -> Limits {
    let declared = native.split_once('(').and_then(|(_, rest)| rest.split_once(')')?.0.parse::<u32>().ok());
    match ty {
        ColumnType::Time | ColumnType::Timestamp | ColumnType::TimestampTz => {
            Limits { fraction: declared.filter(|digits| *digits < 6), ..Limits::default() }
        }
        ColumnType::Text { .. } if native.starts_with("character(") => {
            Limits { blanks: Blanks::Padded(declared.unwrap_or(1)), ..Limits::default() }
        }
        _ => Limits::default(),
    }
}

fn column_type(row: &SqlRow) -> ColumnType {
    let (name, class): (&str, &str) = (row.get(1), row.get(2));
    let (element, element_class): (&str, &str) = (row.get(10), row.get(11));
    if !element.is_empty() && element_class == "b" {
        return match scalar(element, -1) {
            Some(of) => ColumnType::Array(Box::new(of)),
            None => native(name),
        };
    }
    if class == "e" {
        return ColumnType::Enum { labels: row.get(13) };
    }
    scalar(name, row.get(7)).unwrap_or_else(|| native(name))
}

fn native(name: &str) -> ColumnType {
    ColumnType::Native { engine: "postgres".to_owned(), name: name.to_owned() }
}

fn scalar(name: &str, modifier: i32) -> Option<ColumnType> {
    Some(match name {
        "bool" => ColumnType::Bool,
        "int2" => ColumnType::Int { bits: 16 },
        "int4" => ColumnType::Int { bits: 32 },
        "int8" => ColumnType::INT64,
        "numeric" => ColumnType::Decimal {
            precision: u32::try_from(modifier - 4).ok().map(|m| {
                // The scale has 11 bits, signed (from version 15 on scales may be negative).
                let scale = i32::try_from(m & 0x7ff).unwrap_or(0);
                (m >> 16, (scale ^ 1_024) - 1_024)
            }),
        },
        "float4" => ColumnType::Float32,
        "float8" => ColumnType::Float64,
        "text" | "name" | "citext" => ColumnType::TEXT,
        "varchar" | "bpchar" => ColumnType::Text { max: u32::try_from(modifier - 4).ok() },
        "bytea" => ColumnType::Bytes,
        "uuid" => ColumnType::Uuid,
        "date" => ColumnType::Date,
        "time" => ColumnType::Time,
        "timestamp" => ColumnType::Timestamp,
        "timestamptz" => ColumnType::TimestampTz,
        "json" | "jsonb" => ColumnType::Json,
        _ => return None,
    })
}

/// A login that a policy hides rows from would copy and verify a part of the table, and call it the whole.
pub(super) async fn refuse_hidden_rows(
    store: &Postgres,
    table: &TableName,
    described: &Described,
) -> Result<(), StoreError> {
    let fail = |e| errors::of(format!("cannot ask for the policies of table {table}"), e);
    let sql = "SELECT row_security_active(to_regclass($1))";
    let hidden: bool = store.client().await?.query_one(sql, &[&described.quoted]).await.map_err(fail)?.get(0);
    if !hidden {
        return Ok(());
    }
    Err(StoreError::new(
        ErrorKind::Config,
        format!(
            "row-level security hides rows of table {table} in {} from this login: use a role with BYPASSRLS, or the owner of the table without FORCE ROW LEVEL SECURITY",
            store.shown()
        ),
    ))
}

pub(super) async fn warnings(store: &Postgres, table: &TableName) -> Result<Vec<String>, StoreError> {
    let described = describe(store, table).await?;
    let client = store.client().await?;
    let fail = |e| errors::of(format!("cannot look at table {table}"), e);
    let mut out = Vec::new();
    let triggers = client
        .query("SELECT tgname::text FROM pg_trigger WHERE tgrelid = to_regclass($1) AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY 1", &[&described.quoted])
        .await
        .map_err(fail)?;
    for row in triggers {
        out.push(format!("table {table}: trigger `{}` writes by itself, unseen by the flags", row.get::<_, String>(0)));
    }
    let cascades = client
        .query("SELECT conname::text FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd')) ORDER BY 1", &[&described.quoted])
        .await
        .map_err(fail)?;
    for row in cascades {
        out.push(format!(
            "table {table}: foreign key `{}` changes rows by itself (cascade), unseen by the flags",
            row.get::<_, String>(0)
        ));
    }
    let rights = client
        .query_one(
            "SELECT has_table_privilege(to_regclass($1), 'SELECT'), has_table_privilege(to_regclass($1), 'INSERT') AND has_table_privilege(to_regclass($1), 'UPDATE') AND has_table_privilege(to_regclass($1), 'DELETE'),
                has_database_privilege(current_database(), 'TEMP')",
            &[&described.quoted],
        )
        .await
        .map_err(fail)?;
    for (at, right) in
        [(0, "SELECT"), (1, "INSERT, UPDATE and DELETE"), (2, "TEMP on the database (for fast conditional writes)")]
    {
        if !rights.get::<_, bool>(at) {
            out.push(format!("table {table}: this login lacks {right}: grant it"));
        }
    }
    let ids = client
        .query("SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
                AND (attidentity <> '' OR pg_get_serial_sequence($1, attname) IS NOT NULL)", &[&described.quoted])
        .await
        .map_err(fail)?;
    for row in ids {
        out.push(format!(
            "table {table}: column `{}` takes its ids from a sequence: decide who makes ids after the cut-over",
            row.get::<_, String>(0)
        ));
    }
    Ok(out)
}
