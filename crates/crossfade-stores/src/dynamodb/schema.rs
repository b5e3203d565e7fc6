//! What a table looks like, and the names and expressions of one opened table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, BillingMode, KeyType, TableDescription, TimeToLiveStatus};

use super::{
    connect::Dynamodb,
    errors, rest,
    values::{self, Slot},
};
use crate::{Column, ColumnType, ErrorKind, Fit, Row, RowKey, StoreError, TableName, TableSchema, TableSpec, Value};

/// DynamoDB's names for an item.
pub(super) type Item = HashMap<String, AttributeValue>;

/// An expression may be this long.
pub(super) const EXPRESSION: usize = 4096;
/// And have this many operators.
const OPERATORS: usize = 300;
/// An item with its names.
pub(super) const ITEM: usize = 400 * 1024;

impl Dynamodb {
    pub(super) async fn table_description(&self, table: &TableName) -> Result<TableDescription, StoreError> {
        let what = format!("cannot describe table {table}");
        let mut n = 0;
        let out = loop {
            match self.client().describe_table().table_name(table.as_str()).send().await {
                Ok(out) => break out,
                Err(e) => {
                    let failure = errors::of(&what, self.shown(), e);
                    n += 1;
                    if !failure.is_slow_down() || !self.pace().wait(n).await {
                        return Err(failure.error);
                    }
                }
            }
        };
        out.table.ok_or_else(|| StoreError::new(ErrorKind::Protocol, format!("{what}: the answer has no table")))
    }

    pub(super) async fn warnings_of(&self, table: &TableName) -> Result<Vec<String>, StoreError> {
        let description = self.table_description(table).await?;
        let mut out = Vec::new();
        for index in description
            .global_secondary_indexes()
            .iter()
            .filter_map(|i| i.index_name())
            .chain(description.local_secondary_indexes().iter().filter_map(|i| i.index_name()))
        {
            out.push(format!("table {table}: index `{index}` refuses rows whose attributes have another type than its keys, or are empty"));
        }
        if !description.replicas().is_empty() {
            out.push(format!("table {table}: has replicas in other regions: reads are consistent only in the region of the url, so nobody may write elsewhere"));
        }
        let on_demand =
            description.billing_mode_summary().and_then(|b| b.billing_mode()) == Some(&BillingMode::PayPerRequest);
        if let Some(units) =
            description.provisioned_throughput().and_then(|p| p.write_capacity_units()).filter(|u| *u > 0 && !on_demand)
        {
            out.push(format!("table {table}: takes {units} write units (of 1 KB) a second as provisioned: the backfill shares them with the users"));
        }
        let ttl = self.client().describe_time_to_live().table_name(table.as_str()).send().await.map_err(|e| {
            errors::of(&format!("cannot ask for the time to live of table {table}"), self.shown(), e).error
        })?;
        if let Some(ttl) = ttl
            .time_to_live_description()
            .filter(|t| matches!(t.time_to_live_status(), Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)))
        {
            let name = ttl.attribute_name().unwrap_or("an attribute");
            out.push(format!("table {table}: rows expire by `{name}`, unseen by the flags: say `kind = \"cache\"`, or turn it off during the migration"));
        }
        Ok(out)
    }
}

/// The schema that DynamoDB knows: the key.
pub(super) fn schema(
    table: &TableName,
    shown: &str,
    description: &TableDescription,
) -> Result<TableSchema, StoreError> {
    let broken = |why: &str| StoreError::new(ErrorKind::Protocol, format!("table {table} in {shown}: {why}"));
    let mut elements: Vec<_> = description.key_schema().iter().collect();
    elements.sort_by_key(|e| *e.key_type() != KeyType::Hash);
    let mut columns = Vec::new();
    for element in elements {
        let name = element.attribute_name();
        let definition = description
            .attribute_definitions()
            .iter()
            .find(|d| d.attribute_name() == name)
            .ok_or_else(|| broken("a key attribute has no type"))?;
        let native = definition.attribute_type().as_str().to_owned();
        let ty = match native.as_str() {
            "S" => ColumnType::TEXT,
            "N" => ColumnType::Decimal { precision: Some((38, 0)) },
            "B" => ColumnType::Bytes,
            _ => return Err(broken("a key attribute is neither text nor number nor bytes")),
        };
        columns.push(Column {
            name: name.to_owned(),
            ty,
            native,
            nullable: false,
            generated: false,
            optional: false,
            limits: crate::Limits::DYNAMODB,
        });
    }
    if columns.is_empty() {
        return Err(broken("it has no key"));
    }
    let key = (0..columns.len()).collect();
    Ok(TableSchema { name: table.clone(), columns, key, open: true })
}

/// One attribute.
#[derive(Debug)]
pub(super) struct Col {
    pub(super) name: String,
    /// `#0`: names may be reserved words.
    pub(super) alias: String,
    pub(super) ty: ColumnType,
    pub(super) slot: Slot,
}

/// The expressions of one opened table.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) shown: String,
    pub(super) table: String,
    pub(super) columns: Vec<Col>,
    pub(super) key: Vec<usize>,
    /// All but the key.
    pub(super) rest: Vec<usize>,
    /// What a condition compares.
    pub(super) compared: Vec<usize>,
    /// The attributes of the spec, unless too many for one expression.
    pub(super) projection: Option<String>,
    /// Attribute and how it begins.
    pub(super) prefixes: Vec<(usize, String)>,
    /// The column that gets the attributes without one.
    others: Option<usize>,
    /// Attributes that are left out of it.
    ignored: Vec<String>,
    /// Columns that are read as text.
    as_text: Vec<usize>,
}

impl Shape {
    pub(super) fn new(shown: &str, spec: &TableSpec, description: &TableDescription) -> Result<Self, StoreError> {
        let own = schema(&spec.name, shown, description)?;
        let shown = format!("table {} in {shown}", spec.name);
        let config = |text: String| StoreError::new(ErrorKind::Config, format!("{shown}{text}"));
        let own_key: Vec<&str> = own.columns.iter().map(|c| c.name.as_str()).collect();
        let spec_key: Vec<&str> =
            spec.key.iter().filter_map(|i| spec.columns.get(*i)).map(|c| c.name.as_str()).collect();
        if own_key != spec_key {
            return Err(config(format!(
                " has the key ({}), not ({}): make it from columns with a template, as in `{} = \"USER#{{user_id}}\"`",
                own_key.join(", "),
                spec_key.join(", "),
                own_key[0]
            )));
        }
        if spec.options.key_pattern.is_some() {
            return Err(config(
                ": `key` patterns are for redis; in dynamodb the key attributes are made by templates".to_owned(),
            ));
        }
        let place = |name: &str, what: &str| {
            spec.columns
                .iter()
                .position(|c| c.name == name)
                .ok_or_else(|| config(format!(": the {what} `{name}` is not among its mapped columns")))
        };
        let version = spec.options.version_column.as_deref().map(|n| place(n, "version column")).transpose()?;
        let ttl = spec.options.ttl_column.as_deref().map(|n| place(n, "ttl column")).transpose()?;
        let documents =
            spec.options.documents.iter().map(|n| place(n, "document column")).collect::<Result<Vec<_>, _>>()?;
        let mut columns = Vec::with_capacity(spec.columns.len());
        for (i, wanted) in spec.columns.iter().enumerate() {
            let found = spec.key.iter().position(|k| *k == i).map(|at| &own.columns[at]);
            let slot = match found.map(|c| c.native.as_str()) {
                Some("S") => Slot::KeyText,
                Some("N") => Slot::KeyNumber,
                Some(_) => Slot::KeyBytes,
                None if ttl == Some(i) => Slot::Expiry { rounded: wanted.accept_loss },
                None if documents.contains(&i) && wanted.ty == ColumnType::Json => Slot::Document,
                None => Slot::Free,
            };
            let refuse = |why: &str| {
                StoreError::new(ErrorKind::Unrepresentable, format!("{shown} does not keep {}: {why}", wanted.ty))
                    .in_column(&wanted.name)
            };
            if let Slot::Expiry { .. } = slot
                && !matches!(wanted.ty, ColumnType::TimestampTz | ColumnType::Timestamp | ColumnType::Int { .. })
            {
                return Err(refuse("the ttl column must be a timestamp, or an integer of epoch seconds"));
            }
            match values::fit(&wanted.ty, found) {
                Fit::Lossless => {}
                Fit::Lossy(_) if wanted.accept_loss => {}
                Fit::Lossy(why) => {
                    return Err(refuse(&format!(
                        "{why}, a loss that is not accepted: `crossfade check` names the words of `lossy` that accept it"
                    )));
                }
                Fit::Refused(why) => return Err(refuse(why)),
            }
            columns.push(Col { name: wanted.name.clone(), alias: format!("#{i:x}"), ty: wanted.ty.clone(), slot });
        }
        let others = spec.options.rest.as_deref().map(|name| place(name, "column of other attributes")).transpose()?;
        let as_text = spec.options.as_text.iter().map(|n| place(n, "text column")).collect::<Result<Vec<_>, _>>()?;
        let rest: Vec<usize> = (0..columns.len()).filter(|i| !spec.key.contains(i) && others != Some(*i)).collect();
        let compared = match version {
            Some(v) if spec.key.contains(&v) => {
                return Err(config(": the version column is part of the key, which never changes".to_owned()));
            }
            Some(v) => vec![v],
            None => rest.clone(),
        };
        // At least `#0=:0, ` and `#0=:a0 AND ` for each.
        let (sets, conditions) = (rest.len() * 7, compared.len() * 11);
        if sets > EXPRESSION || rest.len() > OPERATORS {
            return Err(config(format!(
                ": {} columns are more than one update of dynamodb takes: keep some of them in one json column",
                rest.len()
            )));
        }
        if conditions > EXPRESSION || compared.len() > OPERATORS {
            return Err(config(format!(
                ": a comparison of {} columns does not fit into the 4 KB of a dynamodb condition: declare a version column",
                compared.len()
            )));
        }
        let projection = columns.iter().map(|c| c.alias.as_str()).collect::<Vec<_>>().join(",");
        let projection = (projection.len() <= EXPRESSION && others.is_none()).then_some(projection);
        let mut prefixes = Vec::new();
        for (name, prefix) in spec.options.only_prefixes.iter().filter(|(_, p)| !p.is_empty()) {
            prefixes.push((place(name, "attribute with a fixed beginning")?, prefix.clone()));
        }
        Ok(Shape {
            table: spec.name.as_str().to_owned(),
            shown,
            columns,
            key: spec.key.clone(),
            rest,
            compared,
            projection,
            prefixes,
            others,
            ignored: spec.options.ignored.clone(),
            as_text,
        })
    }

    /// Names for the columns of an expression.
    pub(super) fn names<'a>(&self, columns: impl IntoIterator<Item = &'a usize>) -> HashMap<String, String> {
        columns.into_iter().map(|i| (self.columns[*i].alias.clone(), self.columns[*i].name.clone())).collect()
    }

    pub(super) fn all_names(&self) -> HashMap<String, String> {
        self.columns.iter().map(|c| (c.alias.clone(), c.name.clone())).collect()
    }

    /// Whether decimals come back with the scale they were put with.
    pub(super) fn keeps_decimal_scale(&self) -> bool {
        fn keeps(ty: &ColumnType) -> bool {
            match ty {
                ColumnType::Decimal { precision } => precision.is_some_and(|(_, scale)| scale >= 0),
                ColumnType::Array(of) => keeps(of),
                _ => true,
            }
        }
        self.columns.iter().all(|c| keeps(&c.ty) || c.slot == Slot::KeyText)
    }

    /// Whether JSON comes back as the text that was put: an attribute may hold a document that somebody else put.
    pub(super) fn keeps_json_text(&self) -> bool {
        fn json(ty: &ColumnType) -> bool {
            match ty {
                ColumnType::Json => true,
                ColumnType::Array(of) => json(of),
                _ => false,
            }
        }
        !self.columns.iter().any(|c| json(&c.ty))
    }

    fn unrepresentable(&self, column: usize, why: &str) -> StoreError {
        StoreError::new(ErrorKind::Unrepresentable, format!("{}: {why}", self.shown))
            .in_column(&self.columns[column].name)
    }

    /// The attribute of one value of a row.
    pub(super) fn attribute(&self, column: usize, value: &Value) -> Result<Option<AttributeValue>, StoreError> {
        values::encode(value, self.columns[column].slot).map_err(|why| self.unrepresentable(column, why))
    }

    /// The key of an item.
    pub(super) fn key_item(&self, key: &RowKey) -> Result<Item, StoreError> {
        let mut out = HashMap::with_capacity(self.key.len());
        for (n, (i, value)) in self.key.iter().zip(&key.0).enumerate() {
            let Some(attribute) = self.attribute(*i, value)? else {
                return Err(self.unrepresentable(*i, "a key is never null"));
            };
            let most = if n == 0 { 2048 } else { 1024 };
            if values::size(&attribute) > most {
                return Err(StoreError::new(
                    ErrorKind::TooLarge,
                    format!("{}: the key is larger than the {most} bytes that dynamodb takes", self.shown),
                )
                .in_column(&self.columns[*i].name));
            }
            out.insert(self.columns[*i].name.clone(), attribute);
        }
        Ok(out)
    }

    /// A whole row as an item.
    pub(super) fn item(&self, row: &Row) -> Result<Item, StoreError> {
        let mut out = self.key_item(&row.key(&self.key))?;
        for i in &self.rest {
            if let Some(attribute) = self.attribute(*i, &row.0[*i])? {
                out.insert(self.columns[*i].name.clone(), attribute);
            }
        }
        self.fits(&out)?;
        Ok(out)
    }

    /// Refuses an item that is too large before the service does: it would spoil a whole batch.
    pub(super) fn fits(&self, item: &Item) -> Result<(), StoreError> {
        let sizes = item.iter().map(|(name, a)| (name, name.len() + values::size(a)));
        let total: usize = sizes.clone().map(|(_, size)| size).sum();
        if total <= ITEM {
            return Ok(());
        }
        let largest = sizes.max_by_key(|(_, size)| *size).map(|(name, _)| name.as_str()).unwrap_or_default();
        Err(StoreError::new(
            ErrorKind::TooLarge,
            format!("{}: the item is larger than the 400 KB that dynamodb takes", self.shown),
        )
        .in_column(largest))
    }

    /// The attributes that have no column, as a JSON object; null without any.
    fn other_attributes(&self, item: &Item) -> Option<Value> {
        let mut others = item
            .iter()
            .filter(|(name, _)| !self.ignored.contains(name) && !self.columns.iter().any(|c| c.name == **name))
            .peekable();
        if others.peek().is_none() {
            return Some(Value::Null);
        }
        rest::object(others).map(Value::Json)
    }

    /// # Errors
    /// A column is only read.
    pub(super) fn may_write(&self, row: &Row) -> Result<(), StoreError> {
        if let Some(column) = self.as_text.first() {
            return Err(StoreError::read_as_text(&self.shown, &self.columns[*column].name));
        }
        match self.others {
            Some(i) if !row.0[i].is_null() => {
                Err(self.unrepresentable(i, "attributes that were read as json are not written back"))
            }
            _ => Ok(()),
        }
    }

    /// The row of an item.
    pub(super) fn row(&self, item: &Item) -> Result<Row, StoreError> {
        let value = |i: usize| -> Result<Value, StoreError> {
            let col = &self.columns[i];
            if self.others == Some(i) {
                return self.other_attributes(item).ok_or_else(|| {
                    self.unrepresentable(i, "the row has an attribute of a type that this version does not know")
                });
            }
            if self.as_text.contains(&i) {
                return Ok(values::as_text(item.get(&col.name)));
            }
            values::decode(item.get(&col.name), &col.ty, col.slot)
                .ok_or_else(|| self.unrepresentable(i, &format!("a stored attribute cannot be read as {}", col.ty)))
        };
        let mut out = Vec::with_capacity(self.columns.len());
        for i in 0..self.columns.len() {
            match value(i) {
                Ok(v) => out.push(v),
                Err(e) => {
                    // Name the row, if its key can be read.
                    let key: Result<Vec<Value>, StoreError> = self.key.iter().map(|k| value(*k)).collect();
                    return Err(match key {
                        Ok(key) => e.at_key(&RowKey(key)),
                        Err(_) => e,
                    });
                }
            }
        }
        Ok(Row(out))
    }

    /// Whether an item is of this table, where other entities share it.
    pub(super) fn is_ours(&self, item: &Item) -> bool {
        self.prefixes.iter().all(|(i, prefix)| matches!(item.get(&self.columns[*i].name), Some(AttributeValue::S(s)) if s.starts_with(prefix)))
    }
}
