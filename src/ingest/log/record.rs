//! The bytes of the log: records one after the other, each with a checksum.
//!
//! ```text
//! 0   magic     u32 le
//! 4   checksum  u32 le   CRC-32 of everything behind it
//! 8   length    u64 le   of the content, without what fills it up to eight bytes
//! 16  number    u64 le   of the entry; each is larger than the one before
//! 24  durable   u64 le   how many bytes of this file were on the disk before this record was written
//! 32  content            u32 le: length of the description; the description, JSON; the rows, an Arrow IPC
//!                        stream for each table
//! ```
//!
//! A power loss may leave any of the bytes that were not yet synced, in any order. So a record that cannot be read is the
//! end of a file, unless one behind it says that it was durable: then the file is damaged, and nothing is guessed.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ingest::claims::Position;
use crate::ingest::receipt::LeftOut;
use crate::ingest::waiting::Carried;

const MAGIC: u32 = u32::from_le_bytes(*b"fblg");
const HEAD: usize = 32;

/// What an entry says beside its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ingest) struct Described {
    /// The warehouse.
    pub(in crate::ingest) warehouse: String,
    /// The table's namespace, as it is stored, and its name when the entry was written.
    pub(in crate::ingest) namespace: String,
    pub(in crate::ingest) table: String,
    /// The table's row, and its uuid.
    #[serde(default)]
    pub(in crate::ingest) table_id: String,
    pub(in crate::ingest) table_uuid: String,
    /// The schema that the rows are of.
    pub(in crate::ingest) schema_id: i32,
    /// Scope, text and fingerprint of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ingest) key: Option<(String, String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ingest) producer: Option<Position>,
    /// What the rows are to their request.
    #[serde(default, skip_serializing_if = "Carried::is_rows")]
    pub(in crate::ingest) what: Carried,
    /// Whose rows follow those of the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::ingest) beside: Vec<BesideDescribed>,
    /// Rows of the request that do not fit.
    #[serde(default, skip_serializing_if = "LeftOut::is_nothing")]
    pub(in crate::ingest) left_out: LeftOut,
}

/// Rows of another table that are to be committed in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ingest) struct BesideDescribed {
    /// Its namespace, as it is stored, and its name when the entry was written.
    pub(in crate::ingest) namespace: String,
    pub(in crate::ingest) table: String,
    /// Its row and uuid, and the schema that the rows are of.
    pub(in crate::ingest) table_id: String,
    pub(in crate::ingest) table_uuid: String,
    pub(in crate::ingest) schema_id: i32,
    pub(in crate::ingest) what: Carried,
}

/// A record as it lies in a file.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) number: u64,
    content: &'a [u8],
    /// Where the next one begins.
    pub(super) end: usize,
}

/// Adds a record to `out`, which is to be written at `start` of a file of which `durable` bytes are synced.
pub(super) fn put(
    out: &mut Vec<u8>,
    number: u64,
    durable: u64,
    described: &Described,
    rows: &[&RecordBatch],
) -> Result<()> {
    let begin = out.len();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&durable.to_le_bytes());
    let text = serde_json::to_vec(described).map_err(failed)?;
    out.extend_from_slice(&u32::try_from(text.len()).map_err(failed)?.to_le_bytes());
    out.extend_from_slice(&text);
    for rows in rows {
        let mut writer = StreamWriter::try_new(&mut *out, &rows.schema()).map_err(failed)?;
        writer.write(rows).and_then(|()| writer.finish()).map_err(failed)?;
    }
    let length = (out.len() - begin - HEAD) as u64;
    out[begin + 8..begin + 16].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32fast::hash(&out[begin + 8..]);
    out[begin + 4..begin + 8].copy_from_slice(&checksum.to_le_bytes());
    out.resize(out.len().next_multiple_of(8), 0);
    Ok(())
}

/// The records of a file, or where it is damaged.
pub(super) fn all(file: &[u8]) -> Result<Vec<Record<'_>>, usize> {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some((record, _)) = at_offset(file, at) {
        at = record.end;
        records.push(record);
    }
    let mut behind = (at + 8..file.len().saturating_sub(HEAD)).step_by(8);
    match behind.any(|offset| at_offset(file, offset).is_some_and(|(_, durable)| durable > at as u64)) {
        true => Err(at),
        false => Ok(records),
    }
}

/// The record that begins there, whole, and what it says was durable.
fn at_offset(file: &[u8], at: usize) -> Option<(Record<'_>, u64)> {
    let head = file.get(at..at + HEAD)?;
    if head[..4] != MAGIC.to_le_bytes() {
        return None;
    }
    let word = |from: usize| head[from..from + 8].try_into().map(u64::from_le_bytes).ok();
    let length = usize::try_from(word(8)?).ok()?;
    let end = (at + HEAD).checked_add(length)?;
    let checked = file.get(at + 8..end)?;
    if head[4..8] != crc32fast::hash(checked).to_le_bytes() {
        return None;
    }
    let record = Record { number: word(16)?, content: &file[at + HEAD..end], end: end.next_multiple_of(8) };
    Some((record, word(24)?))
}

impl Record<'_> {
    /// What it says of its rows.
    pub(super) fn described(&self) -> Result<Described> {
        serde_json::from_slice(self.parts()?.0).map_err(failed)
    }

    /// Its rows: those of its table, then those of each beside it.
    pub(super) fn rows(&self) -> Result<Vec<RecordBatch>> {
        let (mut rest, mut rows) = (self.parts()?.1, Vec::with_capacity(1));
        while !rest.is_empty() {
            let reader = StreamReader::try_new(&mut rest, None).map_err(failed)?;
            let schema = reader.schema();
            let batches = reader.collect::<Result<Vec<RecordBatch>, _>>().map_err(failed)?;
            rows.push(concat_batches(&schema, &batches).map_err(failed)?);
        }
        Ok(rows)
    }

    fn parts(&self) -> Result<(&[u8], &[u8])> {
        let cut = || Error::internal("A record of the log is too short");
        let (length, rest) = self.content.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(failed)?;
        rest.split_at_checked(length).ok_or_else(cut)
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::internal("An entry of the log cannot be written or read").because(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn rows(values: &[i64]) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(values.to_vec()))]).expect("rows")
    }

    fn described(table: &str) -> Described {
        Described {
            warehouse: "w".to_owned(),
            namespace: "ns".to_owned(),
            table: table.to_owned(),
            table_id: "r".to_owned(),
            table_uuid: "u".to_owned(),
            schema_id: 3,
            key: Some(("s".to_owned(), "k".to_owned(), "f".to_owned())),
            producer: None,
            what: Default::default(),
            beside: Vec::new(),
            left_out: LeftOut::default(),
        }
    }

    /// Three records, each written when those before it were durable, and where they begin.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let (mut file, mut starts) = (Vec::new(), Vec::new());
        for (number, value) in [(1, 1), (2, 2), (3, 3)] {
            starts.push(file.len());
            let durable = file.len() as u64;
            put(&mut file, number, durable, &described(&format!("t{number}")), &[&rows(&[value; 5])]).expect("put");
        }
        (file, starts)
    }

    fn numbers(file: &[u8]) -> Result<Vec<u64>, usize> {
        all(file).map(|records| records.iter().map(|record| record.number).collect())
    }

    #[test]
    fn what_was_put_is_read() {
        let (mut bytes, _) = file();
        bytes.resize(bytes.len() + 4_096, 0);
        let records = all(&bytes).expect("whole");
        assert_eq!(records.iter().map(|record| record.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(records[1].described().expect("read"), described("t2"));
        assert_eq!(records[2].rows().expect("read"), [rows(&[3; 5])]);
        let mut several = Vec::new();
        put(&mut several, 1, 0, &described("t"), &[&rows(&[1]), &rows(&[2, 3])]).expect("put");
        assert_eq!(all(&several).expect("whole")[0].rows().expect("read"), [rows(&[1]), rows(&[2, 3])]);
    }

    #[test]
    fn every_torn_tail_is_an_end() {
        let (bytes, starts) = file();
        for cut in 0..bytes.len() {
            let whole = starts.iter().skip(1).chain([&bytes.len()]).filter(|end| **end <= cut).count();
            let filling = 8;
            let read = numbers(&bytes[..cut]).expect("an end").len();
            assert!(
                read == whole
                    || (read == whole + 1 && cut + filling > starts.get(read).copied().unwrap_or(bytes.len())),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_record_that_was_durable_and_cannot_be_read_is_damage() {
        let (bytes, starts) = file();
        for at in 0..starts[2] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let begin = starts.iter().copied().filter(|start| *start <= at).max().expect("one");
            match numbers(&damaged) {
                Err(offset) => assert_eq!(offset, begin, "{at}"),
                // What fills up a record is nobody's.
                Ok(all) => assert_eq!(all, [1, 2, 3], "{at}"),
            }
        }
        let mut torn = bytes.clone();
        torn[starts[2] + 40] ^= 1;
        assert_eq!(numbers(&torn), Ok(vec![1, 2]), "nothing says that the last was ever durable");
    }
}
