//! Rows in Redis: a hash each, and a sorted set of their ids to scan by.
//!
//! Every write is one script: it happens as a whole, and takes no time once it has begun. So what a call that was given
//! up may still do is bounded by how late its bytes arrive. It takes its connection along.

use super::Base;
use super::lending::Lending;
use crate::dao::{Row, RowError, RowId, Rows, TABLES};
use anyhow::Context;
use crossfade::rows::{Cursor, Page};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, RedisResult, cmd};
use std::sync::Arc;
use std::time::Duration;

/// How long a call may take: then nobody knows what it did.
const PATIENCE: Duration = Duration::from_millis(900);

const PUT: &str = "redis.call('HSET', KEYS[1], 'value', ARGV[2])
    redis.call('HSETNX', KEYS[1], 'count', 0)
    redis.call('ZADD', KEYS[2], 0, ARGV[1])";

/// Id and value of each, one after the other.
const PUT_ALL: &str = "for place = 1, #ARGV, 2 do
        redis.call('HSET', '@t:' .. ARGV[place], 'value', ARGV[place + 1])
        redis.call('HSETNX', '@t:' .. ARGV[place], 'count', 0)
        redis.call('ZADD', KEYS[1], 0, ARGV[place])
    end";

const GET_ALL: &str = "local found = {}
    for place, id in ipairs(ARGV) do
        found[place] = redis.call('HMGET', '@t:' .. id, 'value', 'count')
    end
    return found";

const DELETE: &str = "redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[2], ARGV[1])";

/// The count goes back as text: a number of a script is a float.
const INCREMENT: &str = "redis.call('HSETNX', KEYS[1], 'value', '')
    redis.call('HINCRBY', KEYS[1], 'count', 1)
    redis.call('ZADD', KEYS[2], 0, ARGV[1])
    return redis.call('HGET', KEYS[1], 'count')";

const SET: &str = "redis.call('HSETNX', KEYS[1], 'value', '')
    redis.call('HSET', KEYS[1], 'count', ARGV[2])
    redis.call('ZADD', KEYS[2], 0, ARGV[1])";

const CLAIM: &str = "redis.call('HSETNX', KEYS[1], 'value', ARGV[2])
    redis.call('HSETNX', KEYS[1], 'count', 0)
    redis.call('ZADD', KEYS[2], 0, ARGV[1])
    return redis.call('HGET', KEYS[1], 'value')";

/// Whether a row is there, its value and count; the same for the row to put. What is there is compared byte by byte.
const RESTORE: &str = "local seen = redis.call('HMGET', KEYS[1], 'value', 'count')
    if ARGV[2] == 'none' then
        if seen[1] or seen[2] then return 0 end
    elseif seen[1] ~= ARGV[3] or seen[2] ~= ARGV[4] then
        return 0
    end
    if ARGV[5] == 'none' then
        redis.call('DEL', KEYS[1])
        redis.call('ZREM', KEYS[2], ARGV[1])
    else
        redis.call('HSET', KEYS[1], 'value', ARGV[6], 'count', ARGV[7])
        redis.call('ZADD', KEYS[2], 0, ARGV[1])
    end
    return 1";

/// Rows of one moment: id, value and count of each, one after the other.
const SCAN: &str = "local found = {}
    for _, id in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, ARGV[2])) do
        local row = redis.call('HMGET', '@t:' .. id, 'value', 'count')
        found[#found + 1] = { id, row[1], row[2] }
    end
    return found";

/// A new id, two after the last one; the first is set when the tables are made.
const CREATE: &str = "local id = redis.call('INCRBY', 'order_ids', 2)
    local text = string.format('%d', id)
    redis.call('HSET', '@t:' .. text, 'value', ARGV[1], 'count', ARGV[2])
    redis.call('ZADD', KEYS[1], 0, text)
    return text";

/// Counts are compared as numbers; they are smaller than what a double holds exactly.
const EXPIRE: &str = "for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
        if tonumber(redis.call('HGET', '@t:' .. id, 'count')) <= tonumber(ARGV[1]) then
            redis.call('DEL', '@t:' .. id)
            redis.call('ZREM', KEYS[1], id)
        end
    end";

const STORE: &str = "redis.call('HSET', KEYS[1], 'value', ARGV[2], 'count', ARGV[3])
    redis.call('ZADD', KEYS[2], 0, ARGV[1])";

/// Answers of a server that did not begin: it reads its file, another script runs, or nobody has logged in.
const NOT_BEGUN: [&str; 3] = ["LOADING", "BUSY", "NOAUTH"];

/// Rows in hashes `TABLE:ID`, and the sorted set `TABLE` of all ids; `@t` in a script is the name of the table.
#[derive(Clone)]
pub(crate) struct RedisRows {
    client: Client,
    /// One call at a time on each: whoever gives up takes nobody else along.
    connections: Arc<Lending<MultiplexedConnection>>,
    name: &'static str,
    pub(super) table: &'static str,
}

fn client(url: &str) -> anyhow::Result<Client> {
    // The client's words may hold parts of the URL, and so the password.
    Client::open(url).map_err(|_| anyhow::anyhow!("this is no URL of a Redis database"))
}

/// Without a limit of its own: the caller has one.
async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// There is nothing to make but the ids of orders, which go up by two from the first.
pub(crate) async fn prepare(url: &str, first_id: u64) -> anyhow::Result<()> {
    let mut connection = connect(&client(url)?).await.context("cannot connect to Redis")?;
    cmd("PING").query_async::<String>(&mut connection).await.context("no answer from Redis")?;
    let before = i64::try_from(first_id)? - 2;
    cmd("SET").arg("order_ids").arg(before).arg("NX").exec_async(&mut connection).await.context("no ids of orders")?;
    Ok(())
}

/// Every row, by its key and past everything that is tested, the set of ids included: that has to name the same.
pub(crate) async fn dump(url: &str, table: &str) -> anyhow::Result<Vec<Row>> {
    let mut connection = connect(&client(url)?).await.context("cannot connect to Redis")?;
    let keys: Vec<String> =
        cmd("KEYS").arg(format!("{table}:*")).query_async(&mut connection).await.context("cannot read")?;
    let name = |key: String| key.strip_prefix(table)?.strip_prefix(':').map(str::to_owned);
    let mut ids: Vec<String> = keys.into_iter().filter_map(name).collect();
    ids.sort_unstable();
    let named: Vec<String> =
        cmd("ZRANGE").arg(table).arg(0).arg(-1).query_async(&mut connection).await.context("cannot read")?;
    anyhow::ensure!(ids == named, "{} rows are there, {} are named", ids.len(), named.len());
    let mut rows = Vec::with_capacity(ids.len());
    for some in ids.chunks(500) {
        let mut pipe = redis::pipe();
        for id in some {
            pipe.add_command(values_of(table, id));
        }
        let found: Vec<(String, i64)> = pipe.query_async(&mut connection).await.context("a row of another shape")?;
        rows.extend(some.iter().zip(found).map(|(id, (value, count))| Row { id: RowId(id.clone()), value, count }));
    }
    Ok(rows)
}

fn values_of(table: &str, id: &str) -> Cmd {
    let mut command = cmd("HMGET");
    command.arg(format!("{table}:{id}")).arg("value").arg("count");
    command
}

impl RedisRows {
    /// Will connect to this database.
    pub(crate) fn new(name: &'static str, url: &str, connections: usize) -> anyhow::Result<RedisRows> {
        Ok(RedisRows { client: client(url)?, connections: Arc::new(Lending::new(connections)), name, table: TABLES[0] })
    }

    /// A script about one row, whose id is its first argument.
    fn script(&self, text: &str, id: &RowId) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(text.replace("@t", self.table)).arg(2).arg(format!("{}:{}", self.table, id.0));
        command.arg(self.table).arg(&id.0);
        command
    }

    /// A script about several rows, which its arguments name.
    fn script_of_all(&self, text: &str) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(text.replace("@t", self.table)).arg(1).arg(self.table);
        command
    }

    fn failed(&self, error: RowError) -> RowError {
        tracing::debug!(side = self.name, %error, "a call failed");
        error
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RowError> {
        let lent = self.connections.lend(connect(&self.client)).await;
        let mut lent = lent.map_err(|error| self.failed(error))?;
        let call = command.query_async::<T>(&mut lent.connection);
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(answer)) => {
                lent.back();
                Ok(answer)
            }
            Ok(Err(error)) => {
                // Without an answer of the server.
                if error.code().is_none() {
                    self.connections.forget();
                }
                Err(self.failed(failed(&error)))
            }
            Err(_) => Err(self.failed(RowError::Unknown("no answer in time"))),
        }
    }
}

/// Only what did not begin is refused: a script that fails half-way has done half of it.
fn failed(error: &RedisError) -> RowError {
    match error.code() {
        Some(code) if NOT_BEGUN.contains(&code) => RowError::Rejected("by the database"),
        Some(_) => RowError::Unknown("the script failed"),
        None => RowError::Unknown("the connection was lost"),
    }
}

/// A row of its value and count: both are there, or neither.
fn row(id: &RowId, found: (Option<String>, Option<i64>)) -> Result<Option<Row>, RowError> {
    match found {
        (Some(value), Some(count)) => Ok(Some(Row { id: id.clone(), value, count })),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(RowError::Unknown("a row of another shape")),
    }
}

impl Rows for RedisRows {
    async fn put(&self, id: &RowId, value: &str) -> Result<(), RowError> {
        self.ask(self.script(PUT, id).arg(value)).await
    }

    async fn put_all(&self, rows: &[Row]) -> Result<(), RowError> {
        let mut command = self.script_of_all(PUT_ALL);
        for row in rows {
            command.arg(&row.id.0).arg(&row.value);
        }
        self.ask(&command).await
    }

    async fn delete(&self, id: &RowId) -> Result<(), RowError> {
        self.ask(&self.script(DELETE, id)).await
    }

    async fn increment(&self, id: &RowId) -> Result<i64, RowError> {
        self.ask(&self.script(INCREMENT, id)).await
    }

    async fn set(&self, id: &RowId, count: i64) -> Result<(), RowError> {
        self.ask(self.script(SET, id).arg(count)).await
    }

    async fn claim(&self, id: &RowId, owner: &str) -> Result<String, RowError> {
        self.ask(self.script(CLAIM, id).arg(owner)).await
    }

    async fn get(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        self.snapshot(id).await
    }

    async fn get_all(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, RowError> {
        let mut command = self.script_of_all(GET_ALL);
        for id in ids {
            command.arg(&id.0);
        }
        let found: Vec<(Option<String>, Option<i64>)> = self.ask(&command).await?;
        ids.iter().zip(found).map(|(id, found)| row(id, found)).collect()
    }

    async fn snapshot(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        row(id, self.ask(&values_of(self.table, &id.0)).await?)
    }

    async fn restore(&self, id: &RowId, seen: Option<&Row>, row: Option<&Row>) -> Result<bool, RowError> {
        let mut command = self.script(RESTORE, id);
        for row in [seen, row] {
            let word = if row.is_some() { "row" } else { "none" };
            command.arg(word).arg(row.map_or("", |row| &row.value)).arg(row.map_or(0, |row| row.count));
        }
        self.ask(&command).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Row>, RowError> {
        let from = after.map_or_else(|| "-".to_owned(), |cursor| format!("({}", cursor.0));
        let mut command = self.script_of_all(SCAN);
        command.arg(from).arg(limit);
        let found: Vec<(String, String, i64)> = self.ask(&command).await?;
        let rows: Vec<Row> = found.into_iter().map(|(id, value, count)| Row { id: RowId(id), value, count }).collect();
        let next = rows.last().filter(|_| rows.len() == limit).map(|last| Cursor(last.id.0.clone()));
        Ok(Page { rows, next })
    }
}

impl Base for RedisRows {
    async fn store(&self, row: &Row) -> Result<(), RowError> {
        self.ask(self.script(STORE, &row.id).arg(&row.value).arg(row.count)).await
    }

    async fn create(&self, value: &str, count: i64) -> Result<Row, RowError> {
        let id: String = self.ask(self.script_of_all(CREATE).arg(value).arg(count)).await?;
        Ok(Row { id: RowId(id), value: value.to_owned(), count })
    }

    async fn expire(&self, until: i64) -> Result<(), RowError> {
        self.ask(self.script_of_all(EXPIRE).arg(until)).await
    }
}
