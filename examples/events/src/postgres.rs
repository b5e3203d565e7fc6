//! Events in PostgreSQL.

use crate::dao::{Event, EventDao, EventError, EventId, Line};
use crossfade::rows::{Cursor, Page};
use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod};
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};

const COLUMNS: &str =
    "id, line, tail, origin, destination, scheduled, departure_delay, arrival_delay, air_time, distance";
/// What is stored still is what was seen, byte for byte.
const SAME: &str = "id = $1 AND line = $2 AND tail IS NOT DISTINCT FROM $3 AND origin = $4 AND destination = $5
     AND scheduled = $6 AND departure_delay IS NOT DISTINCT FROM $7 AND arrival_delay IS NOT DISTINCT FROM $8
     AND air_time IS NOT DISTINCT FROM $9 AND distance = $10";

/// Events in a table `events` of a schema of their own.
#[derive(Debug, Clone)]
pub struct PostgresEvents(Pool);

impl PostgresEvents {
    /// Connects and makes the schema with its table.
    ///
    /// # Errors
    /// [`EventError::Rejected`] when the URL is no PostgreSQL URL or the schema exists already;
    /// [`EventError::Unavailable`] when the server cannot be reached.
    pub async fn create(url: &str, schema: &str) -> Result<PostgresEvents, EventError> {
        let mut config: tokio_postgres::Config =
            url.parse().map_err(|_| EventError::Rejected("this is no PostgreSQL URL".to_owned()))?;
        config.options(format!("-c search_path={schema}"));
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(config, NoTls, manager)).max_size(16).build();
        let events = PostgresEvents(pool.map_err(|error| EventError::Rejected(error.to_string()))?);
        let ddl = format!(
            "CREATE SCHEMA {schema};
             CREATE TABLE {schema}.events (id bigint PRIMARY KEY, line text COLLATE \"C\" NOT NULL, tail text, origin text NOT NULL,
               destination text NOT NULL, scheduled text NOT NULL, departure_delay int, arrival_delay int, air_time int,
               distance int NOT NULL);
             CREATE INDEX ON {schema}.events (line, id);"
        );
        events.client().await?.batch_execute(&ddl).await.map_err(failed)?;
        Ok(events)
    }

    /// Loads many events at once, as a service's past would have.
    ///
    /// # Errors
    /// When the database fails; then nothing was loaded.
    pub async fn load(&self, events: Vec<Event>) -> Result<(), EventError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let insert = transaction.prepare_cached(&insert()).await.map_err(failed)?;
        for event in &events {
            let id = number(event.id)?;
            transaction.execute(&insert, &values(&id, event)).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    async fn client(&self) -> Result<Client, EventError> {
        self.0.get().await.map_err(|error| match error {
            // Without a connection nothing was sent.
            PoolError::Backend(error) if error.as_db_error().is_some() => EventError::Rejected(error.to_string()),
            error => EventError::Rejected(format!("no connection: {error}")),
        })
    }

    async fn execute(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, EventError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await.map_err(failed)?;
        client.execute(&statement, values).await.map_err(failed)
    }

    async fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Event>, EventError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await.map_err(failed)?;
        client.query(&statement, values).await.map_err(failed)?.iter().map(event).collect()
    }
}

/// An answer of the server says that nothing was done; a lost connection says nothing, and neither does a server that
/// is going down (57P..), which may say so after a commit.
fn failed(error: tokio_postgres::Error) -> EventError {
    let says_nothing = |code: &str| ["08", "40003", "57P"].iter().any(|class| code.starts_with(class));
    match error.as_db_error() {
        Some(answer) if !says_nothing(answer.code().code()) => EventError::Rejected(answer.message().to_owned()),
        Some(_) | None => EventError::Unavailable(error.to_string()),
    }
}

fn insert() -> String {
    format!("INSERT INTO events ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
}

fn upsert() -> String {
    let update = "tail = $3, origin = $4, destination = $5, scheduled = $6, departure_delay = $7, arrival_delay = $8,
        air_time = $9, distance = $10";
    format!("{} ON CONFLICT (id) DO UPDATE SET line = $2, {update}", insert())
}

fn number(id: u64) -> Result<i64, EventError> {
    i64::try_from(id).map_err(|_| EventError::Rejected("an event's number is below 2^63".to_owned()))
}

fn values<'a>(id: &'a i64, event: &'a Event) -> [&'a (dyn ToSql + Sync); 10] {
    let Event { id: _, line, tail, origin, destination, scheduled, departure_delay, arrival_delay, air_time, distance } =
        event;
    [id, &line.0, tail, origin, destination, scheduled, departure_delay, arrival_delay, air_time, distance]
}

fn event(row: &Row) -> Result<Event, EventError> {
    let read = || -> Result<Event, tokio_postgres::Error> {
        Ok(Event {
            id: row.try_get::<_, i64>(0)?.unsigned_abs(),
            line: Line(row.try_get(1)?),
            tail: row.try_get(2)?,
            origin: row.try_get(3)?,
            destination: row.try_get(4)?,
            scheduled: row.try_get(5)?,
            departure_delay: row.try_get(6)?,
            arrival_delay: row.try_get(7)?,
            air_time: row.try_get(8)?,
            distance: row.try_get(9)?,
        })
    };
    read().map_err(|error| EventError::Corrupt(error.to_string()))
}

impl EventDao for PostgresEvents {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        self.execute(&upsert(), &values(&number(event.id)?, event)).await.map(drop)
    }

    async fn remove(&self, id: &EventId) -> Result<(), EventError> {
        self.execute("DELETE FROM events WHERE id = $1 AND line = $2", &[&number(id.id)?, &id.line.0]).await.map(drop)
    }

    async fn events_of(&self, line: &Line) -> Result<Vec<Event>, EventError> {
        self.query(&format!("SELECT {COLUMNS} FROM events WHERE line = $1 ORDER BY id"), &[&line.0]).await
    }

    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError> {
        let sql = format!("SELECT {COLUMNS} FROM events WHERE id = $1 AND line = $2");
        Ok(self.query(&sql, &[&number(id.id)?, &id.line.0]).await?.pop())
    }

    async fn restore(&self, id: &EventId, seen: Option<&Event>, event: Option<&Event>) -> Result<bool, EventError> {
        let number = number(id.id)?;
        let changed = match (seen, event) {
            (None, None) => return Ok(self.snapshot(id).await?.is_none()),
            (None, Some(event)) => {
                self.execute(&format!("{} ON CONFLICT (id) DO NOTHING", insert()), &values(&number, event)).await?
            }
            (Some(seen), None) => {
                self.execute(&format!("DELETE FROM events WHERE {SAME}"), &values(&number, seen)).await?
            }
            (Some(seen), Some(event)) => {
                let set = "tail = $11, origin = $12, destination = $13, scheduled = $14, departure_delay = $15,
                    arrival_delay = $16, air_time = $17, distance = $18";
                let (old, new) = (values(&number, seen), values(&number, event));
                let all: Vec<_> = old.into_iter().chain(new.into_iter().skip(2)).collect();
                self.execute(&format!("UPDATE events SET {set} WHERE {SAME}"), &all).await?
            }
        };
        Ok(changed == 1)
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError> {
        let after: i64 = after.and_then(|cursor| cursor.0.parse().ok()).unwrap_or(-1);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!("SELECT {COLUMNS} FROM events WHERE id > $1 ORDER BY id LIMIT $2");
        let rows = self.query(&sql, &[&after, &most]).await?;
        let next = rows.last().filter(|_| rows.len() == limit).map(|last| Cursor(last.id.to_string()));
        Ok(Page { rows, next })
    }
}
