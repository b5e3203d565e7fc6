//! One opened table: its key pattern, its fields, and the scripts that read and write one row at one moment.

use std::collections::HashMap;

use redis::{Cmd, Value as Answer, cmd};

use super::{errors, pattern::Pattern, values};
use crate::{ColumnType, ErrorKind, Fit, Row, RowKey, StoreError, TableSpec, Value, schema::Layout};

/// `nil`, or kind, expiry (ms, -1 for never) and the fields or the string.
pub(super) const READ: &str = "\
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return false end
local expiry = '-1'
if ARGV[1] == '1' then expiry = string.format('%.0f', redis.call('PEXPIRETIME', KEYS[1])) end
if kind == 'hash' then
  if #ARGV == 1 then return {kind, expiry} end
  local fields = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
  table.insert(fields, 1, expiry)
  table.insert(fields, 1, kind)
  return fields
end
if kind == 'string' then return {kind, expiry, redis.call('GET', KEYS[1])} end
return {kind, expiry}";

/// ARGV: `new` or the seen expiry ('' for any), what is done (`put` or `del`), the new expiry ('' as it is, '-1' never, or ms),
/// how many fields are compared, then those, then those to put; each is name, '1' or '0' for whether it is there, value.
const HASH: &str = "\
local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
local at = 5
if ARGV[1] == 'new' then
  if kind ~= 'none' then return 0 end
else
  if kind ~= 'hash' then return 0 end
  if ARGV[1] ~= '' and string.format('%.0f', redis.call('PEXPIRETIME', key)) ~= ARGV[1] then return 0 end
  for _ = 1, tonumber(ARGV[4]) do
    local there = redis.call('HGET', key, ARGV[at])
    if ARGV[at + 1] == '1' then
      if there ~= ARGV[at + 2] then return 0 end
    elseif there then return 0 end
    at = at + 3
  end
end
if ARGV[2] == 'del' then redis.call('DEL', key) return 1 end
for i = at, #ARGV, 3 do
  if ARGV[i + 1] == '1' then redis.call('HSET', key, ARGV[i], ARGV[i + 2]) else redis.call('HDEL', key, ARGV[i]) end
end
if ARGV[3] == '-1' then redis.call('PERSIST', key) elseif ARGV[3] ~= '' then redis.call('PEXPIREAT', key, ARGV[3]) end
return 1";

/// ARGV: as above, but for the seen string in the place of the count, and the new string behind it.
const STRING: &str = "\
local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if ARGV[1] == 'new' then
  if kind ~= 'none' then return 0 end
else
  if kind ~= 'string' then return 0 end
  if ARGV[1] ~= '' and string.format('%.0f', redis.call('PEXPIRETIME', key)) ~= ARGV[1] then return 0 end
  if redis.call('GET', key) ~= ARGV[4] then return 0 end
end
if ARGV[2] == 'del' then redis.call('DEL', key) return 1 end
if ARGV[3] == '-1' then redis.call('SET', key, ARGV[5])
elseif ARGV[3] == '' then redis.call('SET', key, ARGV[5], 'KEEPTTL')
else redis.call('SET', key, ARGV[5], 'PXAT', ARGV[3]) end
return 1";

/// What is there, as it is stored.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Stored {
    /// ms, or -1 for never.
    pub(super) expiry: i64,
    pub(super) body: Body,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Body {
    /// The fields of the spec's columns, without key and expiry.
    Hash(Vec<Option<Vec<u8>>>),
    Text(Vec<u8>),
}

pub(super) struct Shape {
    pub(super) shown: String,
    pub(super) pattern: Pattern,
    pub(super) names: Vec<String>,
    pub(super) types: Vec<ColumnType>,
    pub(super) key: Vec<usize>,
    /// Columns that are fields or members, in order.
    pub(super) fields: Vec<usize>,
    /// The column of the expiry, and whether it may be rounded up to the millisecond.
    pub(super) ttl: Option<(usize, bool)>,
    pub(super) layout: Layout,
    version: Option<usize>,
}

impl Shape {
    pub(super) fn new(shown: &str, spec: &TableSpec) -> Result<Self, StoreError> {
        let shown = format!("table {} in {shown}", spec.name);
        let config = |what: String| StoreError::new(ErrorKind::Config, format!("{shown}: {what}"));
        if spec.key.is_empty() {
            return Err(config("it has no key columns".to_owned()));
        }
        let place = |name: &str, what: &str| {
            spec.columns
                .iter()
                .position(|c| c.name == name)
                .ok_or_else(|| config(format!("the {what} `{name}` is not among its mapped columns")))
        };
        for column in &spec.columns {
            if let Fit::Refused(why) = values::fit(&column.ty, None) {
                return Err(StoreError::new(
                    ErrorKind::Unrepresentable,
                    format!("{shown} does not keep {}: {why}", column.ty),
                )
                .in_column(&column.name));
            }
        }
        let ttl = spec
            .options
            .ttl_column
            .as_deref()
            .map(|n| place(n, "ttl column"))
            .transpose()?
            .map(|i| (i, spec.columns[i].accept_loss));
        if let Some((i, _)) = ttl {
            if !matches!(spec.columns[i].ty, ColumnType::TimestampTz | ColumnType::Timestamp) {
                return Err(StoreError::new(
                    ErrorKind::Unrepresentable,
                    format!("{shown}: the ttl column must be a timestamp, not {}", spec.columns[i].ty),
                )
                .in_column(&spec.columns[i].name));
            }
            if spec.key.contains(&i) {
                return Err(config("the ttl column is part of the key".to_owned()));
            }
        }
        let version = spec.options.version_column.as_deref().map(|n| place(n, "version column")).transpose()?;
        let key: Vec<(&str, &ColumnType)> =
            spec.key.iter().map(|i| (spec.columns[*i].name.as_str(), &spec.columns[*i].ty)).collect();
        let pattern = match &spec.options.key_pattern {
            Some(pattern) => pattern.clone(),
            None => {
                format!("{}:{}", spec.name, key.iter().map(|(k, _)| format!("{{{k}}}")).collect::<Vec<_>>().join(":"))
            }
        };
        let pattern = Pattern::parse(&pattern, &key).map_err(config)?;
        let fields =
            (0..spec.columns.len()).filter(|i| !spec.key.contains(i) && ttl.is_none_or(|(t, _)| t != *i)).collect();
        Ok(Shape {
            pattern,
            names: spec.columns.iter().map(|c| c.name.clone()).collect(),
            types: spec.columns.iter().map(|c| c.ty.clone()).collect(),
            key: spec.key.clone(),
            fields,
            ttl,
            layout: spec.options.layout,
            version,
            shown,
        })
    }

    fn unrepresentable(&self, column: usize, what: &str) -> StoreError {
        StoreError::new(ErrorKind::Unrepresentable, format!("{}: {what}", self.shown)).in_column(&self.names[column])
    }

    /// The name of a row's key.
    pub(super) fn name(&self, key: &RowKey) -> Result<String, StoreError> {
        self.pattern.name(key).ok_or_else(|| {
            StoreError::new(
                ErrorKind::Unrepresentable,
                format!(
                    "{}: the key holds what the key pattern sets between two columns: choose another pattern",
                    self.shown
                ),
            )
            .at_key(key)
        })
    }

    pub(super) fn read(&self, name: &str) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(READ).arg(1).arg(name).arg(if self.ttl.is_some() { "1" } else { "0" });
        if self.layout == Layout::Hash {
            for i in &self.fields {
                command.arg(&self.names[*i]);
            }
        }
        command
    }

    /// An answer to [`Shape::read`].
    pub(super) fn stored(&self, answer: Answer, key: &RowKey) -> Result<Option<Stored>, StoreError> {
        let what = format!("cannot read {}", self.shown);
        let broken = || StoreError::new(ErrorKind::Protocol, format!("{what}: an answer of another shape"));
        let parts = match answer {
            Answer::Nil => return Ok(None),
            Answer::Array(parts) => parts,
            Answer::ServerError(e) => return Err(errors::server(&what, &e)),
            _ => return Err(broken()),
        };
        let mut parts = parts.into_iter().map(bytes);
        let kind = parts.next().flatten().ok_or_else(broken)?;
        let expiry =
            parts.next().flatten().and_then(|b| std::str::from_utf8(&b).ok()?.parse().ok()).ok_or_else(broken)?;
        let body = match (self.layout, kind.as_slice()) {
            (Layout::Hash, b"hash") => Body::Hash(parts.collect()),
            (Layout::Json, b"string") => Body::Text(parts.next().flatten().ok_or_else(broken)?),
            _ => {
                return Err(StoreError::new(
                    ErrorKind::Unrepresentable,
                    format!(
                        "{}: a key of its pattern is a {}, not what `layout` says",
                        self.shown,
                        String::from_utf8_lossy(&kind)
                    ),
                )
                .at_key(key));
            }
        };
        Ok(Some(Stored { expiry, body }))
    }

    /// The row of what is stored.
    pub(super) fn row(&self, key: &RowKey, stored: &Stored) -> Result<Row, StoreError> {
        let mut out = vec![Value::Null; self.names.len()];
        for (i, value) in self.key.iter().zip(&key.0) {
            out[*i] = value.clone();
        }
        if let Some((i, _)) = self.ttl
            && stored.expiry >= 0
        {
            let micros = stored.expiry.saturating_mul(1_000);
            out[i] = if self.types[i] == ColumnType::Timestamp {
                Value::Timestamp(micros)
            } else {
                Value::TimestampTz(micros)
            };
        }
        let wrong = |i: usize| {
            self.unrepresentable(i, &format!("a stored field cannot be read as {}", self.types[i])).at_key(key)
        };
        match &stored.body {
            Body::Hash(fields) => {
                for (i, field) in self.fields.iter().zip(fields) {
                    if let Some(field) = field {
                        out[*i] = values::from_field(field, &self.types[*i]).ok_or_else(|| wrong(*i))?;
                    }
                }
            }
            Body::Text(text) => {
                let members = values::members(text).ok_or_else(|| {
                    StoreError::new(
                        ErrorKind::Unrepresentable,
                        format!("{}: a stored string is no json object", self.shown),
                    )
                    .at_key(key)
                })?;
                for i in &self.fields {
                    if let Some(member) = members.get(&self.names[*i]) {
                        out[*i] = values::from_json(member.get(), &self.types[*i]).ok_or_else(|| wrong(*i))?;
                    }
                }
            }
        }
        Ok(Row(out))
    }

    /// Whether what is there is what was seen.
    pub(super) fn is_seen(&self, row: &Row, seen: &Row) -> bool {
        match self.version {
            Some(v) => row.0[v] == seen.0[v],
            None => row == seen,
        }
    }

    /// '' if the table has no expiry.
    fn expiry(&self, row: &Row) -> Result<String, StoreError> {
        let Some((i, rounded)) = self.ttl else { return Ok(String::new()) };
        match &row.0[i] {
            Value::Null => Ok("-1".to_owned()),
            Value::Timestamp(n) | Value::TimestampTz(n) => {
                if matches!(*n, i64::MAX | i64::MIN) || *n < 0 {
                    return Err(
                        self.unrepresentable(i, "an expiry is a moment since 1970, not infinity: use null for never")
                    );
                }
                if n % 1_000 != 0 && !rounded {
                    return Err(
                        self.unrepresentable(i, "an expiry is of whole milliseconds in redis: map it with `lossy = \"round\"` (up) or \"truncate\"")
                    );
                }
                Ok((n / 1_000 + i64::from(n % 1_000 != 0)).to_string())
            }
            _ => Err(self.unrepresentable(i, "the ttl column must be a timestamp")),
        }
    }

    /// A conditional write: of nothing, or of what is stored; to a row, or to nothing.
    pub(super) fn write(&self, name: &str, seen: Option<&Stored>, row: Option<&Row>) -> Result<Cmd, StoreError> {
        let mut command = cmd("EVAL");
        command.arg(if self.layout == Layout::Hash { HASH } else { STRING }).arg(1).arg(name);
        match seen {
            None => command.arg("new"),
            Some(_) if self.ttl.is_none() => command.arg(""),
            Some(stored) => command.arg(stored.expiry.to_string()),
        };
        command.arg(if row.is_some() { "put" } else { "del" });
        command.arg(row.map(|r| self.expiry(r)).transpose()?.unwrap_or_default());
        match (self.layout, seen.map(|s| &s.body)) {
            (Layout::Hash, Some(Body::Hash(there))) => {
                let compared: Vec<(usize, &Option<Vec<u8>>)> = self
                    .fields
                    .iter()
                    .copied()
                    .zip(there)
                    .filter(|(i, _)| self.version.is_none_or(|v| v == *i))
                    .collect();
                command.arg(compared.len());
                for (i, field) in compared {
                    field_args(&mut command, &self.names[i], field.as_deref());
                }
            }
            (Layout::Hash, _) => {
                command.arg(0);
            }
            (Layout::Json, Some(Body::Text(text))) => {
                command.arg(text.as_slice());
            }
            (Layout::Json, _) => {
                command.arg("");
            }
        }
        let Some(row) = row else { return Ok(command) };
        // The key's columns are fields, too: an application may want them there. They are never read.
        let written = self.key.iter().chain(&self.fields).copied();
        match self.layout {
            Layout::Hash => {
                for i in written {
                    if matches!(row.0[i], Value::Native(_)) {
                        return Err(self.unrepresentable(i, "a type that only one engine knows"));
                    }
                    field_args(&mut command, &self.names[i], values::to_field(&row.0[i]).as_deref());
                }
            }
            Layout::Json => {
                let members = match seen.map(|s| &s.body) {
                    Some(Body::Text(text)) => values::members(text).unwrap_or_default(),
                    _ => HashMap::new(),
                };
                let mut put = Vec::new();
                for i in written {
                    let json = match &row.0[i] {
                        Value::Null => None,
                        value => Some(
                            values::to_json(value).ok_or_else(|| self.unrepresentable(i, "the value is no json"))?,
                        ),
                    };
                    put.push((self.names[i].as_str(), json));
                }
                command.arg(values::object(members, put).ok_or_else(|| {
                    StoreError::new(ErrorKind::Unrepresentable, format!("{}: the row is no json object", self.shown))
                })?);
            }
        }
        Ok(command)
    }
}

fn field_args(command: &mut Cmd, name: &str, value: Option<&[u8]>) {
    command.arg(name).arg(if value.is_some() { "1" } else { "0" }).arg(value.unwrap_or_default());
}

fn bytes(answer: Answer) -> Option<Vec<u8>> {
    match answer {
        Answer::BulkString(b) => Some(b),
        Answer::SimpleString(s) => Some(s.into_bytes()),
        Answer::Okay => Some(b"OK".to_vec()),
        Answer::Int(n) => Some(n.to_string().into_bytes()),
        _ => None,
    }
}
