//! Keys of one shape in many forms: none of them is another type.

use crossfade::plan::fixed;
use crossfade::{Key, Migration, Refused, Stage};
use std::sync::Arc;

/// With a text by hand: nothing is known of its shape, so that it goes with any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ByHand(u8);

impl Key for ByHand {
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        use_text(&self.0.to_string())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Key)]
pub(crate) struct Of<T>(T);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Key)]
pub(crate) struct Borrowed<'a>(&'a str);

#[derive(Debug, Clone)]
pub(crate) struct Letter {
    user: String,
    number: i16,
}

#[crossfade::dao(refused = std::convert::identity)]
pub(crate) trait ByText {
    #[write(key = letter.user, row = letter.number)]
    async fn put(&self, letter: &Letter) -> Result<u64, Refused>;
    #[write(key = user)]
    async fn remove(&self, user: Arc<str>) -> Result<u64, Refused>;
    #[write(keys = letters, key = each.user, row = each.number)]
    async fn put_all(&self, letters: &[Letter]) -> Result<(), Refused>;
    #[read(key = user)]
    async fn of(&self, user: &str) -> Result<u64, Refused>;
    #[read(key = user.unwrap_or("nobody"))]
    async fn of_somebody(&self, user: Option<&str>) -> Result<u64, Refused>;
    #[read(keys = users, aligned)]
    async fn of_all(&self, users: Vec<String>) -> Result<Vec<u64>, Refused>;
    #[read(key = if user.is_empty() { "nobody" } else { &user })]
    async fn of_owned(&self, user: String) -> Result<u64, Refused>;
    #[read(key = user)]
    async fn by_hand(&self, user: ByHand) -> Result<u64, Refused>;
    #[read(key = Borrowed(user))]
    async fn borrowed(&self, user: &str) -> Result<u64, Refused>;
    #[read(key = number)]
    async fn generic<K: Key + Clone + Send + Sync + 'static>(&self, number: K) -> Result<u64, Refused>;
}

#[crossfade::dao(refused = std::convert::identity)]
pub(crate) trait ByNumbers {
    #[write(keys = users, key = (Of(each), 1u8))]
    async fn put(&self, users: Vec<u64>) -> Result<(), Refused>;
    #[read(key = (Of(user), 1i128))]
    async fn of(&self, user: u64) -> Result<u64, Refused>;
    #[read(key = pair)]
    async fn both(&self, pair: &(Of<u64>, i64)) -> Result<u64, Refused>;
}

struct Memory(u64);

impl ByText for Memory {
    async fn put(&self, letter: &Letter) -> Result<u64, Refused> {
        Ok(self.0 + u64::from(letter.number.unsigned_abs()))
    }
    async fn remove(&self, _: Arc<str>) -> Result<u64, Refused> {
        Ok(self.0)
    }
    async fn put_all(&self, _: &[Letter]) -> Result<(), Refused> {
        Ok(())
    }
    async fn of(&self, _: &str) -> Result<u64, Refused> {
        Ok(self.0)
    }
    async fn of_somebody(&self, _: Option<&str>) -> Result<u64, Refused> {
        Ok(self.0)
    }
    async fn of_all(&self, users: Vec<String>) -> Result<Vec<u64>, Refused> {
        Ok(vec![self.0; users.len()])
    }
    async fn of_owned(&self, _: String) -> Result<u64, Refused> {
        Ok(self.0)
    }
    async fn by_hand(&self, _: ByHand) -> Result<u64, Refused> {
        Ok(self.0)
    }
    async fn borrowed(&self, _: &str) -> Result<u64, Refused> {
        Ok(self.0)
    }
    async fn generic<K: Key + Clone + Send + Sync + 'static>(&self, _: K) -> Result<u64, Refused> {
        Ok(self.0)
    }
}

impl ByNumbers for Memory {
    async fn put(&self, _: Vec<u64>) -> Result<(), Refused> {
        Ok(())
    }
    async fn of(&self, _: u64) -> Result<u64, Refused> {
        Ok(self.0)
    }
    async fn both(&self, _: &(Of<u64>, i64)) -> Result<u64, Refused> {
        Ok(self.0)
    }
}

#[tokio::test]
async fn keys_of_one_shape_in_many_forms_compile_and_run() {
    let at_off = || fixed(Stage::Off);
    let migration = Migration::builder("letters").plan(at_off()).build().await.unwrap();
    let dao = MigratingByText::new(Memory(1), Memory(2), migration);
    let letter = || Letter { user: "u1".to_owned(), number: -7 };
    assert_eq!(dao.put(&letter()).await.unwrap(), 8);
    assert_eq!(dao.remove("u1".into()).await.unwrap(), 1);
    dao.put_all(&[letter()]).await.unwrap();
    assert_eq!(dao.of("u1").await.unwrap(), 1);
    assert_eq!(dao.of_somebody(None).await.unwrap(), 1);
    assert_eq!(dao.of_all(vec!["u1".to_owned()]).await.unwrap(), [1]);
    assert_eq!(dao.of_owned("u1".to_owned()).await.unwrap(), 1);
    assert_eq!(dao.by_hand(ByHand(3)).await.unwrap(), 1);
    assert_eq!(dao.borrowed("u1").await.unwrap(), 1);
    assert_eq!(dao.generic(3u8).await.unwrap(), 1);

    let migration = Migration::builder("letters").plan(at_off()).build().await.unwrap();
    let dao = MigratingByNumbers::new(Memory(1), Memory(2), migration);
    dao.put(vec![1, 2]).await.unwrap();
    assert_eq!(dao.of(1).await.unwrap(), 1);
    assert_eq!(dao.both(&(Of(1), 1)).await.unwrap(), 1);
}
