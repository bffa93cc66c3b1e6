//! Files as clients read them: `DataFile` and `DeleteFile` of the REST specification.
//!
//! Three clients read them, each with habits of its own: kinds and formats are in lower case, bounds are the hexadecimal
//! digits of their binary form, a partition has exactly as many values as its spec, and statistics are sent only for the
//! columns that were asked for.

use std::io::Write;

use crate::catalog::loaded::quoted;
use crate::catalog::metadata::single_value::to_hex;
use crate::snapshot::entries::{Content, Count, Entry, Side};
use crate::snapshot::list::ListedManifest;

/// Writes a data file.
pub(super) fn write_data(
    out: &mut Vec<u8>,
    entry: &Entry<'_>,
    manifest: &ListedManifest,
    partition: &str,
    stats: &[i32],
) {
    write_common(out, entry, "data", manifest.spec_id, partition);
    if let Some(id) = entry.first_row_id(manifest) {
        put(out, format_args!(",\"first-row-id\":{id}"));
    }
    for (name, count) in [
        ("column-sizes", Count::Sizes),
        ("value-counts", Count::Values),
        ("null-value-counts", Count::Nulls),
        ("nan-value-counts", Count::Nans),
    ] {
        let known = entry.counts(count).into_iter().flatten();
        write_map(
            out,
            name,
            known.filter(|(id, _)| stats.binary_search(id).is_ok()).map(|(id, count)| (id, count.to_string())),
        );
    }
    for (name, side) in [("lower-bounds", Side::Lower), ("upper-bounds", Side::Upper)] {
        let known = entry.bounds(side).into_iter().flatten();
        let wanted = known.filter(|(id, _)| stats.binary_search(id).is_ok());
        write_map(out, name, wanted.map(|(id, bytes)| (id, format!("\"{}\"", to_hex(bytes)))));
    }
    out.push(b'}');
}

/// Writes a delete file.
pub(super) fn write_delete(out: &mut Vec<u8>, entry: &Entry<'_>, spec_id: i32, partition: &str) {
    let equality = entry.content() == Content::EqualityDeletes;
    let content = if equality { "equality-deletes" } else { "position-deletes" };
    write_common(out, entry, content, spec_id, partition);
    if equality {
        write_list(out, "equality-ids", entry.equality_ids());
    }
    if let Some((start, length)) = entry.content_range() {
        put(out, format_args!(",\"content-offset\":{start},\"content-size-in-bytes\":{length}"));
    }
    // Not in the specification, but Java's client finds a vector's file by it.
    if let Some(path) = entry.referenced_data_file() {
        put(out, format_args!(",\"referenced-data-file\":{}", quoted(path)));
    }
    out.push(b'}');
}

fn write_common(out: &mut Vec<u8>, entry: &Entry<'_>, content: &str, spec_id: i32, partition: &str) {
    let (path, format) = (quoted(entry.path()), quoted(&entry.format().to_ascii_lowercase()));
    put(out, format_args!("{{\"content\":\"{content}\",\"file-path\":{path},\"file-format\":{format}"));
    put(out, format_args!(",\"spec-id\":{spec_id},\"partition\":{partition}"));
    let (size, records) = (entry.size(), entry.record_count());
    put(out, format_args!(",\"file-size-in-bytes\":{size},\"record-count\":{records}"));
    if let Some(key) = entry.key_metadata() {
        put(out, format_args!(",\"key-metadata\":\"{}\"", to_hex(key)));
    }
    write_list(out, "split-offsets", entry.split_offsets());
    if let Some(order) = entry.sort_order_id() {
        put(out, format_args!(",\"sort-order-id\":{order}"));
    }
}

fn write_list<T: std::fmt::Display>(out: &mut Vec<u8>, name: &str, numbers: Option<&[T]>) {
    let Some(numbers) = numbers else { return };
    put(out, format_args!(",\"{name}\":["));
    for (at, number) in numbers.iter().enumerate() {
        put(out, format_args!("{}{number}", if at == 0 { "" } else { "," }));
    }
    out.push(b']');
}

/// A `CountMap` or `ValueMap`, where it is not empty.
fn write_map(out: &mut Vec<u8>, name: &str, pairs: impl Iterator<Item = (i32, String)>) {
    let (keys, values): (Vec<_>, Vec<_>) = pairs.map(|(id, value)| (id.to_string(), value)).unzip();
    if !keys.is_empty() {
        put(out, format_args!(",\"{name}\":{{\"keys\":[{}],\"values\":[{}]}}", keys.join(","), values.join(",")));
    }
}

/// Writing to memory cannot fail.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    drop(out.write_fmt(text));
}
