//! Columns as others write them → columns of the table's schema, exactly or not at all.
//!
//! Columns are found by name; one whose name the table does not have, by its field id. A column of the table's own type is
//! taken as it is. Between types that can hold the same values each value is converted and converted back: where that is
//! not what it was, its row is wrong, by the codes that texts are refused with ([`coerce`](super::coerce)).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field as ArrowField, Fields, Schema as ArrowSchema};
use arrow::record_batch::RecordBatchOptions;

use super::arrow_types::type_of;
use super::coerce::Misfit;
use super::columns::Shape;
use super::convert::{self, Converted};
use super::decode::{CAPTURED, Decoded, Evolution, Kept, Reading, Unknown};
use super::evolve::Wish;
use super::memory::weight_of;
use super::partition::field_id;
use super::verdict::Verdicts;
use crate::catalog::metadata::schema::{Field, Schema};
use crate::catalog::metadata::types::{Primitive, Type};
use crate::error::{Error, Kind, Result};

/// Takes the batches of one body.
pub(super) struct Columns {
    schema: Arc<Schema>,
    target: Fields,
    reading: Reading,
    rows_before: usize,
    /// Bytes of texts that stand once and are meant many times.
    spelled_out: usize,
    verdicts: Verdicts,
    wishes: Vec<Wish>,
    batches: Vec<RecordBatch>,
    kept: Option<Kept>,
}

impl Columns {
    /// Columns for a schema, of rows that so many came before.
    pub(super) fn new(shape: &Shape, mut reading: Reading, rows_before: usize) -> Result<Self> {
        let members = shape.columns();
        // A row of no bytes takes as much in a wide table as a full one: a table's width bounds a request's rows.
        reading.bounds.rows =
            reading.bounds.rows.min((reading.bounds.column_bytes / members.row_bytes().max(1)).max(1));
        Ok(Self {
            schema: Arc::clone(&shape.schema),
            target: shape.arrow.fields().clone(),
            reading,
            rows_before,
            spelled_out: 0,
            verdicts: Verdicts::default(),
            wishes: Vec::new(),
            batches: Vec::new(),
            kept: None,
        })
    }

    /// Bytes that the batches hold, about.
    pub(super) fn weight(&self) -> usize {
        let kept = self.kept.as_ref().map_or(0, Kept::weight);
        kept + self.batches.iter().map(weight_of).sum::<usize>()
    }

    /// Takes a batch.
    pub(super) fn take(&mut self, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        if self.rows_before + rows > self.reading.bounds.rows {
            let most = self.reading.bounds.rows;
            return Err(Error::new(Kind::TooLarge, format!("Request has more than {most} rows: send less at once")));
        }
        self.spelled_out += batch.columns().iter().map(convert::spelled_out).sum::<usize>();
        if self.spelled_out > self.reading.bounds.body_bytes {
            let most = self.reading.bounds.body_bytes;
            let message =
                format!("Body has more than {most} bytes when its columns are spelled out: send less at once");
            return Err(Error::new(Kind::TooLarge, message));
        }
        let mut fit =
            Fit { reading: &self.reading, schema: &self.schema, faults: Vec::new(), wishes: &mut self.wishes };
        let columns = fit.rows_of(&batch, &self.target)?;
        let mut faults = fit.faults;
        faults.sort_by_key(|fault| fault.row);
        let mut last = None;
        for Fault { row, pointer, misfit } in faults {
            self.verdicts.bad_rows += usize::from(last.replace(row) != Some(row));
            self.verdicts.add_at(self.rows_before + row, pointer, misfit);
        }
        self.settle(batch, columns)?;
        self.rows_before += rows;
        Ok(())
    }

    /// A batch that fits is kept as it fits; from the first on that asks for more of the table, as it came.
    fn settle(&mut self, batch: RecordBatch, columns: Vec<ArrayRef>) -> Result<()> {
        if !self.verdicts.is_empty() {
            // Nothing of the request will be written.
            self.batches.clear();
            self.kept = None;
        } else if self.wishes.is_empty() {
            self.batches.push(batch_of(&self.target, columns, batch.num_rows())?);
        } else {
            let rows_before = self.rows_before;
            match self.kept.get_or_insert_with(|| Kept::Columns { batches: Vec::new(), rows_before }) {
                Kept::Columns { batches, .. } => batches.push(batch),
                Kept::Text { .. } => {}
            }
        }
        Ok(())
    }

    /// What came of them all.
    pub(super) fn finish(self) -> Result<Decoded> {
        let Self { batches, verdicts, wishes, kept, rows_before: rows, .. } = self;
        if rows == 0 {
            return Err(Error::malformed("Request has no rows: send at least one").with_code("no_rows"));
        }
        Ok(Decoded { batches, rows, verdicts, wishes, kept })
    }
}

/// Takes batches again that were kept for a schema that has grown.
pub(super) fn again(shape: &Shape, reading: Reading, batches: Vec<RecordBatch>, before: usize) -> Result<Decoded> {
    let mut columns = Columns::new(shape, reading, before)?;
    batches.into_iter().try_for_each(|batch| columns.take(batch))?;
    columns.finish()
}

fn batch_of(target: &Fields, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(ArrowSchema::new(target.clone())), columns, &options).map_err(unfit)
}

fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::internal("Columns do not fit together").because(error)
}

/// What is wrong with a row of a batch.
struct Fault {
    row: usize,
    pointer: String,
    misfit: Misfit,
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

struct Fit<'a> {
    reading: &'a Reading,
    schema: &'a Schema,
    faults: Vec<Fault>,
    wishes: &'a mut Vec<Wish>,
}

impl Fit<'_> {
    fn rows_of(&mut self, batch: &RecordBatch, target: &Fields) -> Result<Vec<ArrayRef>> {
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
            |code, detail: String| Fault { row: 0, pointer: pointer.clone(), misfit: Misfit::new(code, detail) };
        match self.reading.unknown {
            Unknown::Ignore => {}
            // At the top they are taken by `capture`.
            Unknown::Capture if level.parent.is_none() => {}
            Unknown::Refuse | Unknown::Capture => {
                let first = (0..values.len()).filter(|at| values.is_valid(*at)).find_map(|at| (level.row)(at));
                if let (Some(row), false) = (first, values.data_type() == &DataType::Null) {
                    self.faults
                        .push(Fault { row, ..fault("unknown_field", "the table has no such column".to_owned()) });
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
                let Converted { values: converted, misfits } =
                    convert::convert(&values, kind, target, self.reading.precision)?;
                for (at, misfit) in misfits {
                    self.misfit(&values, (at, misfit), field, level);
                }
                Ok(converted)
            }
            (kind, target, sent) => {
                let detail = format!("the column's type is {kind}, and what was sent for it is {sent}");
                for at in (0..values.len()).filter(|at| values.is_valid(*at)) {
                    self.fault(at, Misfit::new("wrong_type", detail.clone()), level);
                }
                Ok(new_null_array(target, values.len()))
            }
        }
    }

    /// A value that its column cannot hold: a wider one may.
    fn misfit(&mut self, values: &ArrayRef, (at, misfit): (usize, Misfit), field: &Field, level: Level<'_>) {
        let wider = match (&field.kind, self.reading.evolution) {
            (Type::Primitive(kind), Evolution::AddColumns) => convert::wider(kind, &values.slice(at, 1), misfit.code),
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
            self.faults.push(Fault { row, pointer: level.pointer.to_owned(), misfit });
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
        if self.reading.evolution == Evolution::AddColumns && !self.identifies(field) {
            self.wish(Wish::Relax { id: field.id });
            return;
        }
        for row in rows {
            let misfit = Misfit::new("null_in_required", "the column is required and has no value");
            self.faults.push(Fault { row, pointer: level.pointer.to_owned(), misfit });
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
                self.faults.push(Fault { row: 0, pointer, misfit: Misfit::new("unknown_field", detail) });
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
