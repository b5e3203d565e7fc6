//! Two tables as the rows of a migration: the library repairs and checks through the stores, and the DAO needs neither `#[snapshot]` nor `#[restore]`.
//!
//! A row is compared in the target's form. At `live` and `ramp-down` repair goes the other way, from the target to the source: a map that loses something of
//! a row has no such way, and is refused when the rows are made.

use std::{fmt, sync::Arc};

use crossfade::{Side, key::ParseKey, rows::RowPair};
use crossfade_stores::{Change, ChangeOutcome, ErrorKind, Row, RowKey, StoreError, Table, Value, value::Closeness};

use crate::{Pair, TransferError};

/// The text forms of the columns that a row's id is made of.
type Columns<Id> = Arc<dyn Fn(&Id) -> Vec<String> + Send + Sync>;

/// The rows of a pair, for [`crossfade::Migration::attach_rows`]. `Id` is what the DAO calls the row: what a mark carries.
///
/// ```no_run
/// # async fn attach(migration: crossfade::Migration, pair: crossfade_transfer::Pair) -> Result<(), crossfade_transfer::TransferError> {
/// use crossfade_transfer::rows::StoreRows;
/// // A generated DAO attaches its own rows when it is made, and the first ones stay: attach these before.
/// migration.attach_rows(StoreRows::new(pair, &["id"], |id: &u64| vec![id.to_string()])?);
/// # Ok(())
/// # }
/// ```
pub struct StoreRows<Id> {
    pair: Pair,
    /// In the source's rows, of what the id is made.
    made_of: Vec<usize>,
    columns: Columns<Id>,
    /// For each column of the source, where the target's row has it.
    way_back: Vec<usize>,
}

impl<Id> Clone for StoreRows<Id> {
    fn clone(&self) -> Self {
        StoreRows {
            pair: self.pair.clone(),
            made_of: self.made_of.clone(),
            columns: Arc::clone(&self.columns),
            way_back: self.way_back.clone(),
        }
    }
}

impl<Id> fmt::Debug for StoreRows<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreRows").field("pair", &self.pair.name).finish_non_exhaustive()
    }
}

/// A row as one side has it. Two are equal when the target would hold the same row for both.
#[derive(Clone, Debug)]
pub struct Held {
    side: Side,
    /// As that side has it: what a compare-and-set goes by.
    own: Row,
    /// In the target's form.
    mapped: Row,
    closeness: Closeness,
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.mapped.same(&other.mapped, self.closeness)
    }
}

impl<Id> StoreRows<Id> {
    /// `names` are columns of the source that hold an id, `columns` their values in text form, in the same order: all that make the key of either side.
    ///
    /// # Errors
    /// [`TransferError::Config`] where these columns do not make both keys, or where the target's rows cannot be brought back (a lossy column).
    pub fn new(
        pair: Pair,
        names: &[&str],
        columns: impl Fn(&Id) -> Vec<String> + Send + Sync + 'static,
    ) -> Result<Self, TransferError> {
        let wrong = |what: String| TransferError::Config(format!("table {}: {what}", pair.name));
        let spec = pair.source.spec();
        let made_of: Vec<usize> = names
            .iter()
            .map(|name| {
                let at = spec.columns.iter().position(|column| column.name == *name);
                at.ok_or_else(|| wrong(format!("the source has no column `{name}` to find a row by")))
            })
            .collect::<Result<_, _>>()?;
        let needed = pair.map.target_key_sources();
        if let Some(missing) = spec.key.iter().chain(&needed).find(|at| !made_of.contains(at)) {
            let column = &spec.columns[*missing].name;
            return Err(wrong(format!(
                "a key is made of `{column}`, which has to be among the columns of the row's id"
            )));
        }
        let way_back = pair.map.way_back().map_err(|lost| {
            let column = &spec.columns[lost].name;
            wrong(format!(
                "the target does not hold `{column}` as it is, so that no row of it can be brought back at live: mark #[snapshot] and #[restore] in the DAO instead"
            ))
        })?;
        Ok(StoreRows { made_of, columns: Arc::new(columns), way_back, pair })
    }

    fn table(&self, side: Side) -> &Arc<dyn Table> {
        match side {
            Side::Source => &self.pair.source,
            Side::Target => &self.pair.target,
        }
    }

    /// The key of that row on that side.
    fn key(&self, side: Side, id: &Id) -> Result<RowKey, TransferError> {
        let spec = self.pair.source.spec();
        let texts = (self.columns)(id);
        let mut row = Row(vec![Value::Null; spec.columns.len()]);
        let mut whole = texts.len() == self.made_of.len();
        for (at, text) in self.made_of.iter().zip(&texts) {
            match Value::from_text(&spec.columns[*at].ty, text) {
                Some(value) => row.0[*at] = value,
                None => whole = false,
            }
        }
        let key = match side {
            Side::Source => Some(row.key(&spec.key)),
            Side::Target => self.pair.map.target_key_made_of(&row),
        };
        key.filter(|_| whole)
            .ok_or_else(|| TransferError::Config(format!("table {}: the id of a row is no key of it", self.pair.name)))
    }

    /// The row as `side` would hold it.
    fn form(&self, side: Side, row: &Held) -> Row {
        match side {
            _ if row.side == side => row.own.clone(),
            Side::Target => row.mapped.clone(),
            Side::Source => {
                Row(self.way_back.iter().map(|at| row.mapped.0.get(*at).cloned().unwrap_or_default()).collect())
            }
        }
    }
}

impl<Id: ParseKey + Clone + Send + Sync + 'static> RowPair for StoreRows<Id> {
    type Id = Id;
    type Row = Held;
    type Error = TransferError;

    async fn snapshot(&self, side: Side, id: &Id) -> Result<Option<Held>, TransferError> {
        let key = self.key(side, id)?;
        let Some(own) = self.table(side).read(&[key]).await?.pop().flatten() else { return Ok(None) };
        let mapped = match side {
            Side::Source => self.pair.map.forward(&own).map_err(|e| TransferError::Config(e.to_string()))?,
            Side::Target => own.clone(),
        };
        Ok(Some(Held { side, own, mapped, closeness: self.pair.closeness }))
    }

    async fn restore(
        &self,
        side: Side,
        _: &Id,
        seen: Option<&Held>,
        row: Option<&Held>,
    ) -> Result<bool, TransferError> {
        let change = match (seen.map(|seen| self.form(side, seen)), row.map(|row| self.form(side, row))) {
            (None, None) => return Ok(true),
            (None, Some(row)) => Change::Insert { row },
            (Some(seen), Some(row)) => Change::Replace { seen, row },
            (Some(seen), None) => Change::Delete { seen },
        };
        let outcome = self.table(side).write(&[change]).await?.pop();
        match outcome {
            Some(ChangeOutcome::Applied) => Ok(true),
            Some(ChangeOutcome::LostRace) => Ok(false),
            Some(ChangeOutcome::Ambiguous(e) | ChangeOutcome::Refused(e)) => Err(e.into()),
            None => Err(StoreError::new(ErrorKind::Protocol, "a store said nothing of a write").into()),
        }
    }
}
