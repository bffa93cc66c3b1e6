//! Tables that ingest finds, or makes from their first rows.

use std::sync::Arc;

use super::evolve::{self, Wish};
use super::{AppendOptions, Ingest, events, layout, settings};
use crate::catalog::create::Description;
use crate::catalog::metadata::TableMetadata;
use crate::catalog::metadata::schema::Schema;
use crate::catalog::metadata::spec::PartitionSpec;
use crate::catalog::{Catalog, Created, Loaded, NewTableRequest};
use crate::error::{Error, Kind, Result, What};
use crate::names::{Namespace, TableName, Tabular};

/// The table, if it exists; then it must be laid out as the request says.
pub(super) async fn existing(
    catalog: &Catalog,
    table: &TableName,
    options: &AppendOptions,
) -> Result<Option<Arc<Loaded>>> {
    match catalog.peek_table(table).await {
        Ok(loaded) => {
            check_layout(&loaded.metadata, table, options)?;
            Ok(Some(loaded))
        }
        Err(error) if error.kind() == Kind::NotFound(What::Table) => Ok(None),
        Err(error) => Err(error),
    }
}

fn check_layout(metadata: &TableMetadata, table: &TableName, options: &AppendOptions) -> Result<()> {
    let schema = metadata.current_schema()?;
    let differs = |what: &str, asked: &str, code: &'static str| {
        Error::new(
            Kind::SpecDiffers,
            format!("Table {table} exists and is not laid out by {what} {asked:?}: leave it out, or change the table"),
        )
        .with_code(code)
    };
    if let Some(text) = &options.partition_by {
        let asked = layout::partition_by(text, schema)?;
        if !metadata.default_spec()?.same_layout(&asked) {
            return Err(differs("partition_by", text, "partition_spec_differs"));
        }
    }
    if let Some(text) = &options.sort_by {
        let asked = layout::sort_by(text, schema)?;
        let have = metadata.sort_order(metadata.default_sort_order_id);
        if have.is_none_or(|have| have.fields != asked.fields) {
            return Err(differs("sort_by", text, "sort_order_differs"));
        }
    }
    Ok(())
}

/// Creates the table, and the namespaces around it, with the columns that its first rows have.
pub(super) async fn of_rows(
    ingest: &Ingest,
    table: &TableName,
    wishes: &[Wish],
    options: &AppendOptions,
) -> Result<Arc<Loaded>> {
    make(ingest, table, described(wishes, options)?, options).await
}

/// What a table is made like that has the columns that its first rows have.
pub(super) fn described(wishes: &[Wish], options: &AppendOptions) -> Result<Description> {
    let schema = evolve::first_schema(wishes)?;
    let spec = options.partition_by.as_deref().map(|text| layout::partition_by(text, &schema)).transpose()?;
    let order = options.sort_by.as_deref().map(|text| layout::sort_by(text, &schema)).transpose()?;
    Ok(Description { schema, spec, order, properties: settings::created_properties() })
}

/// Creates a table of events.
pub(super) async fn of_events(ingest: &Ingest, table: &TableName, options: &AppendOptions) -> Result<Arc<Loaded>> {
    make(ingest, table, described_for_events(options)?, options).await
}

/// What a table of events is made like.
pub(super) fn described_for_events(options: &AppendOptions) -> Result<Description> {
    events::described(options.partition_by.as_deref(), options.sort_by.as_deref())
}

/// Creates a table that looks so, unless there is one of that name already.
pub(super) async fn as_described(
    ingest: &Ingest,
    table: &TableName,
    schema: Schema,
    spec: Option<PartitionSpec>,
) -> Result<Arc<Loaded>> {
    let description = Description { schema, spec, order: None, properties: settings::created_properties() };
    make(ingest, table, description, &AppendOptions::default()).await
}

async fn make(
    ingest: &Ingest,
    table: &TableName,
    description: Description,
    options: &AppendOptions,
) -> Result<Arc<Loaded>> {
    make_namespaces(&ingest.catalog, &table.namespace).await?;
    let request = NewTableRequest { name: table.clone(), description, location: None, creation: Created::Now };
    match ingest.catalog.create_table(request).await {
        // Another request was first: its schema is the one to read by.
        Err(error) if error.kind() == Kind::AlreadyExists(What::Table) => {
            let loaded = existing(&ingest.catalog, table, options).await?;
            loaded.ok_or_else(|| Tabular::Table.missing(table))
        }
        settled => settled,
    }
}

async fn make_namespaces(catalog: &Catalog, namespace: &Namespace) -> Result<()> {
    let levels = namespace.to_levels();
    for depth in 1..=levels.len() {
        let one = Namespace::new(&levels[..depth])?;
        match catalog.create_namespace(&one, &Default::default()).await {
            Err(error) if !matches!(error.kind(), Kind::AlreadyExists(_)) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
