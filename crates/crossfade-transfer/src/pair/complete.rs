//! The columns of a source that has none of its own (DynamoDB): those that the target's columns ask for, as the target's types.

use crossfade_api::config::{MapConfig, TableConfig};
use crossfade_stores::{Column, Limits, TableSchema};

/// `described` with the attributes that the target's columns are made from.
///
/// # Errors
/// Neither side says what columns there are: copying the key alone would lose the rest in silence.
pub(super) fn complete(
    described: &TableSchema,
    found: Option<&TableSchema>,
    config: &TableConfig,
) -> Result<TableSchema, String> {
    let Some(found) = found.filter(|f| !f.open) else {
        return Err("neither the source nor the target says what columns its rows have: copy between two such stores with a DAO that scans".to_owned());
    };
    let mut out = described.clone();
    for column in found.columns.iter().filter(|c| !c.generated && config.rest.as_ref() != Some(&c.name)) {
        // The target's column may have another name than the attribute, or be made of several.
        let renamed = config
            .map
            .iter()
            .find(|(_, entry)| entry.renamed() == Some(column.name.as_str()))
            .map(|(from, _)| from.as_str());
        let from = match (renamed, config.map.get(&column.name)) {
            (Some(from), _) => from,
            (None, Some(MapConfig::Template(_) | MapConfig::Ignore { .. } | MapConfig::Rename { .. })) => continue,
            (None, Some(MapConfig::Lossy(_)) | None) => column.name.as_str(),
        };
        match out.columns.iter_mut().find(|c| c.name == from) {
            Some(key) => key.ty = column.ty.clone(),
            None => out.columns.push(Column {
                name: from.to_owned(),
                ty: column.ty.clone(),
                native: "attribute".to_owned(),
                nullable: true,
                generated: false,
                optional: true,
                limits: Limits::default(),
            }),
        }
    }
    Ok(out)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use crossfade_stores::{ColumnType, TableName};

    use super::*;

    fn column(name: &str, ty: ColumnType) -> Column {
        Column {
            name: name.to_owned(),
            ty,
            native: String::new(),
            nullable: true,
            generated: false,
            optional: true,
            limits: Limits::default(),
        }
    }

    fn schema(columns: Vec<Column>, open: bool) -> TableSchema {
        TableSchema { name: TableName::new("t"), columns, key: vec![0], open }
    }

    #[test]
    fn attributes_are_those_that_the_target_has_columns_for() {
        let source = schema(vec![column("id", ColumnType::DECIMAL)], true);
        let target = schema(
            vec![
                column("id", ColumnType::INT64),
                column("note", ColumnType::TEXT),
                column("at", ColumnType::TimestampTz),
                column("old", ColumnType::TEXT),
            ],
            false,
        );
        let config: TableConfig = serde_json::from_str(
            "{\"cohort\": [\"id\"], \"map\": {\"created\": {\"to\": \"at\"}, \"old\": {\"ignore\": \"gone\"}}}",
        )
        .unwrap();
        let made = complete(&source, Some(&target), &config).unwrap();
        let columns: Vec<(&str, &ColumnType)> = made.columns.iter().map(|c| (c.name.as_str(), &c.ty)).collect();
        assert_eq!(
            columns,
            [("id", &ColumnType::INT64), ("note", &ColumnType::TEXT), ("created", &ColumnType::TimestampTz)]
        );
        assert!(
            complete(&source, Some(&source), &config).is_err() && complete(&source, None, &config).is_err(),
            "never the key alone"
        );
    }
}
