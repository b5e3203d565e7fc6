//! A process of the application: workers that read and write through crossfade, and note what they were told.

use super::Places;
use crate::clock::{Dice, now};
use crate::dao::{
    BareSessions, MigratingBareSessions, MigratingOrders, MigratingRows, MigratingSessions, Orders, Row, RowError,
    RowId, Rows, Sessions, TABLES, named,
};
use crate::history::{Act, Book, CREATED, Outcome, SWEPT, Seen};
use crate::plane::MIGRATION;
use crate::stores::Store;
use anyhow::Context;
use clap::Args;
use crossfade::{Effect, Migration, plan};
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// Give the library no rows of the sessions: it can neither check nor repair them.
    #[arg(long)]
    bare: bool,
}

/// Groups of registers, and how many of them are hot.
const GROUPS: u64 = 150;
const HOT: u64 = 6;
const COUNTERS: u64 = 24;
/// New names to claim come up so often, in microseconds.
const CLAIMS_EVERY: u64 = 2_000_000;

/// Whose orders there are.
const OWNERS: u64 = 60;
/// A process remembers so many of its orders, and cancels the oldest beyond.
const ORDERS: usize = 150;
/// A session that expires does so after at most so many microseconds.
const EXPIRES_WITHIN: u64 = 3_000_000;
/// Between two sweeps of a process.
const SWEEP_EVERY: Duration = Duration::from_millis(1_500);

type Dao = MigratingRows<Store, Store>;

/// Sessions, with or without their rows for the library.
enum SessionsDao {
    Whole(MigratingSessions<Store, Store>),
    Bare(MigratingBareSessions<Store, Store>),
}

macro_rules! sessions {
    ($dao:expr, $sessions:ident => $call:expr) => {
        match $dao {
            SessionsDao::Whole($sessions) => $call.await,
            SessionsDao::Bare($sessions) => $call.await,
        }
    };
}

struct Shared {
    dao: Dao,
    orders: MigratingOrders<Store, Store>,
    sessions: SessionsDao,
    /// Orders that this process created: whose, and their ids.
    created: Mutex<VecDeque<(i64, RowId)>>,
    /// Whether expired sessions are deleted.
    sweeping: watch::Receiver<bool>,
    /// Held by a sweep under way.
    sweep: tokio::sync::Mutex<()>,
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
    let of = |table| (source.table(table), target.table(table), migration.clone());
    let [rows, orders, open] = TABLES.map(of);
    let dao = MigratingRows::new(rows.0, rows.1, rows.2);
    let orders = MigratingOrders::new(orders.0, orders.1, orders.2);
    let sessions = if args.bare {
        SessionsDao::Bare(MigratingBareSessions::new(open.0, open.1, open.2))
    } else {
        SessionsDao::Whole(MigratingSessions::new(open.0, open.1, open.2))
    };
    let (sweep, sweeping) = watch::channel(false);
    let (work, working) = watch::channel(false);
    let numbers = AtomicU64::new(1);
    let shared = Arc::new(Shared {
        dao,
        orders,
        sessions,
        created: Mutex::default(),
        sweeping,
        sweep: tokio::sync::Mutex::default(),
        book,
        process: args.number,
        secret,
        numbers,
        working,
        busy: watch::Sender::new(0),
    });
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
    let (sweeper, failed) = (Arc::clone(&shared), failed.clone());
    tokio::spawn(async move {
        if let Err(error) = sweep_on(&sweeper).await {
            drop(failed.try_send(error));
        }
    });
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
            "sweep" => {
                sweep.send_replace(true);
                println!("sweeping");
            }
            "no-sweep" => {
                sweep.send_replace(false);
                // Until the one under way has ended.
                drop(shared.sweep.lock().await);
                println!("swept");
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

/// Deletes expired sessions now and then.
async fn sweep_on(shared: &Shared) -> anyhow::Result<()> {
    let (mut working, mut sweeping) = (shared.working.clone(), shared.sweeping.clone());
    loop {
        working.wait_for(|working| *working).await?;
        sweeping.wait_for(|sweeping| *sweeping).await?;
        tokio::time::sleep(SWEEP_EVERY).await;
        let _under_way = shared.sweep.lock().await;
        shared.busy.send_modify(|busy| *busy += 1);
        let done = if *working.borrow() && *sweeping.borrow() { sweep(shared).await } else { Ok(()) };
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
    match dice.below(140) {
        0..26 => look(shared, &register).await,
        26..30 => look_at_all(shared, &several(dice, register)).await,
        30..36 => look(shared, &counter).await,
        36..40 => look(shared, &claim).await,
        40..63 => write(shared, &register, Do::Put).await,
        63..66 => put_all(shared, &several(dice, register)).await,
        66..80 => write(shared, &register, Do::Delete).await,
        80..95 => write(shared, &counter, Do::Increment).await,
        95..100 => write(shared, &claim, Do::Claim).await,
        100..106 => create(shared, i64::try_from(dice.below(OWNERS))?).await,
        106..120 => order(shared, dice).await,
        // Half of them have the id of a register, half that of an order; those with an odd number never expire.
        _ => {
            let id = if dice.percent(50) { register } else { RowId((2 * dice.below(60) + 1).to_string()) };
            session(shared, dice, &id).await
        }
    }
}

fn outcome_of<T>(answer: &Result<T, RowError>, told: impl FnOnce(&T) -> String) -> Outcome {
    match answer {
        Ok(answer) => Outcome::Done(told(answer)),
        Err(error) => match error.effect() {
            Effect::Refused => Outcome::Refused,
            Effect::Applied | Effect::Unknown => Outcome::Unknown,
        },
    }
}

/// Notes a write before and after it is done.
async fn noted<T>(
    shared: &Shared,
    row: &str,
    act: impl FnOnce(String) -> Act,
    call: impl AsyncFnOnce(String) -> Result<T, RowError>,
    told: impl FnOnce(&T) -> String,
) -> anyhow::Result<Option<T>> {
    let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
    let act = act(format!("{}-{number}", shared.process));
    shared.book.begin(number, row, &act)?;
    let value = match &act {
        Act::Put(value) | Act::Claim(value) | Act::Create(value) => format!("{}{value}", shared.secret),
        Act::Delete | Act::Increment | Act::Sweep(_) => String::new(),
    };
    let answer = call(value).await;
    shared.book.end(number, &outcome_of(&answer, told))?;
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(_) => rest().await.map(|()| None),
    }
}

fn nothing(_: &()) -> String {
    "-".to_owned()
}

async fn create(shared: &Shared, owner: i64) -> anyhow::Result<()> {
    let call = async |value: String| shared.orders.create(owner, &value).await;
    let Some(order) = noted(shared, CREATED, Act::Create, call, |order| order.id.0.clone()).await? else {
        return Ok(());
    };
    let oldest = {
        let mut created = shared.created.lock().unwrap_or_else(PoisonError::into_inner);
        created.push_back((owner, order.id));
        if created.len() > ORDERS { created.pop_front() } else { None }
    };
    match oldest {
        Some((owner, id)) => cancel(shared, owner, &id).await,
        None => Ok(()),
    }
}

async fn cancel(shared: &Shared, owner: i64, id: &RowId) -> anyhow::Result<()> {
    let call = async |_: String| shared.orders.cancel(owner, id).await;
    noted(shared, &named("orders", id), |_| Act::Delete, call, nothing).await.map(drop)
}

/// Something is done to an order that this process created.
async fn order(shared: &Shared, dice: &mut Dice) -> anyhow::Result<()> {
    let known = {
        let created = shared.created.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::try_from(dice.below(created.len() as u64)).unwrap_or(0);
        created.get(place).cloned()
    };
    let Some((owner, id)) = known else { return Ok(()) };
    match dice.below(10) {
        0..5 => {
            let began = now();
            let Ok(row) = shared.orders.order(owner, &id).await else { return rest().await };
            let seen = row.map(|row| seen_of(shared, &row));
            shared.book.read(began, &named("orders", &id), seen.as_ref())
        }
        5..9 => {
            let call = async |value: String| shared.orders.store(&Row { id: id.clone(), value, count: owner }).await;
            noted(shared, &named("orders", &id), Act::Put, call, nothing).await.map(drop)
        }
        _ => {
            // It stays known: a canceled order must not come back.
            cancel(shared, owner, &id).await
        }
    }
}

/// Whether the sessions of this id expire: those of one always or never do.
fn expires(id: &RowId) -> bool {
    id.0.bytes().last().is_some_and(|digit| digit % 2 == 0)
}

async fn session(shared: &Shared, dice: &mut Dice, id: &RowId) -> anyhow::Result<()> {
    let name = named("sessions", id);
    match dice.below(10) {
        0..4 => {
            let began = now();
            let row = sessions!(&shared.sessions, sessions => sessions.session(id));
            let Ok(row) = row else { return rest().await };
            let seen = row.map(|row| seen_of(shared, &row));
            shared.book.read(began, &name, seen.as_ref())
        }
        4..8 => {
            let until = if expires(id) { now() + dice.below(EXPIRES_WITHIN) } else { i64::MAX as u64 / 1_024 };
            let call = async |value: String| {
                let session = Row { id: id.clone(), value, count: i64::try_from(until).unwrap_or(i64::MAX) };
                sessions!(&shared.sessions, sessions => sessions.open(&session))
            };
            let act = |value| Act::Put(if expires(id) { format!("{value}~{until}") } else { value });
            noted(shared, &name, act, call, nothing).await.map(drop)
        }
        _ => {
            let call = async |_: String| sessions!(&shared.sessions, sessions => sessions.close(id));
            noted(shared, &name, |_| Act::Delete, call, nothing).await.map(drop)
        }
    }
}

async fn sweep(shared: &Shared) -> anyhow::Result<()> {
    let until = now();
    let call = async |_: String| {
        let until = i64::try_from(until).unwrap_or(0);
        sessions!(&shared.sessions, sessions => sessions.expire(until))
    };
    noted(shared, SWEPT, |_| Act::Sweep(until), call, nothing).await.map(drop)
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
    shared.book.end(number, &outcome_of(&answer, String::clone))?;
    if answer.is_err() { rest().await } else { Ok(()) }
}

/// After an error: a database that is down is not to be asked a thousand times a second.
async fn rest() -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}
