//! Several keys (R18): split between the sides, or not to be split at all.

use crate::stages::{compared, migration, step, walk, walk_whole};
use crossfade::{Refused, Stage};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    id: u64,
    owner: String,
    text: String,
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
pub(crate) struct ListError(Option<Refused>);

#[crossfade::dao(refused = |refused| ListError(Some(refused)))]
pub(crate) trait Lists {
    #[write(keys = items, key = each.owner, row = each.id, mirror = replay)]
    async fn put_all(&self, items: &[Item]) -> Result<(), ListError>;
    #[write(keys = items, key = each.owner.as_str(), row = each.id, mirror = replay)]
    async fn take_all(&self, items: Vec<Item>, note: String) -> Result<u64, ListError>;
    #[read(keys = owners, compare = crossfade::compare::unordered(|item: &Item| item.id))]
    async fn of_owners(&self, owners: &[String]) -> Result<Vec<Item>, ListError>;
    #[read(keys = owners)]
    async fn counts(&self, owners: Vec<String>, at_most: usize) -> Result<BTreeMap<String, usize>, ListError>;
    #[read(keys = owners, aligned)]
    async fn first_of_each(&self, owners: &[String]) -> Result<Vec<Option<u64>>, ListError>;
    #[cfg(test)]
    #[read(keys = owners, eventual)]
    async fn count(&self, owners: &[String]) -> Result<u64, ListError>;
}

#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<u64, Item>>, Mutex<Vec<usize>>);

impl Lists for Memory {
    async fn put_all(&self, items: &[Item]) -> Result<(), ListError> {
        self.1.lock().unwrap().push(items.len());
        self.0.lock().unwrap().extend(items.iter().map(|item| (item.id, item.clone())));
        Ok(())
    }
    async fn take_all(&self, items: Vec<Item>, note: String) -> Result<u64, ListError> {
        let count = items.len() as u64;
        self.0.lock().unwrap().extend(items.into_iter().map(|item| (item.id, Item { text: note.clone(), ..item })));
        Ok(count)
    }
    async fn of_owners(&self, owners: &[String]) -> Result<Vec<Item>, ListError> {
        Ok(self.0.lock().unwrap().values().filter(|item| owners.contains(&item.owner)).cloned().collect())
    }
    async fn counts(&self, owners: Vec<String>, at_most: usize) -> Result<BTreeMap<String, usize>, ListError> {
        let rows = self.0.lock().unwrap();
        let count = |owner: &String| rows.values().filter(|item| item.owner == *owner).take(at_most).count();
        Ok(owners.into_iter().map(|owner| (owner.clone(), count(&owner))).collect())
    }
    async fn first_of_each(&self, owners: &[String]) -> Result<Vec<Option<u64>>, ListError> {
        let rows = self.0.lock().unwrap();
        let first = |owner: &String| rows.values().find(|item| item.owner == *owner).map(|item| item.id);
        Ok(owners.iter().map(first).collect())
    }
    async fn count(&self, owners: &[String]) -> Result<u64, ListError> {
        Ok(self.of_owners(owners).await?.len() as u64)
    }
}

#[tokio::test]
async fn lists_pass_through_every_stage() {
    let (migration, control) = migration("lists", false).await;
    let (source, target) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
    let dao = MigratingLists::from_arcs(source.clone(), target.clone(), migration.clone());
    for (place, position) in walk().into_iter().enumerate() {
        step(&migration, &control, &position).await;
        let owners: Vec<String> = (0..20).map(|owner| format!("{place}-{owner}")).collect();
        let ids = (place as u64 * 100)..;
        let items: Vec<Item> =
            ids.zip(&owners).map(|(id, owner)| Item { id, owner: owner.clone(), text: "new".to_owned() }).collect();
        dao.put_all(&items).await.unwrap();
        assert_eq!(dao.take_all(items.clone(), "taken".to_owned()).await.unwrap(), 20);
        let mut seen = dao.of_owners(&owners).await.unwrap();
        seen.sort_by_key(|item| item.id);
        let wanted: Vec<Item> = items.into_iter().map(|item| Item { text: "taken".to_owned(), ..item }).collect();
        assert_eq!(seen, wanted, "at {position}");
        assert_eq!(
            dao.counts(owners.clone(), 5).await.unwrap(),
            owners.iter().map(|owner| (owner.clone(), 1)).collect()
        );
        assert_eq!(dao.count(&owners).await.unwrap(), 20);
        let mut each: Vec<String> = owners.iter().rev().cloned().collect();
        each.insert(7, "nobody".to_owned());
        let firsts: Vec<Option<u64>> =
            each.iter().map(|owner| wanted.iter().find(|item| item.owner == *owner).map(|item| item.id)).collect();
        assert_eq!(dao.first_of_each(&each).await.unwrap(), firsts, "at {position}");
        for item in &wanted {
            let stage = migration.stage_of(&item.owner).unwrap();
            assert_eq!(source.0.lock().unwrap().contains_key(&item.id), stage != Stage::Complete, "{stage}");
            assert_eq!(target.0.lock().unwrap().contains_key(&item.id), stage != Stage::Off, "{stage}");
        }
        compared(&migration).await;
    }
    assert!(source.1.lock().unwrap().iter().any(|part| *part < 20), "nothing was split");
    assert_eq!(dao.of_owners(&[]).await.unwrap(), []);
    let seen = migration.observe();
    assert_eq!((seen.total(|operation| operation.mismatched), seen.marked), (0, 0), "{seen:?}");
    assert!(seen.total(|operation| operation.matched) > 0);
}

#[crossfade::dao(refused = |refused| ListError(Some(refused)))]
pub(crate) trait Archive {
    #[write(key = item.owner, row = item.id, mirror = replay)]
    async fn add(&self, item: &Item) -> Result<(), ListError>;
    #[write(whole, mirror = replay)]
    async fn purge(&self, text: &str) -> Result<u64, ListError>;
    #[read(whole)]
    async fn total(&self) -> Result<usize, ListError>;
}

impl Archive for Memory {
    async fn add(&self, item: &Item) -> Result<(), ListError> {
        self.put_all(std::slice::from_ref(item)).await
    }
    async fn purge(&self, text: &str) -> Result<u64, ListError> {
        let mut rows = self.0.lock().unwrap();
        let before = rows.len();
        rows.retain(|_, item| item.text != text);
        Ok((before - rows.len()) as u64)
    }
    async fn total(&self) -> Result<usize, ListError> {
        Ok(self.0.lock().unwrap().len())
    }
}

#[tokio::test]
async fn an_archive_that_no_key_splits_passes_through_every_stage() {
    let (migration, control) = migration("archive", true).await;
    let dao = MigratingArchive::new(Memory::default(), Memory::default(), migration.clone());
    for position in walk_whole() {
        step(&migration, &control, &position).await;
        for id in 0..20 {
            dao.add(&Item { id, owner: format!("owner-{id}"), text: "old".to_owned() }).await.unwrap();
        }
        assert_eq!(dao.total().await.unwrap(), 20, "at {position}");
        assert_eq!(dao.purge("old").await.unwrap(), 20, "at {position}");
        assert_eq!(dao.total().await.unwrap(), 0);
        compared(&migration).await;
    }
    let seen = migration.observe();
    assert_eq!((seen.total(|operation| operation.mismatched), seen.marked), (0, 0), "{seen:?}");
}

#[tokio::test]
async fn a_plan_that_forgot_to_say_whole_is_refused_half_way_over_the_cut_over() {
    let (migration, control) = migration("archive", false).await;
    let dao = MigratingArchive::new(Memory::default(), Memory::default(), migration.clone());
    for position in walk() {
        step(&migration, &control, &position).await;
        let straddles = position.ramp().is_some_and(|(edge, _)| edge.moves_authority());
        assert_eq!(matches!(dao.total().await, Err(ListError(Some(Refused::Straddling)))), straddles, "at {position}");
        assert_eq!(
            matches!(dao.purge("x").await, Err(ListError(Some(Refused::Straddling)))),
            straddles,
            "at {position}"
        );
    }
}
