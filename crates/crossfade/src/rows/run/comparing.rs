//! Verification: every row of each side is compared with the other side, and what differs is looked at again (R14).

use super::turn::{Allowed, decide};
use super::{RunError, Work, moving};
use crate::key;
use crate::rows::{Cursor, ScanRows, backfill};
use crossfade_core::{Side, Verdict};
use futures::{StreamExt, stream};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A difference counts when it is still there at each of these looks: a live write reaches the two sides one after the
/// other.
pub(super) const LOOKS: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1)];
/// So many differing rows are looked at again together.
const TOGETHER: usize = 10_000;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// Each table, in the order in which it was given.
    pub tables: Vec<TableVerified>,
    /// The first differing rows, as many as [`Run::name_at_most`](super::Run::name_at_most) says.
    pub differences: Vec<Difference>,
    /// Rows left alone, because only one side is written for their keys.
    pub not_mirrored: u64,
    /// Tables of this process that the run did not have. Unless it is empty, no gate takes the verdict.
    pub left_out: Vec<String>,
}

/// What a verification found in one table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TableVerified {
    /// The name of the table.
    pub table: String,
    /// Rows of the source.
    pub rows_source: u64,
    /// Rows of the target.
    pub rows_target: u64,
    /// Rows that only the source has.
    pub only_in_source: u64,
    /// Rows that only the target has.
    pub only_in_target: u64,
    /// Rows that both sides have, and that differ.
    pub different: u64,
    /// Rows that could not be read at the last look.
    pub unknown: u64,
}

/// One row that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The table.
    pub table: String,
    /// Digest of the row key.
    pub digest: String,
    /// The row key, where the run was asked for keys.
    pub key: Option<String>,
    /// How it differs.
    pub kind: DifferenceKind,
    /// The names of the fields that differ, where they are known: see [`with_fields`](crate::rows::with_fields).
    pub fields: Vec<String>,
}

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The target does not have it.
    OnlyInSource,
    /// The source does not have it.
    OnlyInTarget,
    /// Both have it, and it is not the same.
    Different,
}

/// How differing rows are named.
#[derive(Debug, Clone)]
pub(super) struct Naming {
    pub(super) at_most: usize,
    pub(super) keys: bool,
}

impl Default for Naming {
    fn default() -> Naming {
        Naming { at_most: 1_000, keys: false }
    }
}

impl Verification {
    pub(super) fn new(left_out: Vec<String>) -> Verification {
        Verification { tables: Vec::new(), differences: Vec::new(), not_mirrored: 0, left_out }
    }

    /// Verified, diverged or unknown, over all tables.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let differing = self.tables.iter().map(|table| table.only_in_source + table.only_in_target + table.different);
        let unknown: u64 = self.tables.iter().map(|table| table.unknown).sum();
        match (differing.sum(), unknown) {
            (0, 0) => Verdict::Verified,
            (0, unknown) => Verdict::Unknown(unknown),
            (differing, _) => Verdict::Diverged(differing),
        }
    }
}

/// What one look at a row found.
enum Look {
    Equal,
    Differs(DifferenceKind, Vec<String>),
    Unknown,
}

/// Compares every row of a table.
pub(super) async fn compare_all<P: ScanRows>(
    pair: &P,
    work: &Work<'_>,
    naming: &Naming,
    found: &mut Verification,
) -> Result<(), RunError> {
    let mut table = TableVerified { table: work.table.to_owned(), ..TableVerified::default() };
    // Rows that are counted already: both scans meet a row that both sides have.
    let mut counted: HashSet<u64> = HashSet::new();
    for side in Side::ALL {
        let mut after = None;
        let mut suspects: Vec<P::Id> = Vec::new();
        loop {
            work.stopped()?;
            let page = backfill::page(pair, side, after, work.pace).await.map_err(|error| work.rows_error(error))?;
            let looked = compare_page(pair, work, side, page.rows).await?;
            match side {
                Side::Source => table.rows_source += looked.rows,
                Side::Target => table.rows_target += looked.rows,
            }
            found.not_mirrored += looked.not_mirrored;
            suspects.extend(looked.suspects);
            after = page.next.map(|cursor| Cursor(cursor.0));
            if suspects.len() >= TOGETHER || after.is_none() {
                let suspects = std::mem::take(&mut suspects);
                look_again(pair, work, naming, suspects, &mut counted, &mut table, &mut found.differences).await?;
            }
            work.handle.log(&work.inner.id, work.kind.name());
            if after.is_none() {
                break;
            }
        }
    }
    found.tables.push(table);
    Ok(())
}

struct Looked<I> {
    rows: u64,
    not_mirrored: u64,
    suspects: Vec<I>,
}

/// Compares the rows of one page, as they were read, with the other side.
async fn compare_page<P: ScanRows>(
    pair: &P,
    work: &Work<'_>,
    side: Side,
    rows: Vec<P::Row>,
) -> Result<Looked<P::Id>, RunError> {
    let looked = Mutex::new(Looked { rows: rows.len() as u64, not_mirrored: 0, suspects: Vec::new() });
    let failed: Mutex<Option<RunError>> = Mutex::default();
    stream::iter(rows)
        .for_each_concurrent(work.pace.at_once.max(1), |row| {
            let (looked, failed) = (&looked, &failed);
            async move {
                work.handle.saw_one();
                let (id, key) = (pair.id_of(&row), pair.key_of(&row));
                let turn = match decide(work.inner, |plan| work.unfit(plan), &key, work.pace.linger) {
                    Ok(Allowed::Work(_, turn)) => turn,
                    Ok(Allowed::NotMirrored) => {
                        looked.lock().unwrap_or_else(PoisonError::into_inner).not_mirrored += 1;
                        return;
                    }
                    Ok(Allowed::Unfit(why)) => return work.handle.stop_for(why),
                    Err(_) => {
                        let digest = key::digest(&key::text(&id));
                        let error = RunError::MissingKey { table: work.table.to_owned(), digest };
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        return;
                    }
                };
                let other = moving::read(pair, side.other(), &id, work.pace.timeout).await;
                drop(turn);
                if !other.is_ok_and(|other| other.as_ref() == Some(&row)) {
                    looked.lock().unwrap_or_else(PoisonError::into_inner).suspects.push(id);
                }
            }
        })
        .await;
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    work.stopped()?;
    Ok(looked.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Looks at suspects again, and counts and names those that still differ at the last look.
async fn look_again<P: ScanRows>(
    pair: &P,
    work: &Work<'_>,
    naming: &Naming,
    mut suspects: Vec<P::Id>,
    counted: &mut HashSet<u64>,
    table: &mut TableVerified,
    differences: &mut Vec<Difference>,
) -> Result<(), RunError> {
    suspects.retain(|id| !counted.contains(&key::hash(&key::text(id))));
    let mut looks: Vec<(P::Id, Look)> = suspects.into_iter().map(|id| (id, Look::Unknown)).collect();
    for wait in LOOKS {
        if looks.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        work.stopped()?;
        let again = looks.into_iter().map(|(id, _)| async move {
            let found = look(pair, &id, work.pace.timeout).await;
            (id, found)
        });
        let again: Vec<(P::Id, Look)> = stream::iter(again).buffer_unordered(work.pace.at_once.max(1)).collect().await;
        looks = again.into_iter().filter(|(_, look)| !matches!(look, Look::Equal)).collect();
    }
    for (id, look) in looks {
        let row = key::text(&id);
        if !counted.insert(key::hash(&row)) {
            continue;
        }
        match look {
            Look::Equal => {}
            Look::Unknown => table.unknown += 1,
            Look::Differs(kind, fields) => {
                match kind {
                    DifferenceKind::OnlyInSource => table.only_in_source += 1,
                    DifferenceKind::OnlyInTarget => table.only_in_target += 1,
                    DifferenceKind::Different => table.different += 1,
                }
                if differences.len() < naming.at_most {
                    differences.push(Difference {
                        table: work.table.to_owned(),
                        digest: key::digest(&row),
                        key: naming.keys.then_some(row),
                        kind,
                        fields,
                    });
                }
            }
        }
    }
    Ok(())
}

/// Reads a row on both sides.
async fn look<P: ScanRows>(pair: &P, id: &P::Id, timeout: Duration) -> Look {
    let source = moving::read(pair, Side::Source, id, timeout).await;
    let target = moving::read(pair, Side::Target, id, timeout).await;
    let (Ok(source), Ok(target)) = (source, target) else { return Look::Unknown };
    match (source, target) {
        (None, None) => Look::Equal,
        (Some(_), None) => Look::Differs(DifferenceKind::OnlyInSource, Vec::new()),
        (None, Some(_)) => Look::Differs(DifferenceKind::OnlyInTarget, Vec::new()),
        (Some(source), Some(target)) if source == target => Look::Equal,
        (Some(source), Some(target)) => {
            Look::Differs(DifferenceKind::Different, pair.fields_that_differ(&source, &target))
        }
    }
}
