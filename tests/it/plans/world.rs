//! Random tables: what is in each file is known, the files themselves are never written.
//!
//! Manifests and manifest lists are written with the `iceberg` crate, whose transforms give the partitions: what the
//! planner does with them is compared with something that is not its own.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FormatVersion, Literal, ManifestFile,
    ManifestWriterBuilder, PartitionSpecRef, SchemaRef, Struct, TableMetadata, Transform,
};
use iceberg::transform::create_transform_function;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{Server, append};

/// A row: for each column a place in its domain, or null.
pub type Row = Vec<Option<usize>>;

/// The field id of the paths in position deletes.
const DELETED_PATH: i32 = 2_147_483_546;

/// Random numbers that are the same for the same seed.
#[derive(Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// A number below this one.
    pub fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % most as u64).expect("small")
    }

    /// Whether something happens that does once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// A column and every value that rows have in it.
#[derive(Debug)]
pub struct Column {
    pub id: i32,
    pub name: String,
    pub kind: &'static str,
    pub domain: Vec<(Value, Datum)>,
    /// How many of the domain can be literals; NaN cannot.
    pub literals: usize,
}

fn column(id: i32, kind: &'static str, domain: Vec<(Value, Datum)>) -> Column {
    let literals = domain.iter().filter(|(json, _)| !json.is_null()).count();
    Column { id, name: format!("c{id}"), kind, domain, literals }
}

/// The columns of every table; those with nanoseconds only in v3.
pub fn columns(version: u8) -> Vec<Column> {
    let ints = [-11, -10, -1, 0, 9, 10, 34];
    let days = [("1969-12-31", -1), ("1970-01-01", 0), ("2020-02-29", 18_321), ("2024-01-01", 19_723)];
    let moments = [
        "1969-12-31T23:30:00.000000",
        "1970-01-01T00:00:00.000000",
        "2020-02-29T12:00:00.000000",
        "2020-02-29T12:59:59.999999",
        "2024-01-01T00:00:00.000000",
    ];
    let texts = ["", "a", "ab", "abc", "abd", "b", "éa", "zz"];
    let uuids = [
        "00000000-0000-4000-8000-000000000001",
        "7fffffff-0000-4000-8000-000000000001",
        "80000000-0000-4000-8000-000000000000",
    ];
    let mut doubles: Vec<(Value, Datum)> = [-1.5, 0.0, 2.5].map(|real| (json!(real), Datum::double(real))).into();
    doubles.push((Value::Null, Datum::double(f64::NAN)));
    let mut all = vec![
        column(1, "boolean", [false, true].map(|flag| (json!(flag), Datum::bool(flag))).into()),
        column(2, "int", ints.map(|number| (json!(number), Datum::int(number))).into()),
        column(3, "long", ints.map(|number| (json!(number), Datum::long(number))).into()),
        column(4, "double", doubles),
        column(5, "date", days.map(|(text, day)| (json!(text), Datum::date(day))).into()),
        column(
            6,
            "timestamp",
            moments.map(|text| (json!(text), Datum::timestamp_from_str(text).expect("a time"))).into(),
        ),
        column(
            7,
            "timestamptz",
            moments
                .map(|text| {
                    (
                        json!(format!("{text}+00:00")),
                        Datum::timestamptz_from_str(format!("{text}+00:00")).expect("a time"),
                    )
                })
                .into(),
        ),
        column(8, "string", texts.map(|text| (json!(text), Datum::string(text))).into()),
        column(9, "uuid", uuids.map(|text| (json!(text), Datum::uuid(Uuid::parse_str(text).expect("a uuid")))).into()),
        column(
            10,
            "binary",
            [("", &b""[..]), ("00", b"\0"), ("00FF", b"\0\xff"), ("FF", b"\xff")]
                .map(|(hex, bytes)| (json!(hex), Datum::binary(bytes.to_vec())))
                .into(),
        ),
    ];
    if version == 3 {
        let nanos = [-1_i64, 0, 1, 3_600_000_000_000, 1_582_977_600_000_000_001];
        let text = |nanos: i64| {
            let moment = chrono::DateTime::from_timestamp_nanos(nanos).naive_utc();
            json!(moment.format("%Y-%m-%dT%H:%M:%S%.9f").to_string())
        };
        all.push(column(11, "timestamp_ns", nanos.map(|number| (text(number), Datum::timestamp_nanos(number))).into()));
    }
    all
}

/// A file, and what is in it.
#[derive(Debug)]
pub struct File {
    pub path: String,
    pub spec: i32,
    pub partition: Struct,
    pub sequence: i64,
    pub rows: Vec<Row>,
    /// Whether its statistics say exactly what its rows are.
    pub exact: bool,
}

/// What a delete file deletes.
#[derive(Debug)]
pub enum Deletes {
    /// Rows of these files.
    Positions { of: Vec<String>, one: bool },
    /// Rows of this file, in a vector.
    Vector(String),
    /// Rows that have the same values in these columns.
    Values { columns: Vec<usize>, rows: Vec<Row> },
}

/// A delete file.
#[derive(Debug)]
pub struct DeleteFile {
    pub file: File,
    pub deletes: Deletes,
}

/// A table in which everything is known.
pub struct World {
    pub name: String,
    pub columns: Vec<Column>,
    pub files: Vec<File>,
    pub deletes: Vec<DeleteFile>,
    /// The specs without fields.
    pub unpartitioned: Vec<i32>,
    /// The columns that a spec is made from.
    pub sources: Vec<usize>,
    version: u8,
    location: String,
    metadata: TableMetadata,
    manifests: Vec<ManifestFile>,
    snapshot: i64,
    numbers: usize,
}

fn transform(chance: &mut Chance, kind: &str) -> String {
    let bucket = ["bucket[3]", "bucket[16]"][chance.below(2)];
    let usual: &[&str] = match kind {
        "boolean" | "double" => &["identity"],
        "int" | "long" => &["identity", bucket, "truncate[10]"],
        "date" => &["identity", bucket, "year", "month", "day"],
        "timestamp" | "timestamptz" | "timestamp_ns" => &["identity", bucket, "year", "month", "day", "hour"],
        "string" => &["identity", bucket, "truncate[2]"],
        // The crate does not cut binary values.
        "uuid" | "binary" => &["identity", bucket],
        other => panic!("{other}"),
    };
    usual[chance.below(usual.len())].to_owned()
}

fn spec(chance: &mut Chance, columns: &[Column], id: i32) -> Value {
    let fields = (0..chance.below(3)).map(|at| {
        let column = &columns[chance.below(columns.len())];
        let transform = transform(chance, column.kind);
        json!({"name": format!("p{id}_{at}"), "source-id": column.id, "transform": transform})
    });
    json!({"spec-id": id, "fields": fields.collect::<Vec<_>>()})
}

impl World {
    /// A random table with files of several specs.
    pub async fn new(server: &Server, name: &str, chance: &mut Chance) -> Self {
        let version = 2 + u8::try_from(chance.below(2)).expect("small");
        let columns = columns(version);
        let fields: Vec<Value> = columns
            .iter()
            .map(|column| json!({"id": column.id, "name": column.name, "required": false, "type": column.kind}))
            .collect();
        let first = spec(chance, &columns, 0);
        let body = json!({"name": name, "schema": {"type": "struct", "schema-id": 0, "fields": fields},
            "partition-spec": first, "properties": {"format-version": version.to_string()}});
        let made = server.post("/v1/namespaces/ns/tables", &body).await.expect(200).json();
        let mut world = Self {
            name: name.to_owned(),
            columns,
            files: Vec::new(),
            deletes: Vec::new(),
            unpartitioned: Vec::new(),
            sources: Vec::new(),
            version,
            location: made["metadata"]["location"].as_str().expect("a location").to_owned(),
            metadata: serde_json::from_value(made["metadata"].clone()).expect("metadata"),
            manifests: Vec::new(),
            snapshot: 0,
            numbers: 0,
        };
        for step in 0..4 {
            if step == 2 {
                world.evolve(server, chance).await;
            }
            world.step(server, chance).await;
        }
        for spec in world.metadata.partition_specs_iter() {
            if spec.fields().is_empty() {
                world.unpartitioned.push(spec.spec_id());
            }
            let place = |id: i32| world.columns.iter().position(|column| column.id == id);
            world.sources.extend(spec.fields().iter().filter_map(|field| place(field.source_id)));
        }
        world
    }

    async fn evolve(&mut self, server: &Server, chance: &mut Chance) {
        let next = spec(chance, &self.columns, 1);
        let updates = json!([{"action": "add-spec", "spec": next}, {"action": "set-default-spec", "spec-id": -1}]);
        let answer = server.commit(&self.name, json!([]), updates).await;
        if answer.status == 200 {
            self.metadata = serde_json::from_value(answer.json()["metadata"].clone()).expect("metadata");
        }
    }

    /// One commit: files of each spec, and deletes.
    async fn step(&mut self, server: &Server, chance: &mut Chance) {
        let sequence = self.snapshot + 1;
        let specs: Vec<PartitionSpecRef> = self.metadata.partition_specs_iter().cloned().collect();
        for spec in &specs {
            if chance.one_in(3) && specs.len() > 1 {
                continue;
            }
            let files: Vec<File> = (0..=chance.below(4)).map(|_| self.file(chance, spec, sequence)).collect();
            let written = files.iter().map(|file| self.data_file(chance, file)).collect();
            self.files.extend(files);
            self.write_manifest(spec, sequence, written, false).await;
            let deletes: Vec<DeleteFile> =
                (0..chance.below(4)).filter_map(|_| self.delete(chance, spec, sequence)).collect();
            if !deletes.is_empty() {
                let written = deletes.iter().map(|delete| self.delete_file(chance, delete)).collect();
                self.deletes.extend(deletes);
                self.write_manifest(spec, sequence, written, true).await;
            }
        }
        self.commit(server, sequence).await;
    }

    /// A location that no file has yet.
    fn fresh(&mut self, folder: &str, end: &str) -> String {
        self.numbers += 1;
        format!("{}/{folder}/{:04}-{end}", self.location, self.numbers)
    }

    fn row(&self, chance: &mut Chance) -> Row {
        self.columns.iter().map(|column| (!chance.one_in(6)).then(|| chance.below(column.domain.len()))).collect()
    }

    fn file(&mut self, chance: &mut Chance, spec: &PartitionSpecRef, sequence: i64) -> File {
        let mut rows = vec![self.row(chance)];
        let partition = self.partition(spec, &rows[0]);
        for _ in 0..chance.below(12) {
            let row = self.row(chance);
            if self.partition(spec, &row) == partition && rows.len() < 4 {
                rows.push(row);
            }
        }
        let path = self.fresh("data", "rows.parquet");
        File { path, spec: spec.spec_id(), partition, sequence, rows, exact: chance.one_in(2) }
    }

    fn partition(&self, spec: &PartitionSpecRef, row: &Row) -> Struct {
        let values = spec.fields().iter().map(|field| {
            let at = self.columns.iter().position(|column| column.id == field.source_id).expect("a column");
            let datum = &self.columns[at].domain[row[at]?].1;
            let made = match field.transform {
                Transform::Identity => Some(datum.clone()),
                other => {
                    create_transform_function(&other).expect("a function").transform_literal(datum).expect("a value")
                }
            };
            made.map(Literal::from)
        });
        Struct::from_iter(values.collect::<Vec<_>>())
    }

    fn delete(&mut self, chance: &mut Chance, spec: &PartitionSpecRef, sequence: i64) -> Option<DeleteFile> {
        let targets: Vec<&File> = self.files.iter().filter(|file| file.spec == spec.spec_id()).collect();
        let target = targets.get(chance.below(targets.len().max(1)))?;
        let (partition, target_path) = (target.partition.clone(), target.path.clone());
        let deletes = match chance.below(4) {
            0 => {
                let mut of: Vec<String> =
                    targets.iter().filter(|file| file.partition == partition).map(|file| file.path.clone()).collect();
                of.retain(|_| !chance.one_in(3));
                Deletes::Positions { of, one: false }
            }
            1 => Deletes::Positions { of: vec![target_path], one: true },
            2 if self.version == 3 => {
                let has =
                    |delete: &DeleteFile| matches!(&delete.deletes, Deletes::Vector(path) if *path == target_path);
                if self.deletes.iter().any(has) {
                    return None;
                }
                Deletes::Vector(target_path)
            }
            _ => {
                let columns = vec![chance.below(self.columns.len()), chance.below(self.columns.len())];
                let like = target.rows[0].clone();
                let rows = vec![if chance.one_in(2) { like } else { self.row(chance) }];
                Deletes::Values { columns, rows }
            }
        };
        let path = self.fresh("data", "deletes.parquet");
        Some(DeleteFile {
            file: File { path, spec: spec.spec_id(), partition, sequence, rows: Vec::new(), exact: false },
            deletes,
        })
    }

    /// The manifest entry of a file; statistics are left out or made coarser at random.
    fn data_file(&self, chance: &mut Chance, file: &File) -> DataFile {
        let mut builder = DataFileBuilder::default();
        self.statistics(chance, &mut builder, &file.rows, file.exact);
        common(&mut builder, file, DataContentType::Data, file.rows.len());
        builder.build().expect("a data file")
    }

    fn statistics(&self, chance: &mut Chance, builder: &mut DataFileBuilder, rows: &[Row], exact: bool) {
        let (mut lower, mut upper) = (HashMap::new(), HashMap::new());
        let (mut values, mut nulls, mut nans) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (at, column) in self.columns.iter().enumerate() {
            if !exact && chance.one_in(3) {
                continue;
            }
            let cells: Vec<Option<&(Value, Datum)>> =
                rows.iter().map(|row| row[at].map(|at| &column.domain[at])).collect();
            let count = |found: usize| found as u64;
            values.insert(column.id, count(cells.len()));
            nulls.insert(column.id, count(cells.iter().filter(|cell| cell.is_none()).count()));
            let nan = |cell: &&Option<&(Value, Datum)>| cell.is_some_and(|(json, _)| json.is_null());
            if column.kind == "double" {
                nans.insert(column.id, count(cells.iter().filter(nan).count()));
            }
            let mut data: Vec<&Datum> =
                cells.iter().flatten().filter(|(json, _)| !json.is_null()).map(|(_, datum)| datum).collect();
            data.sort_by(|a, b| a.partial_cmp(b).expect("comparable"));
            if let (Some(least), Some(most)) = (data.first(), data.last()) {
                lower.insert(column.id, (*least).clone());
                upper.insert(column.id, (*most).clone());
            }
        }
        builder
            .lower_bounds(lower)
            .upper_bounds(upper)
            .value_counts(values)
            .null_value_counts(nulls)
            .nan_value_counts(nans);
    }

    fn delete_file(&self, chance: &mut Chance, delete: &DeleteFile) -> DataFile {
        let mut builder = DataFileBuilder::default();
        let bounds = |of: &[String]| {
            let mut sorted: Vec<&String> = of.iter().collect();
            sorted.sort();
            let end = |path: Option<&&String>| {
                path.map(|path| (DELETED_PATH, Datum::string(path.as_str()))).into_iter().collect()
            };
            (end(sorted.first()), end(sorted.last()))
        };
        match &delete.deletes {
            Deletes::Positions { of, one } => {
                if *one && chance.one_in(2) {
                    builder.referenced_data_file(Some(of[0].clone()));
                } else if *one || chance.one_in(2) {
                    let (lower, upper): (HashMap<_, _>, HashMap<_, _>) = bounds(of);
                    builder.lower_bounds(lower).upper_bounds(upper);
                }
                common(&mut builder, &delete.file, DataContentType::PositionDeletes, of.len());
            }
            Deletes::Vector(of) => {
                builder.referenced_data_file(Some(of.clone())).content_offset(Some(4)).content_size_in_bytes(Some(40));
                common(&mut builder, &delete.file, DataContentType::PositionDeletes, 1);
                builder.file_format(DataFileFormat::Puffin);
            }
            Deletes::Values { columns, rows } => {
                let ids = columns.iter().map(|at| self.columns[*at].id).collect();
                let exact = chance.one_in(2);
                self.statistics(chance, &mut builder, rows, exact);
                builder.equality_ids(Some(ids));
                common(&mut builder, &delete.file, DataContentType::EqualityDeletes, rows.len());
            }
        }
        builder.build().expect("a delete file")
    }

    async fn write_manifest(&mut self, spec: &PartitionSpecRef, sequence: i64, files: Vec<DataFile>, deletes: bool) {
        let schema: SchemaRef = Arc::clone(self.metadata.current_schema());
        let path = self.fresh("metadata", "m.avro");
        let memory = FileIO::new_with_memory();
        let output = memory.new_output("memory:///m.avro").expect("a file");
        let builder = ManifestWriterBuilder::new(output, Some(sequence), schema, spec.as_ref().clone());
        let mut writer = match (self.version, deletes) {
            (2, false) => builder.build_v2_data(),
            (2, true) => builder.build_v2_deletes(),
            (_, false) => builder.build_v3_data(),
            (_, true) => builder.build_v3_deletes(),
        };
        for file in files {
            writer.add_file(file, -1).expect("added");
        }
        let mut manifest = writer.write_manifest_file().await.expect("written");
        let bytes = memory.new_input("memory:///m.avro").expect("a file").read().await.expect("bytes");
        std::fs::write(path.trim_start_matches("file://"), bytes).expect("written");
        manifest.manifest_path = path;
        self.manifests.push(manifest);
    }

    async fn commit(&mut self, server: &Server, sequence: i64) {
        use floeberg::snapshot::manifest::{ListOf, write_list};
        let version = if self.version == 2 { FormatVersion::V2 } else { FormatVersion::V3 };
        let (snapshot_id, parent) = (sequence, (self.snapshot > 0).then_some(self.snapshot));
        let next_row_id = self.metadata.next_row_id();
        let of = ListOf { version, snapshot_id, parent, sequence_number: sequence, next_row_id };
        let list = write_list(of, self.manifests.clone()).await.expect("a list");
        let path = format!("{}/metadata/snap-{snapshot_id}.avro", self.location);
        std::fs::write(path.trim_start_matches("file://"), &list.bytes).expect("written");
        let mut snapshot = json!({"snapshot-id": snapshot_id, "sequence-number": sequence,
            "timestamp-ms": 1_900_000_000_000_i64 + sequence, "manifest-list": path,
            "summary": {"operation": "append"}, "schema-id": 0});
        if let Some(parent) = parent {
            snapshot["parent-snapshot-id"] = json!(parent);
        }
        if let Some(next) = list.next_row_id {
            snapshot["first-row-id"] = json!(next_row_id);
            snapshot["added-rows"] = json!(next - next_row_id);
        }
        let answer = server.commit(&self.name, json!([]), append(&snapshot)).await.expect(200).json();
        self.metadata = serde_json::from_value(answer["metadata"].clone()).expect("metadata");
        // What was given out when the list was written stays with the manifests.
        let text = std::fs::read(path.trim_start_matches("file://")).expect("the list");
        self.manifests = floeberg::snapshot::manifest::read_list(&text, version).expect("a list");
        self.snapshot = snapshot_id;
    }
}

fn common(builder: &mut DataFileBuilder, file: &File, content: DataContentType, records: usize) {
    builder
        .content(content)
        .file_path(file.path.clone())
        .file_format(DataFileFormat::Parquet)
        .partition(file.partition.clone())
        .partition_spec_id(file.spec)
        .record_count(records as u64)
        .file_size_in_bytes(1_000);
}
