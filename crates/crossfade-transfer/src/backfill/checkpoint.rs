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

use crossfade_stores::{Blanks, ColumnType, Limits, Range, RowKey, TableSpec, Value, schema::Layout, value::Narrow};
use serde::{Deserialize, Serialize};

use super::{consent::Recorded, sides::Sides};
use crate::{
    Pair, RowMap, TransferError,
    pair::{Made, Piece},
};

/// What a run was begun with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// Of both tables and the map: a checkpoint of another configuration is not used.
    pub(super) fingerprint: String,
    pub(super) target_was_empty: bool,
    /// Which tables, where their servers can tell.
    pub(super) sides: Option<Sides>,
    /// What became of rows that the target had before.
    pub(super) extra: Recorded,
    pub(super) ranges: Vec<Range>,
}

#[derive(Serialize, Deserialize)]
struct HeaderLine {
    crossfade_checkpoint: u32,
    table: String,
    fingerprint: String,
    target_was_empty: bool,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    extra: Option<Recorded>,
    ranges: Vec<RangeLine>,
}

/// The form of the file.
const VERSION: u32 = 2;

/// What the file at `path` says of its tables and of rows that the target had before, whether or not its run was completed. `None` if there is no such file, or if it
/// is not understood: then nothing is known.
pub(super) fn recorded(path: &Path) -> Option<(Sides, Recorded)> {
    let mut first = String::new();
    BufReader::new(File::open(path).ok()?).read_line(&mut first).ok()?;
    let header: HeaderLine = serde_json::from_str(&first).ok()?;
    Some((Sides { source: header.source?, target: header.target? }, header.extra?))
}

/// Whether the run of the file at `path` was completed, as far as it is understood.
pub(super) fn is_complete(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let mut lines = BufReader::new(file).lines().map_while(Result::ok);
    lines.any(|line| matches!(serde_json::from_str::<Line>(&line), Ok(Line::Complete(true))))
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

/// Names the configuration: two runs with equal names may go on from each other. Which tables they are is told by [`Sides`].
///
/// What is hashed is the form below, never a debug text: a checkpoint must outlive a new version of this program, and a golden test holds the form.
pub(super) fn fingerprint(pair: &Pair) -> Result<String, TransferError> {
    let text = canonical(pair.source.spec(), pair.target.spec(), &pair.map).map_err(|e| {
        TransferError::Config(format!("table {}: its configuration has no form to record: {e}", pair.name))
    })?;
    Ok(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes())))
}

#[derive(Serialize)]
struct Form<'a> {
    source: SideForm<'a>,
    target: SideForm<'a>,
    map: Vec<MadeForm<'a>>,
}

#[derive(Serialize)]
struct SideForm<'a> {
    name: &'a str,
    columns: Vec<(&'a str, String)>,
    key: &'a [usize],
    version: Option<&'a str>,
    ttl: Option<&'a str>,
    pattern: Option<&'a str>,
    layout: &'static str,
    documents: &'a [String],
    prefixes: &'a [(String, String)],
    // Left out where they are not used: a file of an older version stays good.
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    ignored: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    as_text: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum MadeForm<'a> {
    Column { from: usize, convert: Option<String> },
    Narrowed { from: usize, to: String, limits: LimitsForm, by: &'static str },
    Rest { from: usize, or_empty: bool },
    Template(Vec<PieceForm<'a>>),
}

#[derive(Serialize)]
struct LimitsForm {
    digits: Option<u32>,
    fraction: Option<u32>,
    upwards: bool,
    text_bytes: Option<u32>,
    blanks: String,
    exact_bytes: Option<u32>,
}

impl From<&Limits> for LimitsForm {
    fn from(limits: &Limits) -> LimitsForm {
        let Limits { digits, fraction, upwards, text_bytes, blanks, exact_bytes } = *limits;
        let blanks = match blanks {
            Blanks::Kept => "kept".to_owned(),
            Blanks::Dropped => "dropped".to_owned(),
            Blanks::Padded(width) => format!("padded {width}"),
        };
        LimitsForm { digits, fraction, upwards, text_bytes, blanks, exact_bytes }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum PieceForm<'a> {
    Text(&'a str),
    Column(usize),
}

fn canonical(source: &TableSpec, target: &TableSpec, map: &RowMap) -> serde_json::Result<String> {
    let map = map.made().iter().map(|made| match made {
        Made::Column { from, convert, .. } => {
            MadeForm::Column { from: *from, convert: convert.as_ref().map(type_text) }
        }
        Made::Narrowed { from, to, limits, by } => {
            let by = match by {
                Narrow::Refuse => "refuse",
                Narrow::Round => "round",
                Narrow::Truncate => "truncate",
            };
            MadeForm::Narrowed { from: *from, to: type_text(to), limits: limits.into(), by }
        }
        Made::Rest { from, or_empty } => MadeForm::Rest { from: *from, or_empty: *or_empty },
        Made::Template(pieces) => MadeForm::Template(
            pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => PieceForm::Text(text),
                    Piece::Column(from) => PieceForm::Column(*from),
                })
                .collect(),
        ),
    });
    serde_json::to_string(&Form { source: side(source), target: side(target), map: map.collect() })
}

fn side(spec: &TableSpec) -> SideForm<'_> {
    let options = &spec.options;
    SideForm {
        name: spec.name.as_str(),
        columns: spec.columns.iter().map(|column| (column.name.as_str(), type_text(&column.ty))).collect(),
        key: &spec.key,
        version: options.version_column.as_deref(),
        ttl: options.ttl_column.as_deref(),
        pattern: options.key_pattern.as_deref(),
        layout: match options.layout {
            Layout::Hash => "hash",
            Layout::Json => "json",
        },
        documents: &options.documents,
        prefixes: &options.only_prefixes,
        rest: options.rest.as_deref(),
        ignored: &options.ignored,
        as_text: &options.as_text,
    }
}

fn type_text(ty: &ColumnType) -> String {
    match ty {
        ColumnType::Enum { labels } => format!("enum{labels}", labels = labels_text(labels)),
        ColumnType::Array(of) => format!("{}[]", type_text(of)),
        ty => ty.to_string(),
    }
}

/// Each label with its length before it, so that no two lists have one text.
fn labels_text(labels: &[String]) -> String {
    labels.iter().map(|label| format!(" {}:{label}", label.len())).collect()
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

pub(super) fn trouble(path: &Path, what: impl Into<String>) -> TransferError {
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

pub(super) fn folder(path: &Path) -> &Path {
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
            crossfade_checkpoint: VERSION,
            table: pair.name.clone(),
            fingerprint: header.fingerprint.clone(),
            target_was_empty: header.target_was_empty,
            source: header.sides.as_ref().map(|sides| sides.source.clone()),
            target: header.sides.as_ref().map(|sides| sides.target.clone()),
            extra: Some(header.extra),
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
    pub(super) fn resume(
        path: &Path,
        fingerprint: &str,
        sides: Option<&Sides>,
        pair: &Pair,
    ) -> Result<Option<Self>, TransferError> {
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
        let again = "or start from the beginning with --restart";
        if header.crossfade_checkpoint != VERSION {
            let version = header.crossfade_checkpoint;
            return Err(trouble(
                path,
                format!(
                    "has the form {version}, and this program reads form {VERSION}: finish the run with the program that began it, {again}"
                ),
            ));
        }
        if header.fingerprint != fingerprint {
            let what = format!("is of another configuration of this table: put the configuration back, {again}");
            return Err(trouble(path, what));
        }
        let known = header.source.zip(header.target).map(|(source, target)| Sides { source, target });
        if let (Some(known), Some(sides)) = (&known, sides)
            && known != sides
        {
            let what =
                format!("is of a run between other databases or tables: put `source` and `target` back, {again}");
            return Err(trouble(path, what));
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
        let header = Header {
            fingerprint: header.fingerprint,
            target_was_empty: header.target_was_empty,
            sides: known,
            // A header without the word says nothing of rows that the target had.
            extra: header.extra.unwrap_or(Recorded::Keep),
            ranges,
        };
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use crossfade_api::config::Config;
    use crossfade_stores::{Column, TableName, TableSchema};

    use super::*;
    use crate::pair;

    fn column(name: &str, ty: ColumnType) -> Column {
        Column {
            name: name.to_owned(),
            ty,
            native: String::new(),
            nullable: false,
            generated: false,
            optional: true,
            limits: Limits::default(),
        }
    }

    /// A checkpoint of an older version of this program must fit: change neither of the texts below.
    #[test]
    fn the_fingerprint_of_a_configuration_stays_the_same_in_every_version() {
        let labels = ["new", "done"].map(str::to_owned).to_vec();
        let described = TableSchema {
            name: TableName::new("events"),
            columns: vec![
                column("id", ColumnType::INT64),
                column("user_id", ColumnType::Text { max: Some(40) }),
                column("state", ColumnType::Enum { labels }),
                column("tags", ColumnType::Array(Box::new(ColumnType::TEXT))),
                column("amount", ColumnType::Decimal { precision: Some((10, 2)) }),
            ],
            key: vec![0],
            open: false,
        };
        let found = TableSchema {
            name: TableName::new("moved"),
            columns: vec![column("pk", ColumnType::TEXT), column("id", ColumnType::INT64)],
            key: vec![0, 1],
            open: true,
        };
        let config = "[migration.m]\nsource = \"a://b\"\ntarget = \"a://c\"\n[migration.m.table.events]\ncohort = [\"user_id\"]\ntarget = \"moved\"\n[migration.m.table.events.map]\npk = \"USER#{user_id}\"\namount = { lossy = \"float\" }\n";
        let config = Config::parse(config).unwrap().migration["m"].table["events"].clone();
        let (source, target, map) =
            pair::specs("events", &config, &described, &TableName::new("moved"), Some(&found)).unwrap();
        let form = canonical(&source, &target, &map).unwrap();
        assert_eq!(
            form,
            concat!(
                r#"{"source":{"name":"events","columns":[["id","int64"],["user_id","text(40)"],["state","enum 3:new 4:done"],["tags","text[]"],["amount","decimal(10,2)"]],"#,
                r#""key":[0],"version":null,"ttl":null,"pattern":null,"layout":"hash","documents":[],"prefixes":[]},"#,
                r#""target":{"name":"moved","columns":[["id","int64"],["user_id","text(40)"],["state","enum 3:new 4:done"],["tags","text[]"],["amount","float64"],["pk","text"]],"#,
                r#""key":[5,0],"version":null,"ttl":null,"pattern":null,"layout":"hash","documents":[],"prefixes":[["pk","USER#"]]},"#,
                r#""map":[{"column":{"from":0,"convert":null}},{"column":{"from":1,"convert":null}},{"column":{"from":2,"convert":null}},{"column":{"from":3,"convert":null}},{"column":{"from":4,"convert":"float64"}},{"template":[{"text":"USER#"},{"column":1}]}]}"#
            )
        );
        assert_eq!(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(form.as_bytes())), "6241f15fdfb6ba3c");
    }
}
