//! What the words of `lossy` make of a column, and which of them a target's column takes.

use crossfade_api::config::Loss;
use crossfade_stores::{Blanks, Column, ColumnType, Fit, Limits, value::Narrow};

/// Where a column of the source goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The target's column; `None` is an attribute of any type.
    pub(crate) found: Option<&'a Column>,
    pub(crate) limits: Limits,
    /// Whether the target has no columns, so that `found` is a key attribute or nothing.
    pub(crate) open: bool,
    /// The source's rows are found again by it, so that it must stay what it is.
    pub(crate) is_key: bool,
}

/// What a word makes of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// The type of the target's values.
    pub(crate) ty: ColumnType,
    /// The type to bring values down to, and how.
    pub(crate) narrow: Option<(ColumnType, Narrow)>,
}

/// `None` where a column of this type has no such loss there.
pub(crate) fn kept(loss: Loss, ty: &ColumnType, place: &Place<'_>) -> Option<Kept> {
    use ColumnType as T;
    let found = place.found.filter(|_| !place.open).map(|column| &column.ty);
    let as_it_is = |ty: &T| Kept { ty: ty.clone(), narrow: None };
    let by = match loss {
        Loss::Refuse => Narrow::Refuse,
        Loss::Round => Narrow::Round,
        Loss::Truncate => Narrow::Truncate,
        Loss::Float => {
            return match (ty, found) {
                (T::Decimal { .. }, Some(T::Float32)) => Some(as_it_is(&T::Float32)),
                (T::Decimal { .. }, _) => Some(as_it_is(&T::Float64)),
                (T::Float64, Some(T::Float32)) => {
                    Some(Kept { ty: T::Float32, narrow: Some((T::Float32, Narrow::Round)) })
                }
                (T::Float32 | T::Float64, _) => Some(as_it_is(ty)),
                _ => None,
            };
        }
        Loss::Utc => {
            return match ty {
                T::Timestamp => Some(as_it_is(&T::TimestampTz)),
                T::TimestampTz => Some(as_it_is(&T::Timestamp)),
                _ => None,
            };
        }
        // A column that pads or drops blanks would give another text back.
        Loss::Text => return (place.limits.blanks == Blanks::Kept).then(|| as_it_is(&T::TEXT)),
    };
    match (ty, found) {
        (T::Decimal { .. }, Some(to @ T::Decimal { .. })) => {
            Some(Kept { ty: ty.clone(), narrow: Some((to.clone(), by)) })
        }
        (T::Decimal { .. }, _) => Some(Kept { ty: ty.clone(), narrow: Some((T::DECIMAL, by)) }),
        (T::Float64, Some(T::Float32)) if loss != Loss::Truncate => {
            Some(Kept { ty: T::Float32, narrow: Some((T::Float32, by)) })
        }
        (T::Time | T::Timestamp | T::TimestampTz, _) => Some(Kept { ty: ty.clone(), narrow: Some((ty.clone(), by)) }),
        (T::Text { .. }, Some(to @ T::Text { .. })) if loss != Loss::Round => {
            Some(Kept { ty: ty.clone(), narrow: Some((to.clone(), by)) })
        }
        _ if loss != Loss::Refuse => None,
        (T::Bytes, _) => Some(Kept { ty: ty.clone(), narrow: Some((T::Bytes, by)) }),
        _ => Some(as_it_is(ty)),
    }
}

/// Whether the target takes the column by this word. `fit` is the target's own answer.
fn works(loss: Loss, ty: &ColumnType, place: &Place<'_>, fit: &dyn Fn(&ColumnType, Option<&Column>) -> Fit) -> bool {
    use ColumnType as T;
    if place.is_key && loss != Loss::Refuse {
        return false;
    }
    let Some(kept) = kept(loss, ty, place) else { return false };
    match fit(&kept.ty, place.found) {
        Fit::Lossless => true,
        Fit::Refused(_) => false,
        // Another kind of value is a loss of its own: it has words of its own.
        Fit::Lossy(_) => !matches!(
            (&kept.ty, place.found.map(|column| &column.ty)),
            (T::Decimal { .. }, Some(T::Float32 | T::Float64))
                | (T::Timestamp, Some(T::TimestampTz))
                | (T::TimestampTz, Some(T::Timestamp))
                | (T::Float64, Some(T::Float32))
        ),
    }
}

/// The words by which the target takes the column, those that change least first.
pub(crate) fn words(
    ty: &ColumnType,
    place: &Place<'_>,
    fit: &dyn Fn(&ColumnType, Option<&Column>) -> Fit,
) -> Vec<&'static str> {
    Loss::ALL.into_iter().filter(|loss| works(*loss, ty, place, fit)).map(Loss::word).collect()
}

/// What to write in the file for one of these words: an entry that can be copied, and the other words.
pub(crate) fn lossy(column: &str, to: Option<&str>, words: &[&str]) -> Option<String> {
    let (first, others) = words.split_first()?;
    let others: Vec<String> = others.iter().map(|word| format!("\"{word}\"")).collect();
    let others = if others.is_empty() { String::new() } else { format!(" (or {})", others.join(" or ")) };
    let to = to.map(|to| format!(", to = \"{to}\"")).unwrap_or_default();
    Some(format!("write map.{column} = {{ lossy = \"{first}\"{to} }}{others}"))
}

/// What to write in the file for a column that the target does not take as it is.
pub(crate) fn advice(column: &str, to: Option<&str>, words: &[&str], may_ignore: bool) -> String {
    let mut ways = Vec::new();
    if let Some(write) = lossy(column, to, words) {
        ways.push(write);
    }
    ways.push("change the target's column".to_owned());
    if may_ignore {
        ways.push(format!("leave it out with map.{column} = {{ ignore = \"why\" }}"));
    }
    ways.join(", or ")
}

/// Whether a value of the source may have more digits of a second than the target's column.
pub(crate) fn is_finer(source: &Column, place: &Place<'_>) -> bool {
    let time = matches!(source.ty, ColumnType::Time | ColumnType::Timestamp | ColumnType::TimestampTz);
    time && place.limits.fraction.is_some_and(|digits| digits < source.limits.fraction.unwrap_or(6))
}
