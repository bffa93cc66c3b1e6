//! Where a data file goes (CONTRACT §4).

use indexmap::IndexMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::catalog::properties;
use crate::clock;
use crate::names::{fnv1a_32, fnv1a_64};

/// What stands for itself in a folder's name.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*');

/// Longest value of a partition in a folder's name; longer ones are cut and hashed.
const VALUE_BYTES_MAX: usize = 100;

/// A name or value fit for a folder's name: it never holds a slash, and with `name=` before it is never `..`.
pub(super) fn encode(text: &str) -> String {
    let encoded = utf8_percent_encode(text, PLAIN).to_string();
    if encoded.len() <= VALUE_BYTES_MAX {
        return encoded;
    }
    let hash = fnv1a_64(text.bytes());
    let mut cut = encoded;
    cut.truncate(VALUE_BYTES_MAX - 20);
    // A cut may have split an escape.
    if let Some(at) = cut.rfind('%').filter(|at| cut.len() - at < 3) {
        cut.truncate(at);
    }
    format!("{cut}-{hash:016x}")
}

/// The location of the `index`th data file of a flush.
pub(super) fn data_file(
    location: &str,
    properties: &IndexMap<String, String>,
    folders: &[String],
    index: usize,
) -> String {
    let given = |key: &str| properties.get(key).map(|path| path.trim_end_matches('/').to_owned());
    let base = given("write.data.path");
    let name = format!("{index:05}-{}.parquet", clock::new_uuid());
    let inner = if folders.is_empty() { name } else { format!("{}/{name}", folders.join("/")) };
    if !properties::flag(properties, "write.object-storage.enabled", false) {
        return format!("{}/{inner}", base.unwrap_or_else(|| format!("{location}/data")));
    }
    let base = base
        .or_else(|| given("write.object-storage.path"))
        .or_else(|| given("write.folder-storage.path"))
        .unwrap_or_else(|| format!("{location}/data"));
    let hash = spread(&inner);
    if properties::flag(properties, "write.object-storage.partitioned-paths", true) {
        return format!("{base}/{hash}/{inner}");
    }
    // Without folders for the partitions the hash is part of the name.
    let name = inner.rsplit('/').next().unwrap_or(&inner);
    format!("{base}/{}-{name}", hash.replace('/', ""))
}

/// Twenty bits of a hash as folders, `0110/1001/1010/11110011`, so that a store spreads the objects over its servers.
fn spread(text: &str) -> String {
    let hash = fnv1a_32(text.bytes());
    let bits = format!("{:020b}", hash >> 12);
    format!("{}/{}/{}/{}", &bits[..4], &bits[4..8], &bits[8..12], &bits[12..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_never_leave_their_folder() {
        for value in ["../../x", "a/b", "..", "", "é", "100%", "a b", &"x".repeat(300), &"é".repeat(100)] {
            let encoded = encode(value);
            assert!(!encoded.contains('/') && encoded.len() <= VALUE_BYTES_MAX, "{encoded}");
        }
        assert_ne!(encode(&"x".repeat(300)), encode(&"x".repeat(301)));
        assert_eq!(encode("2024-01-01"), "2024-01-01");
    }

    #[test]
    fn files_go_where_the_table_says() {
        let folders = ["day=2024-01-01".to_owned()];
        let mut properties = IndexMap::new();
        let plain = data_file("s3://b/t", &properties, &folders, 3);
        assert!(plain.starts_with("s3://b/t/data/day=2024-01-01/00003-") && plain.ends_with(".parquet"), "{plain}");
        properties.insert("write.object-storage.enabled".to_owned(), "true".to_owned());
        let spread = data_file("s3://b/t", &properties, &folders, 0);
        let parts: Vec<&str> = spread.strip_prefix("s3://b/t/data/").expect("below").split('/').collect();
        assert_eq!((parts.len(), parts[0].len(), parts[3].len(), parts[4]), (6, 4, 8, "day=2024-01-01"), "{spread}");
        properties.insert("write.object-storage.partitioned-paths".to_owned(), "false".to_owned());
        properties.insert("write.data.path".to_owned(), "s3://b/elsewhere/".to_owned());
        let flat = data_file("s3://b/t", &properties, &folders, 0);
        assert_eq!(flat.strip_prefix("s3://b/elsewhere/").expect("below").matches('/').count(), 0, "{flat}");
    }
}
