//! The shapes of scan planning on the wire, as the REST specification names them.
//!
//! Answers are written by `catalog/plan`, byte for byte as these say: a plan may list thousands of files, which never exist
//! as values of these types.

use indexmap::IndexMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::wire::StorageCredential;

/// `Predicate`: true, false, or an object in either grammar of the specification.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is the shape of what is written elsewhere")]
pub(crate) enum Predicate {
    /// Every row, or none.
    Constant(bool),
    /// A test, or several joined.
    Expression(IndexMap<String, serde_json::Value>),
}

/// `PrimitiveTypeValue`
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is the shape of what is written elsewhere")]
pub(crate) enum PartitionValue {
    /// A boolean.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// Anything else, as text.
    Text(String),
}

/// `CountMap`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountMap {
    /// Ids of columns.
    keys: Vec<i32>,
    /// Their counts.
    values: Vec<i64>,
}

/// `ValueMap`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValueMap {
    /// Ids of columns.
    keys: Vec<i32>,
    /// Their bounds: hexadecimal digits of the binary form of single values.
    values: Vec<String>,
}

/// `DataFile`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DataFile {
    /// `data`
    content: String,
    /// Where it is.
    file_path: String,
    /// `parquet`, `orc` or `avro`
    file_format: String,
    /// Its partition spec.
    spec_id: i32,
    /// One value, or null, for each field of the spec.
    partition: Vec<Option<PartitionValue>>,
    /// Its size.
    file_size_in_bytes: i64,
    /// Its rows.
    record_count: i64,
    /// What decrypts it, in hexadecimal digits.
    #[schema(nullable = false)]
    key_metadata: Option<String>,
    /// Where it may be split.
    #[schema(nullable = false)]
    split_offsets: Option<Vec<i64>>,
    /// The order of its rows.
    #[schema(nullable = false)]
    sort_order_id: Option<i32>,
    /// The id of its first row (v3).
    #[schema(nullable = false)]
    first_row_id: Option<i64>,
    /// Bytes of each column.
    #[schema(nullable = false)]
    column_sizes: Option<CountMap>,
    /// Values of each column, nulls and NaN among them.
    #[schema(nullable = false)]
    value_counts: Option<CountMap>,
    /// Nulls of each column.
    #[schema(nullable = false)]
    null_value_counts: Option<CountMap>,
    /// NaN of each column.
    #[schema(nullable = false)]
    nan_value_counts: Option<CountMap>,
    /// Lower bounds of each column.
    #[schema(nullable = false)]
    lower_bounds: Option<ValueMap>,
    /// Upper bounds of each column.
    #[schema(nullable = false)]
    upper_bounds: Option<ValueMap>,
}

/// `DeleteFile`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DeleteFile {
    /// `position-deletes` or `equality-deletes`
    content: String,
    /// Where it is.
    file_path: String,
    /// `parquet`, `orc`, `avro`, or `puffin` for a deletion vector
    file_format: String,
    /// Its partition spec.
    spec_id: i32,
    /// One value, or null, for each field of the spec.
    partition: Vec<Option<PartitionValue>>,
    /// Its size.
    file_size_in_bytes: i64,
    /// Its records.
    record_count: i64,
    /// What decrypts it, in hexadecimal digits.
    #[schema(nullable = false)]
    key_metadata: Option<String>,
    /// Where it may be split.
    #[schema(nullable = false)]
    split_offsets: Option<Vec<i64>>,
    /// The order of its rows.
    #[schema(nullable = false)]
    sort_order_id: Option<i32>,
    /// The columns that an equality delete compares.
    #[schema(nullable = false)]
    equality_ids: Option<Vec<i32>>,
    /// Where a deletion vector begins in its file.
    #[schema(nullable = false)]
    content_offset: Option<i64>,
    /// How long it is.
    #[schema(nullable = false)]
    content_size_in_bytes: Option<i64>,
    /// The data file whose rows a deletion vector deletes.
    #[schema(nullable = false)]
    referenced_data_file: Option<String>,
}

/// `FileScanTask`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct FileScanTask {
    /// The file.
    data_file: DataFile,
    /// Its deletes, by their place in `delete-files`.
    #[schema(nullable = false)]
    delete_file_references: Option<Vec<u32>>,
    /// What rows of it are wanted.
    residual_filter: Predicate,
}

/// `FetchScanTasksResult`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct FetchScanTasksResult {
    /// The tasks for the rest, in no order.
    plan_tasks: Vec<String>,
    /// The files.
    file_scan_tasks: Vec<FileScanTask>,
    /// The deletes that files name.
    #[schema(nullable = false)]
    delete_files: Option<Vec<DeleteFile>>,
}

/// `CompletedPlanningResult`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CompletedPlanningResult {
    /// `completed`
    status: String,
    /// The tasks for the rest, in no order.
    plan_tasks: Vec<String>,
    /// The first files.
    file_scan_tasks: Vec<FileScanTask>,
    /// The deletes that files name.
    #[schema(nullable = false)]
    delete_files: Option<Vec<DeleteFile>>,
    /// Keys to read the files with, for who asks for keys.
    #[schema(nullable = false)]
    storage_credentials: Option<Vec<StorageCredential>>,
}

/// `CompletedPlanningWithIDResult`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CompletedPlanningWithIDResult {
    /// `completed`
    status: String,
    /// The plan's id.
    plan_id: String,
    /// The tasks for the rest, in no order.
    plan_tasks: Vec<String>,
    /// The first files.
    file_scan_tasks: Vec<FileScanTask>,
    /// The deletes that files name.
    #[schema(nullable = false)]
    delete_files: Option<Vec<DeleteFile>>,
    /// Keys to read the files with, for who asks for keys.
    #[schema(nullable = false)]
    storage_credentials: Option<Vec<StorageCredential>>,
}
