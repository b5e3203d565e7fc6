//! A module that has names of its own for everything: generated code brings its own paths.

use std::sync::Mutex;

/// Words of the prelude, meaning something else here.
#[expect(dead_code, reason = "they are only in the way")]
mod shadows {
    pub(crate) struct Result;
    pub(crate) struct Option;
    pub(crate) struct Vec;
    pub(crate) struct String;
    pub(crate) struct Arc;
    pub(crate) struct Source;
    pub(crate) struct Target;
    pub(crate) struct Some;
    pub(crate) struct Ok;
    pub(crate) struct Err;
    pub(crate) trait Send {}
    pub(crate) trait Sync {}
    pub(crate) trait Clone {}
    pub(crate) trait Future {}
    pub(crate) fn drop() {}
}
#[expect(unused_imports, reason = "they are only in the way")]
use shadows::*;

#[derive(Debug, std::clone::Clone, PartialEq)]
pub(crate) struct Row {
    id: u32,
}

#[crossfade::dao]
pub(crate) trait Hidden {
    #[write(key = ids.id, mirror = value(put))]
    async fn make(&self, ids: &Row) -> std::result::Result<Row, crossfade::Refused>;
    #[write(key = row.id, mirror = replay)]
    async fn put(&self, row: &Row) -> std::result::Result<(), crossfade::Refused>;
    #[write(key = id, mirror = snapshot)]
    async fn touch(&self, id: u32) -> std::result::Result<(), crossfade::Refused>;
    #[read(keys = ids, aligned)]
    async fn rows(
        &self,
        ids: &[u32],
    ) -> std::result::Result<std::vec::Vec<std::option::Option<Row>>, crossfade::Refused>;
    #[snapshot(key = id)]
    async fn snapshot(&self, id: u32) -> std::result::Result<std::option::Option<Row>, crossfade::Refused>;
    #[restore]
    async fn restore(
        &self,
        id: u32,
        seen: std::option::Option<&Row>,
        row: std::option::Option<&Row>,
    ) -> std::result::Result<bool, crossfade::Refused>;
}

#[derive(Debug, Default)]
struct Memory(Mutex<std::collections::BTreeMap<u32, Row>>);

impl Hidden for Memory {
    async fn make(&self, row: &Row) -> std::result::Result<Row, crossfade::Refused> {
        self.put(row).await?;
        std::result::Result::Ok(Row { id: row.id })
    }
    async fn put(&self, row: &Row) -> std::result::Result<(), crossfade::Refused> {
        self.0.lock().unwrap().insert(row.id, Row { id: row.id });
        std::result::Result::Ok(())
    }
    async fn touch(&self, _: u32) -> std::result::Result<(), crossfade::Refused> {
        std::result::Result::Ok(())
    }
    async fn rows(
        &self,
        ids: &[u32],
    ) -> std::result::Result<std::vec::Vec<std::option::Option<Row>>, crossfade::Refused> {
        let rows = self.0.lock().unwrap();
        std::result::Result::Ok(ids.iter().map(|id| rows.get(id).map(|row| Row { id: row.id })).collect())
    }
    async fn snapshot(&self, id: u32) -> std::result::Result<std::option::Option<Row>, crossfade::Refused> {
        std::result::Result::Ok(self.0.lock().unwrap().get(&id).map(|row| Row { id: row.id }))
    }
    async fn restore(
        &self,
        id: u32,
        seen: std::option::Option<&Row>,
        row: std::option::Option<&Row>,
    ) -> std::result::Result<bool, crossfade::Refused> {
        let mut rows = self.0.lock().unwrap();
        if rows.get(&id) != seen {
            return std::result::Result::Ok(false);
        }
        match row {
            std::option::Option::Some(row) => rows.insert(id, Row { id: row.id }),
            std::option::Option::None => rows.remove(&id),
        };
        std::result::Result::Ok(true)
    }
}

#[tokio::test]
async fn generated_code_uses_no_name_of_the_module() {
    let (migration, control) = crate::stages::migration("hidden", false).await;
    let dao = MigratingHidden::new(Memory::default(), Memory::default(), migration.clone());
    for position in crate::stages::walk() {
        crate::stages::step(&migration, &control, &position).await;
        for id in 0..10 {
            assert_eq!(dao.make(&Row { id }).await.unwrap(), Row { id });
            dao.touch(id).await.unwrap();
            assert!(dao.snapshot(id).await.unwrap().is_some());
        }
        assert_eq!(Hidden::rows(&dao, &[3, 99]).await.unwrap(), [std::option::Option::Some(Row { id: 3 }), None]);
        crate::stages::compared(&migration).await;
    }
    assert_eq!(migration.observe().marked, 0);
}
