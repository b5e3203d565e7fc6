//! Users that write to both sides while a backfill runs, as the library does: the authority, then the secondary.

use crate::measure::median;
use anyhow::Context as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

/// Writes per second, of all users together.
const PER_SECOND: u32 = 500;
const USERS: u32 = 4;

/// p99 of the users' writes, seconds.
#[derive(Debug)]
pub(crate) struct Users {
    /// With nothing else going on.
    pub(crate) quiet: f64,
    /// Beside the backfill.
    pub(crate) beside: f64,
}

impl Users {
    pub(crate) fn slower(&self) -> f64 {
        self.beside / self.quiet
    }
}

/// Users at work.
pub(crate) struct Running {
    took: Arc<Mutex<Vec<f64>>>,
    end: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    fn take(&self) -> Vec<f64> {
        std::mem::take(&mut *self.took.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets them write for a while, and says what they felt.
    #[expect(clippy::disallowed_methods, reason = "this thread has no runtime: the users have one of their own")]
    pub(crate) fn felt_for(&self, time: Duration) -> f64 {
        std::thread::sleep(time);
        p99(self.take())
    }

    /// Ends them, and says what they felt since they were last asked.
    pub(crate) fn end(self) -> anyhow::Result<f64> {
        let felt = p99(self.take());
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().ok().context("the users panicked")??;
        Ok(felt)
    }
}

fn p99(mut took: Vec<f64>) -> f64 {
    took.sort_by(f64::total_cmp);
    let at = took.len().saturating_sub(1) * 99 / 100;
    if took.len() < 100 { median(took) } else { took.get(at).copied().unwrap_or(f64::NAN) }
}

/// Starts users that write rows among the first `rows` of `t`, and to `mirror` in the target: nine of ten are updates or inserts, one is a delete.
pub(crate) fn start(source: &str, target: &str, mirror: &'static str, rows: u64) -> anyhow::Result<Running> {
    let (took, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let urls = (source.to_owned(), target.to_owned());
    let (seen, ended) = (Arc::clone(&took), Arc::clone(&end));
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let users = (0..USERS).map(|user| write(&urls, mirror, user, rows, &seen, &ended));
            futures::future::try_join_all(users).await.map(drop)
        })
    });
    Ok(Running { took, end, thread })
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

const UPSERT: &str = "INSERT INTO t VALUES ($1, 'user-live', 'live', jsonb_build_object('n', $2::bigint), now()) \
    ON CONFLICT (id) DO UPDATE SET kind = 'live', body = excluded.body";
const MIRROR: &str = "SELECT $1, 'user-live', 'live', $2::text::jsonb, $3::text::timestamptz \
    ON CONFLICT (id) DO UPDATE SET user_id = $4, kind = 'live', body = excluded.body, at = excluded.at";

async fn write(
    (source, target): &(String, String),
    mirror: &str,
    user: u32,
    rows: u64,
    took: &Mutex<Vec<f64>>,
    end: &AtomicBool,
) -> anyhow::Result<()> {
    let (source, target) = (connect(source).await?, connect(target).await?);
    let upsert = source.prepare(&format!("{UPSERT} RETURNING user_id, body::text, at::text")).await?;
    let delete = target.prepare(&format!("DELETE FROM {mirror} WHERE id = $1")).await?;
    let mirror = target.prepare(&format!("INSERT INTO {mirror} {MIRROR}")).await?;
    let mut beat = tokio::time::interval(Duration::from_secs(1) * USERS / PER_SECOND);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut number = u64::from(user);
    while !end.load(Ordering::SeqCst) {
        beat.tick().await;
        number += u64::from(USERS);
        // Every user has rows of its own: the row order is kept by the library, not by this loop.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % rows;
        let id = i64::try_from(spread - spread % u64::from(USERS) + u64::from(user))?;
        let began = Instant::now();
        if number / u64::from(USERS) % 10 == 0 {
            source.execute("DELETE FROM t WHERE id = $1", &[&id]).await?;
            target.execute(&delete, &[&id]).await?;
        } else {
            let row = source.query_one(&upsert, &[&id, &i64::try_from(number)?]).await?;
            let (owner, body, at): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            target.execute(&mirror, &[&id, &body, &at, &owner]).await?;
        }
        took.lock().unwrap_or_else(PoisonError::into_inner).push(began.elapsed().as_secs_f64());
    }
    Ok(())
}
