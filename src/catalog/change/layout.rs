//! Updates of schemas, partition specs and sort orders.
//!
//! A client's own ids for these are advisory: one that is already there is used again, a new one gets the next number.
//! Specs and orders are bound to the schema that this commit added last when none is current yet, because DuckDB sets
//! the current schema at the very end.

use std::collections::HashSet;
use std::sync::Arc;

use super::build::Build;
use super::next_id;
use crate::catalog::metadata::evolution;
use crate::catalog::metadata::schema::Schema;
use crate::catalog::metadata::spec::{
    PARTITION_ID_START, PartitionField, PartitionSpec, SortOrder, Source, Transform, check_source,
};
use crate::error::{Error, Result};

/// In an update: the one that this commit added last.
const LAST_ADDED: i32 = -1;

impl Build {
    pub(super) fn add_schema(&mut self, schema: &Schema) -> Result<()> {
        schema.check_version(self.metadata.format_version)?;
        schema.check_identifier()?;
        let same = self.metadata.schemas.iter().find(|have| have.same_as(schema));
        let id = match same {
            Some(same) => same.schema_id,
            None => next_id(self.metadata.schemas.iter().map(|have| have.schema_id))?,
        };
        if same.is_none() {
            schema.check_new()?;
            self.metadata.schemas.push(Arc::new(Schema { schema_id: id, ..schema.clone() }));
            self.changed = true;
        }
        let highest = schema.highest_id();
        if highest > self.metadata.last_column_id {
            self.metadata.last_column_id = highest;
            self.changed = true;
        }
        self.last_schema = Some(id);
        Ok(())
    }

    pub(super) fn set_current_schema(&mut self, id: i32) -> Result<()> {
        let id = resolve(id, self.last_schema, "Cannot set last added schema: no schema has been added")?;
        if self.metadata.schema(id).is_none() {
            return Err(Error::invalid(format!("Cannot set current schema to unknown schema: {id}")));
        }
        self.changed |= self.metadata.current_schema_id != id;
        self.metadata.current_schema_id = id;
        Ok(())
    }

    /// The schema that new specs and orders are about.
    fn schema_in_force(&self) -> Result<Arc<Schema>> {
        let id = match self.metadata.current_schema_id {
            LAST_ADDED => self.last_schema.unwrap_or(LAST_ADDED),
            current => current,
        };
        let schema = self.metadata.schema(id).or_else(|| self.metadata.schemas.last());
        schema.cloned().ok_or_else(|| Error::invalid("Cannot add a spec or sort order: the table has no schema yet"))
    }

    pub(super) fn add_spec(&mut self, spec: &PartitionSpec) -> Result<()> {
        let spec = self.with_field_ids(spec)?;
        let schema = self.schema_in_force()?;
        check_partition_names(&spec, &schema)?;
        check_spec(&spec, &schema)?;
        spec.fields.iter().try_for_each(|field| self.check_arguments(&field.source, &field.transform))?;
        let same = self.metadata.partition_specs.iter().find(|have| have.same_layout(&spec));
        let id = match same {
            Some(same) => same.spec_id,
            None => next_id(self.metadata.partition_specs.iter().map(|have| have.spec_id))?,
        };
        if same.is_none() {
            if self.metadata.format_version == 1 && !has_sequential_ids(&spec) {
                return Err(Error::invalid("Spec does not use sequential IDs that are required in v1"));
            }
            self.metadata.last_partition_id = self.metadata.last_partition_id.max(spec.highest_id());
            self.metadata.partition_specs.push(Arc::new(PartitionSpec { spec_id: id, ..spec }));
            self.changed = true;
        }
        self.last_spec = Some(id);
        Ok(())
    }

    fn check_arguments(&self, source: &Source, transform: &Transform) -> Result<()> {
        let (version, columns) = (self.metadata.format_version, source.ids().len());
        if version < 3 && columns > 1 {
            return Err(Error::invalid(format!(
                "Invalid source-ids for transform {transform} of {columns} columns: not supported until v3"
            )));
        }
        Ok(())
    }

    /// Gives an id to each field that has none: that of the same field in an earlier spec, else the next one.
    fn with_field_ids(&self, spec: &PartitionSpec) -> Result<PartitionSpec> {
        let mut spec = spec.clone();
        let mut next = self.metadata.last_partition_id.max(spec.highest_id());
        let mut used: HashSet<i32> = spec.fields.iter().filter_map(|field| field.field_id).collect();
        for field in &mut spec.fields {
            if field.field_id.is_none() {
                let earlier = self.earlier_id(field).filter(|id| !used.contains(id));
                let id = match earlier {
                    Some(id) => id,
                    None => {
                        next = next_id(std::iter::once(next))?;
                        next
                    }
                };
                used.insert(id);
                field.field_id = Some(id);
            }
        }
        let ids: HashSet<_> = spec.fields.iter().map(|field| field.field_id).collect();
        if ids.len() != spec.fields.len() {
            return Err(Error::invalid("Invalid partition spec: a field id is used twice"));
        }
        Ok(spec)
    }

    fn earlier_id(&self, field: &PartitionField) -> Option<i32> {
        let all = self.metadata.partition_specs.iter().flat_map(|spec| &spec.fields);
        let mut same = all.filter(|have| have.source == field.source && have.transform == field.transform);
        same.find_map(|have| have.field_id)
    }

    pub(super) fn set_default_spec(&mut self, id: i32) -> Result<()> {
        let id = resolve(id, self.last_spec, "Cannot set last added spec: no spec has been added")?;
        if self.metadata.spec(id).is_none() {
            return Err(Error::invalid(format!("Cannot set default partition spec to unknown spec: {id}")));
        }
        self.changed |= self.metadata.default_spec_id != id;
        self.metadata.default_spec_id = id;
        Ok(())
    }

    pub(super) fn add_sort_order(&mut self, order: &SortOrder) -> Result<()> {
        check_order(order, &*self.schema_in_force()?)?;
        order.fields.iter().try_for_each(|field| self.check_arguments(&field.source, &field.transform))?;
        let orders = &mut self.metadata.sort_orders;
        let same = orders.iter().find(|have| have.fields == order.fields);
        let id = match same {
            Some(same) => same.order_id,
            None if order.fields.is_empty() => 0,
            None => next_id(orders.iter().map(|have| have.order_id))?.max(1),
        };
        if same.is_none() {
            orders.push(Arc::new(SortOrder { order_id: id, ..order.clone() }));
            self.changed = true;
        }
        self.last_order = Some(id);
        Ok(())
    }

    pub(super) fn set_default_sort_order(&mut self, id: i32) -> Result<()> {
        let id = resolve(id, self.last_order, "Cannot set last added sort order: no sort order has been added")?;
        if self.metadata.sort_order(id).is_none() {
            return Err(Error::invalid(format!("Cannot set default sort order to unknown sort order: {id}")));
        }
        self.changed |= self.metadata.default_sort_order_id != id;
        self.metadata.default_sort_order_id = id;
        Ok(())
    }

    pub(super) fn remove_specs(&mut self, ids: &[i32]) -> Result<()> {
        if ids.contains(&self.metadata.default_spec_id) {
            return Err(Error::invalid("Cannot remove the default partition spec"));
        }
        let before = self.metadata.partition_specs.len();
        self.metadata.partition_specs.retain(|spec| !ids.contains(&spec.spec_id));
        self.changed |= self.metadata.partition_specs.len() != before;
        Ok(())
    }

    pub(super) fn remove_schemas(&mut self, ids: &[i32]) -> Result<()> {
        if ids.contains(&self.metadata.current_schema_id) {
            return Err(Error::invalid("Cannot remove the current schema"));
        }
        let before = self.metadata.schemas.len();
        self.metadata.schemas.retain(|schema| !ids.contains(&schema.schema_id));
        self.changed |= self.metadata.schemas.len() != before;
        Ok(())
    }

    /// Checks that what is in force fits together.
    pub(super) fn check_layout(&self) -> Result<()> {
        let metadata = &self.metadata;
        let schema = metadata.current_schema().map_err(|_| missing("schema", "set-current-schema"))?;
        let spec = metadata.default_spec().map_err(|_| missing("partition spec", "set-default-spec"))?;
        let order = metadata.sort_order(metadata.default_sort_order_id);
        let order = order.ok_or_else(|| missing("sort order", "set-default-sort-order"))?;
        check_spec(spec, schema)?;
        check_order(order, schema)?;
        self.check_evolution(schema)?;
        for schema in &metadata.schemas {
            schema.check_version(metadata.format_version)?;
        }
        Ok(())
    }
}

impl Build {
    /// The rows that were there must be readable with the schema in force, unless they were replaced.
    fn check_evolution(&self, schema: &Schema) -> Result<()> {
        let Some((before, rows)) = &self.before else { return Ok(()) };
        // Few commits change the schema: what costs more is asked only of those.
        if before.schema_id == schema.schema_id || rows.is_empty() {
            return Ok(());
        }
        if !self.metadata.current_snapshot_id.is_some_and(|now| self.metadata.is_ancestor(rows.id, now)) {
            return Ok(());
        }
        let (version, specs) = (self.metadata.format_version, self.metadata.partition_specs.as_slice());
        evolution::check(before, schema, evolution::Rules { version, specs })
    }
}

fn missing(what: &str, action: &str) -> Error {
    Error::invalid(format!("The table would have no {what}: the commit lacks {action}"))
}

fn resolve(id: i32, last: Option<i32>, none: &str) -> Result<i32> {
    match id {
        LAST_ADDED => last.ok_or_else(|| Error::invalid(none)),
        id => Ok(id),
    }
}

fn has_sequential_ids(spec: &PartitionSpec) -> bool {
    spec.fields.iter().zip(PARTITION_ID_START + 1..).all(|(field, id)| field.field_id == Some(id))
}

/// A partition field may share a column's name only if it is that column's identity.
fn check_partition_names(spec: &PartitionSpec, schema: &Schema) -> Result<()> {
    let mut names = HashSet::new();
    let columns = schema.walk();
    for field in &spec.fields {
        if field.name.is_empty() {
            return Err(Error::invalid("Cannot use empty partition name"));
        }
        if !names.insert(&field.name) {
            return Err(Error::invalid(format!("Cannot use partition name more than once: {}", field.name)));
        }
        let column = columns.iter().find(|(name, _)| *name == field.name);
        let own = column.is_none_or(|(_, place)| field.source.ids() == [place.field.id]);
        let plain = matches!(field.transform, Transform::Identity | Transform::Void);
        if column.is_some() && !(own && plain) {
            let name = &field.name;
            return Err(Error::invalid(format!("Cannot create partition from name that exists in schema: {name}")));
        }
    }
    Ok(())
}

fn check_spec(spec: &PartitionSpec, schema: &Schema) -> Result<()> {
    let by_id = schema.by_id();
    for field in &spec.fields {
        for id in field.source.ids() {
            check_source("partition field", &field.transform, *id, |id| by_id.get(&id).copied())?;
        }
    }
    Ok(())
}

fn check_order(order: &SortOrder, schema: &Schema) -> Result<()> {
    let by_id = schema.by_id();
    for field in &order.fields {
        for id in field.source.ids() {
            check_source("sort field", &field.transform, *id, |id| by_id.get(&id).copied())?;
        }
    }
    Ok(())
}
