//! Progress that survives `kill -9`: a file with the ranges, to which each finished chunk is appended.
//!
//! Lines of JSON. The first is the header; `{"begun":n}` and `{"done":n}` follow for each chunk; `{"idle":true}` says that nothing is under way any more;
//! `{"complete":true}` ends it. A torn last line is a chunk that is done again. A chunk that was begun and is neither done nor followed by `idle` was cut off:
//! a write of it may still land.
//!
//! The disk is waited for once a second: a crash of the machine, not of the process, may cost the chunks since, which are done again. To wait for each
//! would write out whatever a database on the same disk has not yet written, with its users waiting.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crossfade_stores::{ColumnType, Range, RowKey, Value};
use serde::{Deserialize, Serialize};

use crate::{Pair, TransferError};

/// What a run was begun with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// Of both tables and the map: a checkpoint of another configuration is not used.
    pub(super) fingerprint: String,
    pub(super) target_was_empty: bool,
    pub(super) ranges: Vec<Range>,
}

#[derive(Serialize, Deserialize)]
struct HeaderLine {
    crossfade_checkpoint: u32,
    table: String,
    fingerprint: String,
    target_was_empty: bool,
    ranges: Vec<RangeLine>,
}

/// Keys as their text forms.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RangeLine {
    Keys { from: Option<Vec<String>>, to: Option<Vec<String>> },
    Segment { index: u32, of: u32 },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Begun(usize),
    Done(usize),
    Idle(bool),
    Complete(bool),
}

/// Progress of one table.
pub(super) struct Checkpoint {
    header: Header,
    done: Vec<bool>,
    /// Chunks that an earlier run was killed in; one more for [`Checkpoint::target_only`].
    cut_off: Vec<bool>,
    resumed: usize,
    file: Option<(PathBuf, Mutex<Appended>)>,
}

/// The file, and since when lines of it may not be on the disk.
struct Appended {
    file: File,
    synced: Instant,
}

impl Appended {
    fn new(file: File) -> Mutex<Self> {
        Mutex::new(Appended { file, synced: Instant::now() })
    }
}

/// Between two waits for the disk.
const SYNC: Duration = Duration::from_secs(1);

/// Names the configuration: two runs with equal names may go on from each other.
pub(super) fn fingerprint(pair: &Pair) -> String {
    let text =
        format!("{:?} {:?} {:?} {:?} {:?}", pair.source, pair.target, pair.source.spec(), pair.target.spec(), pair.map);
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

/// A different order each time, so that two runs do not heat the same partitions.
pub(super) fn shuffle(order: &mut [usize]) {
    let mut seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.subsec_nanos()).into();
    for i in (1..order.len()).rev() {
        seed = xxhash_rust::xxh3::xxh3_64_with_seed(&[], seed);
        let j = usize::try_from(seed % (i as u64 + 1)).unwrap_or(0);
        order.swap(i, j);
    }
}

fn key_types(pair: &Pair) -> Vec<ColumnType> {
    let spec = pair.source.spec();
    spec.key.iter().map(|i| spec.columns[*i].ty.clone()).collect()
}

fn to_line(key: Option<&RowKey>) -> Option<Vec<String>> {
    key.map(|k| k.0.iter().map(|v| v.to_text().unwrap_or_default()).collect())
}

fn from_line(types: &[ColumnType], line: Option<Vec<String>>) -> Option<Option<RowKey>> {
    match line {
        None => Some(None),
        Some(texts) if texts.len() == types.len() => {
            let values: Option<Vec<Value>> = types.iter().zip(&texts).map(|(ty, t)| Value::from_text(ty, t)).collect();
            Some(Some(RowKey(values?)))
        }
        Some(_) => None,
    }
}

fn trouble(path: &Path, what: impl Into<String>) -> TransferError {
    TransferError::Checkpoint { path: path.display().to_string(), what: what.into() }
}

/// Keeps others from this checkpoint while it is held. The operating system lets go of it, however this process ends.
///
/// The lock is a file of its own: the checkpoint is replaced when a run starts from the beginning.
pub(super) fn lock(path: &Path) -> Result<File, TransferError> {
    let cannot = |e| trouble(path, format!("cannot be locked: {e}: keep it on a disk of this machine"));
    std::fs::create_dir_all(folder(path)).map_err(|e| trouble(path, format!("cannot be made: {e}")))?;
    let beside = path.with_extension("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&beside).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(trouble(path, "another backfill of this table is running on it: let it end, or stop it, and try again"))
        }
        Err(TryLockError::Error(e)) => Err(cannot(e)),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Checkpoint {
    /// Progress that is not kept.
    pub(super) fn none(header: Header) -> Self {
        let chunks = header.ranges.len();
        Checkpoint { done: vec![false; chunks], cut_off: vec![false; chunks + 1], header, resumed: 0, file: None }
    }

    /// Makes the file, durably, with nothing done.
    pub(super) fn begin(path: &Path, header: Header, pair: &Pair) -> Result<Self, TransferError> {
        let line = HeaderLine {
            crossfade_checkpoint: 1,
            table: pair.name.clone(),
            fingerprint: header.fingerprint.clone(),
            target_was_empty: header.target_was_empty,
            ranges: header
                .ranges
                .iter()
                .map(|r| match r {
                    Range::Keys { from, to } => {
                        RangeLine::Keys { from: to_line(from.as_ref()), to: to_line(to.as_ref()) }
                    }
                    Range::Segment { index, of } => RangeLine::Segment { index: *index, of: *of },
                })
                .collect(),
        };
        let write = || -> std::io::Result<File> {
            let fresh = path.with_extension("new");
            let mut file = File::create(&fresh)?;
            writeln!(file, "{}", serde_json::to_string(&line)?)?;
            file.sync_all()?;
            std::fs::rename(&fresh, path)?;
            File::open(folder(path))?.sync_all()?;
            OpenOptions::new().append(true).open(path)
        };
        let file = write().map_err(|e| trouble(path, format!("cannot be made: {e}")))?;
        Ok(Checkpoint { file: Some((path.to_owned(), Appended::new(file))), ..Checkpoint::none(header) })
    }

    /// Goes on with the file of an earlier run; `None` if there is none, or that run was completed.
    pub(super) fn resume(path: &Path, fingerprint: &str, pair: &Pair) -> Result<Option<Self>, TransferError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(trouble(path, format!("cannot be read: {e}"))),
        };
        let mut lines = BufReader::new(file).split(b'\n');
        let unreadable =
            || trouble(path, "cannot be understood: remove it, and the backfill starts from the beginning");
        let first =
            lines.next().transpose().map_err(|e| trouble(path, format!("cannot be read: {e}")))?.unwrap_or_default();
        let header: HeaderLine = serde_json::from_slice(&first).map_err(|_| unreadable())?;
        let types = key_types(pair);
        let ranges: Option<Vec<Range>> = header
            .ranges
            .into_iter()
            .map(|r| {
                Some(match r {
                    RangeLine::Keys { from, to } => {
                        Range::Keys { from: from_line(&types, from)?, to: from_line(&types, to)? }
                    }
                    RangeLine::Segment { index, of } => Range::Segment { index, of },
                })
            })
            .collect();
        let mut done = vec![false; ranges.as_ref().map_or(0, Vec::len)];
        let mut cut_off = vec![false; done.len() + 1];
        let mut good = first.len() + 1;
        for line in lines {
            let line = line.map_err(|e| trouble(path, format!("cannot be read: {e}")))?;
            match serde_json::from_slice::<Line>(&line) {
                Ok(Line::Begun(n)) => {
                    if let Some(slot) = cut_off.get_mut(n) {
                        *slot = true;
                    }
                }
                Ok(Line::Done(n)) => {
                    if let (Some(slot), Some(cut_off)) = (done.get_mut(n), cut_off.get_mut(n)) {
                        (*slot, *cut_off) = (true, false);
                    }
                }
                Ok(Line::Idle(_)) => cut_off.fill(false),
                Ok(Line::Complete(_)) => return Ok(None),
                // Torn by a crash: that chunk is done again, and what comes is written over it.
                Err(_) => break,
            }
            good += line.len() + 1;
        }
        if header.fingerprint != fingerprint {
            return Err(trouble(
                path,
                "is of another configuration of this table: remove it, or put the configuration back",
            ));
        }
        let ranges = ranges.ok_or_else(unreadable)?;
        let open = || -> std::io::Result<File> {
            let file = OpenOptions::new().write(true).open(path)?;
            if file.metadata()?.len() > good as u64 {
                file.set_len(good as u64)?;
                file.sync_all()?;
            }
            drop(file);
            OpenOptions::new().append(true).open(path)
        };
        let file = open().map_err(|e| trouble(path, format!("cannot be written: {e}")))?;
        let resumed = done.iter().filter(|d| **d).count();
        let header = Header { fingerprint: header.fingerprint, target_was_empty: header.target_was_empty, ranges };
        Ok(Some(Checkpoint { header, done, cut_off, resumed, file: Some((path.to_owned(), Appended::new(file))) }))
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Chunks that an earlier run did.
    pub(super) fn resumed(&self) -> usize {
        self.resumed
    }

    pub(super) fn todo(&self) -> Vec<usize> {
        (0..self.done.len()).filter(|n| !self.done[*n]).collect()
    }

    /// Whether an earlier run was killed in this chunk.
    pub(super) fn was_cut_off(&self, n: usize) -> bool {
        self.cut_off.get(n).copied().unwrap_or(false)
    }

    /// Whether an earlier run was killed in some chunk.
    pub(super) fn has_cut_off(&self) -> bool {
        self.cut_off.contains(&true)
    }

    /// Records that a chunk is under way, before it writes anything.
    pub(super) fn begun(&self, n: usize) -> Result<(), TransferError> {
        self.append(&Line::Begun(n), SYNC)
    }

    /// The number of the pass over rows that only the target has: the one after all chunks.
    pub(super) fn target_only(&self) -> usize {
        self.done.len()
    }

    /// Records that nothing is under way any more.
    pub(super) fn idle(&self) -> Result<(), TransferError> {
        self.append(&Line::Idle(true), Duration::ZERO)
    }

    /// Records a chunk; returns when the death of this process cannot undo it.
    pub(super) fn done(&self, n: usize) -> Result<(), TransferError> {
        self.append(&Line::Done(n), SYNC)
    }

    /// Ends the file: the next run starts a new one.
    pub(super) fn complete(&self) -> Result<(), TransferError> {
        self.append(&Line::Complete(true), Duration::ZERO)
    }

    fn append(&self, line: &Line, sync_every: Duration) -> Result<(), TransferError> {
        let Some((path, appended)) = &self.file else { return Ok(()) };
        let text = serde_json::to_string(line).map_err(|e| trouble(path, e.to_string()))?;
        let mut appended = appended.lock().unwrap_or_else(PoisonError::into_inner);
        let sync = appended.synced.elapsed() >= sync_every;
        // One write, so that a crash tears at most this line.
        appended
            .file
            .write_all(format!("{text}\n").as_bytes())
            .and_then(|()| if sync { appended.file.sync_data() } else { Ok(()) })
            .map_err(|e| trouble(path, format!("cannot be written: {e}: is the disk full?")))?;
        if sync {
            appended.synced = Instant::now();
        }
        Ok(())
    }
}
