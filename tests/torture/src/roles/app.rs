//! A process of the application: workers that read and write through crossfade, and note what they were told.

use super::Places;
use crate::clock::{Dice, now};
use crate::dao::{MigratingRows, Row, RowError, RowId, Rows};
use crate::history::{Act, Book, Outcome, Seen};
use crate::plane::MIGRATION;
use crate::stores::Store;
use anyhow::Context;
use clap::Args;
use crossfade::{Effect, Migration, plan};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::{mpsc, watch};

/// Run a process of the application.
#[derive(Args, Debug, Clone)]
pub(crate) struct AppArgs {
    #[command(flatten)]
    places: Places,
    /// Its number among all processes that there ever were.
    #[arg(long)]
    number: u64,
    /// Where to write its history.
    #[arg(long)]
    history: PathBuf,
    /// What its dice follow from.
    #[arg(long)]
    seed: u64,
    /// A file with the text that is part of every value.
    #[arg(long)]
    secret_file: PathBuf,
    /// How many callers at once.
    #[arg(long, default_value_t = 6)]
    workers: u64,
}

/// Groups of registers, and how many of them are hot.
const GROUPS: u64 = 150;
const HOT: u64 = 6;
const COUNTERS: u64 = 24;
/// New names to claim come up so often, in microseconds.
const CLAIMS_EVERY: u64 = 2_000_000;

type Dao = MigratingRows<Store, Store>;

struct Shared {
    dao: Dao,
    book: Book,
    process: u64,
    secret: String,
    numbers: AtomicU64,
    /// Whether to work.
    working: watch::Receiver<bool>,
    busy: watch::Sender<u64>,
}

pub(crate) async fn run(args: AppArgs) -> anyhow::Result<()> {
    let secret = std::fs::read_to_string(&args.secret_file).context("cannot read the secret")?.trim().to_owned();
    let book = Book::create(&args.history)?;
    let (source, target) = args.places.stores(10)?;
    let from =
        plan::server(&args.places.server).token_file(&args.places.token_file).host(format!("app{}", args.number));
    let membership = from.membership();
    let migration = Migration::builder(MIGRATION)
        .plan(from)
        .first_plan_within(Duration::from_secs(180))
        .build()
        .await
        .context("no migration")?;
    let dao = MigratingRows::new(source, target, migration.clone());
    let (work, working) = watch::channel(false);
    let numbers = AtomicU64::new(1);
    let shared =
        Arc::new(Shared { dao, book, process: args.number, secret, numbers, working, busy: watch::Sender::new(0) });
    let (failed, mut failures) = mpsc::channel(1);
    for worker in 0..args.workers {
        let failed = failed.clone();
        let dice = Dice::new(args.seed ^ (args.number << 32) ^ (worker << 16));
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Err(error) = serve(&shared, dice).await {
                // Whoever has failed before is enough.
                drop(failed.try_send(error));
            }
        });
    }
    println!("ready");
    let seen = migration.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let standing = seen.standing();
            let observed = seen.observe();
            tracing::info!(revision = %standing.revision, acknowledged = standing.acknowledged, marked = observed.marked, repaired = observed.repaired, failed = observed.repair_failures, "standing");
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            // Without its history a worker proves nothing: the whole process goes.
            Some(error) = failures.recv() => return Err(error),
        };
        let Some(line) = line else { return Ok(()) };
        match line.as_str() {
            "go" => {
                work.send_replace(true);
                println!("going");
            }
            "pause" => {
                idle(&work, &shared).await;
                // A repair that keeps failing is tried again after ten lingers at the latest.
                let marks = migration.drain(super::DRAINED_WITHIN).await;
                println!("paused {}", marks.len());
            }
            "stop" => {
                idle(&work, &shared).await;
                let left = membership.leave(Duration::from_secs(20)).await;
                println!("left {left}");
                return Ok(());
            }
            other => anyhow::bail!("`{other}` is no order"),
        }
    }
}

async fn idle(work: &watch::Sender<bool>, shared: &Shared) {
    work.send_replace(false);
    let mut busy = shared.busy.subscribe();
    // The sender lives in `shared`.
    let _idle = busy.wait_for(|busy| *busy == 0).await;
}

/// Returns when the driver has closed the standard input, or is gone.
pub(crate) async fn end_of_input() {
    let mut input = tokio::io::stdin();
    let mut some = [0u8; 64];
    while matches!(input.read(&mut some).await, Ok(read) if read > 0) {}
}

async fn serve(shared: &Shared, mut dice: Dice) -> anyhow::Result<()> {
    let mut working = shared.working.clone();
    loop {
        if !*working.borrow_and_update() {
            working.changed().await?;
            continue;
        }
        shared.busy.send_modify(|busy| *busy += 1);
        // Looked at again: a pause counts whoever is busy.
        let done = if *working.borrow() { one(shared, &mut dice).await } else { Ok(()) };
        shared.busy.send_modify(|busy| *busy -= 1);
        done?;
    }
}

async fn one(shared: &Shared, dice: &mut Dice) -> anyhow::Result<()> {
    let group = if dice.percent(35) { dice.below(HOT) } else { dice.below(GROUPS) };
    let register = RowId(format!("r{group}.{}", dice.below(2)));
    let hot = if dice.percent(50) { dice.below(3) } else { dice.below(COUNTERS) };
    let counter = RowId(format!("n{hot}.0"));
    let claim = RowId(format!("c{}.{}", dice.below(8), now() / CLAIMS_EVERY));
    match dice.below(100) {
        0..26 => look(shared, &register).await,
        26..30 => look_at_all(shared, &several(dice, register)).await,
        30..36 => look(shared, &counter).await,
        36..40 => look(shared, &claim).await,
        40..63 => write(shared, &register, Do::Put).await,
        63..66 => put_all(shared, &several(dice, register)).await,
        66..80 => write(shared, &register, Do::Delete).await,
        80..95 => write(shared, &counter, Do::Increment).await,
        _ => write(shared, &claim, Do::Claim).await,
    }
}

/// One row and up to two more, of groups that may be at different stages; in an order that all callers share, so that
/// no two of them wait for each other.
fn several(dice: &mut Dice, one: RowId) -> Vec<RowId> {
    let mut rows = BTreeSet::from([one]);
    for _ in 0..2 {
        let group = if dice.percent(35) { dice.below(HOT) } else { dice.below(GROUPS) };
        rows.insert(RowId(format!("r{group}.{}", dice.below(2))));
    }
    rows.into_iter().collect()
}

enum Do {
    Put,
    Delete,
    Increment,
    Claim,
}

async fn look(shared: &Shared, id: &RowId) -> anyhow::Result<()> {
    let began = now();
    // Of a read without an answer nothing is claimed.
    let Ok(row) = shared.dao.get(id).await else { return rest().await };
    let seen = row.map(|row| seen_of(shared, &row));
    shared.book.read(began, &id.0, seen.as_ref())
}

fn seen_of(shared: &Shared, row: &Row) -> Seen {
    Seen { value: plain(&shared.secret, &row.value), count: row.count }
}

/// A value without its secret; `?` for one that has none.
pub(crate) fn plain(secret: &str, value: &str) -> String {
    if value.is_empty() {
        return String::new();
    }
    value.strip_prefix(secret).map_or_else(|| "?".to_owned(), str::to_owned)
}

async fn look_at_all(shared: &Shared, ids: &[RowId]) -> anyhow::Result<()> {
    let began = now();
    let Ok(rows) = shared.dao.get_all(ids).await else { return rest().await };
    anyhow::ensure!(rows.len() == ids.len(), "{} rows for {} ids", rows.len(), ids.len());
    for (id, row) in ids.iter().zip(rows) {
        let seen = row.map(|row| seen_of(shared, &row));
        shared.book.read(began, &id.0, seen.as_ref())?;
    }
    Ok(())
}

/// One call, and one write of a history for each row: an error leaves open which of them were done.
async fn put_all(shared: &Shared, ids: &[RowId]) -> anyhow::Result<()> {
    let first = shared.numbers.fetch_add(ids.len() as u64, Ordering::Relaxed);
    let mut rows = Vec::with_capacity(ids.len());
    for (number, id) in (first..).zip(ids) {
        let name = format!("{}-{number}", shared.process);
        rows.push(Row { id: id.clone(), value: format!("{}{name}", shared.secret), count: 0 });
        shared.book.begin(number, &id.0, &Act::Put(name))?;
    }
    let answer = shared.dao.put_all(&rows).await;
    let outcome = if answer.is_ok() { Outcome::Done("-".to_owned()) } else { Outcome::Unknown };
    for (number, _) in (first..).zip(ids) {
        shared.book.end(number, &outcome)?;
    }
    if answer.is_err() { rest().await } else { Ok(()) }
}

async fn write(shared: &Shared, id: &RowId, what: Do) -> anyhow::Result<()> {
    let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{number}", shared.process);
    let value = format!("{}{name}", shared.secret);
    let act = match what {
        Do::Put => Act::Put(name),
        Do::Delete => Act::Delete,
        Do::Increment => Act::Increment,
        Do::Claim => Act::Claim(name),
    };
    shared.book.begin(number, &id.0, &act)?;
    let answer: Result<String, RowError> = match what {
        Do::Put => shared.dao.put(id, &value).await.map(|()| "-".to_owned()),
        Do::Delete => shared.dao.delete(id).await.map(|()| "-".to_owned()),
        Do::Increment => shared.dao.increment(id).await.map(|count| count.to_string()),
        Do::Claim => shared.dao.claim(id, &value).await.map(|winner| plain(&shared.secret, &winner)),
    };
    let outcome = match &answer {
        Ok(answer) => Outcome::Done(answer.clone()),
        Err(error) => match error.effect() {
            Effect::Refused => Outcome::Refused,
            Effect::Applied | Effect::Unknown => Outcome::Unknown,
        },
    };
    shared.book.end(number, &outcome)?;
    if answer.is_err() { rest().await } else { Ok(()) }
}

/// After an error: a database that is down is not to be asked a thousand times a second.
async fn rest() -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}
