//! One batch of columns as others write them → the columns of the table, and what is wrong with its rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field as ArrowField, Fields};

use super::arrow_types::type_of;
use super::coerce::Misfit;
use super::columnar::unfit;
use super::convert::{self, Converted};
use super::decode::{CAPTURED, Evolution, Reading, Unknown};
use super::evolve::Wish;
use super::partition::field_id;
use super::spelled;
use crate::catalog::metadata::schema::{Field, Schema};
use crate::catalog::metadata::types::{Primitive, Type};
use crate::error::{Error, Result};

/// What is wrong with a row of a batch; without a row, with a column.
pub(super) struct Fault {
    pub(super) row: Option<usize>,
    pub(super) pointer: String,
    pub(super) misfit: Misfit,
}

/// Values of one level of a batch: which row each belongs to, and where they stand in it.
#[derive(Clone, Copy)]
struct Level<'a> {
    /// The row of a value; `None` where what is around it is null, so that nobody sees it.
    row: &'a dyn Fn(usize) -> Option<usize>,
    pointer: &'a str,
    /// The struct that they are the fields of; none at the top.
    parent: Option<i32>,
}

/// Fits the rows of a batch.
pub(super) struct Fit<'a> {
    pub(super) reading: &'a Reading,
    pub(super) schema: &'a Schema,
    pub(super) faults: Vec<Fault>,
    pub(super) wishes: &'a mut Vec<Wish>,
}

impl Fit<'_> {
    /// The columns of the table, from a batch.
    pub(super) fn rows_of(&mut self, batch: &RecordBatch, target: &Fields) -> Result<Vec<ArrayRef>> {
        let schema = batch.schema();
        let (fields, schema_fields) = (schema.fields(), self.schema.fields.as_slice());
        let level = Level { row: &Some, pointer: "", parent: None };
        let mut columns = self.members((fields, batch.columns()), (schema_fields, target), batch.num_rows(), level)?;
        if self.reading.unknown == Unknown::Capture {
            self.capture(batch, &mut columns)?;
        }
        Ok(columns)
    }

    /// The fields of a struct; `parent` is its id.
    fn members(
        &mut self,
        source: (&Fields, &[ArrayRef]),
        target: (&[Field], &Fields),
        length: usize,
        level: Level<'_>,
    ) -> Result<Vec<ArrayRef>> {
        let mut names = std::collections::HashSet::new();
        if let Some(twice) = source.0.iter().find(|field| !names.insert(field.name())) {
            let pointer = format!("{}/{}", level.pointer, twice.name().replace('~', "~0").replace('/', "~1"));
            let misfit = Misfit::new("duplicate_key", "the column stands twice");
            self.faults.push(Fault { row: None, pointer, misfit });
        }
        let places = places(source.0, target.0);
        for (at, field) in source.0.iter().enumerate() {
            if !places.contains(&Some(at)) {
                self.unknown(field, &source.1[at], (target.0, source.0), level);
            }
        }
        let mut columns = Vec::with_capacity(target.0.len());
        for ((field, arrow), place) in target.0.iter().zip(target.1).zip(places) {
            let pointer = format!("{}/{}", level.pointer, field.name.replace('~', "~0").replace('/', "~1"));
            let level = Level { pointer: &pointer, ..level };
            let sent = place.map_or_else(|| new_null_array(arrow.data_type(), length), |at| Arc::clone(&source.1[at]));
            self.check_nulls(&sent, field, level);
            columns.push(self.column(&sent, field, arrow, level)?);
        }
        Ok(columns)
    }

    /// A column that the table does not have.
    fn unknown(&mut self, field: &ArrowField, values: &ArrayRef, known: (&[Field], &Fields), level: Level<'_>) {
        let name = field.name();
        let pointer = format!("{}/{}", level.pointer, name.replace('~', "~0").replace('/', "~1"));
        let fault =
            |code, detail: String| Fault { row: None, pointer: pointer.clone(), misfit: Misfit::new(code, detail) };
        match self.reading.unknown {
            Unknown::Ignore => {}
            // At the top they are taken by `capture`.
            Unknown::Capture if level.parent.is_none() => {}
            Unknown::Refuse | Unknown::Capture => {
                if values.data_type() == &DataType::Null {
                    return;
                }
                let having = (0..values.len()).filter(|at| values.is_valid(*at)).filter_map(|at| (level.row)(at));
                for row in having {
                    let fault = fault("unknown_field", "the table has no such column".to_owned());
                    self.faults.push(Fault { row: Some(row), ..fault });
                }
            }
            Unknown::Add => {
                let lower = name.to_lowercase();
                let names = known.0.iter().map(|field| &field.name).chain(known.1.iter().map(|field| field.name()));
                if let Some(twin) = names.clone().find(|other| *other != name && other.to_lowercase() == lower) {
                    self.faults.push(fault("ambiguous_name", format!("{name:?} and {twin:?} differ in case only")));
                    return;
                }
                match type_of(field, self.reading.version) {
                    Ok(Some(kind)) => self.wish(Wish::Add { parent: level.parent, name: name.clone(), kind }),
                    Ok(None) => {}
                    Err(kind) => {
                        let detail = format!("no column of a table has the type {kind}: convert it, or leave it out");
                        self.faults.push(fault("unsupported_type", detail));
                    }
                }
            }
        }
    }

    fn wish(&mut self, wish: Wish) {
        if !self.wishes.contains(&wish) {
            self.wishes.push(wish);
        }
    }

    /// A column of the table, from one that was sent for it.
    fn column(&mut self, values: &ArrayRef, field: &Field, arrow: &ArrowField, level: Level<'_>) -> Result<ArrayRef> {
        if values.data_type() == arrow.data_type() && !values.data_type().is_nested() {
            for (at, misfit) in convert::outside(values, field) {
                self.misfit(values, (at, misfit), field, level);
            }
            return Ok(Arc::clone(values));
        }
        let values = convert::plain(values)?;
        match (&field.kind, arrow.data_type(), values.data_type()) {
            (_, _, DataType::Null) => Ok(new_null_array(arrow.data_type(), values.len())),
            (Type::Struct(members), DataType::Struct(target), DataType::Struct(_)) => {
                self.structs(values.as_struct(), (members, target), field.id, level)
            }
            (Type::List(element), DataType::List(target), DataType::List(_)) => {
                self.lists(values.as_list(), (element, target), level)
            }
            (Type::Map(key, value), DataType::Map(target, _), DataType::Map(..)) => {
                self.maps(values.as_map(), (key, value, target), level)
            }
            (Type::Primitive(kind), target, _) if convert::may_become(values.data_type(), kind) => {
                let mut converted = convert::convert(&values, kind, target, self.reading.manner)?;
                if !converted.misfits.is_empty() && self.reading.manner.takes_more(kind) {
                    converted = spelled::convert(&values, field, self.reading.manner)?.unwrap_or(converted);
                }
                Ok(self.converted(&values, converted, field, level))
            }
            // A text means the same whatever brings it.
            (Type::Primitive(kind), _, sent) if *sent == DataType::Utf8 || self.reading.manner.takes_more(kind) => {
                match spelled::convert(&values, field, self.reading.manner)? {
                    Some(converted) => Ok(self.converted(&values, converted, field, level)),
                    None => Ok(self.wrong_type(&values, field, arrow, level)),
                }
            }
            _ => Ok(self.wrong_type(&values, field, arrow, level)),
        }
    }

    fn converted(&mut self, values: &ArrayRef, converted: Converted, field: &Field, level: Level<'_>) -> ArrayRef {
        for (at, misfit) in converted.misfits {
            self.misfit(values, (at, misfit), field, level);
        }
        converted.values
    }

    fn wrong_type(&mut self, values: &ArrayRef, field: &Field, arrow: &ArrowField, level: Level<'_>) -> ArrayRef {
        let detail = format!("the column's type is {}, and what was sent for it is {}", field.kind, values.data_type());
        for at in (0..values.len()).filter(|at| values.is_valid(*at)) {
            self.fault(at, Misfit::new("wrong_type", detail.clone()), level);
        }
        new_null_array(arrow.data_type(), values.len())
    }

    /// A value that its column cannot hold: a wider one may.
    fn misfit(&mut self, values: &ArrayRef, (at, misfit): (usize, Misfit), field: &Field, level: Level<'_>) {
        let wider = match (&field.kind, self.reading.evolution) {
            (Type::Primitive(kind), evolution) if evolution.grows() => {
                convert::wider(kind, &values.slice(at, 1), misfit.code)
            }
            _ => None,
        };
        match wider {
            Some(to) if (level.row)(at).is_some() => self.wish_wider(field.id, to),
            Some(_) => {}
            None => self.fault(at, misfit, level),
        }
    }

    fn wish_wider(&mut self, id: i32, to: Primitive) {
        for wish in self.wishes.iter_mut() {
            if let Wish::Widen { id: known, to: before } = wish
                && *known == id
            {
                if super::evolve::widens(before, &to) {
                    *before = to;
                }
                return;
            }
        }
        self.wishes.push(Wish::Widen { id, to });
    }

    fn fault(&mut self, at: usize, misfit: Misfit, level: Level<'_>) {
        if let Some(row) = (level.row)(at) {
            self.faults.push(Fault { row: Some(row), pointer: level.pointer.to_owned(), misfit });
        }
    }

    /// Nulls in a column that is required.
    fn check_nulls(&mut self, values: &ArrayRef, field: &Field, level: Level<'_>) {
        if !field.required || values.logical_null_count() == 0 {
            return;
        }
        let nulls = values.logical_nulls();
        let is_null = |at: &usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(*at));
        let rows: Vec<usize> = (0..values.len()).filter(is_null).filter_map(|at| (level.row)(at)).collect();
        if rows.is_empty() {
            return;
        }
        if self.reading.evolution.grows() && !self.identifies(field) {
            self.wish(Wish::Relax { id: field.id });
            return;
        }
        for row in rows {
            let misfit = Misfit::new("null_in_required", "the column is required and has no value");
            self.faults.push(Fault { row: Some(row), pointer: level.pointer.to_owned(), misfit });
        }
    }

    /// Whether a column, or one inside it, is part of what identifies a row.
    fn identifies(&self, field: &Field) -> bool {
        let ids = &self.schema.identifier_field_ids;
        ids.contains(&field.id) || field.kind.children().into_iter().any(|child| self.identifies(child))
    }

    fn structs(
        &mut self,
        values: &StructArray,
        target: (&[Field], &Fields),
        id: i32,
        level: Level<'_>,
    ) -> Result<ArrayRef> {
        let row = |at: usize| if values.is_valid(at) { (level.row)(at) } else { None };
        let level = Level { row: &row, parent: Some(id), ..level };
        let members = self.members((values.fields(), values.columns()), target, values.len(), level)?;
        if self.is_unfit() {
            return Ok(new_null_array(&DataType::Struct(target.1.clone()), values.len()));
        }
        let made = StructArray::try_new_with_length(target.1.clone(), members, values.nulls().cloned(), values.len());
        Ok(Arc::new(made.map_err(unfit)?))
    }

    /// Whether what was converted will not be used, and so need not hold together.
    fn is_unfit(&self) -> bool {
        !self.faults.is_empty() || !self.wishes.is_empty()
    }

    fn lists(
        &mut self,
        values: &ListArray,
        (element, target): (&Field, &Arc<ArrowField>),
        level: Level<'_>,
    ) -> Result<ArrayRef> {
        let (offsets, items) = from_zero(values.offsets(), values.values());
        let items = self.items(&items, (&offsets, values.nulls()), (element, target), level)?;
        if self.is_unfit() {
            return Ok(new_null_array(&DataType::List(Arc::clone(target)), values.len()));
        }
        let made = ListArray::try_new(Arc::clone(target), offsets, items, values.nulls().cloned());
        Ok(Arc::new(made.map_err(unfit)?))
    }

    fn items(
        &mut self,
        items: &ArrayRef,
        (offsets, nulls): (&OffsetBuffer<i32>, Option<&NullBuffer>),
        (field, arrow): (&Field, &ArrowField),
        level: Level<'_>,
    ) -> Result<ArrayRef> {
        let row = |at: usize| {
            let list = offsets.partition_point(|start| usize::try_from(*start).is_ok_and(|start| start <= at)) - 1;
            if nulls.is_none_or(|nulls| nulls.is_valid(list)) { (level.row)(list) } else { None }
        };
        let level = Level { row: &row, ..level };
        self.check_nulls(items, field, level);
        self.column(items, field, arrow, level)
    }

    fn maps(
        &mut self,
        values: &MapArray,
        (key, value, target): (&Field, &Field, &Arc<ArrowField>),
        level: Level<'_>,
    ) -> Result<ArrayRef> {
        let DataType::Struct(fields) = target.data_type() else { return Err(Error::internal("A map has no entries")) };
        let kind = DataType::Map(Arc::clone(target), false);
        let (offsets, keys) = from_zero(values.offsets(), values.keys());
        let (_, entries) = from_zero(values.offsets(), values.values());
        let keys = self.items(&keys, (&offsets, values.nulls()), (key, &fields[0]), level)?;
        let entries = self.items(&entries, (&offsets, values.nulls()), (value, &fields[1]), level)?;
        if self.is_unfit() {
            return Ok(new_null_array(&kind, values.len()));
        }
        let entries = StructArray::try_new(fields.clone(), vec![keys, entries], None).map_err(unfit)?;
        let made = MapArray::try_new(Arc::clone(target), offsets, entries, values.nulls().cloned(), false);
        Ok(Arc::new(made.map_err(unfit)?))
    }

    /// Puts what the table has no column for into the column that takes it, as one JSON object for each row.
    fn capture(&mut self, batch: &RecordBatch, columns: &mut [ArrayRef]) -> Result<()> {
        let schema = batch.schema();
        let places = places(schema.fields(), &self.schema.fields);
        let others: Vec<usize> = (0..schema.fields().len()).filter(|at| !places.contains(&Some(*at))).collect();
        if others.is_empty() {
            return Ok(());
        }
        let Some(at) = self.schema.fields.iter().position(|field| field.name == CAPTURED) else {
            if self.reading.evolution == Evolution::Strict {
                let detail = format!("there is no column {CAPTURED:?} to put it into");
                let pointer = format!("/{}", schema.field(others[0]).name());
                self.faults.push(Fault { row: None, pointer, misfit: Misfit::new("unknown_field", detail) });
            } else {
                self.wish(Wish::Add {
                    parent: None,
                    name: CAPTURED.to_owned(),
                    kind: Type::Primitive(Primitive::String),
                });
            }
            return Ok(());
        };
        let captured = batch.project(&others).map_err(unfit)?;
        columns[at] = convert::as_json(&captured)?;
        Ok(())
    }
}

/// Where in what was sent each field of the table is: by name, else by field id.
fn places(source: &Fields, target: &[Field]) -> Vec<Option<usize>> {
    let named = |name: &str| source.iter().position(|field| field.name() == name);
    let is_named = |at: usize| target.iter().any(|field| &field.name == source[at].name());
    let with_id = |id: i32| source.iter().position(|field| field_id(field) == Some(id));
    target.iter().map(|field| named(&field.name).or_else(|| with_id(field.id).filter(|at| !is_named(*at)))).collect()
}

/// The offsets and items of lists that may be a slice of others.
fn from_zero(offsets: &OffsetBuffer<i32>, items: &ArrayRef) -> (OffsetBuffer<i32>, ArrayRef) {
    let index = |offset: Option<&i32>| offset.and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0);
    let (first, last) = (index(offsets.first()), index(offsets.last()));
    let lengths = offsets.windows(2).map(|pair| index(Some(&pair[1])) - index(Some(&pair[0])));
    (OffsetBuffer::from_lengths(lengths), items.slice(first, last - first))
}
