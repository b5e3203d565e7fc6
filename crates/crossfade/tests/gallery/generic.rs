//! A generic trait with associated types, lifetimes, method parameters and bounds of its own.

use crate::stages::{compared, migration, step, walk};
use crossfade::{Key, Migration, Refused};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Mutex;

pub(crate) trait Row: Clone + PartialEq + Debug + Send + Sync + 'static {
    type Id: Key + Clone + Ord + Send + Sync + 'static;
    fn id(&self) -> Self::Id;
}

#[crossfade::dao(name = MigratingTable)]
pub(crate) trait Table<R: Row, const WIDTH: usize = 1>: Debug
where
    R::Id: Debug,
{
    type Error: From<Refused> + Debug + Send;
    type Stamp: Clone + PartialEq + Send + Sync + Debug;

    const WIDE: bool = WIDTH > 1;

    #[write(key = row.id(), mirror = replay)]
    async fn put(&self, row: R, stamp: Self::Stamp) -> Result<Self::Stamp, Self::Error>;
    #[read(key = id)]
    async fn get<'a>(&'a self, id: &'a R::Id) -> Result<Option<(R, Self::Stamp)>, Self::Error>;
    #[read(key = probe.as_ref())]
    async fn has<P>(&self, probe: P) -> Result<bool, Self::Error>
    where
        P: AsRef<R::Id> + Clone + Send + Sync + 'static;
    #[target_only]
    async fn describe(&self, what: &mut (impl Extend<String> + Send)) -> usize
    where
        Self: Sized;
    fn width(&self) -> usize {
        WIDTH
    }
    async fn put_twice(&self, row: R, stamp: Self::Stamp) -> Result<Self::Stamp, Self::Error>
    where
        Self: Sized,
    {
        self.put(row.clone(), stamp.clone()).await?;
        self.put(row, stamp).await
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Note(u32, String);

impl Row for Note {
    type Id = u32;
    fn id(&self) -> u32 {
        self.0
    }
}

#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<u32, (Note, u64)>>);

#[derive(Debug)]
struct Failed;

impl From<Refused> for Failed {
    fn from(_: Refused) -> Failed {
        Failed
    }
}

impl Table<Note, 3> for Memory {
    type Error = Failed;
    type Stamp = u64;
    async fn put(&self, row: Note, stamp: u64) -> Result<u64, Failed> {
        self.0.lock().unwrap().insert(row.0, (row, stamp));
        Ok(stamp)
    }
    async fn get<'a>(&'a self, id: &'a u32) -> Result<Option<(Note, u64)>, Failed> {
        Ok(self.0.lock().unwrap().get(id).cloned())
    }
    async fn has<P>(&self, probe: P) -> Result<bool, Failed>
    where
        P: AsRef<u32> + Clone + Send + Sync + 'static,
    {
        Ok(self.0.lock().unwrap().contains_key(probe.as_ref()))
    }
    async fn describe(&self, what: &mut (impl Extend<String> + Send)) -> usize {
        let count = self.0.lock().unwrap().len();
        what.extend([format!("{count} notes")]);
        count
    }
}

#[derive(Debug, Clone)]
struct Probe(u32);

impl AsRef<u32> for Probe {
    fn as_ref(&self) -> &u32 {
        &self.0
    }
}

/// Callers are generic too: their futures stay `Send`.
async fn write_and_read<R, T>(table: &T, row: R, stamp: T::Stamp) -> Option<(R, T::Stamp)>
where
    R: Row,
    R::Id: Debug,
    T: Table<R, 3> + Sync,
{
    table.put_twice(row.clone(), stamp).await.unwrap();
    table.get(&row.id()).await.unwrap()
}

#[tokio::test]
async fn a_generic_table_passes_through_every_stage() {
    let (migration, control) = migration("notes", false).await;
    let new: fn(Memory, Memory, Migration) -> MigratingTable<Memory, Memory, Note, 3> = MigratingTable::new;
    let table = new(Memory::default(), Memory::default(), migration.clone());
    let mut next = 0;
    for position in walk() {
        step(&migration, &control, &position).await;
        for _ in 0..10 {
            next += 1;
            let (note, table) = (Note(next, format!("note {next}")), table.clone());
            let wanted = note.clone();
            let run = tokio::spawn(async move { write_and_read(&table, note, 7).await });
            assert_eq!(run.await.unwrap(), Some((wanted, 7)), "at {position}");
        }
        assert!(table.has(Probe(next)).await.unwrap());
        compared(&migration).await;
    }
    let seen = migration.observe();
    assert_eq!((seen.total(|operation| operation.mismatched), seen.marked), (0, 0), "{seen:?}");
    assert!(seen.total(|operation| operation.matched) > 0);
    assert_eq!(seen.operations.iter().map(|seen| &*seen.operation).collect::<Vec<_>>(), ["put", "get", "has"]);
    let mut told = Vec::new();
    // Everything but what was written at `off`, and the half that stayed there.
    assert!(table.describe(&mut told).await < next as usize);
    assert_eq!(told.len(), 1);
    assert_eq!((table.width(), <MigratingTable<Memory, Memory, Note, 3> as Table<Note, 3>>::WIDE), (3, true));
}
