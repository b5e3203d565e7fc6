//! When two answers are the same answer.
//!
//! As in `github/scientist`, "clean" (reduce a value before it is compared) is apart from "ignore" (a known, accepted
//! difference).

use crate::rows::Page;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

/// What a comparator found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// The same answer.
    Match,
    /// The secondary lacks rows that the authority has, and has nothing else: perhaps the backfill has yet to come.
    Missing,
    /// Different answers, in these fields; empty when the comparator does not know fields.
    Differ(Vec<String>),
}

/// Compares two answers. Runs on a background task; a panic counts as an unknown comparison.
pub trait Compare<T>: Send + Sync + 'static {
    /// Compares the authority's answer with the secondary's.
    fn compare(&self, authority: &T, secondary: &T) -> Comparison;

    /// An answer as text, for the samples of a migration whose plan shares values (`sample-values = "shared"`); never asked
    /// otherwise. `None`, the default, where the comparator cannot tell: see [`fields`] and [`showing`].
    fn show(&self, answer: &T) -> Option<String> {
        let _ = answer;
        None
    }
}

/// The longest text of a value that a sample keeps, in characters.
const LONGEST: usize = 1_000;

pub(crate) fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A comparator that can show what it compares. See [`showing`].
#[derive(Debug, Clone, Copy)]
pub struct Showing<C, F>(C, F);

/// Compares as `comparator` does, and shows an answer by `show` where the plan shares the values of samples. Leave out there
/// what no operator may see.
pub const fn showing<T, C: Compare<T>, F: Fn(&T) -> String>(comparator: C, show: F) -> Showing<C, F> {
    Showing(comparator, show)
}

impl<T, C, F> Compare<T> for Showing<C, F>
where
    C: Compare<T>,
    F: Fn(&T) -> String + Send + Sync + 'static,
{
    fn compare(&self, authority: &T, secondary: &T) -> Comparison {
        self.0.compare(authority, secondary)
    }

    fn show(&self, answer: &T) -> Option<String> {
        Some((self.1)(answer))
    }
}

impl<T, F> Compare<T> for F
where
    F: Fn(&T, &T) -> Comparison + Send + Sync + 'static,
{
    fn compare(&self, authority: &T, secondary: &T) -> Comparison {
        self(authority, secondary)
    }
}

/// `==`: the default for answers whose rows are not known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Equality;

/// The comparator of `==`.
#[must_use]
pub const fn equality() -> Equality {
    Equality
}

impl<T: PartialEq> Compare<T> for Equality {
    fn compare(&self, authority: &T, secondary: &T) -> Comparison {
        if authority == secondary { Comparison::Match } else { Comparison::Differ(Vec::new()) }
    }
}

/// An answer whose rows are known, so that a row which the secondary lacks is told from one that differs.
///
/// `#[crossfade::dao]` compares such answers by [`rows`] where a method names no comparator. Implement it for an answer
/// of your own that holds rows, such as a page with a cursor: compare the rows and leave the cursor out, since each store
/// has its own.
pub trait KnownRows {
    /// Compares the authority's answer (`self`) with the secondary's. [`Comparison::Missing`]: the secondary lacks rows
    /// and has nothing else.
    fn compare_rows(&self, secondary: &Self) -> Comparison;
}

/// Compares answers by their rows. See [`rows`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ByRows;

/// Compares answers by their rows: `Option`, collections, [`Page`], and every other [`KnownRows`].
#[must_use]
pub const fn rows() -> ByRows {
    ByRows
}

impl<T: KnownRows> Compare<T> for ByRows {
    fn compare(&self, authority: &T, secondary: &T) -> Comparison {
        authority.compare_rows(secondary)
    }
}

/// Compares answers by the rows that a function finds in them. See [`rows_of`].
#[derive(Debug, Clone, Copy)]
pub struct RowsOf<F>(F);

/// Compares answers by the rows that `rows` finds in them, as pages are compared: the rest of the answer, such as a
/// cursor, is left out.
pub const fn rows_of<T, R, F: Fn(&T) -> &[R]>(rows: F) -> RowsOf<F> {
    RowsOf(rows)
}

impl<T, R, F> Compare<T> for RowsOf<F>
where
    R: PartialEq,
    F: Fn(&T) -> &[R] + Send + Sync + 'static,
{
    fn compare(&self, authority: &T, secondary: &T) -> Comparison {
        compare_pages((self.0)(authority), (self.0)(secondary))
    }
}

fn same_or(same: bool, otherwise: Comparison) -> Comparison {
    if same { Comparison::Match } else { otherwise }
}

/// The rows of `secondary` that are left when those of `authority` are found among them, in their order; and how many
/// were not found, the last of them included or not.
struct Alignment<'a, R> {
    lacking: usize,
    lacks_last: bool,
    rest: &'a [R],
}

fn align<'a, R: PartialEq>(authority: &[R], secondary: &'a [R]) -> Alignment<'a, R> {
    let mut alignment = Alignment { lacking: 0, lacks_last: true, rest: secondary };
    for row in authority {
        match alignment.rest.split_first() {
            Some((other, rest)) if other == row => {
                alignment.rest = rest;
                alignment.lacks_last = false;
            }
            Some(_) | None => {
                alignment.lacking += 1;
                alignment.lacks_last = true;
            }
        }
    }
    alignment
}

fn compare_lists<R: PartialEq>(authority: &[R], secondary: &[R]) -> Comparison {
    match align(authority, secondary) {
        Alignment { rest: [_, ..], .. } => Comparison::Differ(Vec::new()),
        Alignment { lacking, .. } => same_or(lacking == 0, Comparison::Missing),
    }
}

/// A page of a side that lacks rows goes on further: rows after the authority's last one stand in for those that are
/// lacking. Where the last one itself is lacking, nothing shows where its place is.
fn compare_pages<R: PartialEq>(authority: &[R], secondary: &[R]) -> Comparison {
    let Alignment { lacking, lacks_last, rest } = align(authority, secondary);
    match (lacking, rest.len()) {
        (0, 0) => Comparison::Match,
        (lacking, 0) if lacking > 0 => Comparison::Missing,
        (lacking, further) if !lacks_last && further <= lacking => Comparison::Missing,
        (_, _) => Comparison::Differ(Vec::new()),
    }
}

/// For sets and maps: whether all of the secondary's are the authority's too.
fn compare_sizes(same: bool, within: bool) -> Comparison {
    same_or(same, if within { Comparison::Missing } else { Comparison::Differ(Vec::new()) })
}

impl<R: PartialEq> KnownRows for Option<R> {
    fn compare_rows(&self, secondary: &Self) -> Comparison {
        match (self, secondary) {
            (Some(_), None) => Comparison::Missing,
            (Some(_) | None, Some(_)) | (None, None) => same_or(self == secondary, Comparison::Differ(Vec::new())),
        }
    }
}

impl<R: PartialEq> KnownRows for Vec<R> {
    fn compare_rows(&self, secondary: &Self) -> Comparison {
        compare_lists(self, secondary)
    }
}

impl<R: PartialEq> KnownRows for Page<R> {
    fn compare_rows(&self, secondary: &Self) -> Comparison {
        compare_pages(&self.rows, &secondary.rows)
    }
}

impl<K: Ord, R: PartialEq> KnownRows for BTreeMap<K, R> {
    fn compare_rows(&self, secondary: &Self) -> Comparison {
        compare_sizes(self == secondary, secondary.iter().all(|(key, row)| self.get(key) == Some(row)))
    }
}

impl<R: Ord> KnownRows for BTreeSet<R> {
    fn compare_rows(&self, secondary: &Self) -> Comparison {
        compare_sizes(self == secondary, secondary.is_subset(self))
    }
}

impl<K: Eq + Hash, R: PartialEq, S: BuildHasher> KnownRows for HashMap<K, R, S> {
    fn compare_rows(&self, secondary: &Self) -> Comparison {
        compare_sizes(self == secondary, secondary.iter().all(|(key, row)| self.get(key) == Some(row)))
    }
}

impl<R: Eq + Hash, S: BuildHasher> KnownRows for HashSet<R, S> {
    fn compare_rows(&self, secondary: &Self) -> Comparison {
        compare_sizes(self == secondary, secondary.is_subset(self))
    }
}

/// Collections whose order means nothing: rows are paired by a key. See [`unordered`].
#[derive(Debug, Clone, Copy)]
pub struct Unordered<F>(F);

/// Compares collections row by row, paired by `key`, in any order.
pub const fn unordered<R, K: Ord, F: Fn(&R) -> K>(key: F) -> Unordered<F> {
    Unordered(key)
}

impl<R, K, F> Compare<Vec<R>> for Unordered<F>
where
    R: PartialEq,
    K: Ord,
    F: Fn(&R) -> K + Send + Sync + 'static,
{
    fn compare(&self, authority: &Vec<R>, secondary: &Vec<R>) -> Comparison {
        let index = |rows: &Vec<R>| -> Vec<usize> {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_by_key(|place| (self.0)(&rows[*place]));
            order
        };
        let (ours, theirs) = (index(authority), index(secondary));
        let (mut theirs, mut missing) = (theirs.into_iter().peekable(), false);
        for place in ours {
            let row = &authority[place];
            match theirs.peek() {
                Some(other) if secondary[*other] == *row => {
                    theirs.next();
                }
                Some(other) if (self.0)(&secondary[*other]) > (self.0)(row) => missing = true,
                None => missing = true,
                Some(_) => return Comparison::Differ(Vec::new()),
            }
        }
        match (theirs.next(), missing) {
            (Some(_), _) => Comparison::Differ(Vec::new()),
            (None, true) => Comparison::Missing,
            (None, false) => Comparison::Match,
        }
    }
}

/// Field by field over serde values. See [`fields`].
#[derive(Debug, Clone, Default)]
pub struct Fields {
    ignored: BTreeSet<String>,
    tolerances: BTreeMap<String, f64>,
    unordered_by: Option<String>,
    clean: Option<fn(&mut Value)>,
}

/// Compares any serializable answers field by field, and names the fields that differ.
///
/// Paths join names by `.`; elements of arrays carry no number, so that `note` of a list of events is just `note`.
#[must_use]
pub fn fields() -> Fields {
    Fields::default()
}

impl Fields {
    /// Accepts any difference in this field.
    #[must_use]
    pub fn ignore(mut self, path: &str) -> Fields {
        self.ignored.insert(path.to_owned());
        self
    }

    /// Accepts numbers in this field that are at most `tolerance` apart.
    #[must_use]
    pub fn tolerance(mut self, path: &str, tolerance: f64) -> Fields {
        self.tolerances.insert(path.to_owned(), tolerance);
        self
    }

    /// Pairs the rows of a top-level array by this field instead of by their place.
    #[must_use]
    pub fn unordered_by(mut self, field: &str) -> Fields {
        self.unordered_by = Some(field.to_owned());
        self
    }

    /// Reduces both values before they are compared.
    #[must_use]
    pub fn clean(mut self, clean: fn(&mut Value)) -> Fields {
        self.clean = Some(clean);
        self
    }

    fn walk(&self, path: &str, ours: &Value, theirs: &Value, differing: &mut BTreeSet<String>) {
        if ours == theirs || self.ignored.contains(path) {
            return;
        }
        match (ours, theirs) {
            (Value::Object(a), Value::Object(b)) => {
                let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for name in names {
                    let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    let (a, b) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
                    self.walk(&below, a, b, differing);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (a, b) in a.iter().zip(b) {
                    self.walk(path, a, b, differing);
                }
            }
            (Value::Number(a), Value::Number(b)) => {
                let apart = a.as_f64().zip(b.as_f64()).map(|(a, b)| (a - b).abs());
                let allowed = self.tolerances.get(path).copied().unwrap_or(-1.0);
                if apart.is_none_or(|apart| apart > allowed) {
                    differing.insert(path.to_owned());
                }
            }
            (
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
                _,
            ) => {
                differing.insert(if path.is_empty() { "(value)".to_owned() } else { path.to_owned() });
            }
        }
    }

    /// Takes out what is ignored: whoever does not compare a field may not want to show it either.
    fn strip(&self, path: &str, value: &mut Value) {
        match value {
            Value::Object(fields) => fields.retain(|name, value| {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                self.strip(&below, value);
                !self.ignored.contains(&below)
            }),
            Value::Array(rows) => rows.iter_mut().for_each(|row| self.strip(path, row)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Pairs rows by their key; true when the secondary lacks some.
    fn pair(&self, field: &str, ours: Vec<Value>, theirs: Vec<Value>, differing: &mut BTreeSet<String>) -> bool {
        let index = |rows: Vec<Value>| {
            let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            for row in rows {
                found.entry(row.get(field).unwrap_or(&Value::Null).to_string()).or_default().push(row);
            }
            found
        };
        let (ours, mut theirs) = (index(ours), index(theirs));
        let mut missing = false;
        for (key, rows) in ours {
            let others = theirs.remove(&key).unwrap_or_default();
            missing |= others.len() < rows.len();
            if others.len() > rows.len() {
                differing.insert(field.to_owned());
            }
            for (row, other) in rows.iter().zip(&others) {
                self.walk("", row, other, differing);
            }
        }
        if !theirs.is_empty() {
            differing.insert(field.to_owned());
        }
        missing
    }
}

impl<T: Serialize> Compare<T> for Fields {
    fn compare(&self, authority: &T, secondary: &T) -> Comparison {
        let value = |answer: &T| {
            serde_json::to_value(answer).map(|mut value| {
                if let Some(clean) = self.clean {
                    clean(&mut value);
                }
                value
            })
        };
        let (Ok(ours), Ok(theirs)) = (value(authority), value(secondary)) else {
            return Comparison::Differ(vec!["(not serializable)".to_owned()]);
        };
        let mut differing = BTreeSet::new();
        let missing = match (&self.unordered_by, ours, theirs) {
            (Some(field), Value::Array(ours), Value::Array(theirs)) => self.pair(field, ours, theirs, &mut differing),
            (_, Value::Null, Value::Null) => false,
            (_, ours, Value::Null) if !ours.is_null() => true,
            (_, ours, theirs) => {
                self.walk("", &ours, &theirs, &mut differing);
                false
            }
        };
        match (differing.is_empty(), missing) {
            (true, false) => Comparison::Match,
            (true, true) => Comparison::Missing,
            (false, _) => Comparison::Differ(differing.into_iter().collect()),
        }
    }

    fn show(&self, answer: &T) -> Option<String> {
        let mut value = serde_json::to_value(answer).ok()?;
        if let Some(clean) = self.clean {
            clean(&mut value);
        }
        self.strip("", &mut value);
        Some(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn differ(fields: &[&str]) -> Comparison {
        Comparison::Differ(fields.iter().map(|field| (*field).to_owned()).collect())
    }

    #[test]
    fn unordered_rows_are_paired_by_key() {
        let by_key = unordered(|row: &(u8, char)| row.0);
        let compare = |a: &[(u8, char)], b: &[(u8, char)]| by_key.compare(&a.to_vec(), &b.to_vec());
        assert_eq!(compare(&[(1, 'a'), (2, 'b')], &[(2, 'b'), (1, 'a')]), Comparison::Match);
        assert_eq!(compare(&[(1, 'a'), (2, 'b'), (3, 'c')], &[(2, 'b')]), Comparison::Missing);
        assert_eq!(compare(&[(1, 'a')], &[(1, 'x')]), differ(&[]));
        assert_eq!(compare(&[(2, 'b')], &[(2, 'b'), (1, 'a')]), differ(&[]));
        assert_eq!(compare(&[(1, 'a')], &[(1, 'a'), (2, 'b')]), differ(&[]));
        assert_eq!(compare(&[], &[]), Comparison::Match);
    }

    #[test]
    fn what_only_the_authority_has_is_missing_and_all_else_differs() {
        fn compare<T: KnownRows>(authority: T, secondary: T) -> Comparison {
            rows().compare(&authority, &secondary)
        }
        use Comparison::{Match, Missing};
        let differ = || Comparison::Differ(Vec::new());
        assert_eq!(compare(Some(1), Some(1)), Match);
        assert_eq!(compare(Some(1), None), Missing);
        assert_eq!(compare(None, Some(1)), differ());
        assert_eq!(compare(Some(1), Some(2)), differ());
        assert_eq!(compare(None::<u8>, None), Match);
        assert_eq!(compare(vec![1, 2], vec![1, 2]), Match);
        assert_eq!(compare(vec![1, 2, 3], vec![2]), Missing);
        assert_eq!(compare(vec![1, 2, 3], vec![]), Missing);
        assert_eq!(compare(vec![1, 2], vec![1, 9]), differ());
        assert_eq!(compare(vec![1, 2], vec![2, 1]), differ());
        assert_eq!(compare(vec![1], vec![1, 1]), differ());
        let (two, one) = (BTreeMap::from([(1, 'a'), (2, 'b')]), BTreeMap::from([(1, 'a')]));
        assert_eq!(compare(two.clone(), two.clone()), Match);
        assert_eq!(compare(two.clone(), one.clone()), Missing);
        assert_eq!(compare(one.clone(), two), differ());
        assert_eq!(compare(one, BTreeMap::from([(1, 'x')])), differ());
        assert_eq!(compare(HashMap::from([(1, 'a'), (2, 'b')]), HashMap::from([(2, 'b')])), Missing);
        assert_eq!(compare(HashMap::from([(2, 'b')]), HashMap::from([(2, 'x')])), differ());
        assert_eq!(compare(HashSet::from([1, 2]), HashSet::from([2])), Missing);
        assert_eq!(compare(HashSet::from([1]), HashSet::from([2])), differ());
        assert_eq!(compare(BTreeSet::from([1, 2]), BTreeSet::from([2, 1])), Match);
        assert_eq!(compare(BTreeSet::from([1, 2]), BTreeSet::from([1])), Missing);
        assert_eq!(compare(BTreeSet::from([1]), BTreeSet::from([1, 2])), differ());
    }

    #[test]
    fn pages_are_compared_by_their_rows_and_one_that_lacks_rows_goes_on_further() {
        let page = |rows: &[u8], next: &str| Page { rows: rows.to_vec(), next: Some(crate::rows::Cursor(next.into())) };
        let compare = |a: &[u8], b: &[u8]| rows().compare(&page(a, "of the source"), &page(b, "of the target"));
        assert_eq!(compare(&[1, 2, 3], &[1, 2, 3]), Comparison::Match);
        assert_eq!(compare(&[1, 2, 3], &[1, 3]), Comparison::Missing);
        assert_eq!(compare(&[1, 2, 3], &[1, 3, 4]), Comparison::Missing);
        assert_eq!(compare(&[1, 2, 3], &[1, 3, 4, 5]), differ(&[]));
        // Row 3 may be lacking or another one: that is no proof of absence.
        assert_eq!(compare(&[1, 2, 3], &[1, 2, 4]), differ(&[]));
        assert_eq!(compare(&[], &[1]), differ(&[]));
        let by_items = rows_of(|answer: &(Vec<u8>, u32)| &answer.0);
        assert_eq!(by_items.compare(&(vec![1, 2], 7), &(vec![1, 2], 8)), Comparison::Match);
        assert_eq!(by_items.compare(&(vec![1, 2], 7), &(vec![2], 8)), Comparison::Missing);
        assert_eq!(by_items.compare(&(vec![1, 2], 7), &(vec![1, 3], 7)), differ(&[]));
    }

    #[test]
    fn what_is_shown_leaves_out_what_is_ignored_and_is_cut() {
        let rows = json!([{"id": 1, "card": "4111", "at": {"zone": "Z", "note": "n"}}]);
        let shown = fields().ignore("card").ignore("at.note").show(&rows);
        assert_eq!(shown.as_deref(), Some(r#"[{"at":{"zone":"Z"},"id":1}]"#));
        assert_eq!(Compare::<u8>::show(&equality(), &7), None);
        let showing = showing(equality(), |row: &u8| format!("row {row}"));
        assert_eq!((showing.compare(&1, &2), showing.show(&7).as_deref()), (differ(&[]), Some("row 7")));
        assert_eq!(cut("é".repeat(LONGEST)), "é".repeat(LONGEST));
        assert_eq!(cut("é".repeat(LONGEST + 1)), "é".repeat(LONGEST) + "…");
    }

    #[test]
    fn differing_fields_are_named() {
        let (a, b) = (json!({"id": 1, "at": {"zone": "Z"}, "x": 1}), json!({"id": 1, "at": {"zone": "W"}, "x": 2}));
        assert_eq!(fields().compare(&a, &b), differ(&["at.zone", "x"]));
        assert_eq!(fields().ignore("x").ignore("at.zone").compare(&a, &b), Comparison::Match);
        assert_eq!(fields().ignore("at").tolerance("x", 1.0).compare(&a, &b), Comparison::Match);
        assert_eq!(fields().ignore("at").tolerance("x", 0.5).compare(&a, &b), differ(&["x"]));
        assert_eq!(fields().compare(&json!(1), &json!("1")), differ(&["(value)"]));
        assert_eq!(fields().compare(&json!([1]), &json!([1, 2])), differ(&["(value)"]));
    }

    #[test]
    fn values_are_cleaned_first() {
        let clean = fields().clean(|value| {
            if let Some(text) = value.as_str().map(str::to_lowercase) {
                *value = Value::String(text);
            }
        });
        assert_eq!(clean.compare(&"Zoë", &"zoë"), Comparison::Match);
        assert_eq!(fields().compare(&"Zoë", &"zoë"), differ(&["(value)"]));
    }

    #[test]
    fn rows_that_only_the_authority_has_are_missing_and_the_other_way_round_differ() {
        let by_id = fields().unordered_by("id");
        let rows = |ids: &[u8]| ids.iter().map(|id| json!({"id": id, "v": id})).collect::<Vec<_>>();
        assert_eq!(by_id.compare(&rows(&[1, 2]), &rows(&[2, 1])), Comparison::Match);
        assert_eq!(by_id.compare(&rows(&[1, 2]), &rows(&[1])), Comparison::Missing);
        assert_eq!(by_id.compare(&rows(&[1]), &rows(&[1, 2])), differ(&["id"]));
        assert_eq!(by_id.compare(&rows(&[1]), &rows(&[1, 1])), differ(&["id"]));
        let changed = vec![json!({"id": 1, "v": 9})];
        assert_eq!(by_id.compare(&rows(&[1, 2]), &changed), differ(&["v"]));
        assert_eq!(fields().compare(&Some(1), &None), Comparison::Missing);
        assert_eq!(fields().compare(&None, &Some(1)), differ(&["(value)"]));
        assert_eq!(fields().compare(&None::<u8>, &None), Comparison::Match);
    }
}
