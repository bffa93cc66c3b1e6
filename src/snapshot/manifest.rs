//! Manifests and manifest lists, to and from Avro bytes.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::io::{FileIO, FileWrite};
use iceberg::spec::{
    DataFile, DataFileBuilder, FormatVersion, Manifest, ManifestFile, ManifestList, ManifestListWriter,
    ManifestWriterBuilder, PartitionSpec, SchemaRef, UNASSIGNED_SEQUENCE_NUMBER,
};

use crate::error::{Error, Kind, Result};

/// What every manifest of one spec is written with.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The table's format version.
    pub version: FormatVersion,
    /// The table's current schema.
    pub schema: SchemaRef,
    /// The spec of the files.
    pub spec: PartitionSpec,
}

/// A file that a manifest carries over from an earlier one.
#[derive(Debug, Clone)]
pub struct Carried {
    /// The file, with its row ids made explicit.
    pub file: DataFile,
    /// The snapshot that added it.
    pub snapshot_id: i64,
    /// Its data sequence number.
    pub sequence_number: i64,
    /// The sequence number of the commit that added the file itself.
    pub file_sequence_number: Option<i64>,
}

/// What a manifest holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Files that its snapshot adds.
    pub(super) added: Vec<DataFile>,
    /// Files that were there before and stay.
    pub(super) carried: Vec<Carried>,
    /// Files that its snapshot takes out.
    pub(super) deleted: Vec<Carried>,
}

/// Writes a manifest of files added by `snapshot_id` and files carried over. Sequence numbers of added files are left to
/// be inherited, so the manifest stays good when the commit has to be tried again.
pub async fn write_manifest(
    layout: &Layout,
    location: &str,
    snapshot_id: i64,
    added: Vec<DataFile>,
    carried: Vec<Carried>,
) -> Result<(ManifestFile, Bytes)> {
    write(layout, location, snapshot_id, Contents { added, carried, deleted: Vec::new() }).await
}

/// Writes a manifest of `snapshot_id`.
pub(super) async fn write(
    layout: &Layout,
    location: &str,
    snapshot_id: i64,
    Contents { added, carried, deleted }: Contents,
) -> Result<(ManifestFile, Bytes)> {
    let failed = |error: iceberg::Error| Error::internal("A manifest cannot be written").because(error);
    // The crate's writer wants a file to write to: one in memory, read back at once.
    let memory = FileIO::new_with_memory();
    let output = memory.new_output("memory:///manifest.avro").map_err(failed)?;
    let (schema, spec) = (Arc::clone(&layout.schema), layout.spec.clone());
    let builder = ManifestWriterBuilder::new(output, Some(snapshot_id), schema, spec);
    let mut writer = match layout.version {
        FormatVersion::V1 => builder.build_v1(),
        FormatVersion::V2 => builder.build_v2_data(),
        FormatVersion::V3 => builder.build_v3_data(),
    };
    for file in added {
        writer.add_file(file, -1).map_err(failed)?;
    }
    for one in carried {
        writer
            .add_existing_file(one.file, one.snapshot_id, one.sequence_number, one.file_sequence_number)
            .map_err(failed)?;
    }
    for one in deleted {
        writer.add_delete_file(one.file, one.sequence_number, one.file_sequence_number).map_err(failed)?;
    }
    let mut manifest = writer.write_manifest_file().await.map_err(failed)?;
    let input = memory.new_input("memory:///manifest.avro").map_err(failed)?;
    let bytes = input.read().await.map_err(failed)?;
    location.clone_into(&mut manifest.manifest_path);
    Ok((manifest, bytes))
}

/// A manifest list and what it gave out.
#[derive(Debug)]
pub struct WrittenList {
    /// Its Avro bytes.
    pub bytes: Bytes,
    /// The first row id not given out (v3).
    pub next_row_id: Option<u64>,
}

/// What a manifest list says of its snapshot.
#[derive(Debug, Clone, Copy)]
pub struct ListOf {
    /// The table's format version.
    pub version: FormatVersion,
    /// The snapshot.
    pub snapshot_id: i64,
    /// The snapshot it was made from.
    pub parent: Option<i64>,
    /// The snapshot's sequence number; 0 in v1.
    pub sequence_number: i64,
    /// The first row id not given out (v3).
    pub next_row_id: u64,
}

/// Writes a manifest list; sequence numbers and first row ids that are still open are given out here.
pub async fn write_list(of: ListOf, manifests: Vec<ManifestFile>) -> Result<WrittenList> {
    let failed = |error: iceberg::Error| Error::internal("A manifest list cannot be written").because(error);
    let ListOf { version, snapshot_id, parent, sequence_number, next_row_id } = of;
    let sink = Sink::default();
    let output = Box::new(sink.clone());
    let mut writer = match version {
        FormatVersion::V1 => ManifestListWriter::v1(output, snapshot_id, parent),
        FormatVersion::V2 => ManifestListWriter::v2(output, snapshot_id, parent, sequence_number),
        FormatVersion::V3 => ManifestListWriter::v3(output, snapshot_id, parent, sequence_number, Some(next_row_id)),
    };
    writer.add_manifests(manifests.into_iter()).map_err(failed)?;
    let next_row_id = writer.next_row_id();
    writer.close().await.map_err(failed)?;
    Ok(WrittenList { bytes: sink.bytes(), next_row_id })
}

/// What reading a list of these manifests will say, where that can be told beforehand: in v2.
pub fn as_listed(of: ListOf, manifests: &[ManifestFile]) -> Option<Vec<ManifestFile>> {
    if of.version != FormatVersion::V2 {
        return None;
    }
    let given_out = |number: i64| if number == UNASSIGNED_SEQUENCE_NUMBER { of.sequence_number } else { number };
    let listed = |manifest: &ManifestFile| ManifestFile {
        sequence_number: given_out(manifest.sequence_number),
        min_sequence_number: given_out(manifest.min_sequence_number),
        ..manifest.clone()
    };
    Some(manifests.iter().map(listed).collect())
}

/// Reads a manifest list.
pub fn read_list(bytes: &[u8], version: FormatVersion) -> Result<Vec<ManifestFile>> {
    // Upgraded tables have lists of earlier versions; the newest reader that takes a list is the right one.
    let versions = [FormatVersion::V3, FormatVersion::V2, FormatVersion::V1];
    let at_most = versions.iter().skip_while(|other| **other != version);
    let mut last = None;
    for version in at_most {
        match ManifestList::parse_with_version(bytes, *version) {
            Ok(list) => return Ok(list.consume_entries().into_iter().collect()),
            Err(error) => last = Some(error),
        }
    }
    let error = Error::new(Kind::Invalid, "A manifest list of the table cannot be read");
    Err(last.map_or_else(|| Error::internal("No format version"), |source| error.because(source)))
}

/// The live files of a manifest, with what they inherit from it made explicit.
pub fn carried_files(manifest: &ManifestFile, bytes: &[u8]) -> Result<Vec<Carried>> {
    let damaged =
        |error| Error::new(Kind::Invalid, format!("Manifest {} cannot be read", manifest.manifest_path)).because(error);
    let parsed = Manifest::parse_avro(bytes).map_err(damaged)?;
    let mut row_ids = RowIds::of(manifest);
    // Deleted files take no row ids: readers count live ones only.
    let alive = parsed.entries().iter().filter(|entry| entry.is_alive());
    let carried = alive.map(|entry| {
        let inherited = manifest.sequence_number;
        Ok(Carried {
            file: row_ids.give(entry.data_file())?,
            snapshot_id: entry.snapshot_id().unwrap_or(manifest.added_snapshot_id),
            sequence_number: entry.sequence_number().unwrap_or(inherited),
            file_sequence_number: Some(entry.file_sequence_number.unwrap_or(inherited)),
        })
    });
    carried.collect()
}

/// The same of a manifest that lists nothing but these files, all added by its own snapshot.
pub fn carried_as_added(manifest: &ManifestFile, added: &[DataFile]) -> Result<Vec<Carried>> {
    let mut row_ids = RowIds::of(manifest);
    let carried = added.iter().map(|file| {
        Ok(Carried {
            file: row_ids.give(file)?,
            snapshot_id: manifest.added_snapshot_id,
            sequence_number: manifest.sequence_number,
            file_sequence_number: Some(manifest.sequence_number),
        })
    });
    carried.collect()
}

/// The row ids that files inherit from their manifest, one after the other (v3).
struct RowIds {
    next: Option<i64>,
}

impl RowIds {
    fn of(manifest: &ManifestFile) -> Self {
        Self { next: manifest.first_row_id.and_then(|id| i64::try_from(id).ok()) }
    }

    /// The file with a row id of its own.
    fn give(&mut self, file: &DataFile) -> Result<DataFile> {
        let own = file.first_row_id().or(self.next);
        if file.first_row_id().is_none()
            && let Some(next) = &mut self.next
        {
            *next += i64::try_from(file.record_count()).unwrap_or(0);
        }
        with_row_id(file, own)
    }
}

/// The same file with a row id of its own: the crate's files cannot be changed, only built.
fn with_row_id(file: &DataFile, first_row_id: Option<i64>) -> Result<DataFile> {
    if file.first_row_id() == first_row_id {
        return Ok(file.clone());
    }
    let mut builder = DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(file.partition().clone())
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(file.lower_bounds().clone())
        .upper_bounds(file.upper_bounds().clone())
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .equality_ids(file.equality_ids())
        .first_row_id(first_row_id);
    if let Some(order) = file.sort_order_id() {
        builder.sort_order_id(order);
    }
    builder.build().map_err(|error| Error::internal("A data file cannot be carried over").because(error))
}

/// A file in memory.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn bytes(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

#[async_trait]
impl FileWrite for Sink {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{
        DataContentType, DataFileFormat, Literal, NestedField, PrimitiveType, Schema, Struct, Transform, Type,
    };

    use super::*;

    #[tokio::test]
    async fn what_a_list_will_say_is_known_beforehand() {
        let field = NestedField::optional(1, "a", Type::Primitive(PrimitiveType::Long));
        let schema: SchemaRef = Schema::builder().with_fields([Arc::new(field)]).build().expect("a schema").into();
        let spec = PartitionSpec::builder(Arc::clone(&schema)).add_partition_field("a", "a", Transform::Identity);
        let layout =
            Layout { version: FormatVersion::V2, schema, spec: spec.expect("a field").build().expect("a spec") };
        let mut file = DataFileBuilder::default();
        file.content(DataContentType::Data).file_path("f".to_owned()).file_format(DataFileFormat::Parquet);
        file.partition(Struct::from_iter([Some(Literal::long(7))])).record_count(3).file_size_in_bytes(9);
        let added = vec![file.build().expect("a file")];
        let (own, bytes) = write_manifest(&layout, "m1", 5, added.clone(), Vec::new()).await.expect("written");
        let listed = ManifestFile { sequence_number: 7, first_row_id: Some(100), ..own.clone() };
        let (read, known) = (carried_files(&listed, &bytes), carried_as_added(&listed, &added));
        assert_eq!(format!("{:?}", read.expect("read")), format!("{:?}", known.expect("known")));
        let older = ManifestFile {
            manifest_path: "m0".to_owned(),
            sequence_number: 2,
            min_sequence_number: 1,
            added_snapshot_id: 4,
            ..own.clone()
        };
        let of =
            ListOf { version: FormatVersion::V2, snapshot_id: 5, parent: Some(4), sequence_number: 3, next_row_id: 0 };
        let told = as_listed(of, &[own.clone(), older.clone()]).expect("told");
        let list = write_list(of, vec![own, older]).await.expect("written");
        assert_eq!(told, read_list(&list.bytes, FormatVersion::V2).expect("read"));
        assert_eq!((told[0].sequence_number, told[1].sequence_number), (3, 2));
    }
}
