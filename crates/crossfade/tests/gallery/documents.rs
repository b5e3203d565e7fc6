//! Arguments and answers of every shape; and the promise that a single side costs no copy.

use crate::stages::{compared, migration, step, walk};
use crossfade::{Key, Position, Refused, Stage};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A struct of several fields is a key of several parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Key)]
pub(crate) struct DocumentId {
    pub(crate) tenant: String,
    pub(crate) number: u32,
}

static COPIES: AtomicU32 = AtomicU32::new(0);

/// Counts how often it is copied.
#[derive(Debug, PartialEq)]
pub(crate) struct Body(Vec<u8>);

impl Clone for Body {
    fn clone(&self) -> Body {
        COPIES.fetch_add(1, Ordering::Relaxed);
        Body(self.0.clone())
    }
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct DocumentError(#[from] Refused);

#[crossfade::dao(refused = DocumentError, name = BothDocuments)]
pub(crate) trait Documents: Send + Sync + 'static {
    #[write(key = id.tenant, row = *id, mirror = replay)]
    async fn put<'d>(
        &self,
        id: &'d DocumentId,
        body: &'d Body,
        title: Option<&'d str>,
        bytes: &[u8],
        labels: Vec<String>,
    ) -> Result<(), DocumentError>;
    #[write(key = &id.tenant, row = (id.tenant.as_str(), id.number), mirror = replay)]
    async fn replace(&self, id: DocumentId, body: Body, _: Option<u64>) -> Result<Option<Body>, DocumentError>;
    #[read(key = if tenant.is_empty() { "nobody" } else { tenant })]
    async fn sizes(&self, tenant: &str) -> Result<std::collections::BTreeMap<u32, usize>, DocumentError>;
    #[read(key = r#type.to_string(), compare = |a: &usize, b: &usize| if a.abs_diff(*b) < 2 { crossfade::compare::Comparison::Match } else { crossfade::compare::Comparison::Differ(Vec::new()) })]
    async fn r#fn(&self, r#type: u8) -> Result<usize, DocumentError>;
}

#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<DocumentId, (Vec<u8>, String)>>);

impl Documents for Memory {
    async fn put<'d>(
        &self,
        id: &'d DocumentId,
        body: &'d Body,
        title: Option<&'d str>,
        bytes: &[u8],
        labels: Vec<String>,
    ) -> Result<(), DocumentError> {
        let text = format!("{title:?} {bytes:?} {labels:?}");
        tokio::task::yield_now().await;
        self.0.lock().unwrap().insert(id.clone(), (body.0.clone(), text));
        Ok(())
    }
    async fn replace(&self, id: DocumentId, body: Body, _: Option<u64>) -> Result<Option<Body>, DocumentError> {
        let old = self.0.lock().unwrap().insert(id, (body.0, String::new()));
        Ok(old.map(|(bytes, _)| Body(bytes)))
    }
    async fn sizes(&self, tenant: &str) -> Result<BTreeMap<u32, usize>, DocumentError> {
        let rows = self.0.lock().unwrap();
        Ok(rows.iter().filter(|(id, _)| id.tenant == tenant).map(|(id, row)| (id.number, row.0.len())).collect())
    }
    async fn r#fn(&self, r#type: u8) -> Result<usize, DocumentError> {
        Ok(self.0.lock().unwrap().keys().filter(|id| id.number == u32::from(r#type)).count())
    }
}

fn id(tenant: usize, number: u32) -> DocumentId {
    DocumentId { tenant: format!("tenant-{tenant}"), number }
}

#[tokio::test]
async fn documents_pass_through_every_stage_and_one_side_costs_no_copy() {
    let (migration, control) = migration("documents", false).await;
    let dao = BothDocuments::new(Memory::default(), Memory::default(), migration.clone());
    for (place, position) in walk().into_iter().enumerate() {
        step(&migration, &control, &position).await;
        let before = COPIES.load(Ordering::Relaxed);
        for user in 0..10 {
            let id = id(place * 100 + user, 1);
            dao.put(&id, &Body(vec![1, 2]), Some("title"), &[7], vec!["label".to_owned()]).await.unwrap();
            let old = dao.replace(id.clone(), Body(vec![1]), None).await.unwrap();
            assert_eq!(old, Some(Body(vec![1, 2])), "at {position}");
            assert_eq!(dao.sizes(&id.tenant).await.unwrap(), BTreeMap::from([(1, 1)]), "at {position}");
            dao.r#fn(1).await.unwrap();
        }
        compared(&migration).await;
        let copies = COPIES.load(Ordering::Relaxed) - before;
        match position.stages() {
            (Stage::Off, Stage::Off) | (Stage::Complete, Stage::Complete) => assert_eq!(copies, 0, "at {position}"),
            _ => assert!((1..=20).contains(&copies), "{copies} at {position}"),
        }
    }
    let seen = migration.observe();
    assert_eq!(seen.marked, 0, "{seen:?}");
    assert_eq!(
        seen.operations.iter().map(|seen| &*seen.operation).collect::<Vec<_>>(),
        ["put", "replace", "sizes", "fn"]
    );
}

#[tokio::test]
async fn a_key_of_several_parts_marks_the_row_it_names() {
    let (migration, control) = migration("documents", false).await;
    let dao = BothDocuments::new(Memory::default(), Memory::default(), migration);
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    let missing = dao.replace(DocumentId { tenant: String::new(), number: 1 }, Body(Vec::new()), None).await;
    assert!(matches!(missing, Err(DocumentError(Refused::MissingKey(_)))));
    assert_eq!(crossfade::key::text(&id(1, 2)), crossfade::key::text(&("tenant-1", 2)));
    assert_eq!(
        <DocumentId as crossfade::ParseKey>::parse_key("a\u{1f}7"),
        Some(DocumentId { tenant: "a".to_owned(), number: 7 })
    );
    assert_eq!(<DocumentId as crossfade::ParseKey>::parse_key("a"), None);
}
