//! `crossfade init`

use std::{fmt::Write as _, io::Write as _};

use clap::Args;
use crossfade_api::{config::Config, exit::Exit};
use serde_json::json;

use super::{Context, opening, output};

/// Write a commented crossfade.toml
#[derive(Args, Clone, Debug)]
pub(crate) struct InitArgs {
    /// The migration's id
    #[arg(long, default_value = "events")]
    id: String,
    /// URL of the database that you have; it is asked for its tables
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// URL of the database that you move to
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

/// Column names that mostly are the one who is migrated.
const COHORTS: [&str; 6] = ["user_id", "account_id", "tenant_id", "customer_id", "org_id", "owner_id"];

pub(super) async fn run(args: InitArgs, context: &Context) -> Exit {
    let path = context.config.display();
    if context.config.exists() && !args.force {
        output::fail(context, &format!("{path} is there already: edit it, or write over it with --force"));
        return Exit::Usage;
    }
    let mut tables = Vec::new();
    if let Some(url) = &args.source {
        let store = match opening::store(context, "source", url).await {
            Ok(store) => store,
            Err(exit) => return exit,
        };
        let names = match store.tables().await {
            Ok(names) => names,
            Err(e) => {
                output::fail(context, &e.to_string());
                return opening::exit_of(&e);
            }
        };
        for name in names {
            match store.describe(&name).await {
                Ok(schema) => {
                    let columns: Vec<&str> = schema.columns.iter().map(|c| c.name.as_str()).collect();
                    let first_key = schema.key.first().map(|i| columns[*i].to_owned()).unwrap_or_default();
                    let cohort = COHORTS.iter().find(|c| columns.contains(c)).map_or(first_key, |c| (*c).to_owned());
                    tables.push((name.to_string(), cohort));
                }
                // Tables without a primary key cannot move.
                Err(e) => output::say(context, "skipped", &format!("left out: {e}")),
            }
        }
    }
    if tables.is_empty() {
        tables.push((args.id.clone(), "user_id".to_owned()));
    }
    let text = file(&args, &tables);
    if let Err(e) = Config::parse(&text) {
        output::fail(context, &format!("the id `{}` does not work: {e}", args.id));
        return Exit::Usage;
    }
    let written = std::fs::File::create(&context.config).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    if let Err(e) = written {
        output::fail(context, &format!("cannot write {path}: {e}"));
        return Exit::Failed;
    }
    output::result(
        context,
        json!({ "file": path.to_string(), "migration": args.id, "tables": tables.len() }),
        &format!("wrote {path}: look through it, then `crossfade check`"),
    );
    Exit::Done
}

fn file(args: &InitArgs, tables: &[(String, String)]) -> String {
    let quoted = |s: &str| toml_string(s);
    let mut out = format!(
        "# A crossfade migration: from `source` to `target`, behind flags.\n# ${{VAR}} is read from the environment, so that secrets stay out of this file.\n\n[migration.{}]\nsource = {}\ntarget = {}\n",
        args.id,
        quoted(args.source.as_deref().unwrap_or("postgres://app:${SOURCE_PASSWORD}@localhost/app")),
        quoted(args.target.as_deref().unwrap_or("dynamodb://eu-west-1")),
    );
    for (name, cohort) in tables {
        // Writing into a String cannot fail.
        let _ = write!(
            out,
            "\n[migration.{id}.table.{table}]\ncohort = [{cohort}]   # the columns that decide the rollout: all rows of one user move together\n# target = {name}        # its name in the target, where that is another\n\n# [migration.{id}.table.{table}.map]\n# pk = \"USER#{{{column}}}\"                  # an attribute of the target, made from columns\n# note = {{ ignore = \"why\" }}             # not copied, not compared\n# amount = {{ lossy = \"float\" }}          # a loss that is accepted\n# created = {{ to = \"created_at\" }}       # another name in the target\n",
            id = args.id,
            table = toml_key(name),
            name = quoted(name),
            cohort = quoted(cohort),
            column = cohort,
        );
    }
    out
}

fn toml_string(s: &str) -> String {
    format!("\"{}\"", s.replace('\\', "\\\\").replace('"', "\\\""))
}

fn toml_key(s: &str) -> String {
    if s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') { s.to_owned() } else { toml_string(s) }
}
