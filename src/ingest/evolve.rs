//! What rows ask of a table's schema, and how it grows by that (CONTRACT §6, "Schema Evolution" of the format).
//!
//! New columns are optional and come last; a type becomes wider, a column optional. Nothing is ever narrowed, renamed or
//! dropped by rows. The change is a commit of its own before the rows', which another request may have made first: what
//! the table has by then is not asked for again.

use std::sync::Arc;

use super::settings::no_uuid;
use crate::catalog::change::{Change, Requirement, Update};
use crate::catalog::metadata::TableMetadata;
use crate::catalog::metadata::schema::{Field, Schema};
use crate::catalog::metadata::types::{Primitive, Type};
use crate::catalog::{Catalog, Loaded};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::names::{TableName, Tabular};

/// One thing that rows ask of a schema.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wish {
    /// A column, in the struct of this id or at the top. Ids inside the type mean nothing yet.
    Add { parent: Option<i32>, name: String, kind: Type },
    /// A wider type.
    Widen { id: i32, to: Primitive },
    /// A column that takes null.
    Relax { id: i32 },
}

/// The schema of a new table that has what is wished for. Ids are handed out as they come: the catalog gives fresh ones.
pub(super) fn first_schema(wishes: &[Wish]) -> Result<Schema> {
    let none = Schema { schema_id: 0, fields: Vec::new(), identifier_field_ids: Vec::new(), extra: Default::default() };
    with_more(&none, wishes)?.ok_or_else(|| {
        Error::new(Kind::Unprocessable, "The first rows of a new table name no column with a value")
            .with_code("no_columns")
    })
}

/// Grows a table by what is wished for and returns it as it is then.
pub(super) async fn grow(catalog: &Catalog, name: &TableName, uuid: &str, wishes: &[Wish]) -> Result<Arc<Loaded>> {
    for _ in 0..limits::GROWTH_ATTEMPTS_MAX {
        let loaded = catalog.load_table(name).await?;
        let metadata = &loaded.metadata;
        if metadata.table_uuid.as_deref() != Some(uuid) {
            return Err(Tabular::Table.missing(name));
        }
        let Some(change) = change_of(metadata, wishes)? else { return Ok(loaded) };
        match catalog.commit(name.clone(), change).await {
            // Somebody else changed the table first.
            Err(error) if error.kind() == Kind::Conflict => {}
            Err(error) if error.kind() == Kind::Invalid => {
                return Err(error.as_kind(Kind::Unprocessable).with_code("schema_cannot_grow"));
            }
            settled => return settled,
        }
    }
    Err(super::flush::schema_changed())
}

/// A table's schema with what is wished for; `None` where it has it.
pub(super) fn with(metadata: &TableMetadata, wishes: &[Wish]) -> Result<Option<Schema>> {
    let most = super::settings::max_columns(&metadata.properties);
    bounded(metadata.current_schema()?, metadata.last_column_id, wishes, most)
}

/// The schema of a table that is still to be made, with what is wished for; `None` where it has it.
pub(super) fn with_more(schema: &Schema, wishes: &[Wish]) -> Result<Option<Schema>> {
    let last = schema.by_id().keys().max().copied().unwrap_or(0);
    bounded(schema, last, wishes, limits::INGEST_COLUMNS_MAX)
}

fn bounded(schema: &Schema, last_column_id: i32, wishes: &[Wish], most: usize) -> Result<Option<Schema>> {
    let Some((grown, columns)) = grown(schema, last_column_id, wishes)? else { return Ok(None) };
    check_width(columns, most)?;
    Ok(Some(grown))
}

/// The commit that gives a table what is wished for; `None` where it has it.
fn change_of(metadata: &TableMetadata, wishes: &[Wish]) -> Result<Option<Change>> {
    let Some(grown) = with(metadata, wishes)? else { return Ok(None) };
    let uuid = metadata.table_uuid.clone().ok_or_else(no_uuid)?;
    Ok(Some(Change {
        requirements: vec![
            Requirement::TableUuid(uuid),
            Requirement::CurrentSchemaId(metadata.current_schema_id),
            Requirement::LastAssignedFieldId(metadata.last_column_id),
        ],
        updates: vec![Update::AddSchema(grown), Update::SetCurrentSchema(-1)],
    }))
}

pub(super) fn check_width(columns: usize, most: usize) -> Result<()> {
    if columns <= most {
        return Ok(());
    }
    let message = format!(
        "With the fields of these rows the table would have {columns} columns, those inside others included: at most \
         {most} are made (floeberg.ingest.max-columns)"
    );
    Err(Error::new(Kind::Unprocessable, message).with_code("too_many_columns"))
}

/// The schema with what is wished for, and how many columns it has, inner ones included; `None` where nothing is missing.
fn grown(schema: &Schema, last_column_id: i32, wishes: &[Wish]) -> Result<Option<(Schema, usize)>> {
    let mut grown = schema.clone();
    let mut next = last_column_id;
    let mut changed = false;
    for wish in wishes {
        changed |= match wish {
            Wish::Add { parent, name, kind } => match members(&mut grown.fields, *parent) {
                Some(fields) => add(fields, name, kind, &mut next)?,
                None => false,
            },
            Wish::Widen { id, to } => find(&mut grown.fields, *id).is_some_and(|field| widen(field, to)),
            Wish::Relax { id } => find(&mut grown.fields, *id).is_some_and(|field| std::mem::take(&mut field.required)),
        };
    }
    let columns = grown.walk().len();
    Ok(changed.then_some((grown, columns)))
}

/// The fields of the struct with this id, or those at the top.
pub(super) fn members(fields: &mut Vec<Field>, parent: Option<i32>) -> Option<&mut Vec<Field>> {
    let Some(id) = parent else { return Some(fields) };
    match &mut find(fields, id)?.kind {
        Type::Struct(members) => Some(members),
        _ => None,
    }
}

/// The field with this id.
pub(super) fn find(fields: &mut [Field], id: i32) -> Option<&mut Field> {
    fields.iter_mut().find_map(|field| find_in(field, id))
}

fn find_in(field: &mut Field, id: i32) -> Option<&mut Field> {
    if field.id == id {
        return Some(field);
    }
    match &mut field.kind {
        Type::Primitive(_) => None,
        Type::Struct(members) => find(members, id),
        Type::List(element) => find_in(element, id),
        Type::Map(key, value) => find_in(key, id).or_else(|| find_in(value, id)),
    }
}

/// Adds a field, if there is none of its name yet. One that differs in case only is left to the reader of rows to name.
fn add(fields: &mut Vec<Field>, name: &str, kind: &Type, next: &mut i32) -> Result<bool> {
    let lower = name.to_lowercase();
    if fields.iter().any(|field| field.name.to_lowercase() == lower) {
        return Ok(false);
    }
    let mut field = Field::optional(0, name, kind.clone());
    give_ids(&mut field, next)?;
    fields.push(field);
    Ok(true)
}

pub(super) fn give_ids(field: &mut Field, next: &mut i32) -> Result<()> {
    *next = next.checked_add(1).ok_or_else(|| {
        Error::new(Kind::Unprocessable, "The table has no column id left").with_code("too_many_columns")
    })?;
    field.id = *next;
    match &mut field.kind {
        Type::Primitive(_) => Ok(()),
        Type::Struct(members) => members.iter_mut().try_for_each(|member| give_ids(member, next)),
        Type::List(element) => give_ids(element, next),
        Type::Map(key, value) => give_ids(key, next).and_then(|()| give_ids(value, next)),
    }
}

/// Makes a field's type wider, if it is narrower.
fn widen(field: &mut Field, to: &Primitive) -> bool {
    let Type::Primitive(from) = &field.kind else { return false };
    let wider = widens(from, to) && from != to;
    if wider {
        field.kind = Type::Primitive(to.clone());
    }
    wider
}

/// Whether every value of a type is one of another, and files with the one can be read as the other.
pub(super) fn widens(from: &Primitive, to: &Primitive) -> bool {
    use Primitive as P;
    match (from, to) {
        (P::Int, P::Long) | (P::Float, P::Double) => true,
        (P::Decimal { precision, scale }, P::Decimal { precision: wider, scale: same }) => {
            scale == same && precision <= wider
        }
        (from, to) => from == to,
    }
}

/// Whether rows of a schema may be in a table that has another now: their columns are still there, with types that theirs
/// can be read as, and none is required that they may lack (CONTRACT §7).
pub(super) fn still_fits(then: &Schema, now: &Schema) -> bool {
    let (old, new) = (then.by_id(), now.by_id());
    let kept = old.iter().all(|(id, was)| {
        new.get(id).is_some_and(|is| {
            let same = match (&was.field.kind, &is.field.kind) {
                (Type::Primitive(from), Type::Primitive(to)) => widens(from, to),
                (Type::Struct(_), Type::Struct(_))
                | (Type::List(_), Type::List(_))
                | (Type::Map(..), Type::Map(..)) => true,
                _ => false,
            };
            same && (was.field.required || !is.field.required)
        })
    });
    let fills = |(id, is): (&i32, &crate::catalog::metadata::schema::Place<'_>)| {
        !is.field.required || old.contains_key(id) || inside_new(now, &old, *id)
    };
    kept && new.iter().all(fills)
}

/// Whether a field lies in one that is new and optional: where there is no struct, nothing in it is missing.
fn inside_new(
    now: &Schema,
    old: &std::collections::HashMap<i32, crate::catalog::metadata::schema::Place<'_>>,
    id: i32,
) -> bool {
    fn holds(field: &Field, id: i32) -> bool {
        field.kind.children().into_iter().any(|child| child.id == id || holds(child, id))
    }
    now.walk()
        .into_iter()
        .any(|(_, place)| !place.field.required && !old.contains_key(&place.field.id) && holds(place.field, id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;

    fn schema(fields: serde_json::Value) -> Schema {
        let raw = to_raw_value(&json!({"type": "struct", "fields": fields})).expect("JSON");
        Schema::parse(&raw).expect("a schema")
    }

    fn field(id: i32, required: bool, kind: impl Into<serde_json::Value>) -> serde_json::Value {
        json!({"id": id, "name": format!("c{id}"), "required": required, "type": kind.into()})
    }

    fn wish(parent: Option<i32>, name: &str, kind: Type) -> Wish {
        Wish::Add { parent, name: name.to_owned(), kind }
    }

    #[test]
    fn a_schema_grows_by_what_it_lacks() {
        let inner = json!({"type": "struct", "fields": [field(3, true, "int")]});
        let before = schema(json!([field(1, true, "int"), field(2, false, inner)]));
        let long = Type::Primitive(Primitive::Long);
        let wishes = [
            wish(None, "new", Type::List(Box::new(Field::optional(0, "element", long.clone())))),
            wish(Some(2), "deep", long.clone()),
            Wish::Widen { id: 3, to: Primitive::Long },
            Wish::Relax { id: 1 },
        ];
        let (after, columns) = grown(&before, 7, &wishes).expect("grows").expect("changed");
        let text = serde_json::to_value(&after).expect("JSON");
        assert_eq!(columns, 6);
        assert_eq!(text["fields"][0]["required"], false);
        assert_eq!(text["fields"][1]["type"]["fields"][0]["type"], "long");
        assert_eq!(
            text["fields"][1]["type"]["fields"][1],
            json!({"id": 10, "name": "deep", "required": false, "type": "long"})
        );
        assert_eq!((&text["fields"][2]["id"], &text["fields"][2]["type"]["element-id"]), (&json!(8), &json!(9)));
        // What another request has brought meanwhile is not asked for again.
        assert_eq!(grown(&after, 10, &wishes).expect("grows"), None);
        assert_eq!(
            grown(&before, 7, &[wish(None, "C1", long.clone()), wish(Some(1), "x", long)]).expect("grows"),
            None
        );
    }

    #[test]
    fn rows_fit_while_their_columns_stay() {
        let then = schema(json!([field(1, false, "int"), field(2, true, "string")]));
        let fits = |fields: serde_json::Value| still_fits(&then, &schema(fields));
        assert!(fits(json!([field(1, false, "long"), field(2, false, "string"), field(3, false, "int")])));
        assert!(!fits(json!([field(1, false, "int")])), "dropped");
        assert!(!fits(json!([field(1, true, "int"), field(2, true, "string")])), "made required");
        assert!(!fits(json!([field(1, false, "string"), field(2, true, "string")])), "retyped");
        assert!(
            !fits(json!([field(1, false, "int"), field(2, true, "string"), field(3, true, "int")])),
            "new and required"
        );
        let inner = json!({"type": "struct", "fields": [field(4, true, "int")]});
        assert!(fits(json!([field(1, false, "int"), field(2, true, "string"), field(3, false, inner)])));
    }
}
