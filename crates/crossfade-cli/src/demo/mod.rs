//! `crossfade demo`: the story of a migration, on real events, with real traffic.

mod check;
mod inject;
mod picture;
mod report;
mod rows;
mod serve;
mod sides;
mod story;
mod traffic;

use crate::Global;
use crate::say::Failure;
use anyhow::Context as _;
use clap::ValueEnum;
use crossfade_api::exit::Exit;
use crossfade_example_events::{embedded, flights};
use std::path::PathBuf;
use std::sync::Arc;

/// Watches a live service move its events from one database to another, with nothing lost.
///
/// By default from a SQLite file in a temporary folder to DynamoDB (an emulator inside this process, spoken to by the
/// official SDK over loopback).
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// How many of the 336,776 real events take part; five sixths are history, the rest arrives live.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(300..=336_776))]
    rows: u32,
    /// About how long the live traffic lasts, without backfill and checks.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=3_600))]
    seconds: u32,
    /// When history is moved: before reads are compared, or after, as the first telling of the story has it.
    #[arg(long, value_enum, default_value_t = Order::Seed)]
    order: Order,
    /// Something that goes wrong in the target.
    #[arg(long, value_enum)]
    inject: Option<Inject>,
    /// Where the events are: sqlite://PATH, postgres://…, or dynamodb://REGION[?endpoint=URL].
    #[arg(long)]
    source: Option<String>,
    /// Where they go.
    #[arg(long)]
    target: Option<String>,
    /// The schema or table that is made for the demo; one that exists is refused.
    #[arg(long, default_value = "crossfade_demo")]
    name: String,
    /// Other events than those that come with the program: a zstd-compressed CSV of the same columns.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The port of the embedded DynamoDB endpoint; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Tells the story through a control plane in this process, seen in its dashboard; the link to it is printed.
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    serve: Option<u16>,
    /// Concurrent users.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    users: u16,
}

/// When history is moved (R15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Between dual-write and shadow.
    Classic,
    /// After reads and writes are ramped to all users in shadow.
    Seed,
}

/// What goes wrong.
#[expect(clippy::enum_variant_names, reason = "the names on the command line are a contract")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Inject {
    /// The new DAO corrupts one field of 1 % of the events.
    TargetBug,
    /// The target takes 200 ms longer for everything, until the backfill.
    TargetSlow,
    /// The target refuses everything for 5 s during dual-write.
    TargetDown,
}

/// Backfill, verification and checks take their time too: live events arrive for so many times `--seconds`.
const LIVE_FOR: f64 = 3.0;

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Failure> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if args.name.is_empty()
        || args.name.len() > 60
        || !args.name.starts_with(|c: char| c.is_ascii_lowercase())
        || !args.name.chars().all(plain)
    {
        return Err(Failure::usage(anyhow::anyhow!(
            "--name `{}` is no plain name: use a-z, 0-9 and `_`, beginning with a letter",
            args.name
        )));
    }
    let flights = read(&args)?;
    picture::log_to_nowhere_unless_asked();
    let sides = sides::open(&args).await?;
    let world = Arc::new(traffic::World::new(flights, f64::from(args.seconds) * LIVE_FOR, usize::from(args.users)));
    let plane = serve::asked(&args, global.json, sides.folder.path()).await?;
    let picture = picture::Picture::new(global.json);
    story::tell(&args, sides, world, picture, plane).await
}

fn read(args: &Args) -> Result<Vec<crossfade_example_events::Flight>, Failure> {
    let rows = args.rows as usize;
    let found = match &args.data {
        None => flights(embedded(), rows).map_err(anyhow::Error::from),
        Some(path) => std::fs::File::open(path)
            .map_err(anyhow::Error::from)
            .and_then(|file| Ok(flights(file, rows)?))
            .with_context(|| format!("cannot read the events in {}", path.display())),
    };
    let found = found.map_err(Failure::usage)?;
    if found.len() < rows {
        return Err(Failure::usage(anyhow::anyhow!(
            "the data has {} events and --rows asks for {rows}: ask for fewer",
            found.len()
        )));
    }
    Ok(found)
}
