//! Two tables of one migration: customers and their orders move together, each through a DAO of its own (R23).

use crate::stages::{compared, migration, step, walk};
use crossfade::{Refused, TableTaken};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Customer {
    id: u64,
    name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    id: u64,
    customer: u64,
    total: u64,
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct ShopError(#[from] Refused);

#[crossfade::dao(refused = ShopError, table = "customers")]
pub(crate) trait Customers {
    #[write(key = customer.id, mirror = replay)]
    async fn put(&self, customer: &Customer) -> Result<(), ShopError>;
    #[read(key = id)]
    async fn customer(&self, id: u64) -> Result<Option<Customer>, ShopError>;
    #[snapshot]
    async fn snapshot(&self, id: u64) -> Result<Option<Customer>, ShopError>;
    #[restore]
    async fn restore(&self, id: u64, seen: Option<&Customer>, row: Option<&Customer>) -> Result<bool, ShopError>;
}

/// The ids of orders are those of customers too: only the table tells their rows apart.
#[crossfade::dao(refused = ShopError, table = "orders")]
pub(crate) trait Orders {
    #[write(key = order.customer, row = order.id, mirror = replay)]
    async fn put(&self, order: &Order) -> Result<(), ShopError>;
    #[write(key = customer, row = id, mirror = snapshot)]
    async fn pay(&self, customer: u64, id: u64, amount: u64) -> Result<(), ShopError>;
    #[read(key = customer)]
    async fn orders_of(&self, customer: u64) -> Result<Vec<Order>, ShopError>;
    /// The caller knows the order alone: whose it is, is looked up.
    #[read(key_of = self.customer_of(id))]
    async fn order(&self, id: u64) -> Result<Option<Order>, ShopError>;
    /// Whoever has authority: the customer of an order never changes.
    #[target_only]
    async fn customer_of(&self, id: u64) -> Result<Option<u64>, ShopError>;
    #[cfg(any())]
    #[read(key = customer)]
    async fn never_built(&self, customer: u64) -> Result<Vec<Order>, ShopError>;
    #[snapshot]
    async fn snapshot(&self, id: u64) -> Result<Option<Order>, ShopError>;
    #[restore]
    async fn restore(&self, id: u64, seen: Option<&Order>, row: Option<&Order>) -> Result<bool, ShopError>;
}

/// One side of the shop: both tables.
#[derive(Debug, Default)]
struct Memory {
    customers: Mutex<BTreeMap<u64, Customer>>,
    orders: Mutex<BTreeMap<u64, Order>>,
}

fn swap<R: Clone + PartialEq>(table: &Mutex<BTreeMap<u64, R>>, id: u64, seen: Option<&R>, row: Option<&R>) -> bool {
    let mut table = table.lock().unwrap();
    if table.get(&id) != seen {
        return false;
    }
    match row {
        Some(row) => table.insert(id, row.clone()),
        None => table.remove(&id),
    };
    true
}

impl Customers for Memory {
    async fn put(&self, customer: &Customer) -> Result<(), ShopError> {
        self.customers.lock().unwrap().insert(customer.id, customer.clone());
        Ok(())
    }
    async fn customer(&self, id: u64) -> Result<Option<Customer>, ShopError> {
        Ok(self.customers.lock().unwrap().get(&id).cloned())
    }
    async fn snapshot(&self, id: u64) -> Result<Option<Customer>, ShopError> {
        self.customer(id).await
    }
    async fn restore(&self, id: u64, seen: Option<&Customer>, row: Option<&Customer>) -> Result<bool, ShopError> {
        Ok(swap(&self.customers, id, seen, row))
    }
}

impl Orders for Memory {
    async fn put(&self, order: &Order) -> Result<(), ShopError> {
        self.orders.lock().unwrap().insert(order.id, order.clone());
        Ok(())
    }
    async fn pay(&self, _: u64, id: u64, amount: u64) -> Result<(), ShopError> {
        if let Some(order) = self.orders.lock().unwrap().get_mut(&id) {
            order.total = order.total.saturating_sub(amount);
        }
        Ok(())
    }
    async fn orders_of(&self, customer: u64) -> Result<Vec<Order>, ShopError> {
        Ok(self.orders.lock().unwrap().values().filter(|order| order.customer == customer).cloned().collect())
    }
    async fn order(&self, id: u64) -> Result<Option<Order>, ShopError> {
        Ok(self.orders.lock().unwrap().get(&id).cloned())
    }
    async fn customer_of(&self, id: u64) -> Result<Option<u64>, ShopError> {
        Ok((id < 1_000_000).then_some(7_000 + id))
    }
    async fn snapshot(&self, id: u64) -> Result<Option<Order>, ShopError> {
        Ok(self.orders.lock().unwrap().get(&id).cloned())
    }
    async fn restore(&self, id: u64, seen: Option<&Order>, row: Option<&Order>) -> Result<bool, ShopError> {
        Ok(swap(&self.orders, id, seen, row))
    }
}

#[tokio::test]
async fn two_daos_of_two_tables_pass_through_every_stage() {
    let (migration, control) = migration("shop", false).await;
    let (source, target) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
    let customers = MigratingCustomers::from_arcs(source.clone(), target.clone(), migration.clone());
    let orders = MigratingOrders::from_arcs(source.clone(), target.clone(), migration.clone());
    for (place, position) in (0..).zip(walk()) {
        step(&migration, &control, &position).await;
        for id in place * 100..place * 100 + 20 {
            // The order with the id of this customer belongs to another one, whose stage may be another.
            let (customer, order) =
                (Customer { id, name: "ada".to_owned() }, Order { id, customer: 7_000 + id, total: 9 });
            customers.put(&customer).await.unwrap();
            orders.put(&order).await.unwrap();
            orders.pay(order.customer, id, 4).await.unwrap();
            let paid = Order { total: 5, ..order };
            assert_eq!(customers.customer(id).await.unwrap(), Some(customer), "at {position}");
            assert_eq!(orders.orders_of(paid.customer).await.unwrap(), std::slice::from_ref(&paid), "at {position}");
            assert_eq!(orders.order(id).await.unwrap().as_ref(), Some(&paid), "at {position}");
            if migration.stage_of(&paid.customer).unwrap().is_mirrored() {
                assert_eq!(source.orders.lock().unwrap().get(&id), Some(&paid), "at {position}");
                assert_eq!(target.orders.lock().unwrap().get(&id), Some(&paid), "at {position}");
            }
        }
        compared(&migration).await;
    }
    let nobodys = orders.order(1_000_000).await;
    assert!(matches!(nobodys, Err(ShopError(Refused::MissingKey(_)))), "a key that is not found is not guessed");
    let seen = migration.observe();
    assert_eq!((seen.total(|operation| operation.mismatched), seen.marked), (0, 0), "{seen:?}");
    assert!(seen.total(|operation| operation.matched) > 0);
}

#[tokio::test]
async fn a_second_dao_of_one_table_is_refused() {
    let (migration, _control) = migration("shop", false).await;
    let orders = MigratingOrders::try_new(Memory::default(), Memory::default(), migration.clone()).unwrap();
    let taken = TableTaken { migration: "shop".to_owned(), table: "orders".to_owned() };
    let again = MigratingOrders::try_new(Memory::default(), Memory::default(), migration.clone());
    assert_eq!(again.map(drop), Err(taken.clone()));
    // Also after the first one is gone: what it left half-done is still under its table.
    drop(orders);
    let memory = Arc::new(Memory::default());
    let again = MigratingOrders::try_from_arcs(memory.clone(), memory, migration.clone());
    assert_eq!(again.map(drop), Err(taken.clone()));
    let made = std::panic::AssertUnwindSafe(|| MigratingOrders::new(Memory::default(), Memory::default(), migration));
    let panic = std::panic::catch_unwind(made).map(drop).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), &taken.to_string());
}

#[crossfade::dao(refused = ShopError)]
pub(crate) trait Stock {
    #[write(key = id, mirror = replay)]
    async fn count(&self, id: u64, pieces: u64) -> Result<(), ShopError>;
}

/// As the stock, for the same rows.
#[crossfade::dao(refused = ShopError)]
pub(crate) trait Shelves {
    #[write(key = id, mirror = replay)]
    async fn fill(&self, id: u64, pieces: u64) -> Result<(), ShopError>;
}

impl Stock for Memory {
    async fn count(&self, _: u64, _: u64) -> Result<(), ShopError> {
        Ok(())
    }
}

impl Shelves for Memory {
    async fn fill(&self, _: u64, _: u64) -> Result<(), ShopError> {
        Ok(())
    }
}

#[tokio::test]
async fn without_a_name_the_table_is_the_migrations_and_has_one_dao() {
    let (migration, _control) = migration("stock", false).await;
    let stock = MigratingStock::new(Memory::default(), Memory::default(), migration.clone());
    stock.count(1, 2).await.unwrap();
    Memory::default().fill(1, 2).await.unwrap();
    let shelves = MigratingShelves::try_new(Memory::default(), Memory::default(), migration.clone());
    let taken = TableTaken { migration: "stock".to_owned(), table: "stock".to_owned() };
    assert_eq!(shelves.map(drop), Err(taken));
    // A table of another name is free.
    MigratingOrders::try_new(Memory::default(), Memory::default(), migration).unwrap();
}
