//! Copying history beside live writes (R9, R16).
//!
//! The source is cut into ranges; each is a chunk: done when every row of it has been made equal, re-read, and recorded durably. Chunks run in parallel: in key order
//! where both sides keep one, else shuffled, so that no partition is hot. `kill -9` at any instant costs at most the chunks in flight, and repeating a chunk is a no-op.
//!
//! Two paths, and the run says which and why:
//! - **reconcile** (always lawful): both sides are read, differences are settled by compare-and-set, the source is read again ([`crate::reconcile`]).
//! - **bulk** (only where no live write can touch the rows): the operator declared so, and the target was empty when the run began. No second read.

mod checkpoint;
mod chunk;
mod consent;
mod preview;
mod probe;
mod sides;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crossfade_stores::{Position, Range, Rest};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    Pair, TransferError, crew,
    pace::{Adaptive, Control, Rate},
    progress::{Counters, Event, Observer},
    reconcile::{Deletes, Failed, Settled},
    retry::Retry,
};
use checkpoint::{Checkpoint, Header};
use consent::Recorded;
pub use consent::{Consent, Extra};
pub use preview::{Preview, preview};
pub use sides::{Shown, Sides, of as sides_of, refuse_swapped, shown};

/// Chunks at a time until the databases' latency beside them has been measured.
const AT_FIRST: usize = 2;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Chunks at a time.
    pub parallel: usize,
    /// Rows of a chunk; `None` is 5,000, and 20,000 where nobody waits for the end of one ([`Exclusive::Declared`], and bytes that go as they are).
    pub chunk_rows: Option<u64>,
    /// At most so many rows per second.
    pub rows_per_second: Option<u64>,
    /// Whether to run fewer chunks when the databases answer slower than at the start.
    pub adaptive: bool,
    /// The operator's word that nobody else writes to either table while this runs.
    pub exclusive: Exclusive,
    /// Where progress is kept, by one run at a time; without it, a run starts from the beginning each time.
    pub checkpoint: Option<PathBuf>,
    /// Whether to start from the beginning, whatever progress is kept there.
    pub restart: bool,
    /// What becomes of rows that the target had before this migration, and that the source lacks.
    pub extra: Extra,
    /// Asking again.
    pub retry: Retry,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            parallel: 4,
            chunk_rows: None,
            rows_per_second: None,
            adaptive: true,
            exclusive: Exclusive::No,
            checkpoint: None,
            restart: false,
            extra: Extra::default(),
            retry: Retry::default(),
        }
    }
}

/// Whether live writes can touch the rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exclusive {
    /// They can: every row is reconciled and read again.
    No,
    /// The operator declared that nobody else writes: the bulk path is lawful where the target is empty.
    Declared,
}

/// The result, with the field names of `--json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Rows read from the source.
    pub rows_read: u64,
    /// Rows put into the target.
    pub rows_written: u64,
    /// Rows that were equal already.
    pub rows_unchanged: u64,
    /// Rows deleted in the target.
    pub rows_deleted: u64,
    /// Rows that only the target has, and that stay there ([`Extra::Keep`]).
    pub rows_kept: u64,
    /// Chunks done by this run.
    pub chunks: u64,
    /// Chunks that an earlier run had done.
    pub chunks_resumed: u64,
    /// How long it took.
    pub seconds: f64,
    /// `rows_read / seconds`
    pub rows_per_second: f64,
}

impl Report {
    /// Adds another table's.
    pub fn add(&mut self, other: &Report) {
        self.rows_read += other.rows_read;
        self.rows_written += other.rows_written;
        self.rows_unchanged += other.rows_unchanged;
        self.rows_deleted += other.rows_deleted;
        self.rows_kept += other.rows_kept;
        self.chunks += other.chunks;
        self.chunks_resumed += other.chunks_resumed;
        self.seconds += other.seconds;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        if self.seconds > 0.0 {
            self.rows_per_second = self.rows_read as f64 / self.seconds;
        }
    }
}

/// What the chunks of a run share.
struct Run {
    pair: Pair,
    options: Options,
    control: Control,
    counters: Arc<Counters>,
    observer: Arc<dyn Observer>,
    rate: Rate,
    chunk_rows: u64,
    /// When everything that a killed run had under way has landed, or never will (R9).
    landed: Instant,
    told_to_wait: AtomicBool,
    /// Whether the target had no rows when this run began, which is the first of its checkpoint.
    was_empty: bool,
    /// Which rows of the target this run may delete.
    deletes: Deletes,
    failed: AtomicU64,
    first_failure: Mutex<Option<Failed>>,
}

/// Which way rows go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Path {
    Reconcile,
    Bulk,
}

/// Copies one table.
///
/// # Errors
/// [`TransferError::Stopped`] when told to; [`TransferError::Rows`] when all but some rows are done; otherwise what a database said. In every case the
/// checkpoint is good, and the same call goes on from it.
pub async fn run(
    pair: &Pair,
    options: &Options,
    control: &Control,
    counters: &Arc<Counters>,
    observer: &Arc<dyn Observer>,
) -> Result<Report, TransferError> {
    let start = Instant::now();
    let landed = start + pair.target.capabilities().linger;
    let _alone = options.checkpoint.as_deref().map(checkpoint::lock).transpose()?;
    wait_for_older_writers(pair, options, control, &**observer).await?;
    let fingerprint = checkpoint::fingerprint(pair)?;
    let sides = sides::of(pair, &options.retry).await?;
    let earlier = sides::earlier(pair, options.checkpoint.as_deref(), sides.as_ref())?;
    let mut checkpoint = match &options.checkpoint {
        Some(path) if options.restart => {
            // Its ranges are forgotten with it: what a killed run had under way may be anywhere.
            match Checkpoint::resume(path, &fingerprint, sides.as_ref(), pair) {
                Ok(None) => {}
                Ok(Some(earlier)) if !earlier.has_cut_off() => {}
                Ok(Some(_)) | Err(_) => wait_for_killed_run(landed, control, &**observer).await?,
            }
            None
        }
        Some(path) => Checkpoint::resume(path, &fingerprint, sides.as_ref(), pair)?,
        None => None,
    };
    // Of an earlier run, even if it recorded nothing, a chunk may have been cut off between its put and its second read.
    let first = checkpoint.is_none();
    let empty = first && is_empty(pair, &options.retry).await?;
    // Before anything is written, and before progress is recorded that a later run could take for consent.
    let extra = match consent::known(options.extra, earlier) {
        Some(known) => known,
        None if empty => Recorded::None,
        None => consent::ask(pair, options, control, counters).await?,
    };
    if first {
        let ranges = options.retry.run(|| pair.source.split(chunk_rows(pair, options, empty))).await?;
        let header = Header { fingerprint, target_was_empty: empty, sides, extra, ranges };
        checkpoint = Some(match &options.checkpoint {
            Some(path) => Checkpoint::begin(path, header, pair)?,
            None => Checkpoint::none(header),
        });
    }
    let Some(checkpoint) = checkpoint.map(Arc::new) else {
        return Err(TransferError::Config("no ranges".to_owned()));
    };
    let resumed = checkpoint.resumed();
    let path = path(options, checkpoint.header().target_was_empty);
    observer.event(Event::Table {
        name: pair.name.clone(),
        ranges: checkpoint.header().ranges.len(),
        resumed,
        path: match (path, options.exclusive) {
            (Path::Bulk, _) => "bulk: declared exclusive, and the target was empty when the run began",
            (Path::Reconcile, Exclusive::Declared) => "reconcile: declared exclusive, but the target was not empty",
            (Path::Reconcile, Exclusive::No) => "reconcile: live writes may touch these rows",
        }
        .to_owned(),
    });
    let run = Arc::new(Run {
        pair: pair.clone(),
        options: options.clone(),
        control: control.clone(),
        counters: counters.clone(),
        observer: observer.clone(),
        rate: Rate::new(options.rows_per_second),
        chunk_rows: chunk_rows(pair, options, checkpoint.header().target_was_empty),
        landed,
        told_to_wait: AtomicBool::new(false),
        was_empty: first && checkpoint.header().target_was_empty,
        deletes: extra.deletes(),
        failed: AtomicU64::new(0),
        first_failure: Mutex::new(None),
    });
    // More when that is seen to hurt nobody.
    let adapts = options.adaptive && (path == Path::Reconcile || pair.same_bytes());
    let first = if adapts { at_first(pair, options) } else { options.parallel };
    let adaptive = Arc::new(Adaptive::with(options.parallel, first));
    let usual = if adapts && path == Path::Reconcile { probe::usual(pair).await } else { None };
    let work = run.all(&checkpoint, path, &adaptive);
    let done = if adapts {
        tokio::select! {
            done = work => done,
            never = run.watch(path, &adaptive, usual) => match never {},
        }
    } else {
        work.await
    };
    // Who was told to stop has ended what was under way; whoever met an error may have left a write without an answer, and so has a killed run that was not
    // waited for to the end.
    let waited = !checkpoint.has_cut_off() || Instant::now() >= run.landed;
    if waited && matches!(done, Ok(_) | Err(TransferError::Stopped)) {
        checkpoint.idle()?;
    }
    let chunks = done?;
    let failed = run.failed.load(Ordering::Relaxed);
    if failed > 0 {
        let first = run.first_failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        let first = first.map_or_else(String::new, |f| format!("row {}: {}", f.key.digest(), f.why));
        return Err(TransferError::Rows { rows: failed, first });
    }
    checkpoint.complete()?;
    let seconds = start.elapsed().as_secs_f64();
    let rows_read = Counters::get(&counters.read);
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rows_per_second = if seconds > 0.0 { rows_read as f64 / seconds } else { 0.0 };
    Ok(Report {
        rows_read,
        rows_written: Counters::get(&counters.written),
        rows_unchanged: Counters::get(&counters.unchanged),
        rows_deleted: Counters::get(&counters.deleted),
        rows_kept: Counters::get(&counters.kept),
        chunks,
        chunks_resumed: resumed as u64,
        seconds,
        rows_per_second,
    })
}

/// R9: what a killed run had under way may still land, over whatever is done here before.
async fn wait_for_killed_run(landed: Instant, control: &Control, observer: &dyn Observer) -> Result<(), TransferError> {
    observer.event(Event::WaitingForKilledRun { wait: landed.saturating_duration_since(Instant::now()) });
    while Instant::now() < landed {
        control.may_go_on().await?;
        tokio::time::sleep_until(landed.min(Instant::now() + Duration::from_millis(50))).await;
    }
    Ok(())
}

fn path(options: &Options, target_was_empty: bool) -> Path {
    match options.exclusive {
        Exclusive::Declared if target_was_empty => Path::Bulk,
        Exclusive::Declared | Exclusive::No => Path::Reconcile,
    }
}

/// Small where users may wait for the end of a chunk; each of them has a price of its own for both servers, which larger ones share among more rows.
fn chunk_rows(pair: &Pair, options: &Options, target_was_empty: bool) -> u64 {
    let usual = match path(options, target_was_empty) {
        Path::Bulk if pair.same_bytes() => 20_000,
        Path::Bulk | Path::Reconcile => 5_000,
    };
    options.chunk_rows.unwrap_or(usual)
}

/// A target that throttles says when it is too much, and is what the copy waits for.
fn at_first(pair: &Pair, options: &Options) -> usize {
    if pair.target.capabilities().throttles { options.parallel } else { AT_FIRST }
}

/// R9: a transaction that began under an older decision may commit rows behind the scan.
async fn wait_for_older_writers(
    pair: &Pair,
    options: &Options,
    control: &Control,
    observer: &dyn Observer,
) -> Result<(), TransferError> {
    let Some(token) = options.retry.run(|| pair.source.open_writes()).await? else { return Ok(()) };
    let mut said = false;
    while !options.retry.run(|| pair.source.have_ended(&token)).await? {
        control.may_go_on().await?;
        if !said {
            observer.event(Event::WaitingForOlderWriters);
            said = true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn is_empty(pair: &Pair, retry: &Retry) -> Result<bool, TransferError> {
    let mut position = Position::Start;
    loop {
        let page = retry.run(|| pair.target.scan(&Range::ALL, &position, 1)).await;
        let page = match page {
            // A store of segments: not known to be empty.
            Err(e) if e.kind() == crossfade_stores::ErrorKind::Unsupported => return Ok(false),
            page => page?,
        };
        if !page.rows.is_empty() {
            return Ok(false);
        }
        match page.rest {
            Rest::End => return Ok(true),
            Rest::More(next) => position = next,
        }
    }
}

/// Writes to the checkpoint, which may wait for the disk.
async fn record(
    checkpoint: &Arc<Checkpoint>,
    line: impl FnOnce(&Checkpoint) -> Result<(), TransferError> + Send + 'static,
) -> Result<(), TransferError> {
    let checkpoint = checkpoint.clone();
    tokio::task::spawn_blocking(move || line(&checkpoint)).await.map_err(|_| TransferError::Stopped)?
}

impl Run {
    /// All chunks that are not done yet; how many that were.
    async fn all(
        self: &Arc<Self>,
        checkpoint: &Arc<Checkpoint>,
        path: Path,
        adaptive: &Arc<Adaptive>,
    ) -> Result<u64, TransferError> {
        let mut todo = checkpoint.todo();
        // Keys that are kept in order go in fastest in order; elsewhere, neighbours would heat one partition.
        if !(self.pair.source.capabilities().ordered && self.pair.target.capabilities().ordered) {
            checkpoint::shuffle(&mut todo);
        }
        // Those that a killed run was cut off in have to wait for it, and the others do not.
        todo.sort_by_key(|n| checkpoint.was_cut_off(*n));
        let chunks = crew::each(self.options.parallel, todo, |n| {
            let (run, checkpoint, adaptive) = (self.clone(), checkpoint.clone(), adaptive.clone());
            async move {
                run.control.may_go_on().await?;
                run.after_killed_run(&checkpoint, n).await?;
                let place = adaptive.place().await;
                let range = &checkpoint.header().ranges[n];
                let failures = match path {
                    Path::Reconcile => run.reconcile(range).await?,
                    Path::Bulk => run.bulk(range).await?,
                };
                // R16: only now, when every row of it is durable and was read again.
                drop(place);
                if failures == 0 { record(&checkpoint, move |c| c.done(n)).await } else { Ok(()) }
            }
        })
        .await?;
        // Rows that only the target has are found within each range where both sides are ordered. Elsewhere they are looked for by a pass over the target,
        // unless there can be none: it was empty, and every put of it was followed by its second read.
        if !self.pair.mergeable() && path == Path::Reconcile && !self.was_empty {
            self.after_killed_run(checkpoint, checkpoint.target_only()).await?;
            self.target_only(adaptive).await?;
        }
        Ok(chunks.len() as u64)
    }

    /// Records that a chunk begins; where a killed run was cut off in it, not before whatever that run wrote has landed.
    async fn after_killed_run(&self, checkpoint: &Arc<Checkpoint>, n: usize) -> Result<(), TransferError> {
        if checkpoint.was_cut_off(n) && Instant::now() < self.landed {
            let silent: &dyn Observer = &crate::progress::Silent;
            let first = !self.told_to_wait.swap(true, Ordering::Relaxed);
            let observer = if first { &*self.observer } else { silent };
            wait_for_killed_run(self.landed, &self.control, observer).await?;
        }
        record(checkpoint, move |c| c.begun(n)).await
    }

    fn count(&self, settled: Settled) -> u64 {
        Counters::add(&self.counters.written, usize::try_from(settled.written).unwrap_or(usize::MAX));
        Counters::add(&self.counters.deleted, usize::try_from(settled.deleted).unwrap_or(usize::MAX));
        Counters::add(&self.counters.kept, usize::try_from(settled.kept).unwrap_or(usize::MAX));
        Counters::add(&self.counters.unchanged, usize::try_from(settled.unchanged).unwrap_or(usize::MAX));
        let failures = settled.failed.len();
        for failure in settled.failed {
            self.failure(failure);
        }
        failures as u64
    }

    fn failure(&self, failure: Failed) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        Counters::add(&self.counters.failed, 1);
        self.observer.event(Event::RowFailed { key: failure.key.digest(), why: failure.why.clone() });
        self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
    }
}
