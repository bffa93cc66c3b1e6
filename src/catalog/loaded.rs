//! Tables in memory: parsed metadata beside the bytes that answer a `loadTable`.
//!
//! A metadata file never changes, so an entry is known by the file's location and never stale. The answer's bytes are
//! put together once (`{"metadata-location":…,"metadata":…,"config":…}`, the file's own text in the middle) and handed
//! out as they are; the compressed form and the one with referenced snapshots only are made when first asked for. The
//! cache is bounded in bytes.

use std::any::Any;
use std::io::Write;
use std::num::NonZero;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use moka::sync::Cache;
use serde_json::value::RawValue;

use super::metadata::TableMetadata;
use super::place;
use crate::error::{Error, Result};
use crate::lake::Warehouse;
use crate::limits;
use crate::names::{Tabular, fnv1a_64};

/// Which snapshots a reader wants to see (`?snapshots=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Snapshots {
    /// Every one.
    #[default]
    All,
    /// Those that a branch or tag points at.
    Refs,
}

/// A body, and its compressed form once somebody asked for it.
#[derive(Debug)]
pub struct Body {
    plain: Bytes,
    gzip: OnceLock<Option<Bytes>>,
}

impl Body {
    /// The body as it is.
    pub fn plain(&self) -> Bytes {
        self.plain.clone()
    }

    /// The body compressed, where that is worth it.
    pub fn gzip(&self) -> Option<Bytes> {
        if self.plain.len() < limits::COMPRESS_FROM_BYTES {
            return None;
        }
        self.gzip.get_or_init(|| gzip(&self.plain).ok().map(Bytes::from)).clone()
    }
}

/// Compresses with gzip, quickly.
pub fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// A table's metadata and everything that is answered from it.
#[derive(Debug)]
pub struct Loaded {
    /// The metadata.
    pub metadata: TableMetadata,
    /// The file it is from; `None` for a table that is only staged.
    pub metadata_location: Option<Arc<str>>,
    /// The same as a path of this machine, if it is one.
    local: Option<PathBuf>,
    config: Arc<str>,
    etags: [String; 2],
    all: Body,
    /// Where the metadata ends inside the body.
    metadata_end: usize,
    refs: OnceLock<Body>,
    locations: OnceLock<Vec<String>>,
    worked_out: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Loaded {
    /// Metadata and the answer that holds its text.
    fn new(
        metadata: TableMetadata,
        file: Option<(Arc<str>, Option<PathBuf>)>,
        answer: &Spliced,
        config: Arc<str>,
    ) -> Self {
        let (metadata_location, local) = file.map_or((None, None), |(location, local)| (Some(location), local));
        let hash = hash_of(&[metadata_location.as_deref().unwrap_or_default().as_bytes(), config.as_bytes()]);
        let etags = ["all", "refs"].map(|mode| format!("\"{hash:016x}-{mode}\""));
        let (all, metadata_end) = (answer.body(), answer.metadata.end);
        let (refs, locations, worked_out) = Default::default();
        Self { metadata, metadata_location, local, config, etags, all, metadata_end, refs, locations, worked_out }
    }

    /// What somebody works out of the metadata, done once and kept as long as the metadata is. There is room for one kind
    /// of thing; any other is worked out each time.
    pub fn worked_out<T: Any + Send + Sync>(&self, work_out: impl FnOnce(&TableMetadata) -> T) -> Arc<T> {
        if let Some(Ok(known)) = self.worked_out.get().map(|known| Arc::clone(known).downcast()) {
            return known;
        }
        let made = Arc::new(work_out(&self.metadata));
        // Of two at once one is kept; both are the same.
        self.worked_out.get_or_init(|| Arc::<T>::clone(&made));
        made
    }

    /// Where the table's files are: its own location first, those that its properties name, and those that it was at when
    /// its metadata files and snapshots were made. None is inside another.
    pub fn locations(&self) -> &[String] {
        self.locations.get_or_init(|| {
            let metadata = &self.metadata;
            let named = place::NAMED_BY.iter().filter_map(|key| metadata.properties.get(*key)).map(String::as_str);
            let logged = metadata.metadata_log.iter().map(|entry| &*entry.metadata_file);
            let listed = metadata.snapshots.iter().filter_map(|snapshot| snapshot.manifest_list.as_deref());
            let files = self.metadata_location.as_deref().into_iter().chain(logged).chain(listed);
            let folders = files.filter_map(|file| file.rsplit_once('/')).map(|(folder, _)| folder);
            let roots = folders.map(|folder| folder.strip_suffix("/metadata").unwrap_or(folder));
            let mut known: Vec<String> = Vec::new();
            for location in [metadata.location.as_str()].into_iter().chain(named).chain(roots) {
                let location = location.trim_end_matches('/');
                let within = |root: &String| {
                    location.strip_prefix(root.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                if known.len() < limits::TABLE_LOCATIONS_MAX && !known.iter().any(within) {
                    known.push(location.to_owned());
                }
            }
            known
        })
    }

    /// Bytes of the metadata's text, about.
    pub(super) fn text_bytes(&self) -> usize {
        self.metadata_end
    }

    /// Whether the file is still where it was, as far as that can be seen without asking over a network: somebody may
    /// have moved a local one away by hand.
    pub(super) fn still_there(&self) -> bool {
        self.local.as_ref().is_none_or(|path| std::fs::symlink_metadata(path).is_ok_and(|file| file.is_file()))
    }

    /// The body of a `LoadTableResult`.
    pub fn body(&self, snapshots: Snapshots) -> &Body {
        match snapshots {
            Snapshots::All => &self.all,
            Snapshots::Refs => self.refs.get_or_init(|| self.make_refs()),
        }
    }

    /// The body of a `LoadTableResult` up to `,"config":`, for an answer that configures more.
    pub fn body_before_config(&self, snapshots: Snapshots) -> Bytes {
        let whole = &self.body(snapshots).plain;
        whole.slice(..whole.len() - CONFIG_KEY.len() - self.config.len() - 1)
    }

    /// The body of a `CommitTableResponse`, in two parts.
    pub fn commit_body(&self) -> [Bytes; 2] {
        [self.all.plain.slice(..self.metadata_end), Bytes::from_static(b"}")]
    }

    fn make_refs(&self) -> Body {
        let less = self.metadata.with_referenced_snapshots();
        let location = self.metadata_location.as_deref();
        let written = Spliced::around(location, &self.config, 4_096, |body| less.write_json(body));
        match written {
            Ok(written) if less.snapshots.len() < self.metadata.snapshots.len() => written.body(),
            _ => Body { plain: self.all.plain.clone(), gzip: OnceLock::new() },
        }
    }

    /// The entity tag of the body, quoted. It changes with the metadata file, with what is left out, and with what
    /// clients are told to configure.
    pub fn etag(&self, snapshots: Snapshots) -> &str {
        match snapshots {
            Snapshots::All => &self.etags[0],
            Snapshots::Refs => &self.etags[1],
        }
    }

    fn weight(&self) -> u32 {
        let bytes = self.all.plain.len() * 2 + self.metadata.weight() + 500;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

const LOCATION_KEY: &str = "\"metadata-location\":";
const METADATA_KEY: &str = "\"metadata\":";
const CONFIG_KEY: &str = ",\"config\":";

/// A whole answer, with the metadata's own text in the middle of it.
#[derive(Debug, Clone)]
pub(super) struct Spliced {
    body: Bytes,
    metadata: Range<usize>,
}

impl Spliced {
    /// An answer around the text that `write` adds, which is likely to have so many bytes.
    pub(super) fn around(
        location: Option<&str>,
        config: &str,
        likely: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<Self> {
        let mut body = Vec::with_capacity(likely + config.len() + 400);
        body.push(b'{');
        if let Some(location) = location {
            body.extend_from_slice(LOCATION_KEY.as_bytes());
            body.extend_from_slice(quoted(location).as_bytes());
            body.push(b',');
        }
        body.extend_from_slice(METADATA_KEY.as_bytes());
        let start = body.len();
        write(&mut body)?;
        let metadata = start..body.len();
        body.extend_from_slice(CONFIG_KEY.as_bytes());
        body.extend_from_slice(config.as_bytes());
        body.push(b'}');
        Ok(Self { body: body.into(), metadata })
    }

    /// An answer around a text that is there.
    pub(super) fn of(location: Option<&str>, config: &str, text: &[u8]) -> Result<Self> {
        Self::around(location, config, text.len(), |body| {
            body.extend_from_slice(text);
            Ok(())
        })
    }

    /// The metadata's own text.
    pub(super) fn text(&self) -> Bytes {
        self.body.slice(self.metadata.clone())
    }

    /// The whole answer.
    pub(super) fn body(&self) -> Body {
        Body { plain: self.body.clone(), gzip: OnceLock::new() }
    }
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A stable hash of several parts, each ended by a byte that no text holds.
pub(super) fn hash_of(parts: &[&[u8]]) -> u64 {
    fnv1a_64(parts.iter().flat_map(|part| part.iter().copied().chain(std::iter::once(0xff))))
}

/// Metadata kept by the location of its file. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct MetadataCache {
    entries: Cache<Arc<str>, Arc<Loaded>>,
    warehouse: Warehouse,
    config: Arc<str>,
}

impl MetadataCache {
    /// An empty cache whose answers carry what the warehouse's clients must know.
    pub(super) fn new(warehouse: Warehouse, of: NonZero<u64>) -> Self {
        let entries = Cache::builder()
            .max_capacity(limits::METADATA_CACHE_BYTES / of)
            .weigher(|_: &Arc<str>, loaded: &Arc<Loaded>| loaded.weight())
            .build();
        let config = serde_json::to_string(warehouse.client_config()).unwrap_or_else(|_| "{}".to_owned());
        Self { entries, warehouse, config: config.into() }
    }

    /// What is known of this file.
    pub(super) fn get(&self, location: &Arc<str>) -> Option<Arc<Loaded>> {
        self.entries.get(location)
    }

    /// Forgets a file that no pointer names any more: nobody will ask for it, and its memory is wanted for the next.
    pub(super) fn forget(&self, location: &str) {
        self.entries.invalidate(location);
    }

    /// What answers about a new file are made of: the metadata's text is written straight into its place.
    pub(super) fn splice(&self, location: &str, metadata: &TableMetadata, likely: usize) -> Result<Spliced> {
        Spliced::around(Some(location), &self.config, likely, |body| metadata.write_json(body))
    }

    /// Keeps a file's metadata and its text.
    pub(super) fn put(&self, location: &Arc<str>, metadata: TableMetadata, text: &[u8]) -> Result<Arc<Loaded>> {
        Ok(self.put_spliced(location, metadata, &Spliced::of(Some(location), &self.config, text)?))
    }

    /// Keeps a file's metadata and the answer made of it.
    pub(super) fn put_spliced(&self, location: &Arc<str>, metadata: TableMetadata, answer: &Spliced) -> Arc<Loaded> {
        let file = (Arc::clone(location), self.warehouse.local_path(location));
        let loaded = Arc::new(Loaded::new(metadata, Some(file), answer, Arc::clone(&self.config)));
        self.entries.insert(Arc::clone(location), Arc::clone(&loaded));
        loaded
    }

    /// A table that is only staged; it is not kept.
    pub(super) fn staged(&self, metadata: TableMetadata) -> Result<Arc<Loaded>> {
        let answer = Spliced::around(None, &self.config, 4_096, |body| metadata.write_json(body))?;
        Ok(Arc::new(Loaded::new(metadata, None, &answer, Arc::clone(&self.config))))
    }
}

/// The text of a table's metadata file, decompressed where it is compressed, and parsed.
pub(crate) fn parse_file(location: &str, bytes: &[u8]) -> Result<(TableMetadata, Vec<u8>)> {
    parse_file_of(Tabular::Table, location, bytes, TableMetadata::parse)
}

/// The text of a metadata file of this kind, and what `parse` makes of it.
pub(super) fn parse_file_of<T>(
    kind: Tabular,
    location: &str,
    bytes: &[u8],
    parse: impl FnOnce(&str) -> Result<T>,
) -> Result<(T, Vec<u8>)> {
    let not_metadata = |error: Error| {
        let (kind, why) = (kind.as_str(), error.message());
        Error::invalid(format!("File {location} is not {kind} metadata: {why}")).because(error)
    };
    let text = plain_text(bytes).map_err(not_metadata)?;
    let utf8 = std::str::from_utf8(&text).map_err(|_| not_metadata(Error::malformed("it is not UTF-8 text")))?;
    let metadata = parse(utf8).map_err(not_metadata)?;
    // Checked as a whole: members that nothing else reads must be valid JSON too, because they are handed on.
    let _: &RawValue = serde_json::from_str(utf8).map_err(|_| not_metadata(Error::malformed("it is not JSON")))?;
    Ok((metadata, text))
}

fn plain_text(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Read;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes.to_vec());
    }
    let mut text = Vec::new();
    let most = limits::METADATA_FILE_BYTES_MAX;
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes).take(most + 1);
    decoder.read_to_end(&mut text).map_err(|error| Error::malformed("its gzip data is damaged").because(error))?;
    if text.len() as u64 > most {
        return Err(Error::malformed(format!("it has more than {most} bytes when decompressed")));
    }
    Ok(text)
}
