//! Changes of a table's columns that are asked for by name (`POST /ingest/v1/{namespace}/{table}/schema`).
//!
//! Rows make a table grow; what takes something away, or calls it otherwise, is never guessed from them. Each change is
//! judged against the columns as the ones before it leave them; one that cannot be made refuses all of them.

use std::sync::Arc;

use serde::Deserialize;

use super::decode::Evolution;
use super::evolve::{check_width, find, give_ids, members, widens};
use super::settings::{self, no_uuid};
use super::{Ingest, flush};
use crate::catalog::Loaded;
use crate::catalog::change::{Change as Commit, Requirement, Update};
use crate::catalog::metadata::TableMetadata;
use crate::catalog::metadata::schema::{Field, Schema};
use crate::catalog::metadata::types::{Primitive, Type};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::names::{TableName, Tabular};

/// One change of a table's columns. Columns inside others are named with dots.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// A new optional column, the last of those beside it.
    Add {
        /// Its name; behind that of the struct it is to be in, if it is to be in one.
        column: String,
        /// Its type, as Iceberg writes it.
        #[serde(rename = "type")]
        kind: serde_json::Value,
    },
    /// A type that holds all values of the column's.
    Widen {
        /// The column.
        column: String,
        /// The type.
        to: String,
    },
    /// A required column that need not have a value any more.
    Optional {
        /// The column.
        column: String,
    },
    /// Another name.
    Rename {
        /// The column.
        column: String,
        /// The name, without those around it.
        to: String,
    },
    /// A column that is gone, with what is in it.
    Drop {
        /// The column.
        column: String,
    },
}

/// The columns of a table after changes.
#[derive(Debug)]
pub struct Reshaped {
    /// As Iceberg writes them.
    pub schema: Arc<Schema>,
    /// Whether they are others than before.
    pub changed: bool,
}

/// Whether a change is made or only judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earnest {
    /// It is made.
    Made,
    /// It is only judged.
    Judged,
}

impl Ingest {
    /// Changes the columns of a table.
    pub async fn reshape(&self, name: &TableName, changes: &[Change], earnest: Earnest) -> Result<Reshaped> {
        if changes.is_empty() || changes.len() > limits::SCHEMA_CHANGES_MAX {
            let most = limits::SCHEMA_CHANGES_MAX;
            let message = format!("\"changes\" has {} changes: name at least 1 and at most {most}", changes.len());
            return Err(Error::malformed(message));
        }
        let first = self.catalog.load_table(name).await?.metadata.table_uuid.clone();
        for _ in 0..limits::GROWTH_ATTEMPTS_MAX {
            let loaded = self.catalog.load_table(name).await?;
            let metadata = &loaded.metadata;
            if metadata.table_uuid != first {
                return Err(Tabular::Table.missing(name));
            }
            let schema = reshaped(metadata, changes)?;
            let changed = !schema.same_as(metadata.current_schema()?);
            if earnest == Earnest::Judged || !changed {
                return Ok(Reshaped { schema: Arc::new(schema), changed });
            }
            match self.catalog.commit(name.clone(), commit_of(metadata, schema)?).await {
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) if error.kind() == Kind::Invalid => return Err(refused(error.message()).because(error)),
                Err(error) => return Err(error),
                Ok(loaded) => return settled(&loaded),
            }
        }
        Err(flush::schema_changed())
    }
}

fn settled(loaded: &Loaded) -> Result<Reshaped> {
    Ok(Reshaped { schema: Arc::clone(loaded.metadata.current_schema()?), changed: true })
}

fn refused(why: &str) -> Error {
    Error::new(Kind::Unprocessable, format!("{why}; nothing was changed")).with_code("schema_cannot_change")
}

fn commit_of(metadata: &TableMetadata, schema: Schema) -> Result<Commit> {
    let uuid = metadata.table_uuid.clone().ok_or_else(no_uuid)?;
    Ok(Commit {
        requirements: vec![
            Requirement::TableUuid(uuid),
            Requirement::CurrentSchemaId(metadata.current_schema_id),
            Requirement::LastAssignedFieldId(metadata.last_column_id),
            Requirement::DefaultSpecId(metadata.default_spec_id),
            Requirement::DefaultSortOrderId(metadata.default_sort_order_id),
        ],
        updates: vec![Update::AddSchema(schema), Update::SetCurrentSchema(-1)],
    })
}

/// The columns of a table after changes.
fn reshaped(metadata: &TableMetadata, changes: &[Change]) -> Result<Schema> {
    let evolution = Evolution::said(&metadata.properties)?.unwrap_or(Evolution::AddColumns);
    let mut schema = Schema::clone(metadata.current_schema()?);
    let mut next = metadata.last_column_id;
    for change in changes {
        check_allowed(change, evolution)?;
        match change {
            Change::Add { column, kind } => add(&mut schema, column, kind, &mut next)?,
            Change::Widen { column, to } => widen(field(&mut schema, column)?, column, to)?,
            Change::Optional { column } => {
                check_free(metadata, &schema, column, Use::Identifies)?;
                field(&mut schema, column)?.required = false;
            }
            Change::Rename { column, to } => rename(&mut schema, column, to)?,
            Change::Drop { column } => {
                check_free(metadata, &schema, column, Use::Any)?;
                drop_column(&mut schema, column)?;
            }
        }
    }
    check_width(schema.walk().len(), settings::max_columns(&metadata.properties))?;
    Ok(schema)
}

fn check_allowed(change: &Change, evolution: Evolution) -> Result<()> {
    let (word, needs) = match change {
        Change::Add { .. } => ("add", Evolution::AddColumns),
        Change::Widen { .. } => ("widen", Evolution::AddColumns),
        Change::Optional { .. } => ("optional", Evolution::AddColumns),
        Change::Rename { .. } => ("rename", Evolution::Full),
        Change::Drop { .. } => ("drop", Evolution::Full),
    };
    let allowed = evolution == Evolution::Full || evolution == needs;
    let needed = if needs == Evolution::Full { "full" } else { "add-columns or full" };
    if allowed {
        return Ok(());
    }
    Err(refused(&format!("The table does not allow {word:?}: set its property floeberg.ingest.schema to {needed}")))
}

/// What must not use a column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It is part of what identifies a row.
    Identifies,
    /// That, or files are partitioned or sorted by it.
    Any,
}

fn check_free(metadata: &TableMetadata, schema: &Schema, column: &str, what: Use) -> Result<()> {
    let inside = format!("{column}.");
    let of_column: Vec<i32> = schema
        .walk()
        .into_iter()
        .filter(|(path, _)| path == column || path.starts_with(&inside))
        .map(|(_, place)| place.field.id)
        .collect();
    if schema.identifier_field_ids.iter().any(|id| of_column.contains(id)) {
        return Err(refused(&format!("Column {column:?} is part of what identifies a row")));
    }
    if what == Use::Identifies {
        return Ok(());
    }
    let spec = metadata.default_spec()?;
    if spec.fields.iter().flat_map(|field| field.source.ids()).any(|id| of_column.contains(id)) {
        return Err(refused(&format!("The table is partitioned by column {column:?}: change that first")));
    }
    let order = metadata.sort_order(metadata.default_sort_order_id);
    if order
        .is_some_and(|order| order.fields.iter().flat_map(|field| field.source.ids()).any(|id| of_column.contains(id)))
    {
        return Err(refused(&format!("The table is sorted by column {column:?}: change that first")));
    }
    Ok(())
}

/// The id of a column.
fn id_of(schema: &Schema, column: &str) -> Result<i32> {
    let found = schema.walk().into_iter().find(|(path, _)| path == column).map(|(_, place)| place.field.id);
    found.ok_or_else(|| refused(&format!("The table has no column {column:?}")))
}

fn field<'a>(schema: &'a mut Schema, column: &str) -> Result<&'a mut Field> {
    let id = id_of(schema, column)?;
    find(&mut schema.fields, id).ok_or_else(|| refused(&format!("The table has no column {column:?}")))
}

/// The struct that a column is in, if it is in one, and its own name.
fn split<'a>(schema: &Schema, column: &'a str) -> Result<(Option<i32>, &'a str)> {
    match column.rsplit_once('.') {
        // A dot may stand in a name.
        Some((around, name)) if schema.walk().iter().any(|(path, _)| path == around) => {
            Ok((Some(id_of(schema, around)?), name))
        }
        _ => Ok((None, column)),
    }
}

/// The fields beside which a column stands, or is to stand.
fn beside<'a>(schema: &'a mut Schema, column: &str, parent: Option<i32>) -> Result<&'a mut Vec<Field>> {
    members(&mut schema.fields, parent)
        .ok_or_else(|| refused(&format!("What is around column {column:?} is no struct: it has no columns")))
}

fn check_name(fields: &[Field], name: &str, own: Option<i32>) -> Result<()> {
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX {
        return Err(refused(&format!("Column name {name:?} is empty or longer than {} bytes", limits::NAME_BYTES_MAX)));
    }
    let lower = name.to_lowercase();
    match fields.iter().find(|field| Some(field.id) != own && field.name.to_lowercase() == lower) {
        Some(twin) => Err(refused(&format!("There is a column {:?} already", twin.name))),
        None => Ok(()),
    }
}

fn add(schema: &mut Schema, column: &str, kind: &serde_json::Value, next: &mut i32) -> Result<()> {
    let (parent, name) = split(schema, column)?;
    let kind = type_of(column, kind)?;
    let fields = beside(schema, column, parent)?;
    check_name(fields, name, None)?;
    let mut field = Field::optional(0, name, kind);
    give_ids(&mut field, next)?;
    fields.push(field);
    Ok(())
}

/// Reads a type; ids inside it mean nothing.
fn type_of(column: &str, kind: &serde_json::Value) -> Result<Type> {
    let bad = || refused(&format!("Column {column:?} cannot have type {kind}"));
    let schema = serde_json::json!({"type": "struct", "fields": [
        {"id": 1, "name": "c", "required": false, "type": kind}]});
    let raw = serde_json::value::to_raw_value(&schema).map_err(|error| bad().because(error))?;
    let schema = Schema::parse(&raw).map_err(|error| bad().because(error))?;
    let kind = schema.fields.into_iter().next().map(|field| field.kind).ok_or_else(bad)?;
    if matches!(kind, Type::Primitive(Primitive::Other(_))) { Err(bad()) } else { Ok(kind) }
}

fn widen(field: &mut Field, column: &str, to: &str) -> Result<()> {
    let wide = type_of(column, &serde_json::Value::from(to))?;
    match (&field.kind, &wide) {
        (Type::Primitive(from), Type::Primitive(wider)) if widens(from, wider) => {
            field.kind = wide;
            Ok(())
        }
        (from, _) => Err(refused(&format!("Column {column:?} is {from}, and {to} does not hold all values of that"))),
    }
}

fn rename(schema: &mut Schema, column: &str, to: &str) -> Result<()> {
    let id = id_of(schema, column)?;
    let (parent, _) = split(schema, column)?;
    check_name(beside(schema, column, parent)?, to, Some(id))?;
    field(schema, column)?.name = to.to_owned();
    Ok(())
}

fn drop_column(schema: &mut Schema, column: &str) -> Result<()> {
    let id = id_of(schema, column)?;
    let (parent, _) = split(schema, column)?;
    let fields = beside(schema, column, parent)?;
    if fields.len() == 1 {
        return Err(refused(&format!("Column {column:?} is the only one there is")));
    }
    fields.retain(|field| field.id != id);
    Ok(())
}
