//! Takes old days out of the tables that hold rejected rows.
//!
//! Such a table is called `<table>__rejected`, was created by ingest, and is laid out by `day(rejected_at)` and by
//! nothing else. Days that are more than `floeberg.ingest.rejected-days` ago leave it in a snapshot that only marks
//! their files as deleted: no data file is written again, none is deleted here, and nothing of a younger day is touched.
//! The property is the table's own, else that of the table whose rows were rejected; 0 keeps them for ever, and a
//! malformed one is ignored, which is said once.
//!
//! A pass looks at one table after the other and reads one manifest after the other. It keeps nothing of what it found:
//! cut off, lost or failed, the next one finds what is left. A table that fails is told of and tried again then.

use std::sync::Arc;

use futures::FutureExt;
use iceberg::spec::{DataFile, Literal, ManifestContentType, ManifestFile, PrimitiveLiteral};
use moka::sync::Cache;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::catalog::append::{Brought, Prepare, Prepared};
use crate::catalog::change::{Change, Requirement};
use crate::catalog::metadata::TableMetadata;
use crate::catalog::metadata::spec::Transform;
use crate::catalog::metadata::types::Primitive;
use crate::catalog::next_snapshot::{NextSnapshot, format_version};
use crate::catalog::{Catalog, Loaded};
use crate::clock;
use crate::error::{Error, Kind, Result, What};
use crate::limits;
use crate::names::{REJECTED_SUFFIX, TableName};
use crate::snapshot::delete::{Deletion, Split, has_live_files};
use crate::snapshot::manifest;
use crate::store::swap::Alongside;
use crate::store::tables::TableRow;

/// The column whose days they are.
const COLUMN: &str = "rejected_at";

const DAYS: &str = "floeberg.ingest.rejected-days";

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The passes over one warehouse.
#[derive(Debug)]
pub(super) struct Passes {
    /// When the last one began.
    last_ms: Option<i64>,
    /// Tables whose property was complained of, by identity.
    complaints: Cache<String, ()>,
}

impl Passes {
    pub(super) fn new() -> Self {
        Self { last_ms: None, complaints: Cache::new(limits::COMPLAINTS_KEPT) }
    }

    /// Makes a pass, if the last was long enough ago.
    pub(super) async fn keep_up(&mut self, catalog: &Catalog, stopping: &CancellationToken) {
        let now_ms = catalog.clock().now_ms();
        if !is_due(self.last_ms, now_ms) {
            return;
        }
        self.last_ms = Some(now_ms);
        if let Err(error) = self.pass(catalog, stopping).await {
            tracing::warn!(
                error = error.chain(),
                "tables of rejected rows could not be looked through; it will be tried again"
            );
        }
    }

    async fn pass(&self, catalog: &Catalog, stopping: &CancellationToken) -> Result<()> {
        let warehouse = catalog.warehouse().name().as_str();
        let mut after = String::new();
        loop {
            let rows = catalog.store().live_tables(warehouse, &after, limits::GC_BATCH).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id.to_string();
            for row in &rows {
                if stopping.is_cancelled() {
                    return Ok(());
                }
                self.row(catalog, row, stopping).await;
            }
        }
    }

    /// Tells of a table that fails.
    async fn row(&self, catalog: &Catalog, row: &TableRow, stopping: &CancellationToken) {
        let Some(main) = main_of(&row.name) else { return };
        if let Err(error) = self.table(catalog, (&row.name, &main), stopping).await {
            tracing::warn!(
                table = %row.name,
                error = error.chain(),
                "old days of rejected rows could not be taken out; it will be tried again"
            );
        }
    }

    async fn table(
        &self,
        catalog: &Catalog,
        (rejected, main): (&TableName, &TableName),
        stopping: &CancellationToken,
    ) -> Result<()> {
        let Some(loaded) = find(catalog, rejected).await? else { return Ok(()) };
        let (Some(spec_id), Some(uuid)) = (spec_of(&loaded.metadata), loaded.metadata.table_uuid.clone()) else {
            return Ok(());
        };
        let days = match self.said(rejected, &loaded.metadata) {
            Some(days) => days,
            None => self.said_by_main(catalog, main).await?.unwrap_or(limits::REJECTED_DAYS),
        };
        let Some(first_day) = first_day_kept(catalog.clock().now_ms(), days) else { return Ok(()) };
        let sweep = Sweep { catalog, uuid, first_day };
        if !sweep.finds_any(&loaded.metadata, spec_id, stopping).await? {
            return Ok(());
        }
        let prepare: Prepare<'_> = &|_, base| sweep.prepare(base).boxed();
        let kept = catalog.commit_prepared(&[Brought { name: rejected.clone(), put: Vec::new(), prepare }]).await?;
        let moved = |kept: &Arc<Loaded>| kept.metadata.current_snapshot_id != loaded.metadata.current_snapshot_id;
        if kept.iter().any(moved) {
            let since = clock::rfc3339(first_day.saturating_mul(DAY_MS));
            tracing::info!(table = %rejected, since, "days of rejected rows before this are taken out");
        }
        Ok(())
    }

    /// What the table whose rows were rejected says, if it is there.
    async fn said_by_main(&self, catalog: &Catalog, main: &TableName) -> Result<Option<i64>> {
        Ok(find(catalog, main).await?.and_then(|loaded| self.said(main, &loaded.metadata)))
    }

    /// For how many days a table says that rejected rows are kept.
    fn said(&self, table: &TableName, metadata: &TableMetadata) -> Option<i64> {
        let text = metadata.properties.get(DAYS)?;
        let days = days_of(text);
        let uuid = metadata.table_uuid.as_deref().unwrap_or_default();
        if days.is_none() && !self.complaints.contains_key(uuid) {
            self.complaints.insert(uuid.to_owned(), ());
            tracing::warn!(%table, property = DAYS, value = text, "this is no whole number of days and is ignored");
        }
        days
    }
}

/// The table, if it is there.
async fn find(catalog: &Catalog, name: &TableName) -> Result<Option<Arc<Loaded>>> {
    match catalog.load_table(name).await {
        Ok(loaded) => Ok(Some(loaded)),
        Err(error) if error.kind() == Kind::NotFound(What::Table) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is taken out of one table.
#[derive(Debug)]
struct Sweep<'a> {
    catalog: &'a Catalog,
    uuid: String,
    first_day: i64,
}

impl Sweep<'_> {
    /// Whether there is a file that goes. A server that stops finds none.
    async fn finds_any(&self, metadata: &TableMetadata, spec_id: i32, stopping: &CancellationToken) -> Result<bool> {
        for manifest in self.manifests(metadata).await? {
            if stopping.is_cancelled() {
                return Ok(false);
            }
            if may_hold(&manifest, spec_id, self.first_day) && !self.split(&manifest).await?.doomed.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The commit on top of `base`; one that changes nothing where there is nothing to do any more.
    async fn prepare(&self, base: Arc<Loaded>) -> Result<Prepared> {
        let metadata = &base.metadata;
        let next = NextSnapshot::after(metadata, self.catalog.clock().now_ms())?;
        let deletion = match spec_of(metadata) {
            Some(spec_id) => self.deletion(metadata, &next, spec_id).await?,
            None => Deletion::default(),
        };
        let mut change = Change { requirements: vec![Requirement::TableUuid(self.uuid.clone())], updates: Vec::new() };
        if deletion.is_empty() {
            return Ok(Prepared { change, objects: Vec::new(), alongside: Alongside::default() });
        }
        let before = metadata.current_snapshot().map(|parent| parent.summary()).transpose()?;
        let summary = deletion.summary(&before.unwrap_or_default());
        let Deletion { listed, mut objects, .. } = deletion;
        change.updates = next.updates(listed, &summary, &mut objects).await?;
        // Earlier snapshots still reach all that was there.
        Ok(Prepared { change, objects, alongside: Alongside::default() })
    }

    /// The manifests of the new snapshot. When many are written again, what is left over waits for the next pass.
    async fn deletion(&self, metadata: &TableMetadata, next: &NextSnapshot<'_>, spec_id: i32) -> Result<Deletion> {
        let layout = next.layout(spec_id)?;
        let mut deletion = Deletion::default();
        let mut taken = 0_i64;
        for manifest in self.manifests(metadata).await? {
            if taken >= limits::REJECTED_MANIFESTS_BYTES || !may_hold(&manifest, spec_id, self.first_day) {
                deletion.keep(manifest);
                continue;
            }
            let split = self.split(&manifest).await?;
            if split.doomed.is_empty() {
                deletion.keep(manifest);
                continue;
            }
            taken = taken.saturating_add(manifest.manifest_length.max(0));
            let location = next.manifest_location(deletion.objects.len());
            deletion.rewrite(&layout, location, next.id(), split).await?;
        }
        Ok(deletion)
    }

    async fn split(&self, manifest: &ManifestFile) -> Result<Split> {
        let bytes = self.catalog.warehouse().read(&manifest.manifest_path, limits::MANIFEST_BYTES_MAX).await?;
        let is_old = |file: &DataFile| day_of(file).is_some_and(|day| day < self.first_day);
        block_in_place(|| Split::of(manifest, &bytes, is_old))
    }

    /// The manifests of the snapshot that readers see.
    async fn manifests(&self, metadata: &TableMetadata) -> Result<Vec<ManifestFile>> {
        let Some(current) = metadata.current_snapshot() else { return Ok(Vec::new()) };
        let without = || Error::invalid("The current snapshot names its manifests itself, without a list");
        let list = current.manifest_list.as_deref().ok_or_else(without)?;
        let bytes = self.catalog.warehouse().read(list, limits::MANIFEST_BYTES_MAX).await?;
        block_in_place(|| manifest::read_list(&bytes, format_version(metadata)))
    }
}

/// Whether a pass is to be made now. A clock that was put back does not hold it up.
fn is_due(last_ms: Option<i64>, now_ms: i64) -> bool {
    last_ms.is_none_or(|last| !(0..limits::REJECTED_INTERVAL_MS).contains(&now_ms.saturating_sub(last)))
}

/// The table whose rejected rows a table of this name holds, if it is such a name.
fn main_of(rejected: &TableName) -> Option<TableName> {
    let main = rejected.name.strip_suffix(REJECTED_SUFFIX)?;
    TableName::new(rejected.namespace.clone(), main).ok()
}

/// The spec that new rows are laid out by, if ingest made the table and that is by the day of their rejection alone.
fn spec_of(metadata: &TableMetadata) -> Option<i32> {
    let ours = metadata.properties.get("floeberg.created-by").is_some_and(|by| by == "ingest");
    let (spec, schema) = (metadata.default_spec().ok()?, metadata.current_schema().ok()?);
    let column = schema.fields.iter().find(|column| column.name == COLUMN)?;
    let [field] = spec.fields.as_slice() else { return None };
    let by_day = field.transform == Transform::Day && field.source.ids() == [column.id];
    (ours && by_day && column.kind.primitive() == Some(&Primitive::Timestamptz)).then_some(spec.spec_id)
}

/// A number of days, as the property says it.
fn days_of(text: &str) -> Option<i64> {
    text.trim().parse().ok().filter(|days| *days >= 0)
}

/// The first day that stays, counted from 1970; `None` where all do. Days are those of UTC.
fn first_day_kept(now_ms: i64, days: i64) -> Option<i64> {
    (days > 0).then(|| now_ms.div_euclid(DAY_MS).saturating_sub(days))
}

/// Whether a file of this spec from before that day may live in a manifest, as far as its list says.
fn may_hold(manifest: &ManifestFile, spec_id: i32, first_day: i64) -> bool {
    manifest.content == ManifestContentType::Data
        && manifest.partition_spec_id == spec_id
        && has_live_files(manifest)
        && lowest_day(manifest).is_none_or(|day| day < first_day)
}

/// The day of the oldest file in a manifest, where its list says so; deleted ones may count.
fn lowest_day(manifest: &ManifestFile) -> Option<i64> {
    let bound = manifest.partitions.as_ref()?.first()?.lower_bound.as_ref()?;
    <[u8; 4]>::try_from(bound.as_slice()).ok().map(|days| i32::from_le_bytes(days).into())
}

/// The day that a file is of, where its partition is one.
fn day_of(file: &DataFile) -> Option<i64> {
    match file.partition().fields() {
        [Some(Literal::Primitive(PrimitiveLiteral::Int(day)))] => Some((*day).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{ByteBuf, DataContentType, DataFileBuilder, DataFileFormat, FieldSummary, Struct};
    use serde_json::{Value, json};

    use super::*;
    use crate::names::Namespace;
    use crate::snapshot::append::tests::manifest as manifest_of_spec;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_pass_is_made_at_once_and_then_every_hour() {
        assert!(is_due(None, 0));
        for (since, wanted) in [(0, false), (HOUR_MS - 1, false), (HOUR_MS, true), (-1, true), (40 * DAY_MS, true)] {
            assert_eq!(is_due(Some(7), 7 + since), wanted, "{since}");
        }
    }

    #[test]
    fn only_whole_days_before_the_first_that_stays_are_old() {
        let midnight = 20_000 * DAY_MS;
        assert_eq!(first_day_kept(midnight - 1, 30), Some(19_969));
        assert_eq!(first_day_kept(midnight, 30), Some(19_970));
        assert_eq!(first_day_kept(midnight + DAY_MS - 1, 30), Some(19_970));
        assert_eq!(first_day_kept(midnight, 0), None, "for ever");
        assert_eq!(first_day_kept(midnight, i64::MAX), Some(20_000 - i64::MAX));
    }

    #[test]
    fn what_is_no_number_of_days_is_ignored() {
        for (text, wanted) in [("7", Some(7)), (" 0 ", Some(0)), ("-1", None), ("1.5", None), ("7d", None), ("", None)]
        {
            assert_eq!(days_of(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn the_name_says_whose_rows_they_are() {
        let main = |name: &str| {
            let namespace = Namespace::new(&["a", "b"]).expect("a namespace");
            main_of(&TableName::new(namespace, name).expect("a name")).map(|main| main.to_string())
        };
        assert_eq!(main("t__rejected").as_deref(), Some("a.b.t"));
        assert_eq!(main("t__rejected__rejected").as_deref(), Some("a.b.t__rejected"));
        assert_eq!((main("__rejected"), main("t_rejected"), main("t__rejected2")), (None, None, None));
    }

    fn table(by: &str, kind: &str, fields: Value) -> TableMetadata {
        let text = json!({
            "format-version": 2, "table-uuid": "f79c3e09-677c-4bbd-a479-3f349cb785e7", "location": "file:///t",
            "last-sequence-number": 0, "last-updated-ms": 1, "last-column-id": 2, "current-schema-id": 0,
            "schemas": [{"type": "struct", "schema-id": 0, "fields": [
                {"id": 1, "name": "code", "required": false, "type": "string"},
                {"id": 2, "name": "rejected_at", "required": true, "type": kind}]}],
            "default-spec-id": 3, "partition-specs": [{"spec-id": 3, "fields": fields}], "last-partition-id": 1001,
            "default-sort-order-id": 0, "sort-orders": [{"order-id": 0, "fields": []}],
            "properties": {"floeberg.created-by": by},
        });
        TableMetadata::parse(&text.to_string()).expect("metadata")
    }

    #[test]
    fn a_table_of_others_or_of_another_layout_is_none_of_ours() {
        let field = |source: i32, transform: &str| json!({"source-id": source, "field-id": 1000, "name": "d", "transform": transform});
        let ours = json!([field(2, "day")]);
        assert_eq!(spec_of(&table("ingest", "timestamptz", ours.clone())), Some(3));
        assert_eq!(spec_of(&table("me", "timestamptz", ours.clone())), None);
        assert_eq!(spec_of(&table("ingest", "timestamp", ours.clone())), None);
        let mut two = ours;
        two.as_array_mut()
            .expect("a list")
            .push(json!({"source-id": 1, "field-id": 1001, "name": "c", "transform": "identity"}));
        for fields in
            [json!([]), json!([field(2, "hour")]), json!([field(2, "identity")]), json!([field(1, "identity")]), two]
        {
            assert_eq!(spec_of(&table("ingest", "timestamptz", fields.clone())), None, "{fields}");
        }
    }

    fn manifest(lowest: Option<&[u8]>) -> ManifestFile {
        let summary =
            FieldSummary { lower_bound: lowest.map(|bytes| ByteBuf::from(bytes.to_vec())), ..Default::default() };
        ManifestFile { partitions: Some(vec![summary]), ..manifest_of_spec(0, 1, 3) }
    }

    #[test]
    fn manifests_that_hold_nothing_old_are_not_opened() {
        let day = |day: i32| manifest(Some(&day.to_le_bytes()));
        assert!(may_hold(&day(19_969), 3, 19_970) && may_hold(&day(-5), 3, 19_970));
        assert!(!may_hold(&day(19_970), 3, 19_970) && !may_hold(&day(20_000), 3, 19_970));
        assert!(!may_hold(&day(1), 4, 19_970), "of another layout");
        assert!(!may_hold(&ManifestFile { content: ManifestContentType::Deletes, ..day(1) }, 3, 19_970));
        assert!(!may_hold(&ManifestFile { added_files_count: Some(0), ..day(1) }, 3, 19_970), "nothing lives in it");
        // What its list does not say may be so.
        assert!(may_hold(&manifest(None), 3, 19_970) && may_hold(&manifest(Some(b"12345678")), 3, 19_970));
        assert!(may_hold(&ManifestFile { partitions: None, ..day(20_000) }, 3, 19_970));
    }

    #[test]
    fn a_file_is_of_the_day_that_its_partition_is() {
        let file = |partition: Vec<Option<Literal>>| {
            let mut file = DataFileBuilder::default();
            file.content(DataContentType::Data).file_path("f".to_owned()).file_format(DataFileFormat::Parquet);
            file.partition(Struct::from_iter(partition)).record_count(1).file_size_in_bytes(1);
            day_of(&file.build().expect("a file"))
        };
        assert_eq!(file(vec![Some(Literal::date(19_969))]), Some(19_969));
        assert_eq!(file(vec![None]), None);
        assert_eq!(file(vec![Some(Literal::long(19_969))]), None);
        assert_eq!(file(vec![Some(Literal::date(1)), Some(Literal::date(1))]), None);
        assert_eq!(file(Vec::new()), None);
    }
}
