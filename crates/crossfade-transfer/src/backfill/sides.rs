//! Which tables a run works on, by the word of their servers.

use std::path::Path;

use super::{checkpoint, consent::Recorded};
use crate::{Pair, TransferError, retry::Retry};

/// Both tables, as a checkpoint records them: the same for every URL, and after a restart of their servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sides {
    /// The source.
    pub source: String,
    /// The target.
    pub target: String,
}

/// Asks both servers. `None` where a side is held by no server.
///
/// # Errors
/// [`TransferError::SameTable`], or what a server said.
pub async fn of(pair: &Pair, retry: &Retry) -> Result<Option<Sides>, TransferError> {
    let source = retry.run(|| pair.source.identity()).await?;
    let target = retry.run(|| pair.target.identity()).await?;
    let (Some(source), Some(target)) = (source, target) else { return Ok(None) };
    if source.live == target.live {
        return Err(TransferError::SameTable { table: pair.name.clone() });
    }
    Ok(Some(Sides { source: source.lasting, target: target.lasting }))
}

/// What an earlier run of this checkpoint recorded of rows that the target had before, if it was a run between the same tables.
///
/// # Errors
/// [`TransferError::Swapped`] if a run of this migration went the other way.
pub(super) fn earlier(
    pair: &Pair,
    path: Option<&Path>,
    sides: Option<&Sides>,
) -> Result<Option<Recorded>, TransferError> {
    let (Some(path), Some(sides)) = (path, sides) else { return Ok(None) };
    refuse(pair, path, sides)?;
    Ok(checkpoint::recorded(path).filter(|(known, _)| known == sides).map(|(_, extra)| extra))
}

/// Refuses a pair whose sides are those of an earlier backfill of this migration, the other way round. `checkpoint` is where a backfill of it keeps its progress:
/// all progress of the same migration in that folder counts, of whichever table and claim.
///
/// # Errors
/// [`TransferError::Swapped`], [`TransferError::SameTable`], or what a server said.
pub async fn refuse_swapped(pair: &Pair, retry: &Retry, checkpoint: &Path) -> Result<(), TransferError> {
    match of(pair, retry).await? {
        Some(sides) => refuse(pair, checkpoint, &sides),
        None => Ok(()),
    }
}

/// What the progress of a backfill shows of rows that only one side has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Nothing: no backfill between these two tables is recorded there, or it left such rows to their owner.
    Nothing,
    /// A row that the target alone has was put by this migration, or its owner agreed that it is deleted.
    TargetIsOurs,
    /// Besides, that backfill was completed: the target has had every row that the source had before.
    TargetHadAll,
}

/// What the progress of a backfill, kept at `checkpoint`, shows of rows that only one side has.
///
/// # Errors
/// [`TransferError::Swapped`] as [`refuse_swapped`], [`TransferError::SameTable`], or what a server said.
pub async fn shown(pair: &Pair, retry: &Retry, checkpoint: &Path) -> Result<Shown, TransferError> {
    let sides = of(pair, retry).await?;
    Ok(match earlier(pair, Some(checkpoint), sides.as_ref())? {
        None | Some(Recorded::Keep) => Shown::Nothing,
        Some(Recorded::None | Recorded::Delete) if checkpoint::is_complete(checkpoint) => Shown::TargetHadAll,
        Some(Recorded::None | Recorded::Delete) => Shown::TargetIsOurs,
    })
}

fn refuse(pair: &Pair, path: &Path, sides: &Sides) -> Result<(), TransferError> {
    let migration = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
    let Some(migration) = migration else { return Ok(()) };
    let folder = checkpoint::folder(path);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(checkpoint::trouble(folder, format!("cannot be read: {e}"))),
    };
    for entry in entries {
        let other = entry.map_err(|e| checkpoint::trouble(folder, format!("cannot be read: {e}")))?.path();
        let name = other.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let of_migration = name.strip_prefix(migration).is_some_and(|rest| rest.starts_with('.'));
        if !of_migration || !name.ends_with(".backfill") {
            continue;
        }
        if let Some((known, _)) = checkpoint::recorded(&other)
            && known.source == sides.target
            && known.target == sides.source
        {
            return Err(TransferError::Swapped { table: pair.name.clone(), path: other.display().to_string() });
        }
    }
    Ok(())
}
