//! Which table this is, whatever its URL.

use super::{Postgres, errors};
use crate::{ErrorKind, StoreError, TableName, port::TableIdentity};

/// By the cluster's own number where the login may ask for it (every login may, unless that was revoked), else by the process of the server.
pub(super) async fn of(store: &Postgres, table: &TableName, quoted: &str) -> Result<TableIdentity, StoreError> {
    let fail = |e| errors::of(format!("cannot ask which table {table} is"), e);
    let client = store.client().await?;
    let server = "SELECT system_identifier::text FROM pg_control_system()";
    let (server, lasts) = match client.query_one(server, &[]).await {
        Ok(row) => (row.get::<_, String>(0), true),
        Err(e) if errors::kind(&e) == ErrorKind::Lost => return Err(fail(e)),
        Err(_) => {
            let process = "SELECT concat_ws(' ', pg_postmaster_start_time(), inet_server_addr(), inet_server_port())";
            (client.query_one(process, &[]).await.map_err(fail)?.get::<_, String>(0), false)
        }
    };
    let row = client
        .query_one(
            "SELECT d.oid::text, d.datname::text, c.oid::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname)
             FROM pg_database d, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE d.datname = current_database() AND c.oid = to_regclass($1)",
            &[&quoted],
        )
        .await
        .map_err(fail)?;
    let [database, database_name, relation, name]: [String; 4] = std::array::from_fn(|i| row.get(i));
    Ok(TableIdentity {
        live: format!("postgres {server} {database} {relation}"),
        lasting: if lasts {
            format!("postgres {server} {database} {name}")
        } else {
            format!("postgres at {} {database_name} {name}", store.shown())
        },
    })
}
