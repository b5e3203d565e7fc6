//! Canonical text of keys: what is hashed, marked and shown as a digest.

/// A cohort key or a row key: anything with one canonical text.
///
/// The text decides the bucket, so that it must be the same in every process and language: digits for integers,
/// the text itself for text. Derive it for newtypes with `#[derive(crossfade::Key)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a key: it has no canonical text",
    label = "no canonical text",
    note = "derive it for a struct of keys: `#[derive(crossfade::Key)]`; text and integers are keys already"
)]
pub trait Key {
    /// Calls `use_text` with the canonical text. Allocates only where the text has to be put together.
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R;
}

/// What a key is made of, where that is known: the operations of a table have to be keyed alike. `#[derive(Key)]` makes a
/// shape of its own, so that the id of an order is not taken for that of a user.
#[doc(hidden)]
pub trait KeyShape {
    /// [`Text`], [`Integer`], a tuple of shapes, or [`Named`].
    type Shape;
}

/// The shape of text.
#[doc(hidden)]
pub struct Text;

/// The shape of integers, however wide: their text is the same.
#[doc(hidden)]
pub struct Integer;

/// The shape of a type that derives [`Key`].
#[doc(hidden)]
pub struct Named<T>(std::marker::PhantomData<T>);

/// The shape of a key that nothing is known of: [`Key`] by hand, or a type parameter.
#[doc(hidden)]
pub struct AnyShape;

/// Two operations of one table have keys that are alike, as far as their types tell.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "this operation and another of the same table have keys of different types",
    label = "this key is of another type than that of the table's first write",
    note = "one user would have two keys: a read could ask a side to which the writes of the same user do not go",
    note = "make both keys the same: convert one of them where it is named, as in `key = UserId(user)` or `key = user.to_string()`"
)]
pub trait KeyedLike<Other> {}

impl KeyedLike<Text> for Text {}
impl KeyedLike<Integer> for Integer {}
impl<T> KeyedLike<Named<T>> for Named<T> {}
impl<A: KeyedLike<X>, B: KeyedLike<Y>, X, Y> KeyedLike<(X, Y)> for (A, B) {}
impl<A: KeyedLike<X>, B: KeyedLike<Y>, C: KeyedLike<Z>, X, Y, Z> KeyedLike<(X, Y, Z)> for (A, B, C) {}
impl<X> KeyedLike<X> for AnyShape {}
impl KeyedLike<AnyShape> for Text {}
impl KeyedLike<AnyShape> for Integer {}
impl<T> KeyedLike<AnyShape> for Named<T> {}
impl<A, B> KeyedLike<AnyShape> for (A, B) {}
impl<A, B, C> KeyedLike<AnyShape> for (A, B, C) {}

/// A key that its canonical text gives back: what a repair needs to find a marked row again.
pub trait ParseKey: Key + Sized {
    /// The key with this canonical text; none when the text is not one of this type.
    fn parse_key(text: &str) -> Option<Self>;
}

/// Joins the parts of a key made of several.
pub const PART: char = '\u{1f}';

/// Eight decimal digits at once, the first in the lowest byte: the key of every operation passes here.
/// The method is Paul Khuong's ("How to print integers really fast", 2017): halves, quarters and eighths of the number
/// are divided side by side in one word.
#[inline]
const fn digits(below_ten_to_the_eighth: u64) -> u64 {
    let fours = (below_ten_to_the_eighth / 10_000) | ((below_ten_to_the_eighth % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = ((fours - 100 * hundreds) << 16) + hundreds;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    ((twos - 10 * tens) << 8) + tens
}

/// Calls `use_text` with the digits of an integer, written on the stack.
#[inline]
fn with_digits<R>(negative: bool, magnitude: u64, use_text: impl FnOnce(&str) -> R) -> R {
    const CHUNK: u64 = 100_000_000;
    const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
    // A sign, and three chunks of eight digits.
    let mut bytes = [b'-'; 25];
    let mut rest = magnitude;
    let mut end = bytes.len();
    let start = loop {
        let chunk = digits(rest % CHUNK);
        bytes[end - 8..end].copy_from_slice(&(chunk + ZEROS).to_le_bytes());
        rest /= CHUNK;
        if rest == 0 {
            // The last digit stays even where it is a zero.
            break end - 8 + (chunk.trailing_zeros() as usize / 8).min(7);
        }
        end -= 8;
    };
    if negative {
        bytes[start - 1] = b'-';
    }
    let start = if negative { start - 1 } else { start };
    // Digits and a sign: always text.
    use_text(std::str::from_utf8(&bytes[start..]).unwrap_or_default())
}

macro_rules! integers {
    ($is_negative:expr; $($integer:ty),*) => {$(
        impl Key for $integer {
            #[inline]
            fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
                let is_negative: fn($integer) -> bool = $is_negative;
                match u64::try_from(self.abs_diff(0) as u128) {
                    Ok(magnitude) => with_digits(is_negative(*self), magnitude, use_text),
                    Err(_larger) => use_text(&self.to_string()),
                }
            }
        }
        impl KeyShape for $integer {
            type Shape = Integer;
        }
        impl ParseKey for $integer {
            fn parse_key(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}
integers!(|number| number < 0; i8, i16, i32, i64, i128, isize);
integers!(|_| false; u8, u16, u32, u64, u128, usize);

impl Key for str {
    #[inline]
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        use_text(self)
    }
}

impl Key for String {
    #[inline]
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        use_text(self)
    }
}

impl ParseKey for String {
    fn parse_key(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl<K: Key + ?Sized> Key for &K {
    #[inline]
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        (**self).with_text(use_text)
    }
}

impl Key for std::sync::Arc<str> {
    #[inline]
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        use_text(self)
    }
}

/// No key is the empty text, which every operation refuses (R13).
impl<K: Key> Key for Option<K> {
    #[inline]
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        match self {
            Some(key) => key.with_text(use_text),
            None => use_text(""),
        }
    }
}

/// Composite keys: the parts joined by [`PART`].
impl<A: Key, B: Key> Key for (A, B) {
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        use_text(&join([text(&self.0), text(&self.1)]))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        use_text(&join([text(&self.0), text(&self.1), text(&self.2)]))
    }
}

impl<A: ParseKey, B: ParseKey> ParseKey for (A, B) {
    fn parse_key(text: &str) -> Option<Self> {
        let (a, b) = text.split_once(PART)?;
        Some((A::parse_key(a)?, B::parse_key(b)?))
    }
}

impl<A: ParseKey, B: ParseKey, C: ParseKey> ParseKey for (A, B, C) {
    fn parse_key(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, PART);
        Some((A::parse_key(parts.next()?)?, B::parse_key(parts.next()?)?, C::parse_key(parts.next()?)?))
    }
}

impl KeyShape for str {
    type Shape = Text;
}
impl KeyShape for String {
    type Shape = Text;
}
impl KeyShape for std::sync::Arc<str> {
    type Shape = Text;
}
impl<K: KeyShape + ?Sized> KeyShape for &K {
    type Shape = K::Shape;
}
impl<K: KeyShape> KeyShape for Option<K> {
    type Shape = K::Shape;
}
impl<A: KeyShape, B: KeyShape> KeyShape for (A, B) {
    type Shape = (A::Shape, B::Shape);
}
impl<A: KeyShape, B: KeyShape, C: KeyShape> KeyShape for (A, B, C) {
    type Shape = (A::Shape, B::Shape, C::Shape);
}

/// The canonical text, owned.
pub fn text(key: &(impl Key + ?Sized)) -> String {
    key.with_text(str::to_owned)
}

/// A part that is missing makes the whole key missing (R13): never a key shared by everyone without one.
fn join<const N: usize>(parts: [String; N]) -> String {
    if parts.iter().any(String::is_empty) { String::new() } else { parts.join("\u{1f}") }
}

/// A short digest that names a key in logs and samples without telling it.
#[must_use]
pub fn digest(text: &str) -> String {
    digest_of_hash(hash(text))
}

pub(crate) fn hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// The digest of the text with this [`hash`].
pub(crate) fn digest_of_hash(hash: u64) -> String {
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_digits_and_text_is_itself() {
        assert_eq!(text(&i128::MIN), i128::MIN.to_string());
        assert_eq!(text(&42u8), "42");
        assert_eq!(text("Zoë"), "Zoë");
        assert_eq!(text(&Some(&7i64)), "7");
        assert_eq!(text(&None::<i64>), "");
    }

    #[test]
    fn every_length_of_integers_is_written_as_it_is_displayed() {
        let mut magnitude: u128 = 1;
        for _ in 0..38 {
            for near in [magnitude - 1, magnitude, magnitude + 1, magnitude * 9] {
                assert_eq!(text(&near), near.to_string());
                assert_eq!(text(&(near as u64)), (near as u64).to_string());
                assert_eq!(text(&(near as i64)), (near as i64).to_string());
                assert_eq!(text(&-(near as i128)), (-(near as i128)).to_string());
                assert_eq!(text(&(near as i8)), (near as i8).to_string());
            }
            magnitude *= 10;
        }
        assert_eq!((text(&i64::MIN), text(&u64::MAX)), (i64::MIN.to_string(), u64::MAX.to_string()));
    }

    #[test]
    fn parts_are_joined_and_found_again() {
        let key = ("UA".to_owned(), 1545u32);
        assert_eq!(text(&key), "UA\u{1f}1545");
        assert_eq!(<(String, u32)>::parse_key(&text(&key)), Some(key));
        assert_eq!(<(String, u32)>::parse_key("UA"), None);
        assert_eq!(<(u8, u8, String)>::parse_key("1\u{1f}2\u{1f}x\u{1f}y"), Some((1, 2, "x\u{1f}y".into())));
        assert_eq!(u8::parse_key("256"), None);
    }

    #[test]
    fn a_missing_part_is_a_missing_key() {
        assert_eq!(text(&("", 1)), "");
        assert_eq!(text(&(1, None::<String>, 2)), "");
    }

    #[test]
    fn a_digest_is_stable_and_tells_nothing() {
        assert_eq!(digest("u1"), digest("u1"));
        assert_ne!(digest("u1"), digest("u2"));
        assert_eq!(digest("u1").len(), 16);
    }
}
