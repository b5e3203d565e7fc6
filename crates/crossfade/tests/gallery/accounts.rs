//! A service that holds its DAO behind a generic parameter, and keys by derive of every kind.

use crate::stages::{compared, migration, step, walk};
use crossfade::{Key, ParseKey, Refused};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

/// A typed id: the phantom is no part of the key.
#[derive(Key)]
pub(crate) struct Id<T>(u64, PhantomData<fn() -> T>);

impl<T> Clone for Id<T> {
    fn clone(&self) -> Id<T> {
        Id(self.0, PhantomData)
    }
}

/// A borrowed key has a text, which does not give it back.
#[derive(Debug, Clone, Copy, Key)]
pub(crate) struct Path<'a> {
    bucket: &'a str,
    name: &'a str,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Account {
    balance: i64,
}

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AccountError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the balance would be {0}")]
    Overdrawn(i64),
}

#[crossfade::dao(refused = AccountError::Refused)]
pub(crate) trait Accounts: Send + Sync {
    #[write(key = id, mirror = replay)]
    async fn open(&self, id: &Id<Account>, account: Account) -> Result<(), AccountError>;
    #[read(key = id)]
    async fn account(&self, id: &Id<Account>) -> Result<Option<Account>, AccountError>;
    /// Built on the two others.
    async fn pay(&self, from: &Id<Account>, to: &Id<Account>, amount: i64) -> Result<(), AccountError> {
        let (payer, payee) = (self.account(from).await?, self.account(to).await?);
        let left = payer.map_or(0, |account| account.balance) - amount;
        if left < 0 {
            return Err(AccountError::Overdrawn(left));
        }
        self.open(from, Account { balance: left }).await?;
        self.open(to, Account { balance: payee.map_or(0, |account| account.balance) + amount }).await
    }
}

#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<u64, Account>>);

impl Accounts for Memory {
    async fn open(&self, id: &Id<Account>, account: Account) -> Result<(), AccountError> {
        self.0.lock().unwrap().insert(id.0, account);
        Ok(())
    }
    async fn account(&self, id: &Id<Account>) -> Result<Option<Account>, AccountError> {
        Ok(self.0.lock().unwrap().get(&id.0).cloned())
    }
}

/// The service does not know that it is being moved.
struct Bank<A>(Arc<A>);

impl<A: Accounts + 'static> Bank<A> {
    /// On a task of its own: the futures of the generated type are `Send`.
    async fn pay(&self, payer: u64, payee: u64) -> Result<(), AccountError> {
        let accounts = Arc::clone(&self.0);
        let pay = async move { accounts.pay(&Id(payer, PhantomData), &Id(payee, PhantomData), 1).await };
        tokio::spawn(pay).await.unwrap()
    }
}

#[tokio::test]
async fn a_bank_passes_through_every_stage() {
    let (migration, control) = migration("accounts", false).await;
    let dao = Arc::new(MigratingAccounts::new(Memory::default(), Memory::default(), migration.clone()));
    let bank = Bank(Arc::clone(&dao));
    for (place, position) in (0..).zip(walk()) {
        step(&migration, &control, &position).await;
        for payer in place * 100..place * 100 + 10 {
            dao.open(&Id(payer, PhantomData), Account { balance: 5 }).await.unwrap();
            bank.pay(payer, payer + 50).await.unwrap();
            assert_eq!(
                dao.account(&Id(payer, PhantomData)).await.unwrap(),
                Some(Account { balance: 4 }),
                "at {position}"
            );
            let poor = dao.pay(&Id(payer, PhantomData), &Id(payer, PhantomData), 9).await;
            assert!(matches!(poor, Err(AccountError::Overdrawn(-5))));
        }
        compared(&migration).await;
    }
    let seen = migration.observe();
    assert_eq!((seen.total(|operation| operation.mismatched), seen.marked), (0, 0), "{seen:?}");
    assert_eq!(format!("{dao:?}"), "MigratingAccounts(Migration { id: \"accounts\", .. })");
}

#[test]
fn derived_keys_are_their_fields() {
    assert_eq!(crossfade::key::text(&Id::<Account>(7, PhantomData)), "7");
    assert_eq!(Id::<Account>::parse_key("7").map(|id| id.0), Some(7));
    assert_eq!(crossfade::key::text(&Path { bucket: "b", name: "n" }), "b\u{1f}n");
    assert_eq!(crossfade::key::text(&Path { bucket: "b", name: "" }), "");
}
