//! Checksums computed in the database: the exclusive or of 64-bit hashes of the rows, byte for byte.
//! The hash functions are the same in every release on machines of one byte order; equal dialect strings also mean equal column types.

use super::{
    PostgresTable, binary,
    binary::Parameter,
    errors,
    statements::{Col, Shape},
};
use crate::{Checksum, ErrorKind, RowKey, StoreError};

/// What of a column goes into its row's hash: never two values that differ by a byte as one. A type's own hash takes equal numbers for the same
/// (`1.0` and `1.00`, the two zeros), folds 64 bits into 32, or goes by a collation; so where it does, the sent bytes are hashed instead.
/// `None` is a type for which its text form does it.
fn hashed(col: &Col) -> Option<String> {
    let name = &col.quoted;
    Some(match col.physical.cast.as_str() {
        "integer" | "smallint" | "boolean" | "uuid" | "date" | "bytea" => name.clone(),
        "bigint" => format!("int8send({name})"),
        "real" => format!("float4send({name})"),
        "double precision" => format!("float8send({name})"),
        "text" => format!("{name} COLLATE \"C\""),
        "json" | "jsonb" => format!("{name}::text COLLATE \"C\""),
        cast if cast.starts_with("character varying") => format!("{name} COLLATE \"C\""),
        cast if cast.starts_with("numeric") && !cast.ends_with(']') => format!("numeric_send({name})"),
        cast if cast.starts_with("timestamp") && cast.ends_with("without time zone") => {
            format!("timestamp_send({name})")
        }
        cast if cast.starts_with("timestamp") && cast.ends_with("with time zone") => {
            format!("timestamptz_send({name})")
        }
        _ => return None,
    })
}

impl Shape {
    /// The hash of a row: tells null from empty, and any two values that are not the same bytes.
    fn row_hash(&self) -> String {
        let mut parts: Vec<String> = self.columns.iter().filter_map(hashed).collect();
        let as_text: Vec<&str> =
            self.columns.iter().filter(|c| hashed(c).is_none()).map(|c| c.quoted.as_str()).collect();
        if !as_text.is_empty() {
            parts.push(format!("ROW({})::text COLLATE \"C\"", as_text.join(", ")));
        }
        format!("hash_record_extended(ROW({}), 0)", parts.join(", "))
    }
}

impl PostgresTable {
    pub(super) async fn sums(&self, fences: &[RowKey]) -> Result<Vec<Checksum>, StoreError> {
        let shape = &self.shape;
        if self.capabilities.checksum.is_none() {
            return Err(StoreError::new(ErrorKind::Unsupported, format!("{} computes no checksums", shape.shown)));
        }
        let digest = format!("count(*), coalesce(bit_xor({}), 0)", shape.row_hash());
        let mut client = self.store.client().await?;
        client.begin();
        let fail = |e| errors::of(format!("cannot compute the checksums of {}", shape.shown), e);
        // The database guesses one group per row, and would sort all rows on disk to make a few thousand groups.
        client.batch_execute("BEGIN READ ONLY; SET LOCAL enable_sort = off").await.map_err(fail)?;
        let mut sums = vec![Checksum::default(); fences.len() + 1];
        let read = |row: &tokio_postgres::Row, at: usize| Checksum {
            rows: row.get::<_, i64>(at).cast_unsigned(),
            digest: row.get::<_, i64>(at + 1).cast_unsigned(),
        };
        match &shape.key[..] {
            _ if fences.is_empty() => {
                let row = client
                    .query_one(format!("SELECT {digest} FROM {}", shape.table).as_str(), &[])
                    .await
                    .map_err(fail)?;
                sums[0] = read(&row, 0);
            }
            [one] => {
                let col = &shape.columns[*one];
                let items: Option<Vec<_>> =
                    fences.iter().map(|k| k.0.first()?.clone().convert(&col.physical.ty)).collect();
                let mut bytes = Vec::new();
                items.and_then(|items| binary::list(&col.physical, col.oid, &items, &mut bytes)).ok_or_else(|| {
                    StoreError::new(ErrorKind::Unrepresentable, format!("{}: fences cannot be sent", shape.shown))
                        .in_column(&col.name)
                })?;
                let sql = format!(
                    "SELECT width_bucket({key}, $1::{cast}[]), {digest} FROM {table} GROUP BY 1",
                    key = shape.key_list,
                    cast = col.physical.cast,
                    table = shape.table
                );
                let statement = client.prepare_cached(&sql).await.map_err(fail)?;
                let rows = client.query(&statement, &[&Parameter(Some(bytes))]).await.map_err(fail)?;
                for row in &rows {
                    if let Some(slot) = usize::try_from(row.get::<_, i32>(0)).ok().and_then(|part| sums.get_mut(part)) {
                        *slot = read(row, 1);
                    }
                }
            }
            _ => {
                // Composite keys: one index range per part, pipelined.
                let mut asked = Vec::with_capacity(sums.len());
                for part in 0..sums.len() {
                    let lower = part.checked_sub(1).and_then(|i| fences.get(i));
                    let upper = fences.get(part);
                    let mut conditions = Vec::new();
                    let mut parameters = Vec::new();
                    for (key, operator) in lower.map(|k| (k, ">=")).into_iter().chain(upper.map(|k| (k, "<"))) {
                        conditions.push(format!(
                            "({}) {operator} {}",
                            shape.key_list,
                            shape.key_slots(parameters.len() + 1)
                        ));
                        parameters.extend(shape.key_parameters(key)?);
                    }
                    asked.push((
                        format!("SELECT {digest} FROM {} WHERE {}", shape.table, conditions.join(" AND ")),
                        parameters,
                    ));
                }
                for (chunk, slots) in asked.chunks(64).zip(sums.chunks_mut(64)) {
                    let answers = futures::future::join_all(chunk.iter().map(|(sql, parameters)| async {
                        let statement = client.prepare_cached(sql).await?;
                        let parameters: Vec<&(dyn postgres_types::ToSql + Sync)> =
                            parameters.iter().map(|p| p as _).collect();
                        client.query_one(&statement, &parameters).await
                    }))
                    .await;
                    for (answer, slot) in answers.into_iter().zip(slots) {
                        *slot = read(&answer.map_err(fail)?, 0);
                    }
                }
            }
        }
        client.batch_execute("COMMIT").await.map_err(fail)?;
        client.finish();
        Ok(sums)
    }
}
