//! Faults and interleavings around a real table, for tests: a queue of what happens at the nth call of each kind.
//!
//! "Refused before the effect" and "the effect happened, the answer was lost" are different faults, and so is an effect that lands later.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{TryStreamExt, future::BoxFuture};

use crate::{
    Capabilities, Change, ChangeOutcome, Checksum, ErrorKind, OpenWrites, Page, Position, Range, Row, RowKey,
    StoreError, Table, TableSpec,
    port::{Moment, RawDump, RawFormat, RawRows, Since},
};

/// A kind of call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Point {
    /// [`Table::read`]
    Read,
    /// [`Table::scan`]
    Scan,
    /// [`Table::write`]
    Write,
    /// [`Table::load`]
    Load,
    /// [`Table::checksums`]
    Checksums,
    /// [`Table::split`] and [`Table::fences`]
    Split,
}

/// What happens at a call.
pub enum Fault {
    /// Something else happens first: an interleaving.
    Before(BoxFuture<'static, ()>),
    /// Something else happens when it is done, before the caller learns of it: an interleaving.
    After(BoxFuture<'static, ()>),
    /// Refused: nothing is done.
    Refuse(ErrorKind),
    /// It is done, and the answer is lost.
    LoseAnswer,
    /// It is never done, and nobody says so.
    Vanish,
    /// The caller hears nothing now (a write is ambiguous), and it is done when this is ready.
    LandsLater(BoxFuture<'static, ()>),
    /// It is done, the answer is lost, and it is done once more when this is ready.
    LandsAgain(BoxFuture<'static, ()>),
    /// It is done, then something else happens, then it is done again: that answer is heard.
    Twice(BoxFuture<'static, ()>),
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Before(_) => "before",
            Fault::After(_) => "after",
            Fault::Refuse(_) => "refuse",
            Fault::LoseAnswer => "lose the answer",
            Fault::Vanish => "vanish",
            Fault::LandsLater(_) => "lands later",
            Fault::LandsAgain(_) => "lands again",
            Fault::Twice(_) => "twice",
        })
    }
}

#[derive(Default)]
struct Script {
    calls: HashMap<Point, usize>,
    faults: HashMap<(Point, usize), Vec<Fault>>,
    /// All calls, of whatever kind, in order.
    log: Vec<Point>,
    numbered: HashMap<usize, Vec<Fault>>,
}

/// A real table with a script.
pub struct FaultyTable {
    inner: Arc<dyn Table>,
    capabilities: Capabilities,
    script: Mutex<Script>,
}

impl fmt::Debug for FaultyTable {
    /// As the real one: a checkpoint of the one is a checkpoint of the other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl FaultyTable {
    /// Around a real table; `change` declares other capabilities (a shorter linger, no order, no checksums).
    pub fn new(inner: Arc<dyn Table>, change: impl FnOnce(&mut Capabilities)) -> Arc<Self> {
        let mut capabilities = inner.capabilities().clone();
        change(&mut capabilities);
        Arc::new(FaultyTable { inner, capabilities, script: Mutex::default() })
    }

    /// At the `nth` call of that kind (from 0).
    pub fn at(&self, point: Point, nth: usize, fault: Fault) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).faults.entry((point, nth)).or_default().push(fault);
    }

    /// At the `nth` call of whatever kind (from 0).
    pub fn at_call(&self, nth: usize, fault: Fault) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).numbered.entry(nth).or_default().push(fault);
    }

    /// All calls so far, in order.
    pub fn log(&self) -> Vec<Point> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).log.clone()
    }

    /// How many calls of that kind there were.
    pub fn calls(&self, point: Point) -> usize {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).calls.get(&point).copied().unwrap_or(0)
    }

    /// Faults that never happened: a test whose script was not played proves nothing.
    pub fn unplayed(&self) -> Vec<(Point, usize)> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).faults.keys().copied().collect()
    }

    async fn begin(&self, point: Point) -> Result<Vec<Fault>, StoreError> {
        let faults = {
            let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
            let nth = script.calls.entry(point).or_default();
            let now = *nth;
            *nth += 1;
            let call = script.log.len();
            script.log.push(point);
            let mut faults = script.faults.remove(&(point, now)).unwrap_or_default();
            faults.extend(script.numbered.remove(&call).into_iter().flatten());
            faults
        };
        let mut later = Vec::new();
        for fault in faults {
            match fault {
                Fault::Before(other) => other.await,
                Fault::Refuse(kind) => return Err(StoreError::new(kind, "refused by the test")),
                fault => later.push(fault),
            }
        }
        Ok(later)
    }

    async fn end<T>(&self, faults: Vec<Fault>, done: Result<T, StoreError>) -> Result<T, StoreError> {
        for fault in faults {
            match fault {
                Fault::After(other) | Fault::Twice(other) => other.await,
                Fault::LoseAnswer | Fault::Vanish | Fault::LandsLater(_) | Fault::LandsAgain(_) => return Err(lost()),
                Fault::Before(_) | Fault::Refuse(_) => {}
            }
        }
        done
    }

    /// A call that has an effect, which may come late or more than once.
    async fn effect<T: Send + 'static>(
        &self,
        point: Point,
        again: impl Fn() -> BoxFuture<'static, Result<T, StoreError>> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let mut others = Vec::new();
        for fault in self.begin(point).await? {
            match fault {
                Fault::Vanish => return Err(lost()),
                Fault::LandsLater(when) => {
                    // Nobody hears the outcome: that is the fault.
                    tokio::spawn(async move {
                        when.await;
                        drop(again().await);
                    });
                    return Err(lost());
                }
                Fault::LandsAgain(when) => {
                    drop(again().await);
                    tokio::spawn(async move {
                        when.await;
                        drop(again().await);
                    });
                    return Err(lost());
                }
                Fault::Twice(between) => {
                    drop(again().await);
                    between.await;
                }
                other => others.push(other),
            }
        }
        let done = again().await;
        self.end(others, done).await
    }
}

fn lost() -> StoreError {
    StoreError::new(ErrorKind::Lost, LOST)
}

const LOST: &str = "the answer was lost by the test";

fn ambiguous(changes: &[Change]) -> Vec<ChangeOutcome> {
    changes.iter().map(|_| ChangeOutcome::Ambiguous(lost())).collect()
}

#[async_trait]
impl Table for FaultyTable {
    fn spec(&self) -> &TableSpec {
        self.inner.spec()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn identity(&self) -> Result<Option<crate::port::TableIdentity>, StoreError> {
        self.inner.identity().await
    }

    async fn deletes_cascade(&self) -> Result<bool, StoreError> {
        self.inner.deletes_cascade().await
    }

    async fn repeated_keys(&self, most: usize) -> Result<Vec<RowKey>, StoreError> {
        self.inner.repeated_keys(most).await
    }

    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let faults = self.begin(Point::Read).await?;
        let done = self.inner.read(keys).await;
        self.end(faults, done).await
    }

    async fn scan(&self, range: &Range, position: &Position, limit: usize) -> Result<Page, StoreError> {
        let faults = self.begin(Point::Scan).await?;
        let done = self.inner.scan(range, position, limit).await;
        self.end(faults, done).await
    }

    async fn split(&self, rows: u64) -> Result<Vec<Range>, StoreError> {
        let faults = self.begin(Point::Split).await?;
        let done = self.inner.split(rows).await;
        self.end(faults, done).await
    }

    async fn estimate(&self) -> Result<u64, StoreError> {
        self.inner.estimate().await
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
        let (inner, own) = (self.inner.clone(), changes.to_vec());
        let again = move || -> BoxFuture<'static, _> {
            let (inner, own) = (inner.clone(), own.clone());
            Box::pin(async move { inner.write(&own).await })
        };
        match self.effect(Point::Write, again).await {
            Err(e) if e.to_string() == LOST => Ok(ambiguous(changes)),
            done => done,
        }
    }

    async fn load(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        let inner = self.inner.clone();
        self.effect(Point::Load, move || {
            let (inner, rows) = (inner.clone(), rows.clone());
            Box::pin(async move { inner.load(rows).await })
        })
        .await
    }

    fn raw(&self) -> Option<&dyn RawRows> {
        self.inner.raw().map(|_| self as &dyn RawRows)
    }

    async fn fences(&self, rows: u64) -> Result<Vec<RowKey>, StoreError> {
        let faults = self.begin(Point::Split).await?;
        let done = self.inner.fences(rows).await;
        self.end(faults, done).await
    }

    async fn checksums(&self, fences: &[RowKey]) -> Result<Vec<Checksum>, StoreError> {
        let faults = self.begin(Point::Checksums).await?;
        let done = self.inner.checksums(fences).await;
        self.end(faults, done).await
    }

    async fn open_writes(&self) -> Result<Option<OpenWrites>, StoreError> {
        self.inner.open_writes().await
    }

    async fn have_ended(&self, token: &OpenWrites) -> Result<bool, StoreError> {
        self.inner.have_ended(token).await
    }
}

fn no_raw() -> StoreError {
    StoreError::new(ErrorKind::Unsupported, "no raw rows")
}

/// Dumps and what goes by versions are scans, loads are loads, and conditional inserts are writes.
#[async_trait]
impl RawRows for FaultyTable {
    #[expect(clippy::expect_used, reason = "only handed out where the real table has raw rows")]
    fn format(&self) -> &RawFormat {
        self.inner.raw().expect("handed out by `raw`").format()
    }

    async fn dump(&self, range: &Range) -> Result<RawDump, StoreError> {
        let faults = self.begin(Point::Scan).await?;
        let done = self.inner.raw().ok_or_else(no_raw)?.dump(range).await;
        self.end(faults, done).await
    }

    async fn dump_without(&self, range: &Range, keys: &[RowKey]) -> Result<RawDump, StoreError> {
        let faults = self.begin(Point::Scan).await?;
        let done = self.inner.raw().ok_or_else(no_raw)?.dump_without(range, keys).await;
        self.end(faults, done).await
    }

    fn keys_in(&self, dump: &[Bytes]) -> Result<Vec<RowKey>, StoreError> {
        self.inner.raw().ok_or_else(no_raw)?.keys_in(dump)
    }

    async fn moment(&self) -> Result<Moment, StoreError> {
        let faults = self.begin(Point::Scan).await?;
        let done = self.inner.raw().ok_or_else(no_raw)?.moment().await;
        self.end(faults, done).await
    }

    async fn since(&self, range: &Range, without: &[RowKey], moment: &Moment) -> Result<Since, StoreError> {
        let faults = self.begin(Point::Scan).await?;
        let done = self.inner.raw().ok_or_else(no_raw)?.since(range, without, moment).await;
        self.end(faults, done).await
    }

    async fn old_among(&self, keys: &[RowKey], moment: &Moment) -> Result<Vec<RowKey>, StoreError> {
        let faults = self.begin(Point::Read).await?;
        let done = self.inner.raw().ok_or_else(no_raw)?.old_among(keys, moment).await;
        self.end(faults, done).await
    }

    async fn keys(&self, range: &Range, most: usize) -> Result<Vec<RowKey>, StoreError> {
        let faults = self.begin(Point::Scan).await?;
        let done = self.inner.raw().ok_or_else(no_raw)?.keys(range, most).await;
        self.end(faults, done).await
    }

    async fn insert_all(&self, dump: RawDump) -> Result<u64, StoreError> {
        let (inner, blocks) = (self.inner.clone(), dump.try_collect::<Vec<Bytes>>().await?);
        self.effect(Point::Write, move || {
            let (inner, dump) = (inner.clone(), dump_of(&blocks));
            Box::pin(async move { inner.raw().ok_or_else(no_raw)?.insert_all(dump).await })
        })
        .await
    }

    async fn load(&self, dump: RawDump) -> Result<u64, StoreError> {
        let (inner, blocks) = (self.inner.clone(), dump.try_collect::<Vec<Bytes>>().await?);
        self.effect(Point::Load, move || {
            let (inner, dump) = (inner.clone(), dump_of(&blocks));
            Box::pin(async move { inner.raw().ok_or_else(no_raw)?.load(dump).await })
        })
        .await
    }
}

fn dump_of(blocks: &[Bytes]) -> RawDump {
    Box::pin(futures::stream::iter(blocks.iter().cloned().map(Ok).collect::<Vec<_>>()))
}
