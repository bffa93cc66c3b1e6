//! Scan planning: which files a reader has to open, and which deletes apply to each.
//!
//! A plan is answered at once: the first files, and a task for each part of what is left, which any server of the table can
//! answer without having been asked before ([`task`]). A filter is bound to the columns of a schema ([`filter`]) and judged
//! by what is known of each set of values ([`range`]): manifest summaries and partition tuples ([`partition`]), and file
//! statistics ([`metrics`]). What is not known keeps a file.
//!
//! Errors: what cannot be read is [`Kind::Malformed`](crate::error::Kind), a snapshot that is not there is
//! [`Kind::Invalid`](crate::error::Kind), a plan or task of another table [`What::Plan`] or [`What::PlanTask`].

mod deletes;
mod expression;
mod files;
mod filter;
pub(super) mod manifests;
mod metrics;
mod partition;
mod range;
mod task;
mod transform;
mod walk;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::metadata::TableMetadata;
use super::metadata::schema::Schema;
use super::metadata::snapshot::Snapshot;
use super::metadata::spec::Transform;
use super::{Catalog, Loaded};
use crate::error::{Error, Kind, Result, What};
use crate::names::TableName;
use crate::snapshot::list::ListedManifest;
use filter::{Columns, Filter, Leaf};
use partition::Layout;
use range::Verdict;
use task::{Scan, Span, Task};
pub use walk::ScanTasks;
use walk::Walk;

/// Columns that engines ask for and no schema has.
const METADATA_COLUMNS: [&str; 10] = [
    "_file",
    "_pos",
    "_deleted",
    "_spec_id",
    "_partition",
    "_row_id",
    "_last_updated_sequence_number",
    "_change_type",
    "_change_ordinal",
    "_commit_snapshot_id",
];

/// What a client wants to scan.
#[derive(Debug, Clone, Default)]
pub struct PlanRequest {
    /// The snapshot; `main`'s if none, or those of `between`.
    pub snapshot_id: Option<i64>,
    /// What was appended after the first snapshot, up to the second.
    pub between: Option<(i64, i64)>,
    /// The columns wanted; all where there are none.
    pub select: Vec<String>,
    /// What rows are wanted.
    pub filter: Option<Box<RawValue>>,
    /// Whether column names are compared as they are written.
    pub case_sensitive: bool,
    /// Whether names are those of the time when the snapshot was made.
    pub use_snapshot_schema: bool,
    /// The columns whose statistics are wanted.
    pub stats_fields: Vec<String>,
    /// Rows that are enough.
    pub min_rows: Option<i64>,
}

/// A plan.
#[derive(Debug)]
pub struct PlannedScan {
    /// Its id.
    pub plan_id: String,
    /// Its first files, and the tasks for the rest.
    pub tasks: ScanTasks,
}

/// A scan with everything that is needed to walk it.
#[derive(Debug)]
struct Bound {
    filter: Filter,
    /// How many tests the filter has.
    tests: usize,
    layouts: Vec<Layout>,
    schemas: Vec<Arc<Schema>>,
    sources: Vec<Source>,
    /// The manifests of delete files that may apply to matching files.
    deletes: Vec<ListedManifest>,
    /// What their index is known by.
    deletes_key: String,
}

/// The manifests of one snapshot.
#[derive(Debug)]
struct Source {
    /// Where the list of them is; old v1 snapshots have none, and no deletes either.
    list: Option<String>,
    manifests: Arc<Vec<ListedManifest>>,
    /// Where only what this snapshot appended is scanned.
    appended_by: Option<i64>,
}

impl Source {
    /// A snapshot that is not looked at.
    fn none(id: i64) -> Self {
        Self { list: None, manifests: Arc::default(), appended_by: Some(id) }
    }
}

impl Bound {
    fn layout(&self, spec_id: i32) -> Result<&Layout> {
        let found = self.layouts.iter().find(|layout| layout.spec_id == spec_id);
        found.ok_or_else(|| {
            Error::invalid(format!("A manifest of the table is of partition spec {spec_id}, which it has not"))
        })
    }

    /// Whether files of a manifest may match, as far as its summary says.
    fn may_match(&self, manifest: &ListedManifest) -> bool {
        let layout = self.layouts.iter().find(|layout| layout.spec_id == manifest.spec_id);
        let (Some(layout), Some(summary)) = (layout, &manifest.partitions) else { return true };
        self.filter.judge(&|leaf: &Leaf| layout.judge_summary(leaf, summary)) != Verdict::Never
    }
}

impl Catalog {
    /// Plans a scan.
    pub async fn plan_scan(&self, name: &TableName, request: PlanRequest) -> Result<PlannedScan> {
        let loaded = self.load_table(name).await?;
        let Some(scan) = scan_of(&loaded.metadata, &request)? else {
            return Ok(PlannedScan { plan_id: EMPTY_PLAN.to_owned(), tasks: ScanTasks::none() });
        };
        let task = Task::whole(scan);
        let tasks = self.walk(&loaded, &task, request.min_rows).await?;
        Ok(PlannedScan { plan_id: task.plan_id()?, tasks })
    }

    /// The result of a plan once more. It stood in the answer to [`Catalog::plan_scan`]; where the id does not say the scan,
    /// only there.
    pub async fn plan_again(&self, name: &TableName, plan_id: &str) -> Result<ScanTasks> {
        let loaded = self.load_table(name).await?;
        if plan_id == EMPTY_PLAN {
            return Ok(ScanTasks::none());
        }
        let task = Task::parse(plan_id, What::Plan)?;
        self.walk(&loaded, &task, None).await.map_err(|error| as_missing(error, What::Plan))
    }

    /// Ends a plan. Nothing is kept for one, so this only says whether the id can be one.
    pub async fn cancel_plan(&self, name: &TableName, plan_id: &str) -> Result<()> {
        self.find(name).await?;
        if plan_id == EMPTY_PLAN || task::is_hashed(plan_id) {
            return Ok(());
        }
        Task::parse(plan_id, What::Plan).map(drop)
    }

    /// The files of one part of a plan.
    pub async fn scan_tasks(&self, name: &TableName, plan_task: &str) -> Result<ScanTasks> {
        let loaded = self.load_table(name).await?;
        let task = Task::parse(plan_task, What::PlanTask)?;
        self.walk(&loaded, &task, None).await
    }

    async fn walk(&self, loaded: &Loaded, task: &Task, enough_rows: Option<i64>) -> Result<ScanTasks> {
        let bound = self.bind(&loaded.metadata, task).await?;
        Walk { manifests: &self.manifests, bound: &bound, task, enough_rows }.run().await
    }

    async fn bind(&self, metadata: &TableMetadata, task: &Task) -> Result<Bound> {
        let scan = &task.scan;
        let gone = || task::no_such(What::PlanTask, "of a snapshot or schema that the table has no more");
        if metadata.table_uuid.as_deref().unwrap_or_default() != scan.table {
            return Err(task::no_such(What::PlanTask, "of another table"));
        }
        let schema = metadata.schema(scan.schema_id).ok_or_else(gone)?;
        let filter = match &scan.filter {
            Some(text) => {
                let now = Columns::of(metadata.current_schema()?, scan.case_sensitive);
                // Engines speak of the table's columns also where they ask for the snapshot's: where the two differ, a name
                // may mean either.
                let columns = Columns::of(schema, scan.case_sensitive).agreeing_with(&now);
                filter::bind(&expression::parse(text.get())?, &columns, &bucketed(metadata))
            }
            None => Filter::Constant(true),
        };
        let mut sources = Vec::new();
        match scan.span {
            Span::At([id]) => {
                let snapshot = metadata.snapshot(id).ok_or_else(gone)?;
                sources.push(self.source(snapshot, None).await?);
            }
            Span::Between([start, end]) => {
                let last = task.to.map_or(usize::MAX, |to| to.0);
                for (at, snapshot) in appended_between(metadata, start, end).ok_or_else(gone)?.iter().enumerate() {
                    let within = (task.from.0..=last).contains(&at);
                    sources.push(if within { self.appended(snapshot).await? } else { Source::none(snapshot.id) });
                }
            }
        }
        let layouts = metadata.partition_specs.iter().map(|spec| Layout::of(spec, metadata)).collect();
        let schemas = metadata.schemas.clone();
        let tests = filter.tests();
        let mut bound =
            Bound { filter, tests, layouts, schemas, sources, deletes: Vec::new(), deletes_key: String::new() };
        bound.find_deletes();
        Ok(bound)
    }

    /// What a snapshot appended: of its manifests, those that it added.
    async fn appended(&self, snapshot: &Snapshot) -> Result<Source> {
        let all = self.source(snapshot, Some(snapshot.id)).await?;
        let added = |manifest: &&ListedManifest| manifest.added_snapshot_id.is_none_or(|added| added == snapshot.id);
        let manifests = Arc::new(all.manifests.iter().filter(added).cloned().collect());
        Ok(Source { manifests, ..all })
    }

    async fn source(&self, snapshot: &Snapshot, appended_by: Option<i64>) -> Result<Source> {
        let manifests = match &snapshot.manifest_list {
            Some(list) => self.manifests.list(list).await?,
            None => {
                let inline = snapshot.inline_manifests()?.into_iter();
                Arc::new(inline.map(|path| ListedManifest::inline(path, snapshot.id)).collect())
            }
        };
        Ok(Source { list: snapshot.manifest_list.clone(), manifests, appended_by })
    }
}

/// The id of every plan of a table without snapshots.
const EMPTY_PLAN: &str = "empty";

impl Bound {
    /// Deletes matter to a scan of one snapshot; what was appended is read as it was appended.
    fn find_deletes(&mut self) {
        let [Source { list: Some(list), manifests, appended_by: None }] = self.sources.as_slice() else { return };
        let deletes =
            manifests.iter().enumerate().filter(|(_, manifest)| manifest.deletes && manifest.live_files != Some(0));
        let kept: Vec<_> = deletes.filter(|(_, manifest)| self.may_match(manifest)).collect();
        let numbers: Vec<String> = kept.iter().map(|(number, _)| number.to_string()).collect();
        // The index knows partitions by how they are written, which changes when a column's type is widened.
        let kinds: String = self.layouts.iter().map(Layout::kinds).collect();
        let key = format!("{list} {} {kinds}", numbers.join(","));
        (self.deletes, self.deletes_key) = (kept.into_iter().map(|(_, manifest)| manifest.clone()).collect(), key);
    }
}

fn as_missing(error: Error, what: What) -> Error {
    match error.kind() {
        Kind::NotFound(What::PlanTask) => error.as_kind(Kind::NotFound(what)),
        _ => error,
    }
}

/// What a request asks for; `None` where the table has no snapshot.
fn scan_of(metadata: &TableMetadata, request: &PlanRequest) -> Result<Option<Scan>> {
    let snapshot =
        |id: i64| metadata.snapshot(id).ok_or_else(|| Error::invalid(format!("Cannot find snapshot with ID {id}")));
    let (span, last) = match (request.between, request.snapshot_id) {
        (Some((start, end)), _) => {
            let last = snapshot(end)?;
            if start == end || !metadata.is_ancestor(start, end) {
                return Err(Error::invalid(format!(
                    "Starting snapshot {start} is not an ancestor of end snapshot {end}"
                )));
            }
            (Some(Span::Between([start, end])), Some(last))
        }
        (None, Some(id)) => (Some(Span::At([id])), Some(snapshot(id)?)),
        (None, None) => {
            let current = metadata.current_snapshot();
            (current.map(|snapshot| Span::At([snapshot.id])), current)
        }
    };
    let then = last.and_then(|snapshot| metadata.schema(snapshot.schema_id?)).filter(|_| request.use_snapshot_schema);
    let schema = match then {
        Some(schema) => schema,
        None => metadata.current_schema()?,
    };
    let columns = Columns::of(schema, request.case_sensitive);
    // Engines name the table's columns also where they ask for the snapshot's schema.
    let now = Columns::of(metadata.current_schema()?, request.case_sensitive);
    let named =
        |what: &str, name: &str| columns.id(name).or_else(|| now.id(name)).ok_or_else(|| no_such_field(what, name));
    for name in &request.select {
        // `_partition` has fields of its own: `_partition.day`.
        let first = name.split('.').next().unwrap_or_default();
        if name != "*" && !METADATA_COLUMNS.iter().any(|column| column.eq_ignore_ascii_case(first)) {
            named("select", name)?;
        }
    }
    let stats = request.stats_fields.iter().map(|name| named("stats-fields", name));
    // Sorted, to be searched.
    let stats = stats.collect::<Result<BTreeSet<i32>>>()?.into_iter().collect();
    if let (None, Some(filter)) = (span, &request.filter) {
        // Nothing will be planned; what cannot be read is refused all the same.
        expression::parse(filter.get())?;
    }
    Ok(span.map(|span| Scan {
        table: metadata.table_uuid.clone().unwrap_or_default(),
        span,
        schema_id: schema.schema_id,
        filter: request.filter.clone().map(Arc::from),
        case_sensitive: request.case_sensitive,
        stats,
    }))
}

fn no_such_field(what: &str, name: &str) -> Error {
    let short: String = name.chars().take(200).collect();
    Error::invalid(format!("Cannot find field {short:?} of {what} in the table's schema"))
}

/// The snapshots after `start`, up to `end`, that only appended, oldest first; `None` where one of the two is gone.
fn appended_between(metadata: &TableMetadata, start: i64, end: i64) -> Option<Vec<Arc<Snapshot>>> {
    let mut appended = Vec::new();
    let mut next = end;
    for _ in 0..=metadata.snapshots.len() {
        if next == start {
            appended.reverse();
            return Some(appended);
        }
        let snapshot = metadata.snapshot(next)?;
        let appends =
            snapshot.summary().is_ok_and(|summary| summary.get("operation").is_none_or(|kind| kind == "append"));
        if appends {
            appended.push(Arc::clone(snapshot));
        }
        next = snapshot.parent?;
    }
    None
}

/// The columns that any spec of the table puts in buckets, and the numbers of buckets.
fn bucketed(metadata: &TableMetadata) -> Vec<(i32, u32)> {
    let fields = metadata.partition_specs.iter().flat_map(|spec| &spec.fields);
    let mut all: Vec<(i32, u32)> = fields
        .filter_map(|field| match (&field.transform, field.source.ids()) {
            (Transform::Bucket(buckets), [id]) => Some((*id, *buckets)),
            _ => None,
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}
