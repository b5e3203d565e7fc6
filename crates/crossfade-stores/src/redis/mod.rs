//! Redis from 7.0, a single server: a row per key, as a hash or as a JSON string.
//!
//! | | |
//! |---|---|
//! | keys | by a pattern, as in `session:{id}`; default `TABLE:{key columns joined by :}` |
//! | reads | a script each, so that fields and expiry are of one moment; many in one go |
//! | writes | what is there is read, compared with what was seen, and changed by a script that compares it again byte by byte |
//! | scans | `SCAN` until the server's cursor is 0; it may give a row twice; fields and keys of others are left alone |
//! | expiry | the ttl column (`kind = "cache"`) is the key's own expiry, in milliseconds |
//! | settings of the URL | `write_timeout_ms` (default 10000: half of the linger) |
//!
//! Durable is what the server makes durable: with `appendfsync everysec` that is a second late. Absent here: cluster, and tables
//! to describe (rows are what is there).

mod connect;
mod errors;
mod pattern;
mod schema;
mod values;

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use redis::{Pipeline, Value as Answer, cmd, pipe};

use crate::{
    Capabilities, Change, ChangeOutcome, Column, ColumnType, ErrorKind, Fit, Page, Position, Range, Recovery, Rest,
    Row, RowKey, Store, StoreError, StoreKind, Table, TableName, TableSchema, TableSpec, port::TableIdentity,
    schema::Layout,
};
pub use connect::Redis;
use schema::{Shape, Stored};

/// Commands of one pipeline.
const AT_ONCE: usize = 500;

/// One opened table.
pub struct RedisTable {
    store: Redis,
    spec: TableSpec,
    shape: Shape,
    capabilities: Capabilities,
}

impl std::fmt::Debug for RedisTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisTable({} at {})", self.spec.name, self.store.location())
    }
}

#[async_trait]
impl Store for Redis {
    fn kind(&self) -> StoreKind {
        StoreKind::Redis
    }

    fn location(&self) -> String {
        self.shown().to_owned()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let what = "cannot ask the server anything";
        match self.send(what, pipe().add_command(cmd("PING"))).await.map_err(|(e, _)| e)?.pop() {
            Some(Answer::ServerError(e)) => Err(errors::server(what, &e)),
            _ => Ok(()),
        }
    }

    async fn tables(&self) -> Result<Vec<TableName>, StoreError> {
        Ok(Vec::new())
    }

    async fn describe(&self, table: &TableName) -> Result<TableSchema, StoreError> {
        Err(StoreError::new(
            ErrorKind::Unsupported,
            format!("redis has no table {table} to describe: rows are the keys of its pattern"),
        ))
    }

    fn fit(&self, wanted: &ColumnType, found: Option<&Column>) -> Fit {
        values::fit(wanted, found)
    }

    async fn table(&self, spec: &TableSpec) -> Result<Arc<dyn Table>, StoreError> {
        let shape = Shape::new(self.shown(), spec)?;
        let capabilities = Capabilities {
            linger: spec.options.linger.unwrap_or(self.timeout() * 2),
            ordered: false,
            fence: true,
            version_column: spec.options.version_column.clone(),
            checksum: None,
            keeps_decimal_scale: true,
            keeps_json_text: spec.options.layout == Layout::Hash
                || !spec.columns.iter().any(|c| c.ty == ColumnType::Json),
            throttles: false,
            write_batch: 1_000,
        };
        Ok(Arc::new(RedisTable { store: self.clone(), spec: spec.clone(), shape, capabilities }))
    }

    async fn warnings(&self, table: &TableName) -> Result<Vec<String>, StoreError> {
        let what = "cannot ask for the server's settings";
        let mut asked = pipe();
        for name in ["maxmemory-policy", "appendonly"] {
            asked.add_command(cmd("CONFIG").arg("GET").arg(name).to_owned());
        }
        let answers = self.send(what, &asked).await.map_err(|(e, _)| e)?;
        let setting = |at: usize| match answers.get(at) {
            Some(Answer::Array(pair)) => match pair.get(1) {
                Some(Answer::BulkString(b)) => Some(String::from_utf8_lossy(b).into_owned()),
                _ => None,
            },
            Some(Answer::Map(pairs)) => match pairs.first() {
                Some((_, Answer::BulkString(b))) => Some(String::from_utf8_lossy(b).into_owned()),
                _ => None,
            },
            // A server that does not tell is one that nothing can be said of.
            _ => None,
        };
        let mut out = Vec::new();
        if let Some(policy) = setting(0).filter(|p| p != "noeviction") {
            out.push(format!("table {table}: the server drops keys when its memory is full (`{policy}`): rows vanish unseen by the flags, unless it is a cache"));
        }
        if setting(1).as_deref() == Some("no") {
            out.push(format!("table {table}: the server keeps no log (`appendonly no`): a crash loses what was acknowledged since the last snapshot"));
        }
        Ok(out)
    }
}

impl RedisTable {
    /// What is there under these names, of one moment each.
    async fn stored(&self, keys: &[(&RowKey, String)]) -> Result<Vec<Option<Stored>>, StoreError> {
        let what = format!("cannot read {}", self.shape.shown);
        let mut out = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(AT_ONCE) {
            let mut commands = pipe();
            for (_, name) in chunk {
                commands.add_command(self.shape.read(name));
            }
            for (answer, (key, _)) in
                self.store.send(&what, &commands).await.map_err(|(e, _)| e)?.into_iter().zip(chunk)
            {
                out.push(self.shape.stored(answer, key)?);
            }
        }
        Ok(out)
    }

    /// The command of a change, if there is anything to try.
    fn command(&self, change: &Change, name: &str, there: Option<&Stored>) -> Result<Option<redis::Cmd>, StoreError> {
        let key = change.key(&self.shape.key);
        let seen = match change {
            Change::Insert { row } => {
                return if there.is_none() { self.shape.write(name, None, Some(row)).map(Some) } else { Ok(None) };
            }
            Change::Replace { seen, .. } | Change::Delete { seen } => seen,
        };
        let Some(stored) = there else { return Ok(None) };
        // What cannot be read is not what was seen.
        if !self.shape.row(&key, stored).is_ok_and(|row| self.shape.is_seen(&row, seen)) {
            return Ok(None);
        }
        let row = match change {
            Change::Replace { row, .. } => Some(row),
            Change::Insert { .. } | Change::Delete { .. } => None,
        };
        self.shape.write(name, Some(stored), row).map(Some)
    }

    async fn write_some(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
        let shape = &self.shape;
        let keys: Vec<RowKey> = changes.iter().map(|c| c.key(&shape.key)).collect();
        let mut out: Vec<ChangeOutcome> = changes.iter().map(|_| ChangeOutcome::LostRace).collect();
        let (mut asked, mut names) = (Vec::new(), Vec::new());
        for (i, key) in keys.iter().enumerate() {
            match shape.name(key) {
                Ok(name) => {
                    asked.push(i);
                    names.push((key, name));
                }
                Err(e) => out[i] = ChangeOutcome::Refused(e),
            }
        }
        // Inserts need not look: their script does.
        let look: Vec<usize> =
            (0..asked.len()).filter(|n| !matches!(changes[asked[*n]], Change::Insert { .. })).collect();
        let looked: Vec<(&RowKey, String)> = look.iter().map(|n| names[*n].clone()).collect();
        let mut there: Vec<Option<Stored>> = vec![None; asked.len()];
        for (n, stored) in look.into_iter().zip(self.stored(&looked).await?) {
            there[n] = stored;
        }
        let mut commands = Pipeline::new();
        let mut sent = Vec::new();
        for (n, i) in asked.iter().enumerate() {
            match self.command(&changes[*i], &names[n].1, there[n].as_ref()) {
                Ok(Some(command)) => {
                    commands.add_command(command);
                    sent.push(*i);
                }
                Ok(None) => {}
                Err(e) => out[*i] = ChangeOutcome::Refused(e.at_key(&keys[*i])),
            }
        }
        let what = format!("cannot write to {}", shape.shown);
        match self.store.send(&what, &commands).await {
            Ok(answers) => {
                let mut whole: Option<StoreError> = None;
                let mut done = false;
                for (i, answer) in sent.iter().zip(answers) {
                    out[*i] = match answer {
                        Answer::Int(1) => ChangeOutcome::Applied,
                        Answer::Int(0) => ChangeOutcome::LostRace,
                        // A script stops at its first refused command. All but the first one of a row could have left it half-done;
                        // memory, rights and replicas are looked at before a script begins.
                        Answer::ServerError(e) => ChangeOutcome::Refused(errors::server(&what, &e).at_key(&keys[*i])),
                        _ => ChangeOutcome::Ambiguous(StoreError::new(
                            ErrorKind::Protocol,
                            format!("{what}: an answer of another shape"),
                        )),
                    };
                    match &out[*i] {
                        ChangeOutcome::Refused(e) if e.recovery() != Recovery::Row => {
                            whole = whole.or_else(|| Some(StoreError::new(e.kind(), e.to_string())))
                        }
                        _ => done = true,
                    }
                }
                match whole {
                    Some(e) if !done && sent.len() == changes.len() => Err(e),
                    _ => Ok(out),
                }
            }
            Err((e, true)) => {
                for i in sent {
                    out[i] = ChangeOutcome::Ambiguous(StoreError::new(e.kind(), e.to_string()));
                }
                Ok(out)
            }
            Err((e, false)) => Err(e),
        }
    }
}

#[async_trait]
impl Table for RedisTable {
    fn spec(&self) -> &TableSpec {
        &self.spec
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn identity(&self) -> Result<Option<TableIdentity>, StoreError> {
        let what = "cannot ask which server this is";
        let mut asked = pipe();
        asked.add_command(cmd("INFO").arg("server").to_owned());
        asked.add_command(cmd("CLIENT").arg("INFO").to_owned());
        let answers = self.store.send(what, &asked).await.map_err(|(e, _)| e)?;
        let field = |at: usize, name: &str| {
            let text = match answers.get(at) {
                Some(Answer::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
                Some(Answer::VerbatimString { text, .. }) => text.clone(),
                _ => return None,
            };
            text.split_whitespace().find_map(|part| part.strip_prefix(name)).map(str::to_owned)
        };
        let (Some(process), Some(database)) = (field(0, "run_id:"), field(1, "db=")) else {
            return Err(StoreError::new(
                ErrorKind::Denied,
                format!("{what}: allow INFO and CLIENT INFO to the login of {}", self.store.shown()),
            ));
        };
        let name = self.spec.options.key_pattern.clone().unwrap_or_else(|| self.spec.name.to_string());
        Ok(Some(TableIdentity {
            live: format!("redis {process} {database} {name}"),
            // The number of a Redis is that of its process.
            lasting: format!("redis at {} {database} {name}", self.store.shown()),
        }))
    }

    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let mut out = vec![None; keys.len()];
        // A key that has no name here is a key that is not there.
        let named: Vec<(usize, (&RowKey, String))> =
            keys.iter().enumerate().filter_map(|(i, key)| Some((i, (key, self.shape.pattern.name(key)?)))).collect();
        let names: Vec<(&RowKey, String)> = named.iter().map(|(_, n)| n.clone()).collect();
        for ((i, (key, _)), stored) in named.iter().zip(self.stored(&names).await?) {
            if let Some(stored) = stored {
                out[*i] = Some(self.shape.row(key, &stored)?);
            }
        }
        Ok(out)
    }

    async fn scan(&self, range: &Range, position: &Position, limit: usize) -> Result<Page, StoreError> {
        let shape = &self.shape;
        let what = format!("cannot scan {}", shape.shown);
        match range {
            Range::Keys { from: None, to: None } | Range::Segment { index: 0, of: 1 } => {}
            Range::Keys { .. } | Range::Segment { .. } => {
                return Err(StoreError::new(ErrorKind::Unsupported, format!("{} is scanned as a whole", shape.shown)));
            }
        }
        let wrong = || {
            StoreError::new(
                ErrorKind::Config,
                format!("{what}: the saved position is not one of this table: start again"),
            )
        };
        let cursor: u64 = match position {
            Position::Start => 0,
            Position::Cursor(bytes) => {
                std::str::from_utf8(bytes).ok().and_then(|t| t.parse().ok()).filter(|c| *c != 0).ok_or_else(wrong)?
            }
            Position::After(_) => {
                return Err(StoreError::new(
                    ErrorKind::Unsupported,
                    format!("{} goes on by the server's own cursors, not by keys", shape.shown),
                ));
            }
        };
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(shape.pattern.glob()).arg("COUNT").arg(limit.clamp(1, 10_000));
        let answer = self.store.send(&what, pipe().add_command(scan)).await.map_err(|(e, _)| e)?.pop();
        let broken = || StoreError::new(ErrorKind::Protocol, format!("{what}: an answer of another shape"));
        let (next, names) = match answer {
            Some(Answer::ServerError(e)) => return Err(errors::server(&what, &e)),
            Some(Answer::Array(parts)) => match <[Answer; 2]>::try_from(parts) {
                Ok([Answer::BulkString(next), Answer::Array(names)]) => (next, names),
                _ => return Err(broken()),
            },
            _ => return Err(broken()),
        };
        let next: u64 = std::str::from_utf8(&next).ok().and_then(|t| t.parse().ok()).ok_or_else(broken)?;
        let (mut keys, mut given) = (Vec::new(), HashSet::new());
        for name in names {
            let Answer::BulkString(name) = name else { return Err(broken()) };
            let Ok(name) = String::from_utf8(name) else {
                return Err(StoreError::new(
                    ErrorKind::Unrepresentable,
                    format!("{}: a key of its pattern is no unicode", shape.shown),
                ));
            };
            match shape.pattern.key(&name) {
                // The glob is wider than the pattern.
                None => {}
                Some(None) => {
                    let digest = RowKey(vec![crate::Value::Text(name)]);
                    return Err(StoreError::new(
                        ErrorKind::Unrepresentable,
                        format!("{}: a key of its pattern is none of its key columns' values", shape.shown),
                    )
                    .at_key(&digest));
                }
                Some(Some(key)) if given.insert(name.clone()) => keys.push((key, name)),
                // Twice in one page.
                Some(Some(_)) => {}
            }
        }
        let asked: Vec<(&RowKey, String)> = keys.iter().map(|(key, name)| (key, name.clone())).collect();
        let mut rows = Vec::with_capacity(asked.len());
        for (stored, (key, _)) in self.stored(&asked).await?.into_iter().zip(&keys) {
            // What was deleted or has expired since is not there any more.
            if let Some(stored) = stored {
                rows.push(shape.row(key, &stored)?);
            }
        }
        // The server's own word for the end.
        let rest = if next == 0 { Rest::End } else { Rest::More(Position::Cursor(next.to_string().into_bytes())) };
        Ok(Page { rows, rest })
    }

    async fn split(&self, _rows: u64) -> Result<Vec<Range>, StoreError> {
        Ok(vec![Range::ALL])
    }

    async fn estimate(&self) -> Result<u64, StoreError> {
        let what = "cannot count keys";
        match self.store.send(what, pipe().add_command(cmd("DBSIZE"))).await.map_err(|(e, _)| e)?.pop() {
            Some(Answer::Int(n)) => Ok(u64::try_from(n).unwrap_or(0)),
            Some(Answer::ServerError(e)) => Err(errors::server(what, &e)),
            _ => Ok(0),
        }
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
        let mut out = Vec::with_capacity(changes.len());
        for chunk in changes.chunks(AT_ONCE) {
            match self.write_some(chunk).await {
                Ok(outcomes) => out.extend(outcomes),
                Err(e) if out.is_empty() => return Err(e),
                // What came before is done: these rows say the error each.
                Err(e) => {
                    out.extend(chunk.iter().map(|_| ChangeOutcome::Refused(StoreError::new(e.kind(), e.to_string()))))
                }
            }
        }
        Ok(out)
    }

    async fn load(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        for chunk in rows.chunks(AT_ONCE) {
            let changes: Vec<Change> = chunk.iter().map(|row| Change::Insert { row: row.clone() }).collect();
            for (outcome, row) in self.write_some(&changes).await?.into_iter().zip(chunk) {
                let what = format!("cannot load into {}", self.shape.shown);
                match outcome {
                    ChangeOutcome::Applied => {}
                    ChangeOutcome::LostRace => {
                        return Err(StoreError::new(ErrorKind::Refused, format!("{what}: a key is there already"))
                            .at_key(&row.key(&self.shape.key)));
                    }
                    ChangeOutcome::Refused(e) | ChangeOutcome::Ambiguous(e) => return Err(e),
                }
            }
        }
        Ok(())
    }
}
