//! `crossfade.toml`: which databases, which tables, and how rows are mapped.
//!
//! ```toml
//! [migration.events]
//! source = "postgres://app@db.internal/app"
//! target = "dynamodb://eu-west-1"
//!
//! [migration.events.table.events]
//! cohort = ["user_id"]
//! target = "events"
//! [migration.events.table.events.map]
//! pk = "USER#{user_id}"
//! note = { ignore = "free text of the old admin page" }
//! amount = { lossy = "float" }
//! ```
//!
//! Absent here: connecting, and what a table really looks like; `crossfade check` asks the databases.

use std::{collections::BTreeMap, fmt};

use crossfade_core::SampleValues;
use serde::{Deserialize, Deserializer, Serialize, de};

/// The whole file. Tables that are not named here are kept as they are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Config {
    /// By id.
    #[serde(default)]
    pub migration: BTreeMap<String, MigrationConfig>,
    /// The control plane that runs of the data side register with.
    #[serde(default)]
    pub server: Option<ServerConfig>,
}

/// A control plane. Other keys are left to those who serve one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerConfig {
    /// Where it is reached; none: runs register with none.
    #[serde(default)]
    pub url: Option<String>,
    /// A file with a token of it; without it the variable CROSSFADE_TOKEN.
    #[serde(default)]
    pub token_file: Option<std::path::PathBuf>,
}

/// One migration: two databases and the tables that move.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrationConfig {
    /// URL of DB1; `${VAR}` is read from the environment.
    pub source: String,
    /// URL of DB2.
    pub target: String,
    /// Mixed into the bucket of every key; default: the migration's id.
    #[serde(default)]
    pub salt: Option<String>,
    /// Whether samples of reads that differed carry both values, for operators; default: withheld. For the plan that the
    /// control plane makes of it.
    #[serde(default, rename = "sample-values")]
    pub sample_values: SampleValues,
    /// Tables by their name in the source.
    #[serde(default)]
    pub table: BTreeMap<String, TableConfig>,
}

/// One table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// Columns of the cohort key, in the source.
    pub cohort: Vec<String>,
    /// Its name in the target; default: the same.
    #[serde(default)]
    pub target: Option<String>,
    /// What is expected of the table.
    #[serde(default)]
    pub kind: TableKind,
    /// What becomes of rows that the target had before the migration, and that the source lacks; default: the first
    /// backfill asks.
    #[serde(default)]
    pub extra: Option<ExtraRows>,
    /// A column of the target that every write of a row changes: compare-and-set goes by it.
    #[serde(default)]
    pub version: Option<String>,
    /// A column with the moment a row expires; for `kind = "cache"`.
    #[serde(default)]
    pub ttl: Option<String>,
    /// Redis: how a row's key is made, as in `session:{id}`.
    #[serde(default)]
    pub key: Option<String>,
    /// Redis: `hash` or `json`.
    #[serde(default)]
    pub layout: Layout,
    /// For a source without columns of its own (DynamoDB): the JSON column of the target that gets the attributes without a column.
    #[serde(default)]
    pub rest: Option<String>,
    /// Target attributes made from templates, and source columns that are not copied as they are.
    #[serde(default)]
    pub map: BTreeMap<String, MapConfig>,
}

/// What is expected of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// Every row counts.
    #[default]
    Rows,
    /// Rows expire, and may be missing in the target.
    Cache,
}

/// What becomes of rows that the target had before the migration, and that the source lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtraRows {
    /// A backfill deletes them, and so does a repair towards the target.
    Delete,
    /// They stay, and verification reports them.
    Keep,
}

/// How Redis keeps a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A hash with a field per column.
    #[default]
    Hash,
    /// A string with a JSON object.
    Json,
}

/// One entry of `map`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapConfig {
    /// `attribute = "TEXT{column}TEXT"`: an attribute of the target, made from columns of the source. `"{column}"` alone keeps the column's type.
    Template(Template),
    /// `column = { ignore = "why" }`: not copied, not compared.
    Ignore {
        /// Why, for the next reader of the file.
        reason: String,
    },
    /// `column = { lossy = "float" }`: a loss that is accepted.
    Lossy(Loss),
    /// `column = { to = "name" }`, or `{ to = "name", lossy = "float" }`: another name in the target.
    Rename {
        /// The name in the target.
        to: String,
        /// A loss that is accepted.
        lossy: Option<Loss>,
    },
}

impl MapConfig {
    /// The loss that the file accepts for this column of the source.
    #[must_use]
    pub const fn loss(&self) -> Option<Loss> {
        match self {
            MapConfig::Lossy(loss) => Some(*loss),
            MapConfig::Rename { lossy, .. } => *lossy,
            MapConfig::Template(_) | MapConfig::Ignore { .. } => None,
        }
    }

    /// The other name of this column in the target.
    #[must_use]
    pub fn renamed(&self) -> Option<&str> {
        match self {
            MapConfig::Rename { to, .. } => Some(to),
            MapConfig::Template(_) | MapConfig::Ignore { .. } | MapConfig::Lossy(_) => None,
        }
    }
}

/// A loss that the file accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// Nothing is changed: a row with a value that the target cannot hold is refused.
    Refuse,
    /// Numbers and times to the nearest that the target holds.
    Round,
    /// Numbers, times and texts cut off where the target ends.
    Truncate,
    /// Decimals as the nearest binary float, doubles as the nearest float of the target's width.
    Float,
    /// Times without zone as UTC instants, or the other way.
    Utc,
    /// As its text form.
    Text,
}

impl Loss {
    /// All of them, those that change least first.
    pub const ALL: [Loss; 6] = [Loss::Refuse, Loss::Round, Loss::Truncate, Loss::Utc, Loss::Float, Loss::Text];

    /// The word of the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Loss::Refuse => "refuse",
            Loss::Round => "round",
            Loss::Truncate => "truncate",
            Loss::Float => "float",
            Loss::Utc => "utc",
            Loss::Text => "text",
        }
    }
}

/// A text with columns in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// In order.
    pub parts: Vec<TemplatePart>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// As it stands.
    Text(String),
    /// The text form of a column of the source.
    Column(String),
}

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' if chars.peek() == Some(&'{') => {
                    chars.next();
                    literal.push('{');
                }
                '}' if chars.peek() == Some(&'}') => {
                    chars.next();
                    literal.push('}');
                }
                '{' => {
                    let mut column = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(c) => column.push(c),
                            None => {
                                return Err(format!(
                                    "template `{text}` has `{{` without `}}`: close the column's name, or write `{{{{` for a brace"
                                ));
                            }
                        }
                    }
                    if column.is_empty() {
                        return Err(format!("template `{text}` has `{{}}` without a column's name"));
                    }
                    if !literal.is_empty() {
                        parts.push(TemplatePart::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(TemplatePart::Column(column));
                }
                '}' => return Err(format!("template `{text}` has `}}` without `{{`: write `}}}}` for a brace")),
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(TemplatePart::Text(literal));
        }
        if !parts.iter().any(|p| matches!(p, TemplatePart::Column(_))) {
            return Err(format!("template `{text}` names no column: write it as `{{column}}`"));
        }
        Ok(Template { parts })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                TemplatePart::Text(t) => f.write_str(&t.replace('{', "{{").replace('}', "}}"))?,
                TemplatePart::Column(c) => write!(f, "{{{c}}}")?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for MapConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> de::Visitor<'de> for Entry {
            type Value = MapConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a template like \"USER#{user_id}\", { ignore = \"why\" }, { lossy = \"float\" } or { to = \"name\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MapConfig, E> {
                text.parse().map(MapConfig::Template).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<MapConfig, A::Error> {
                let Some(word) = map.next_key::<String>()? else {
                    return Err(de::Error::custom(
                        "an empty map entry: write { ignore = \"why\" }, { lossy = \"float\" } or { to = \"name\" }",
                    ));
                };
                let entry = match word.as_str() {
                    "ignore" => {
                        let reason: String = map.next_value()?;
                        if reason.trim().is_empty() {
                            return Err(de::Error::custom("`ignore` wants the reason, for whoever reads this next"));
                        }
                        MapConfig::Ignore { reason }
                    }
                    "lossy" => MapConfig::Lossy(map.next_value()?),
                    "to" => MapConfig::Rename { to: map.next_value()?, lossy: None },
                    other => {
                        return Err(de::Error::custom(format!("`{other}` is no map entry: `ignore`, `lossy` or `to`")));
                    }
                };
                let Some(second) = map.next_key::<String>()? else { return Ok(entry) };
                let wrong = |second: &str| {
                    de::Error::custom(format!(
                        "`{second}` beside `{word}`: a map entry is `ignore`, `lossy`, `to`, or `lossy` and `to`"
                    ))
                };
                let both = match (entry, second.as_str()) {
                    (MapConfig::Rename { to, lossy: None }, "lossy") => {
                        MapConfig::Rename { to, lossy: Some(map.next_value()?) }
                    }
                    (MapConfig::Lossy(loss), "to") => MapConfig::Rename { to: map.next_value()?, lossy: Some(loss) },
                    (_, second) => return Err(wrong(second)),
                };
                match map.next_key::<String>()? {
                    None => Ok(both),
                    Some(third) => Err(wrong(&third)),
                }
            }
        }
        deserializer.deserialize_any(Entry)
    }
}

/// The file cannot be used as written.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, or not these keys; with line and column.
    #[error("{0}")]
    Parse(#[from] toml::de::Error),
    /// Something that only the whole file shows.
    #[error("migration.{migration}: {what}")]
    Migration {
        /// Its id.
        migration: String,
        /// What is wrong, and what to write.
        what: String,
    },
    /// A migration that the file does not have.
    #[error("there is no migration `{id}` in the file: it has {}", .known.join(", "))]
    NoMigration {
        /// What was asked for.
        id: String,
        /// What there is.
        known: Vec<String>,
    },
}

impl Config {
    /// Reads and checks the text of a `crossfade.toml`.
    ///
    /// # Errors
    /// Names line and column, or the migration, and what to write instead.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text)?;
        for (id, migration) in &config.migration {
            let wrong = |what: String| ConfigError::Migration { migration: id.clone(), what };
            if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return Err(wrong("an id is made of letters, digits, `-` and `_`".to_owned()));
            }
            if migration.table.is_empty() {
                return Err(wrong(format!("no table: write [migration.{id}.table.NAME] with `cohort = [\"column\"]`")));
            }
            for (name, table) in &migration.table {
                if table.cohort.is_empty() {
                    return Err(wrong(format!(
                        "table.{name}: `cohort` is empty: name the columns that decide the rollout, like [\"user_id\"]"
                    )));
                }
                if table.kind == TableKind::Rows && table.ttl.is_some() {
                    return Err(wrong(format!("table.{name}: `ttl` is for tables of `kind = \"cache\"`")));
                }
                for column in &table.cohort {
                    if let Some(MapConfig::Ignore { .. }) = table.map.get(column) {
                        return Err(wrong(format!("table.{name}: the cohort column `{column}` cannot be ignored")));
                    }
                }
            }
        }
        Ok(config)
    }

    /// One migration.
    ///
    /// # Errors
    /// [`ConfigError::NoMigration`] lists what there is.
    pub fn migration(&self, id: &str) -> Result<&MigrationConfig, ConfigError> {
        self.migration.get(id).ok_or_else(|| ConfigError::NoMigration {
            id: id.to_owned(),
            known: self.migration.keys().cloned().collect(),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
[server]
listen = "127.0.0.1:7420"
url = "http://127.0.0.1:7420"
[migration.events]
source = "postgres://app@db.internal/app"
target = "dynamodb://eu-west-1"
[migration.events.table.events]
cohort = ["user_id"]
target = "events"
[migration.events.table.events.map]
pk = "USER#{user_id}"
note = { ignore = "free text of the old admin page" }
amount = { lossy = "float" }
"#;

    #[test]
    fn the_file_of_the_design_is_read() {
        let config = Config::parse(WHOLE).unwrap();
        let server = config.server.as_ref().unwrap();
        assert_eq!((server.url.as_deref(), &server.token_file), (Some("http://127.0.0.1:7420"), &None));
        assert_eq!(config.migration("events").unwrap().sample_values, SampleValues::Withheld, "unless it is asked for");
        let table = &config.migration("events").unwrap().table["events"];
        assert_eq!(table.cohort, ["user_id"]);
        let MapConfig::Template(template) = &table.map["pk"] else { panic!("{:?}", table.map) };
        assert_eq!(template.to_string(), "USER#{user_id}");
        assert_eq!(table.map["amount"], MapConfig::Lossy(Loss::Float));
        assert!(matches!(&table.map["note"], MapConfig::Ignore { reason } if reason.starts_with("free")));
        assert!(config.migration("nope").unwrap_err().to_string().contains("events"));
    }

    #[test]
    fn mistakes_name_the_line_and_what_to_write() {
        for (change, expected) in [
            (("cohort = [\"user_id\"]", "cohorts = [\"user_id\"]"), "unknown field `cohorts`"),
            (("cohort = [\"user_id\"]", "cohort = []"), "name the columns that decide the rollout"),
            (("{ lossy = \"float\" }", "{ lossy = \"double\" }"), "unknown variant `double`"),
            (("{ lossy = \"float\" }", "{ drop = true }"), "`drop` is no map entry"),
            (("{ ignore = \"free text of the old admin page\" }", "{ ignore = \"\" }"), "wants the reason"),
            (("USER#{user_id}", "USER#{user_id"), "close the column's name"),
            (("USER#{user_id}", "USER"), "names no column"),
            (("{ lossy = \"float\" }", "{ lossy = \"float\", ignore = \"x\" }"), "`lossy` beside `ignore`"),
            (("{ lossy = \"float\" }", "{ lossy = \"float\", to = \"a\", ignore = \"b\" }"), "`lossy` beside `ignore`"),
            (("source = ", "sauce = "), "unknown field `sauce`"),
        ] {
            let error = Config::parse(&WHOLE.replace(change.0, change.1)).unwrap_err().to_string();
            assert!(error.contains(expected), "{change:?}: {error}");
        }
        let error = Config::parse(&WHOLE.replace("cohort = [", "cohorts = [")).unwrap_err().to_string();
        assert!(error.contains("line 9"), "{error}");
    }

    #[test]
    fn a_column_can_have_another_name_and_a_loss() {
        for entry in ["{ lossy = \"float\", to = \"sum\" }", "{ to = \"sum\", lossy = \"float\" }"] {
            let config = Config::parse(&WHOLE.replace("{ lossy = \"float\" }", entry)).unwrap();
            let read = &config.migration("events").unwrap().table["events"].map["amount"];
            assert_eq!((read.renamed(), read.loss()), (Some("sum"), Some(Loss::Float)), "{entry}");
        }
    }

    #[test]
    fn braces_can_be_written() {
        let template: Template = "{{{a}}}-{b}".parse().unwrap();
        assert_eq!(template.parts.len(), 4);
        assert_eq!(template.to_string().parse::<Template>().unwrap(), template);
    }
}
