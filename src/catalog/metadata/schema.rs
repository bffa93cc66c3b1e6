//! Schemas: the columns of a table, each known by its id.
//!
//! A schema is parsed as the format's specification writes it ("Appendix C: Schemas"), checked once (ids and full names
//! are unique), and never changed afterwards; a changed one is another schema. Unknown members of a schema and of each
//! column are kept.

use std::collections::{HashMap, HashSet};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::{Extra, Json, Object, write_some};
use super::single_value;
use super::types::{Primitive, Type, parse_fields};
use crate::error::{Error, Result};
use crate::limits;

/// One column, or one inner field of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its id, unique in the table for ever.
    pub id: i32,
    /// Its name, unique among its siblings.
    pub name: String,
    /// Its type.
    pub kind: Type,
    /// Whether null is refused.
    pub required: bool,
    /// Documentation.
    pub doc: Option<String>,
    /// What readers see in files written before the column was added (v3).
    pub initial_default: Option<Json>,
    /// What writers write where a row has no value.
    pub write_default: Option<Json>,
    /// Members not known here.
    pub extra: Extra,
}

impl Field {
    /// An optional field without documentation or defaults.
    pub fn optional(id: i32, name: &str, kind: Type) -> Self {
        Self {
            id,
            name: name.to_owned(),
            kind,
            required: false,
            doc: None,
            initial_default: None,
            write_default: None,
            extra: Extra::default(),
        }
    }

    /// Reads a field of a struct.
    pub fn parse(raw: &RawValue, depth: usize) -> Result<Self> {
        let mut object = Object::parse("Field", raw.get())?;
        Ok(Self {
            id: object.need("id")?,
            name: object.need("name")?,
            kind: Type::parse(&object.need_raw("type")?, depth)?,
            required: object.need("required")?,
            doc: object.take("doc")?,
            initial_default: object.take_raw("initial-default").map(Json),
            write_default: object.take_raw("write-default").map(Json),
            extra: object.rest(),
        })
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("required", &self.required)?;
        map.serialize_entry("type", &self.kind)?;
        write_some(&mut map, "doc", self.doc.as_ref())?;
        write_some(&mut map, "initial-default", self.initial_default.as_ref())?;
        write_some(&mut map, "write-default", self.write_default.as_ref())?;
        self.extra.write(&mut map)?;
        map.end()
    }
}

/// A schema of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// Its number within the table.
    pub schema_id: i32,
    /// The columns, in order.
    pub fields: Vec<Field>,
    /// The ids of the columns that identify a row.
    pub identifier_field_ids: Vec<i32>,
    /// Members not known here.
    pub extra: Extra,
}

/// What an id stands for in a schema.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The field itself.
    pub field: &'a Field,
    /// Whether it lies inside a list or a map.
    pub repeated: bool,
    /// Whether every struct around it, and it, is required.
    pub required: bool,
}

impl Schema {
    /// Reads a schema and checks that it is one.
    pub fn parse(raw: &RawValue) -> Result<Self> {
        let mut object = Object::parse("Schema", raw.get())?;
        let kind: Option<String> = object.take("type")?;
        if kind.as_deref().unwrap_or("struct") != "struct" {
            return Err(Error::malformed("Schema must be of type struct"));
        }
        let schema = Self {
            schema_id: object.take("schema-id")?.unwrap_or(0),
            fields: parse_fields(&object.need_raw("fields")?, 0)?,
            identifier_field_ids: object.take("identifier-field-ids")?.unwrap_or_default(),
            extra: object.rest(),
        };
        schema.check_unique()?;
        Ok(schema)
    }

    fn check_unique(&self) -> Result<()> {
        let mut ids = HashSet::new();
        let mut names = HashSet::new();
        for (path, place) in self.walk() {
            if !ids.insert(place.field.id) {
                let (id, name) = (place.field.id, &place.field.name);
                return Err(Error::invalid(format!("Invalid schema: field id {id} of {name:?} is used twice")));
            }
            if !names.insert(path.clone()) {
                return Err(Error::invalid(format!("Invalid schema: there are two fields called {path:?}")));
            }
        }
        if ids.len() > limits::SCHEMA_FIELDS_MAX {
            let (has, max) = (ids.len(), limits::SCHEMA_FIELDS_MAX);
            return Err(Error::invalid(format!("Invalid schema: {has} fields, at most {max} are allowed")));
        }
        Ok(())
    }

    /// Every field with its full name, parents before children.
    pub fn walk(&self) -> Vec<(String, Place<'_>)> {
        let mut all = Vec::new();
        for field in &self.fields {
            walk_field(field, "", Place { field, repeated: false, required: true }, &mut all);
        }
        all
    }

    /// The fields by id.
    pub fn by_id(&self) -> HashMap<i32, Place<'_>> {
        self.walk().into_iter().map(|(_, place)| (place.field.id, place)).collect()
    }

    /// The highest field id.
    pub fn highest_id(&self) -> i32 {
        self.walk().iter().map(|(_, place)| place.field.id).max().unwrap_or(0)
    }

    /// Whether the columns and identifier are those of `other`, whatever the schema ids.
    pub fn same_as(&self, other: &Self) -> bool {
        let sorted = |ids: &[i32]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        self.fields == other.fields
            && sorted(&self.identifier_field_ids) == sorted(&other.identifier_field_ids)
            && self.extra == other.extra
    }

    /// Checks the identifier fields: they exist, are required, and of a type that has an identity.
    pub fn check_identifier(&self) -> Result<()> {
        let by_id = self.by_id();
        for id in &self.identifier_field_ids {
            let bad = |why: &str| Error::invalid(format!("Cannot add field {id} as an identifier field: {why}"));
            let place = by_id.get(id).ok_or_else(|| bad("it does not exist"))?;
            match place.field.kind.primitive() {
                None => return Err(bad("not a primitive type field")),
                Some(Primitive::Float | Primitive::Double) => return Err(bad("must not be float or double field")),
                Some(Primitive::Variant | Primitive::Geometry(_) | Primitive::Geography(_)) => {
                    return Err(bad("its type has no equality"));
                }
                Some(_) if place.repeated => return Err(bad("must not be nested in a list or a map")),
                Some(_) if !place.required => return Err(bad("not a required field")),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Checks what a schema that a table did not have before must be, whatever the format version: readers refuse a
    /// table whose types they do not know, or whose defaults are not values of their types.
    pub fn check_new(&self) -> Result<()> {
        let mut problems = Vec::new();
        for (name, place) in self.walk() {
            let field = place.field;
            if let Some(Primitive::Other(kind)) = field.kind.primitive() {
                problems.push(format!("- Invalid type for {name}: there is no type {kind:?}"));
            }
            if field.required && field.kind.primitive() == Some(&Primitive::Unknown) {
                problems.push(format!("- Invalid column {name}: unknown is always null and cannot be required"));
            }
            let defaults = [("initial-default", &field.initial_default), ("write-default", &field.write_default)];
            for (what, default) in defaults {
                let Some(Json(default)) = default else { continue };
                if !is_value_of(&field.kind, default) {
                    let (default, kind) = (default.get(), &field.kind);
                    problems.push(format!("- Invalid {what} for {name}: {default} is not a value of type {kind}"));
                }
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(format!("Invalid schema:\n{}", problems.join("\n"))))
    }

    /// Checks that a table of this format version may have these types and defaults.
    pub fn check_version(&self, version: u8) -> Result<()> {
        let mut problems = Vec::new();
        for (name, place) in self.walk() {
            if let Some(primitive) = place.field.kind.primitive()
                && primitive.since_version() > version
            {
                let since = primitive.since_version();
                problems.push(format!("- Invalid type for {name}: {primitive} is not supported until v{since}"));
            }
            if let Some(default) = &place.field.initial_default
                && version < 3
            {
                let default = default.0.get();
                problems.push(format!(
                    "- Invalid initial default for {name}: non-null default ({default}) is not supported until v3"
                ));
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(format!("Invalid schema for v{version}:\n{}", problems.join("\n"))))
    }
}

/// Whether a default is a value of the type. What has no values of its own in JSON has only null as default.
fn is_value_of(kind: &Type, default: &RawValue) -> bool {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(default.get()) else { return false };
    match kind {
        _ if json.is_null() => true,
        Type::Primitive(kind) => single_value::is_written(kind, &json),
        // The defaults of a struct's fields stand at the fields.
        Type::Struct(_) => json.as_object().is_some_and(serde_json::Map::is_empty),
        Type::List(_) => json.is_array(),
        Type::Map(..) => json.is_object(),
    }
}

fn walk_field<'a>(field: &'a Field, before: &str, place: Place<'a>, all: &mut Vec<(String, Place<'a>)>) {
    let path = if before.is_empty() { field.name.clone() } else { format!("{before}.{}", field.name) };
    let repeated = place.repeated || matches!(field.kind, Type::List(_) | Type::Map(..));
    let required = place.required && field.required;
    all.push((path.clone(), Place { field, repeated: place.repeated, required }));
    for child in field.kind.children() {
        walk_field(child, &path, Place { field: child, repeated, required }, all);
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "struct")?;
        map.serialize_entry("schema-id", &self.schema_id)?;
        if !self.identifier_field_ids.is_empty() {
            map.serialize_entry("identifier-field-ids", &self.identifier_field_ids)?;
        }
        map.serialize_entry("fields", &self.fields)?;
        self.extra.write(&mut map)?;
        map.end()
    }
}

/// Gives every field a fresh id, breadth first from 1 as Iceberg's writers do, and says which old id became which.
pub fn with_fresh_ids(schema: &Schema) -> (Schema, HashMap<i32, i32>) {
    let mut fresh = schema.clone();
    let mut renamed = HashMap::new();
    let mut next = 0;
    let fields: Vec<&mut Field> = fresh.fields.iter_mut().collect();
    assign(fields, &mut next, &mut renamed);
    fresh.schema_id = 0;
    fresh.identifier_field_ids =
        schema.identifier_field_ids.iter().map(|id| renamed.get(id).copied().unwrap_or(*id)).collect();
    (fresh, renamed)
}

fn assign(mut fields: Vec<&mut Field>, next: &mut i32, renamed: &mut HashMap<i32, i32>) {
    for field in &mut fields {
        *next += 1;
        renamed.insert(field.id, *next);
        field.id = *next;
    }
    for field in fields {
        match &mut field.kind {
            Type::Primitive(_) => {}
            Type::Struct(children) => assign(children.iter_mut().collect(), next, renamed),
            Type::List(element) => assign(vec![element], next, renamed),
            Type::Map(key, value) => assign(vec![key, value], next, renamed),
        }
    }
}
