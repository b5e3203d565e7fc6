//! The progress of a backfill through a DAO, in a file that survives `kill -9` (R16).
//!
//! The file is one JSON object and is replaced as a whole: written beside, synced, renamed, folder synced. It is written
//! between two pages, when every write of the page before has been answered. `under-way` is true from before the first
//! write of a page until its run stops in good order. A run that finds it true was preceded by one that was killed, and
//! a write of that run may still land (R9).

use super::RunError;
use crossfade_core::Side;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FORMAT: &str = "crossfade-rows-backfill-1";

/// The file as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Kept {
    format: String,
    migration: String,
    /// The claim of the target (R10); 0 without a control plane.
    claim: u64,
    /// The side that had authority when the backfill began: `source`, `target`, or `both` in the middle of a ramp.
    authority: String,
    under_way: bool,
    complete: bool,
    /// A finished page has rows that were left as they were: the next run begins with the first row.
    #[serde(default)]
    rows_left: bool,
    tables: BTreeMap<String, Place>,
}

/// How far one table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Place {
    /// The side whose rows are being read: the source first, then the target.
    pub(super) side: Side,
    /// The cursor after the last finished page; none at the beginning of the side.
    pub(super) after: Option<String>,
    /// Finished pages, of both sides.
    pub(super) pages: u64,
    /// Both sides were read to their end.
    pub(super) done: bool,
}

impl Default for Place {
    fn default() -> Place {
        Place { side: Side::Source, after: None, pages: 0, done: false }
    }
}

/// What a backfill has to agree with to go on from a file.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) migration: String,
    /// None while it is not yet known.
    pub(super) claim: Option<u64>,
    pub(super) authority: String,
    pub(super) tables: Vec<String>,
}

/// Progress of one backfill. Without a file it is kept in memory alone.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: Option<PathBuf>,
    kept: Kept,
    /// The run before this one was killed: a write of it may still land.
    cut_off: bool,
    /// Held as long as the run; the operating system lets go of it however the process ends.
    _lock: Option<Arc<File>>,
}

fn trouble(path: &Path, what: impl Into<String>) -> RunError {
    RunError::Checkpoint { path: path.to_owned(), what: what.into() }
}

/// Takes the file for this run alone.
///
/// The lock is a file of its own, because the checkpoint is replaced with every page.
pub(super) fn lock(path: &Path) -> Result<File, RunError> {
    let cannot =
        |e: std::io::Error| trouble(path, format!("it cannot be locked ({e}): keep it on a disk of this machine"));
    std::fs::create_dir_all(folder(path)).map_err(|e| trouble(path, format!("its folder cannot be made: {e}")))?;
    let beside = beside(path, "lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(beside).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(trouble(path, "another backfill is running on it: let that one end, or stop it, and try again"))
        }
        Err(TryLockError::Error(e)) => Err(cannot(e)),
    }
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Checkpoint {
    /// Goes on from the file of an earlier run, or begins anew.
    pub(super) fn open(
        path: Option<PathBuf>,
        identity: Identity,
        lock: Option<Arc<File>>,
    ) -> Result<Checkpoint, RunError> {
        let earlier = match &path {
            Some(path) => read(path, &identity)?,
            None => None,
        };
        let Identity { migration, claim, authority, tables } = identity;
        let cut_off = earlier.as_ref().is_some_and(|kept| kept.under_way);
        // Another claim of the target begins anew (R10), and so does the run after one that was completed, or that left
        // rows as they were.
        let usable = earlier.filter(|kept| Some(kept.claim) == claim && !kept.complete && !kept.rows_left);
        let kept = usable.unwrap_or_else(|| Kept {
            format: FORMAT.to_owned(),
            migration,
            claim: claim.unwrap_or_default(),
            authority,
            under_way: false,
            complete: false,
            rows_left: false,
            tables: tables.into_iter().map(|table| (table, Place::default())).collect(),
        });
        Ok(Checkpoint { path, kept, cut_off, _lock: lock })
    }

    /// Whether the run before this one was killed.
    pub(super) fn was_cut_off(&self) -> bool {
        self.cut_off
    }

    /// How far a table is.
    pub(super) fn place(&self, table: &str) -> Place {
        self.kept.tables.get(table).cloned().unwrap_or_default()
    }

    /// Pages that are finished, in all tables.
    pub(super) fn pages(&self) -> u64 {
        self.kept.tables.values().map(|place| place.pages).sum()
    }

    /// A page of this table is about to begin, and everything before it is finished. Durable when it returns.
    pub(super) async fn at(&mut self, table: &str, place: Place) -> Result<(), RunError> {
        self.kept.under_way = true;
        self.kept.tables.insert(table.to_owned(), place);
        self.write().await
    }

    /// The page that is about to be finished leaves rows as they were. Durable with the next write of the file.
    pub(super) fn leaves_rows(&mut self) {
        self.kept.rows_left = true;
    }

    /// No write is under way any more. Durable when it returns.
    pub(super) async fn idle(&mut self) -> Result<(), RunError> {
        self.kept.under_way = false;
        self.write().await
    }

    /// Every row was visited: the next run begins anew. Durable when it returns.
    pub(super) async fn complete(&mut self) -> Result<(), RunError> {
        self.kept.complete = true;
        self.idle().await
    }

    async fn write(&self) -> Result<(), RunError> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let text = serde_json::to_vec_pretty(&self.kept).map_err(|e| trouble(&path, e.to_string()))?;
        let written = tokio::task::spawn_blocking({
            let path = path.clone();
            move || replace(&path, &text)
        });
        let written = written.await.unwrap_or_else(|_| Err(std::io::Error::other("the writing task ended early")));
        written.map_err(|e| trouble(&path, format!("it cannot be written ({e}): is the disk full?")))
    }
}

fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let fresh = beside(path, "new");
    let mut file = File::create(&fresh)?;
    file.write_all(text)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    // The name is durable when its folder is.
    File::open(folder(path))?.sync_all()
}

/// The progress of an earlier run; none when there is no file. A file of another migration, of other tables or of
/// another authority is refused.
fn read(path: &Path, identity: &Identity) -> Result<Option<Kept>, RunError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(trouble(path, format!("it cannot be read ({e}): check its rights"))),
    };
    let kept: Kept =
        serde_json::from_slice(&text).ok().filter(|kept: &Kept| kept.format == FORMAT).ok_or_else(|| {
            trouble(
                path,
                "it is not the progress of a backfill: name another file, or remove it to begin from the first row",
            )
        })?;
    let begin_anew = "name another file, or remove it to begin from the first row";
    if kept.migration != identity.migration {
        let what = format!("it is of migration `{}`, not of `{}`: {begin_anew}", kept.migration, identity.migration);
        return Err(trouble(path, what));
    }
    let (known, asked): (Vec<&String>, Vec<&String>) = (kept.tables.keys().collect(), {
        let mut asked: Vec<&String> = identity.tables.iter().collect();
        asked.sort();
        asked
    });
    if known != asked {
        return Err(trouble(
            path,
            format!("it is of the tables {known:?}, and this run is of {asked:?}: {begin_anew}"),
        ));
    }
    if kept.authority != identity.authority && Some(kept.claim) == identity.claim && !kept.complete && !kept.rows_left {
        let what = format!(
            "authority was with {} when that backfill began, and is with {} now: {begin_anew}",
            kept.authority, identity.authority
        );
        return Err(trouble(path, what));
    }
    Ok(Some(kept))
}
