//! One transaction of the application's over the tables of two DAOs (R19): `docs/guide/transactions.md`.

use crate::stages::{migration, step, walk};
use crossfade::{Migration, Refused, Side, Stage, unknown_effect};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum ShopError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("a key is missing")]
    MissingKey(#[from] crossfade::core::MissingKey),
    #[error("sold out")]
    SoldOut,
}

#[crossfade::dao(refused = ShopError::Refused, table = "orders")]
pub(crate) trait Orders {
    #[read(key = shop)]
    async fn pieces(&self, shop: &str, id: u64) -> Result<Option<u64>, ShopError>;
    #[snapshot]
    async fn snapshot(&self, id: u64) -> Result<Option<u64>, ShopError>;
    #[restore]
    async fn restore(&self, id: u64, seen: Option<&u64>, row: Option<&u64>) -> Result<bool, ShopError>;
}

#[crossfade::dao(refused = ShopError::Refused, table = "stock")]
pub(crate) trait Stock {
    #[write(key = shop, mirror = replay)]
    async fn fill(&self, shop: &str, pieces: u64) -> Result<(), ShopError>;
    #[read(key = shop)]
    async fn left(&self, shop: &str) -> Result<Option<u64>, ShopError>;
    #[snapshot]
    async fn snapshot(&self, id: &str) -> Result<Option<u64>, ShopError>;
    #[restore]
    async fn restore(&self, id: &str, seen: Option<&u64>, row: Option<&u64>) -> Result<bool, ShopError>;
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Tables {
    /// The pieces of each order.
    orders: BTreeMap<u64, u64>,
    stock: BTreeMap<String, u64>,
}

/// A database: whoever holds the lock has a transaction.
#[derive(Debug, Default)]
struct Database(Mutex<Tables>);

impl Database {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap()
    }
}

fn swap<K: Ord>(table: &mut BTreeMap<K, u64>, id: K, seen: Option<&u64>, row: Option<&u64>) -> bool {
    let as_seen = table.get(&id) == seen;
    if as_seen {
        match row {
            Some(row) => table.insert(id, *row),
            None => table.remove(&id),
        };
    }
    as_seen
}

impl Orders for Database {
    async fn pieces(&self, _: &str, id: u64) -> Result<Option<u64>, ShopError> {
        Ok(self.tables().orders.get(&id).copied())
    }
    async fn snapshot(&self, id: u64) -> Result<Option<u64>, ShopError> {
        Ok(self.tables().orders.get(&id).copied())
    }
    async fn restore(&self, id: u64, seen: Option<&u64>, row: Option<&u64>) -> Result<bool, ShopError> {
        Ok(swap(&mut self.tables().orders, id, seen, row))
    }
}

impl Stock for Database {
    async fn fill(&self, shop: &str, pieces: u64) -> Result<(), ShopError> {
        self.tables().stock.insert(shop.to_owned(), pieces);
        Ok(())
    }
    async fn left(&self, shop: &str) -> Result<Option<u64>, ShopError> {
        Ok(self.tables().stock.get(shop).copied())
    }
    async fn snapshot(&self, id: &str) -> Result<Option<u64>, ShopError> {
        Ok(self.tables().stock.get(id).copied())
    }
    async fn restore(&self, id: &str, seen: Option<&u64>, row: Option<&u64>) -> Result<bool, ShopError> {
        Ok(swap(&mut self.tables().stock, id.to_owned(), seen, row))
    }
}

#[derive(Clone)]
struct Shop {
    migration: Migration,
    source: Arc<Database>,
    target: Arc<Database>,
}

impl Shop {
    fn on(&self, side: Side) -> Arc<Database> {
        Arc::clone(if side == Side::Source { &self.source } else { &self.target })
    }

    /// Takes pieces from each shop's stock and writes the order, all or nothing.
    async fn order(&self, shops: &[&str], id: u64, pieces: u64) -> Result<(), ShopError> {
        let place = self.migration.table("orders").operation("order");
        let take = self.migration.table("stock").operation("order");
        // Prepare, before the transaction begins.
        let mut rows = vec![place.row(shops[0], &id)?];
        for shop in shops {
            rows.push(take.row(*shop, *shop)?);
        }
        let group = self.migration.prepare_all(rows).await?;
        // One transaction, on the authority.
        let database = self.on(group.authority());
        let done = {
            let mut tables = database.tables();
            let mut next = tables.clone();
            next.orders.insert(id, pieces);
            let left: Option<Vec<u64>> = shops
                .iter()
                .map(|shop| {
                    let stock = next.stock.get_mut(*shop)?;
                    *stock = stock.checked_sub(pieces)?;
                    Some(*stock)
                })
                .collect();
            if left.is_some() {
                *tables = next;
            }
            left
        };
        let Some(left) = done else {
            group.rolled_back();
            return Err(ShopError::SoldOut);
        };
        // Committed: each row goes to the other side as the transaction left it.
        let shops: Vec<String> = shops.iter().map(|shop| (*shop).to_owned()).collect();
        let mirror = |row: usize, side: Side| {
            let (database, shops, left) = (self.on(side), shops.clone(), left.clone());
            async move {
                let mut tables = database.tables();
                match row.checked_sub(1) {
                    None => tables.orders.insert(id, pieces),
                    Some(shop) => tables.stock.insert(shops[shop].clone(), left[shop]),
                };
                Ok(())
            }
        };
        group.mirror(unknown_effect::<ShopError>, mirror).await;
        Ok(())
    }
}

#[tokio::test]
async fn a_transaction_beside_two_daos_passes_through_every_stage() {
    let (migration, control) = migration("shop", false).await;
    let shop = Shop { migration: migration.clone(), source: Arc::default(), target: Arc::default() };
    let orders = MigratingOrders::from_arcs(shop.source.clone(), shop.target.clone(), migration.clone());
    let stock = MigratingStock::from_arcs(shop.source.clone(), shop.target.clone(), migration.clone());
    for (place, position) in (0..).zip(walk()) {
        step(&migration, &control, &position).await;
        for id in place * 100..place * 100 + 20u64 {
            let name = format!("shop-{id}");
            stock.fill(&name, 10).await.unwrap();
            shop.order(&[&name], id, 7).await.unwrap();
            assert_eq!(shop.order(&[&name], id + 50, 7).await, Err(ShopError::SoldOut));
            assert_eq!(orders.pieces(&name, id).await.unwrap(), Some(7), "at {position}");
            assert_eq!(orders.pieces(&name, id + 50).await.unwrap(), None, "rolled back, at {position}");
            assert_eq!(stock.left(&name).await.unwrap(), Some(3), "at {position}");
            if migration.stage_of(name.as_str()).unwrap().is_mirrored() {
                for side in [&shop.source, &shop.target] {
                    let tables = side.tables();
                    assert_eq!((tables.orders.get(&id), tables.stock.get(&name)), (Some(&7), Some(&3)));
                    assert_eq!(tables.orders.get(&(id + 50)), None, "at {position}");
                }
            }
        }
    }
    let seen = migration.observe();
    assert_eq!((seen.total(|operation| operation.mismatched), seen.marked), (0, 0), "{seen:?}");
}

#[tokio::test]
async fn a_transaction_over_two_cohorts_is_refused_half_way_over_the_cut_over_only() {
    let (migration, control) = migration("shop", false).await;
    let shop = Shop { migration: migration.clone(), source: Arc::default(), target: Arc::default() };
    let stock = MigratingStock::from_arcs(shop.source.clone(), shop.target.clone(), migration.clone());
    let mut refused = 0;
    for (place, position) in (0..).zip(walk()) {
        step(&migration, &control, &position).await;
        for id in place * 100..place * 100 + 20u64 {
            let (here, there) = (format!("shop-{id}"), format!("branch-{id}"));
            stock.fill(&here, 10).await.unwrap();
            stock.fill(&there, 10).await.unwrap();
            let authority = |name: &str| migration.stage_of(name).unwrap().authority();
            let straddles = authority(&here) != authority(&there);
            let ordered = shop.order(&[&here, &there], id, 1).await;
            assert_eq!(ordered, if straddles { Err(Refused::Straddling.into()) } else { Ok(()) }, "at {position}");
            let left = if straddles { 10 } else { 9 };
            assert_eq!(stock.left(&here).await.unwrap(), Some(left), "at {position}");
            assert_eq!(stock.left(&there).await.unwrap(), Some(left), "at {position}");
            refused += usize::from(straddles);
            if straddles {
                assert!(position.ramp().is_some_and(|(edge, _)| edge.moves_authority()), "at {position}");
            }
        }
    }
    assert!(refused > 0, "no group was across the cut-over");
    assert_eq!(migration.stage_of("shop-1"), Ok(Stage::Complete));
}
