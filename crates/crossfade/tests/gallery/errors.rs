//! Two stores, two error types, and a third for the caller.

use crate::stages::{compared, migration, step, walk};
use crossfade::rows::RowPair;
use crossfade::{Effect, Refused, Side};
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Debug, thiserror::Error)]
#[error("the old store: {0}")]
pub(crate) struct OldError(&'static str);

#[derive(Debug, thiserror::Error)]
#[error("the new store: code {0}")]
pub(crate) struct NewError(u16);

#[derive(Debug, thiserror::Error)]
pub(crate) enum TagError {
    #[error(transparent)]
    Refused(Refused),
    #[error(transparent)]
    Old(OldError),
    #[error(transparent)]
    New(#[from] NewError),
}

fn effect(error: &TagError) -> Effect {
    match error {
        TagError::Refused(_) | TagError::Old(OldError("taken")) | TagError::New(NewError(409)) => Effect::Refused,
        TagError::Old(_) | TagError::New(_) => Effect::Unknown,
    }
}

// The target's error has a `From`, which is the default.
#[crossfade::dao(
    refused = TagError::Refused,
    effect = effect,
    error = TagError,
    source_error = OldError,
    map_source = TagError::Old,
    target_error = NewError,
)]
pub(crate) trait Tags {
    type Error;
    #[write(key = tag)]
    async fn add(&self, tag: &str) -> Result<(), Self::Error>;
    #[read(key = tag)]
    async fn has(&self, tag: &str) -> Result<bool, Self::Error>;
    #[snapshot(key = tag)]
    async fn snapshot(&self, tag: &str) -> Result<Option<u64>, Self::Error>;
    #[restore]
    async fn restore(&self, tag: &str, seen: Option<&u64>, row: Option<&u64>) -> Result<bool, Self::Error>;
}

macro_rules! memory {
    ($name:ident, $error:ty, $taken:expr) => {
        #[derive(Debug, Default)]
        struct $name(Mutex<BTreeMap<String, u64>>);
        impl Tags for $name {
            type Error = $error;
            async fn add(&self, tag: &str) -> Result<(), $error> {
                match self.0.lock().unwrap().insert(tag.to_owned(), 1) {
                    None => Ok(()),
                    Some(_) => Err($taken),
                }
            }
            async fn has(&self, tag: &str) -> Result<bool, $error> {
                Ok(self.0.lock().unwrap().contains_key(tag))
            }
            async fn snapshot(&self, tag: &str) -> Result<Option<u64>, $error> {
                Ok(self.0.lock().unwrap().get(tag).copied())
            }
            async fn restore(&self, tag: &str, seen: Option<&u64>, row: Option<&u64>) -> Result<bool, $error> {
                let mut rows = self.0.lock().unwrap();
                if rows.get(tag) != seen {
                    return Ok(false);
                }
                match row {
                    Some(row) => rows.insert(tag.to_owned(), *row),
                    None => rows.remove(tag),
                };
                Ok(true)
            }
        }
    };
}
memory!(Old, OldError, OldError("taken"));
memory!(New, NewError, NewError(409));

#[tokio::test]
async fn each_side_keeps_its_own_errors() {
    let (migration, control) = migration("tags", false).await;
    let dao = MigratingTags::new(Old::default(), New::default(), migration.clone());
    for (place, position) in walk().into_iter().enumerate() {
        step(&migration, &control, &position).await;
        let tag = format!("tag-{place}");
        dao.add(&tag).await.unwrap();
        let again = dao.add(&tag).await.unwrap_err();
        let authority = migration.stage_of(&tag).unwrap().authority();
        match authority {
            Side::Source => assert!(matches!(again, TagError::Old(OldError("taken")))),
            Side::Target => assert!(matches!(again, TagError::New(NewError(409)))),
        }
        assert!(dao.has(&tag).await.unwrap());
        assert_eq!(dao.snapshot(&tag).await.unwrap(), Some(1));
        assert_eq!(dao.rows().snapshot(authority, &tag).await.unwrap(), Some(1));
        compared(&migration).await;
    }
    let seen = migration.observe();
    assert_eq!((seen.total(|operation| operation.mismatched), seen.marked), (0, 0), "{seen:?}");
}
