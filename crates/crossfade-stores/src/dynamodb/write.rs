//! Conditional writes, each by itself: a put where nothing is, an update or a delete of exactly what was seen.
//!
//! The condition first compares with the form that crossfade itself writes. Where that fails, the service hands over the item that
//! is there; if its values are those that were seen, in another form (a set, `T` in a time), the condition is repeated with that form.

use std::{collections::HashMap, error::Error};

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::{delete_item::DeleteItemError, put_item::PutItemError, update_item::UpdateItemError},
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use futures::StreamExt;

use super::{
    DynamodbTable,
    errors::{self, Failure},
    schema::{EXPRESSION, Item},
};
use crate::{Change, ChangeOutcome, ErrorKind, Row, StoreError};

/// The forms that `seen` may be stored in, tried this often: somebody may change one meanwhile.
const FORMS: u32 = 4;

/// An answer to one conditional request.
enum Answer {
    Done,
    /// The condition does not hold; the item that is there.
    Another(Option<Item>),
    Failed(Failure),
}

/// One change with its result, before the rows of a call are seen together.
enum Outcome {
    Is(ChangeOutcome),
    /// Nothing was done, for a reason that is not the row's.
    NotDone(StoreError),
}

/// A condition with its names and values.
struct Condition {
    text: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl DynamodbTable {
    pub(super) async fn write_all(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
        let outcomes: Vec<Outcome> = futures::stream::iter(0..changes.len())
            .map(|i| self.one(&changes[i]))
            .buffered(self.store.at_once())
            .collect()
            .await;
        if !outcomes.is_empty() && outcomes.iter().all(|o| matches!(o, Outcome::NotDone(_))) {
            for outcome in outcomes {
                if let Outcome::NotDone(e) = outcome {
                    return Err(e);
                }
            }
            return Ok(Vec::new());
        }
        Ok(outcomes
            .into_iter()
            .map(|o| match o {
                Outcome::Is(outcome) => outcome,
                Outcome::NotDone(e) => ChangeOutcome::Refused(e),
            })
            .collect())
    }

    async fn one(&self, change: &Change) -> Outcome {
        let key = change.key(&self.shape.key);
        match self.conditional(change).await {
            Ok(outcome) => Outcome::Is(outcome),
            Err(Failure { error, unknown: true }) => Outcome::Is(ChangeOutcome::Ambiguous(error.at_key(&key))),
            Err(Failure { error, unknown: false }) => match error.recovery() {
                crate::Recovery::Row => Outcome::Is(ChangeOutcome::Refused(error.at_key(&key))),
                _ => Outcome::NotDone(error),
            },
        }
    }

    async fn conditional(&self, change: &Change) -> Result<ChangeOutcome, Failure> {
        let mut form: Option<Item> = None;
        for _ in 0..FORMS {
            let there = match self.ask(change, form.as_ref()).await? {
                Answer::Done => return Ok(ChangeOutcome::Applied),
                Answer::Failed(failure) => return Err(failure),
                Answer::Another(there) => there,
            };
            let (Change::Replace { seen, .. } | Change::Delete { seen }) = change else {
                return Ok(ChangeOutcome::LostRace);
            };
            match there {
                Some(item) if form.as_ref() != Some(&item) && self.holds(&item, seen) => form = Some(item),
                _ => return Ok(ChangeOutcome::LostRace),
            }
        }
        Ok(ChangeOutcome::LostRace)
    }

    /// Whether an item has the values that were seen, in whatever form.
    fn holds(&self, item: &Item, seen: &Row) -> bool {
        self.shape.row(item).is_ok_and(|row| self.shape.compared.iter().all(|i| row.0[*i] == seen.0[*i]))
    }

    /// Asks until the answer is not "slower".
    async fn ask(&self, change: &Change, form: Option<&Item>) -> Result<Answer, Failure> {
        let mut n = 0;
        loop {
            let answer = self.ask_once(change, form).await?;
            match &answer {
                Answer::Failed(failure) if failure.is_slow_down() => {
                    n += 1;
                    if !self.store.pace().wait(n).await {
                        return Ok(answer);
                    }
                }
                _ => return Ok(answer),
            }
        }
    }

    async fn ask_once(&self, change: &Change, form: Option<&Item>) -> Result<Answer, Failure> {
        let shape = &self.shape;
        let surely = |error| Failure { error, unknown: false };
        if let Change::Insert { row } | Change::Replace { row, .. } = change {
            shape.may_write(row).map_err(surely)?;
        }
        let key = shape.key_item(&change.key(&shape.key)).map_err(surely)?;
        let all_old = ReturnValuesOnConditionCheckFailure::AllOld;
        let client = self.store.client();
        let permit = self.permit().await.map_err(surely)?;
        let answer = match change {
            Change::Insert { row } => {
                let hash = &shape.key[..1];
                let put = client
                    .put_item()
                    .table_name(&shape.table)
                    .set_item(Some(shape.item(row).map_err(surely)?))
                    .condition_expression(format!("attribute_not_exists({})", shape.columns[hash[0]].alias))
                    .set_expression_attribute_names(Some(shape.names(hash)));
                self.answer(put.send().await, |e| match e {
                    PutItemError::ConditionalCheckFailedException(_) => Some(None),
                    _ => None,
                })
            }
            Change::Replace { seen, row } => {
                let mut condition = self.condition(seen, form).map_err(surely)?;
                let update = self.update(row, &mut condition).map_err(surely)?;
                let update = client
                    .update_item()
                    .table_name(&shape.table)
                    .set_key(Some(key))
                    .set_update_expression(update)
                    .condition_expression(condition.text)
                    .set_expression_attribute_names(Some(condition.names))
                    .set_expression_attribute_values((!condition.values.is_empty()).then_some(condition.values))
                    .return_values_on_condition_check_failure(all_old);
                self.answer(update.send().await, |e| match e {
                    UpdateItemError::ConditionalCheckFailedException(e) => Some(e.item.clone()),
                    _ => None,
                })
            }
            Change::Delete { seen } => {
                let condition = self.condition(seen, form).map_err(surely)?;
                let delete = client
                    .delete_item()
                    .table_name(&shape.table)
                    .set_key(Some(key))
                    .condition_expression(condition.text)
                    .set_expression_attribute_names(Some(condition.names))
                    .set_expression_attribute_values((!condition.values.is_empty()).then_some(condition.values))
                    .return_values_on_condition_check_failure(all_old);
                self.answer(delete.send().await, |e| match e {
                    DeleteItemError::ConditionalCheckFailedException(e) => Some(e.item.clone()),
                    _ => None,
                })
            }
        };
        drop(permit);
        Ok(answer)
    }

    /// `another` gives what is there, if the service's error is a failed condition.
    fn answer<T, E, R>(&self, result: Result<T, SdkError<E, R>>, another: impl Fn(&E) -> Option<Option<Item>>) -> Answer
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        match result {
            Ok(_) => Answer::Done,
            Err(e) => match e.as_service_error().and_then(another) {
                Some(there) => Answer::Another(there),
                None => {
                    Answer::Failed(errors::of(&format!("cannot write to {}", self.shape.shown), self.store.shown(), e))
                }
            },
        }
    }

    /// The condition that the item is what was seen, in its own `form` or in crossfade's.
    fn condition(&self, seen: &Row, form: Option<&Item>) -> Result<Condition, StoreError> {
        let shape = &self.shape;
        let mut names = shape.names(&shape.key[..1]);
        let mut values = HashMap::with_capacity(shape.compared.len());
        let mut text = format!("attribute_exists({})", shape.columns[shape.key[0]].alias);
        for i in &shape.compared {
            let col = &shape.columns[*i];
            names.insert(col.alias.clone(), col.name.clone());
            let stored = match form {
                Some(item) => item.get(&col.name).cloned(),
                None => shape.attribute(*i, &seen.0[*i])?,
            };
            match stored {
                Some(attribute) => {
                    text.push_str(&format!(" AND {}=:s{i:x}", col.alias));
                    values.insert(format!(":s{i:x}"), attribute);
                }
                None => text.push_str(&format!(" AND attribute_not_exists({})", col.alias)),
            }
        }
        if text.len() > EXPRESSION {
            return Err(StoreError::new(
                ErrorKind::Unsupported,
                format!(
                    "{}: the comparison of {} columns does not fit into the 4 KB of a dynamodb condition: declare a version column",
                    shape.shown,
                    shape.compared.len()
                ),
            ));
        }
        Ok(Condition { text, names, values })
    }

    /// Sets and removes all attributes but the key; `None` for a row that is all key. Adds its names and values to the condition's.
    fn update(&self, row: &Row, condition: &mut Condition) -> Result<Option<String>, StoreError> {
        let shape = &self.shape;
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        let mut size: usize = 0;
        for i in &shape.rest {
            let col = &shape.columns[*i];
            condition.names.insert(col.alias.clone(), col.name.clone());
            match shape.attribute(*i, &row.0[*i])? {
                Some(attribute) => {
                    size += col.name.len() + super::values::size(&attribute);
                    set.push(format!("{}=:{i:x}", col.alias));
                    condition.values.insert(format!(":{i:x}"), attribute);
                }
                None => remove.push(col.alias.clone()),
            }
        }
        if size > super::schema::ITEM {
            shape.item(row)?;
        }
        let mut text = String::new();
        if !set.is_empty() {
            text.push_str("SET ");
            text.push_str(&set.join(","));
        }
        if !remove.is_empty() {
            text.push_str(" REMOVE ");
            text.push_str(&remove.join(","));
        }
        if text.len() > EXPRESSION {
            return Err(StoreError::new(
                ErrorKind::Unsupported,
                format!(
                    "{}: more columns than one update of dynamodb takes: keep some of them in one json column",
                    shape.shown
                ),
            ));
        }
        Ok((!text.is_empty()).then_some(text))
    }
}
