//! The application beside a server that dies: one process with the library, whose users read and write all the time.

use crossfade::plan::Membership;
use crossfade::rows::RowPair;
use crossfade::{Migration, compare, plan};
use crossfade_core::{Effect, Phase, Side};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const KEYS: i64 = 8;
/// Reads, and writes, that have to succeed while the server is dead.
const ENOUGH: u64 = 20;
/// Nobody waits so long for what takes a few milliseconds: it has stopped.
const PATIENCE: Duration = Duration::from_secs(60);

/// The address at which the application knows the server; lives of the server come and go behind it.
pub(super) struct Door {
    pub(super) url: String,
    leads_to: Arc<Mutex<Option<SocketAddr>>>,
    _open: JoinSet<()>,
}

impl Door {
    pub(super) async fn open() -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let leads_to: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let (behind, mut open) = (leads_to.clone(), JoinSet::new());
        open.spawn(async move {
            loop {
                let Ok((mut here, _)) = listener.accept().await else { continue };
                let address = *behind.lock().unwrap();
                tokio::spawn(async move {
                    // A dead server refuses; what was open through here ends with it.
                    let Some(address) = address else { return };
                    let Ok(mut there) = TcpStream::connect(address).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                });
            }
        });
        Door { url, leads_to, _open: open }
    }

    pub(super) fn leads_to(&self, address: SocketAddr) {
        *self.leads_to.lock().unwrap() = Some(address);
    }
}

/// Rows of both sides.
#[derive(Clone, Default)]
struct Rows([Arc<Mutex<BTreeMap<i64, u64>>>; 2]);

impl Rows {
    fn on(&self, side: Side) -> &Mutex<BTreeMap<i64, u64>> {
        match side {
            Side::Source => &self.0[0],
            Side::Target => &self.0[1],
        }
    }

    fn get(&self, side: Side, key: i64) -> Option<u64> {
        self.on(side).lock().unwrap().get(&key).copied()
    }
}

impl RowPair for Rows {
    type Id = i64;
    type Row = u64;
    type Error = String;

    async fn snapshot(&self, side: Side, id: &i64) -> Result<Option<u64>, String> {
        Ok(self.get(side, *id))
    }

    async fn restore(&self, side: Side, id: &i64, seen: Option<&u64>, row: Option<&u64>) -> Result<bool, String> {
        let mut rows = self.on(side).lock().unwrap();
        if rows.get(id) != seen {
            return Ok(false);
        }
        match row {
            Some(row) => rows.insert(*id, *row),
            None => rows.remove(id),
        };
        Ok(true)
    }
}

#[derive(Default)]
struct Done {
    reads: AtomicU64,
    writes: AtomicU64,
    failed: Mutex<Vec<String>>,
    /// The users go home: the process ends.
    closing: AtomicBool,
}

/// What the application did while the server was dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WentOn {
    /// It had not begun.
    NotYet,
    /// It read and wrote.
    All,
    /// It read; its writes wait, since authority was moving (R4).
    Reads,
}

/// The application.
pub(super) struct Beside {
    pub(super) instance: String,
    membership: Membership,
    migration: Arc<OnceLock<Migration>>,
    done: Arc<Done>,
    tasks: JoinSet<()>,
}

impl Beside {
    /// Begins when it has a plan: without one it waits for the server (R11).
    pub(super) fn start(url: &str, token: &str) -> Beside {
        let from = plan::server(url).token(token);
        let (instance, membership) = (from.instance().to_owned(), from.membership());
        let (migration, done) = (Arc::new(OnceLock::new()), Arc::new(Done::default()));
        let (begun, counts) = (migration.clone(), done.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let migration = Migration::builder("events").plan(from).build().await.unwrap();
            let rows = Rows::default();
            migration.attach_rows(rows.clone());
            let _ = begun.set(migration.clone());
            tokio::join!(write(&migration, &rows, &counts), read(&migration, &rows, &counts));
        });
        Beside { instance, membership, migration, done, tasks }
    }

    /// The server is dead: waits until the application has read and written a good deal all the same.
    pub(super) async fn goes_on(&self) -> WentOn {
        let Some(migration) = self.migration.get() else { return WentOn::NotYet };
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let (reads, writes) = (count(&self.done.reads), count(&self.done.writes));
        let held = || !matches!(migration.standing().plan.phase(), Phase::Settled);
        let enough = async {
            while count(&self.done.reads) < reads + ENOUGH || !held() && count(&self.done.writes) < writes + ENOUGH {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let went_on = tokio::time::timeout(PATIENCE, enough).await;
        assert!(went_on.is_ok(), "the application stands still while the server is dead");
        if held() { WentOn::Reads } else { WentOn::All }
    }

    /// The end of its process, in good order. Returns how many reads and writes there were.
    pub(super) async fn leave(self) -> (u64, u64) {
        // The last request is answered before the process says goodbye.
        self.done.closing.store(true, Ordering::SeqCst);
        let Beside { instance: _, membership, migration, done, mut tasks } = self;
        if migration.get().is_some() {
            while tasks.join_next().await.is_some() {}
        }
        assert!(membership.leave(Duration::from_secs(30)).await, "goodbye was not heard");
        assert_eq!(*done.failed.lock().unwrap(), [""; 0], "users were told of the server's death");
        (done.reads.load(Ordering::SeqCst), done.writes.load(Ordering::SeqCst))
    }
}

async fn write(migration: &Migration, rows: &Rows, done: &Done) {
    for number in 1u64.. {
        if done.closing.load(Ordering::SeqCst) {
            return;
        }
        let key = number.cast_signed() % KEYS;
        let put = |side, rows: Rows| {
            move || {
                let rows = rows.clone();
                async move {
                    rows.on(side).lock().unwrap().insert(key, number);
                    Ok::<u64, String>(number)
                }
            }
        };
        let written = migration
            .write(&key)
            .source(put(Side::Source, rows.clone()))
            .target(put(Side::Target, rows.clone()))
            .replay()
            .run_with(|refused| refused.to_string(), |_| Effect::Unknown)
            .await;
        match written {
            Ok(_) => drop(done.writes.fetch_add(1, Ordering::SeqCst)),
            Err(error) => done.failed.lock().unwrap().push(error),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn read(migration: &Migration, rows: &Rows, done: &Done) {
    for number in 0i64.. {
        if done.closing.load(Ordering::SeqCst) {
            return;
        }
        let key = number % KEYS;
        let get = |side, rows: Rows| {
            move || {
                let found = rows.get(side, key);
                async move { Ok::<Option<u64>, String>(found) }
            }
        };
        let answer = migration
            .read(&key)
            .source(get(Side::Source, rows.clone()))
            .target(get(Side::Target, rows.clone()))
            .compare(compare::equality())
            .run(|refused| refused.to_string())
            .await;
        match answer {
            Ok(_) => drop(done.reads.fetch_add(1, Ordering::SeqCst)),
            Err(error) => done.failed.lock().unwrap().push(error),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
