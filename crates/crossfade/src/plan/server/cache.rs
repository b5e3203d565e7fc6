//! What this process last ran, on disk: to be told, never to be served.
//!
//! A plan from a file is not put into force, neither before registering nor while the control plane is away: an
//! instance that nobody waits for writes under a plan that the fleet has left (R3, R11). The file is good for two
//! other things. It says to the plane which revision was seen here, so that one restored from an older backup does not
//! hand out what the fleet has left (R21); and it says to people what ran here last.
//!
//! It is a hint. Nothing fails or waits for it: it is written behind the plan in force, by a task of its own.

use crossfade_api::revision::RevisionText;
use crossfade_api::wire::Publication;
use crossfade_core::{Plan, Revision};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const FORMAT: &str = "crossfade-last-plan-1";
const NOTE: &str = "what ran here last; never served from here";
/// Room for many pins; a larger file is none of ours.
const LONGEST: u64 = 16 << 20;
/// A file that another process left half-written is removed when it is so old.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// The file as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Page {
    format: String,
    note: String,
    instance: String,
    written_ms: u64,
    publication: Publication,
}

/// What ran here last.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) revision: RevisionText,
    pub(super) plan: Plan,
    pub(super) instance: String,
    pub(super) age: Duration,
}

impl std::fmt::Display for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Remembered { revision, plan, instance, age } = self;
        write!(f, "revision {revision} (`{}`), written by {instance} {} s ago", plan.position(), age.as_secs())
    }
}

/// Why a file tells nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it cannot be read ({0}): check its rights")]
    Read(#[from] std::io::Error),
    #[error("it is damaged ({0}): the next plan replaces it")]
    Damaged(String),
    #[error("it is something else, and is left alone: give this migration a file of its own")]
    Foreign,
}

/// Reads the file; none when there is none yet.
pub(super) fn read(path: &Path, migration: &str) -> Result<Option<Remembered>, Unfit> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Unfit::Foreign);
    }
    let damaged = |why: String| Unfit::Damaged(why.chars().take(200).collect());
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if value.get("format").and_then(serde_json::Value::as_str) != Some(FORMAT) {
        return Err(Unfit::Foreign);
    }
    let page: Page = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
    let plan = Plan::new(page.publication.plan).map_err(|error| damaged(error.to_string()))?;
    if plan.migration() != migration {
        return Err(Unfit::Foreign);
    }
    if plan.fingerprint() != page.publication.revision.0.hash {
        return Err(damaged("plan and revision do not belong together".to_owned()));
    }
    let written = UNIX_EPOCH.checked_add(Duration::from_millis(page.written_ms)).unwrap_or(UNIX_EPOCH);
    let age = SystemTime::now().duration_since(written).unwrap_or_default();
    Ok(Some(Remembered { revision: page.publication.revision, plan, instance: page.instance, age }))
}

/// Replaces the file, unless it remembers more. A crash at any moment leaves the old file or the new one.
fn write(path: &Path, instance: &str, publication: &Publication) -> Result<(), Unfit> {
    match read(path, &publication.plan.migration) {
        Ok(Some(there)) if order(there.revision.0) > order(publication.revision.0) => return Ok(()),
        Err(Unfit::Foreign) => return Err(Unfit::Foreign),
        Ok(_) | Err(Unfit::Damaged(_) | Unfit::Read(_)) => {}
    }
    let temporary = write_beside(path, instance, publication)?;
    put_in_place(&temporary, path)?;
    Ok(())
}

fn order(revision: Revision) -> (u32, u64) {
    (revision.incarnation, revision.number)
}

/// Everything up to the moment at which the new file takes the old one's name.
fn write_beside(path: &Path, instance: &str, publication: &Publication) -> std::io::Result<PathBuf> {
    sweep(path);
    let page = Page {
        format: FORMAT.to_owned(),
        note: NOTE.to_owned(),
        instance: instance.to_owned(),
        written_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        publication: publication.clone(),
    };
    let mut text = serde_json::to_vec_pretty(&page)?;
    text.push(b'\n');
    let temporary = PathBuf::from(format!("{}.{instance}.tmp", path.display()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    // Pins are keys of somebody.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    let written = file.write_all(&text).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // What failed already is the reason; the file is swept away later if it stays.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    Ok(temporary)
}

fn put_in_place(temporary: &Path, path: &Path) -> std::io::Result<()> {
    if let Err(error) = fs::rename(temporary, path) {
        let _ = fs::remove_file(temporary);
        return Err(error);
    }
    // The name is durable when its folder is.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Removes what processes left that died before the file had its name.
fn sweep(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|other| {
            other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".tmp"))
        });
        let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|at| at.elapsed().ok());
        if ours && age.is_some_and(|age| age > LEFT_BEHIND) {
            // Another process may have been quicker.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes what it is handed, the newest only, without anybody waiting for it.
#[derive(Debug)]
pub(super) struct Keeper {
    newest: watch::Sender<Option<Publication>>,
    writing: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn new(path: PathBuf, instance: String) -> Keeper {
        let (newest, mut handed) = watch::channel(None::<Publication>);
        let writing = tokio::spawn(async move {
            let mut failing = false;
            while handed.changed().await.is_ok() {
                let Some(publication) = handed.borrow_and_update().clone() else { continue };
                let (file, instance) = (path.clone(), instance.clone());
                let written = tokio::task::spawn_blocking(move || write(&file, &instance, &publication)).await;
                match written {
                    Ok(Ok(())) => failing = false,
                    Ok(Err(why)) if !std::mem::replace(&mut failing, true) => {
                        tracing::warn!(file = %path.display(), %why, "the plan in force is not kept on disk");
                    }
                    Ok(Err(_)) | Err(_) => {}
                }
            }
        });
        Keeper { newest, writing }
    }

    pub(super) fn keep(&self, publication: &Publication) {
        self.newest.send_replace(Some(publication.clone()));
    }

    /// Returns when the last plan is on disk, or cannot be.
    pub(super) async fn close(self) {
        drop(self.newest);
        // A panic of the writing task was reported by its thread.
        let _ = self.writing.await;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crossfade_core::{PlanSpec, Stage};

    fn publication(number: u64, stage: Stage) -> Publication {
        let plan = Plan::new(PlanSpec::at("events", stage)).unwrap();
        let revision = Revision { incarnation: 1, number, hash: plan.fingerprint() };
        Publication { revision: revision.into(), plan: plan.spec() }
    }

    fn number(path: &Path) -> u64 {
        read(path, "events").unwrap().unwrap().revision.0.number
    }

    #[test]
    fn what_was_written_is_remembered_for_this_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        assert!(read(&path, "events").unwrap().is_none(), "no file is no fault");
        write(&path, "app-1", &publication(7, Stage::Live)).unwrap();
        let there = read(&path, "events").unwrap().unwrap();
        assert_eq!((there.revision.0.number, there.plan.position().stage()), (7, Stage::Live));
        assert!(there.to_string().contains("(`live`), written by app-1"), "{there}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_slower_process_does_not_take_back_what_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        write(&path, "app-1", &publication(7, Stage::Live)).unwrap();
        write(&path, "app-2", &publication(6, Stage::Shadow)).unwrap();
        assert_eq!(number(&path), 7);
        write(&path, "app-2", &publication(8, Stage::Live)).unwrap();
        assert_eq!(number(&path), 8);
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_file_and_is_swept_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        write(&path, "app-1", &publication(1, Stage::Off)).unwrap();
        // The crash: written, synced, and never renamed.
        let left = write_beside(&path, "app-2", &publication(2, Stage::Off)).unwrap();
        assert_eq!(number(&path), 1);
        let aged = SystemTime::now() - LEFT_BEHIND * 2;
        fs::File::options().write(true).open(&left).unwrap().set_modified(aged).unwrap();
        let bystander = folder.path().join("plan.json.bak");
        fs::write(&bystander, "mine").unwrap();
        write(&path, "app-3", &publication(3, Stage::Off)).unwrap();
        assert_eq!(number(&path), 3);
        assert!(!left.exists() && bystander.exists());
    }

    #[test]
    fn no_cut_of_the_file_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        write(&path, "app-1", &publication(7, Stage::Live)).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() - 2 {
            fs::write(&path, whole.get(..length).unwrap()).unwrap();
            assert!(matches!(read(&path, "events"), Err(Unfit::Damaged(_))), "cut at {length}");
        }
        // Damaged by a hand that kept it JSON: the plan is not the revision's.
        fs::write(&path, String::from_utf8(whole).unwrap().replace("\"live\"", "\"shadow\"")).unwrap();
        assert!(matches!(read(&path, "events"), Err(Unfit::Damaged(why)) if why.contains("belong together")));
        write(&path, "app-1", &publication(8, Stage::Live)).unwrap();
        assert_eq!(number(&path), 8, "a damaged file is replaced");
    }

    #[test]
    fn what_is_not_ours_is_neither_believed_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        write(&path, "app-1", &publication(7, Stage::Live)).unwrap();
        assert!(matches!(read(&path, "orders"), Err(Unfit::Foreign)));
        for foreign in ["{}", "[1]", r#"{"format":"crossfade-last-plan-2"}"#] {
            fs::write(&path, foreign).unwrap();
            assert!(matches!(read(&path, "events"), Err(Unfit::Foreign)), "{foreign}");
            assert!(matches!(write(&path, "app-1", &publication(8, Stage::Live)), Err(Unfit::Foreign)));
            assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
        }
    }

    #[tokio::test]
    async fn the_newest_plan_is_on_disk_when_the_keeper_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let keeper = Keeper::new(path.clone(), "app-1".to_owned());
        for n in 1..=20 {
            keeper.keep(&publication(n, Stage::Off));
        }
        keeper.close().await;
        assert_eq!(number(&path), 20);
        // Nothing fails where nothing can be written.
        let keeper = Keeper::new(folder.path().join("no/such/folder.json"), "app-1".to_owned());
        keeper.keep(&publication(1, Stage::Off));
        keeper.close().await;
    }
}
