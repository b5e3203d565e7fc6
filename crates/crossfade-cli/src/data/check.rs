//! `crossfade check`

use clap::Args;
use crossfade_api::exit::Exit;
use crossfade_stores::{StoreUrl, TableName};
use crossfade_transfer::check::{self, Level};
use serde_json::json;

use super::{Context, opening, output};

/// Try the file, the connections, the mapping and what both databases can do
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// Only this migration
    id: Option<String>,
    /// Only the file: nothing is connected to, and variables need not be set
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(args: CheckArgs, context: &Context) -> Exit {
    let config = match opening::config(context) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if let Some(id) = &args.id
        && let Err(exit) = opening::migration(context, &config, id)
    {
        return exit;
    }
    let (mut tables, mut notes, mut refused, mut unreachable) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut tell = |migration: &str, table: Option<&TableName>, level: Level, text: &str| {
        let word = match level {
            Level::Note => "note",
            Level::Refused => "refused",
            Level::Unreachable => "unreachable",
        };
        match level {
            Level::Note => notes += 1,
            Level::Refused => refused += 1,
            Level::Unreachable => unreachable += 1,
        }
        if context.json {
            output::line(
                &json!({ "event": "finding", "migration": migration, "table": table.map(TableName::as_str), "level": word, "message": text }),
            );
        } else {
            let place = table.map_or_else(|| migration.to_owned(), |t| format!("{migration}, table {t}"));
            output::say(context, "finding", &format!("{word}: {place}: {text}"));
        }
    };
    let mut migrations = 0_u64;
    for (id, migration) in config.migration.iter().filter(|(id, _)| args.id.as_ref().is_none_or(|only| only == *id)) {
        migrations += 1;
        tables += migration.table.len() as u64;
        if args.offline {
            for (side, url) in [("source", &migration.source), ("target", &migration.target)] {
                // A variable may stand for anything that a URL may hold.
                if let Err(e) = StoreUrl::parse_with(url, |_| Some("x".to_owned())) {
                    tell(id, None, Level::Refused, &format!("{side}: {e}"));
                }
            }
            continue;
        }
        let mut sides = Vec::new();
        for (side, url) in [("source", &migration.source), ("target", &migration.target)] {
            let opened = async {
                let store = crossfade_stores::open(&StoreUrl::from_config(url)?).await?;
                store.ping().await?;
                Ok::<_, crossfade_stores::StoreError>(store)
            };
            match opened.await {
                Ok(store) => sides.push(store),
                Err(e) => {
                    let level =
                        if opening::exit_of(&e) == Exit::Unreachable { Level::Unreachable } else { Level::Refused };
                    tell(id, None, level, &format!("{side}: {e}"));
                }
            }
        }
        if let [source, target] = &sides[..] {
            for (name, table) in &migration.table {
                for finding in check::table(source, target, name, table).await {
                    tell(id, Some(&TableName::new(name)), finding.level, &finding.text);
                }
            }
        }
    }
    let result = json!({ "migrations": migrations, "tables": tables, "notes": notes, "refused": refused, "unreachable": unreachable });
    let verdict = if refused > 0 || unreachable > 0 { "not ready" } else { "ready" };
    output::result(
        context,
        result,
        &format!(
            "{verdict}: {migrations} migrations, {tables} tables; {refused} refused, {unreachable} unreachable, {notes} notes"
        ),
    );
    if refused > 0 {
        Exit::Usage
    } else if unreachable > 0 {
        Exit::Unreachable
    } else {
        Exit::Done
    }
}
