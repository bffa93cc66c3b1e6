//! Avro's container of blocks ("Object Container Files" of its specification), taken apart and checked.
//!
//! The decoder trusts what it is given. So every block's place, size, end and decompressed size are checked here, and that
//! its records end where it does; the decoder gets one block that holds all records. A file that was cut off, or whose sizes
//! are made up, is refused before anything is decoded or allocated for it.

use std::io::{Cursor, Read};

use arrow_avro::compression::CompressionCodec;
use arrow_avro::reader::read_header_info;

use super::avro_shape::Shape;

/// The records of a file, as they are encoded.
#[derive(Debug)]
pub(crate) struct Records {
    /// The schema they were written with.
    pub(crate) schema: String,
    /// How many there are.
    pub(crate) count: usize,
    data: Vec<u8>,
}

/// Why a file cannot be read.
pub(crate) type Refused = &'static str;

const SYNC_BYTES: usize = 16;

/// Why a file is refused that has more bytes than it may.
pub(crate) const TOO_LARGE: Refused = "it is too large when decompressed";

impl Records {
    /// Takes a file apart whose records have no more than `most` bytes in all.
    pub(crate) fn of(file: &[u8], most: u64) -> Result<Self, Refused> {
        let header = read_header_info(Cursor::new(file)).map_err(|_| "it is not Avro")?;
        let schema = header.writer_schema().map_err(|_| "it has no schema")?.json_string;
        let record = Shape::of(&schema)?;
        let codec = header.compression().map_err(|_| "its compression is not known")?;
        let start = usize::try_from(header.header_len()).unwrap_or(usize::MAX);
        let mut rest = file.get(start..).ok_or("its header is cut off")?;
        let (mut count, mut data) = (0_usize, Vec::new());
        while !rest.is_empty() {
            let (records, bytes) = (size(&mut rest)?, size(&mut rest)?);
            let block = take(&mut rest, bytes)?;
            if take(&mut rest, SYNC_BYTES)? != header.sync() {
                return Err("a block does not end where it says");
            }
            let before = data.len();
            inflate(codec, block, &mut data, most)?;
            check_block(&record, records, &data[before..])?;
            count = count.checked_add(records).ok_or("it has too many records")?;
        }
        Ok(Self { schema, count, data })
    }

    /// Bytes that they take.
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// The same records as a file of one block, not compressed.
    pub(crate) fn to_file(&self) -> Vec<u8> {
        let sync = [0; SYNC_BYTES];
        let mut file = Vec::with_capacity(self.data.len() + self.schema.len() + 100);
        file.extend_from_slice(b"Obj\x01");
        put_number(&mut file, 1);
        put_bytes(&mut file, b"avro.schema");
        put_bytes(&mut file, self.schema.as_bytes());
        put_number(&mut file, 0);
        file.extend_from_slice(&sync);
        if self.count > 0 {
            put_number(&mut file, self.count);
            put_bytes(&mut file, &self.data);
            file.extend_from_slice(&sync);
        }
        file
    }
}

/// Refuses a block that has another number of records than it says.
fn check_block(record: &Shape, records: usize, mut data: &[u8]) -> Result<(), Refused> {
    // No record is empty.
    let another = "a block says that it has another number of records";
    if records > data.len() {
        return Err(another);
    }
    for _ in 0..records {
        record.skip(&mut data)?;
    }
    if data.is_empty() { Ok(()) } else { Err(another) }
}

/// So many bytes.
pub(super) fn take<'a>(rest: &mut &'a [u8], size: usize) -> Result<&'a [u8], Refused> {
    let (taken, after) = rest.split_at_checked(size).ok_or("it is cut off")?;
    *rest = after;
    Ok(taken)
}

/// A number that is not negative, in the variable-length form.
pub(super) fn size(rest: &mut &[u8]) -> Result<usize, Refused> {
    usize::try_from(number(rest)?).map_err(|_| "a number in it is negative")
}

/// A number in the variable-length form, positive and negative ones by turns.
pub(super) fn number(rest: &mut &[u8]) -> Result<i64, Refused> {
    let mut bits = 0_u64;
    for at in 0..10 {
        let byte = take(rest, 1)?[0];
        bits |= u64::from(byte & 0x7f) << (at * 7);
        if byte & 0x80 == 0 {
            return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
        }
    }
    Err("a number in it is too large")
}

fn put_number(file: &mut Vec<u8>, number: usize) {
    let mut bits = (number as u64) << 1;
    while bits >= 0x80 {
        file.push((bits & 0x7f) as u8 | 0x80);
        bits >>= 7;
    }
    file.push((bits & 0x7f) as u8);
}

fn put_bytes(file: &mut Vec<u8>, bytes: &[u8]) {
    put_number(file, bytes.len());
    file.extend_from_slice(bytes);
}

fn inflate(codec: Option<CompressionCodec>, block: &[u8], data: &mut Vec<u8>, most: u64) -> Result<(), Refused> {
    let room = most.saturating_sub(data.len() as u64);
    let before = data.len() as u64;
    let read = |reader: &mut dyn Read, data: &mut Vec<u8>| {
        reader.take(room + 1).read_to_end(data).map(drop).map_err(|_| "a block's compressed data is damaged")
    };
    match codec {
        None if block.len() as u64 > room => return Err(TOO_LARGE),
        None => data.extend_from_slice(block),
        Some(CompressionCodec::Deflate) => read(&mut flate2::read::DeflateDecoder::new(block), data)?,
        Some(CompressionCodec::ZStandard) => {
            let mut decoder = zstd::Decoder::new(block).map_err(|_| "a block's compressed data is damaged")?;
            read(&mut decoder, data)?;
        }
        Some(CompressionCodec::Snappy) => {
            // A checksum follows.
            let length = block.len().checked_sub(4).ok_or("a block is cut off")?;
            let size =
                snap::raw::decompress_len(&block[..length]).map_err(|_| "a block's compressed data is damaged")?;
            if size as u64 > room {
                return Err(TOO_LARGE);
            }
            let plain = snap::raw::Decoder::new().decompress_vec(&block[..length]);
            data.extend_from_slice(&plain.map_err(|_| "a block's compressed data is damaged")?);
        }
        Some(_) => return Err("its compression is not supported"),
    }
    if data.len() as u64 - before > room { Err(TOO_LARGE) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use apache_avro::types::Record;
    use apache_avro::{Codec, Schema, Writer};

    use super::*;
    use crate::limits::MANIFEST_DECODED_BYTES_MAX as MOST;
    use crate::snapshot::entries;

    const SCHEMA: &str = r#"{"type":"record","name":"e","fields":[{"name":"data_file","type":
        {"type":"record","name":"r2","fields":[{"name":"file_path","type":"string"}]}}]}"#;

    fn file(records: usize) -> Vec<u8> {
        let schema = Schema::parse_str(SCHEMA).expect("a schema");
        let mut writer = Writer::with_codec(&schema, Vec::new(), Codec::Deflate(Default::default()));
        for number in 0..records {
            let path = apache_avro::types::Value::String(format!("file:///{number}"));
            let inner = apache_avro::types::Value::Record(vec![("file_path".to_owned(), path)]);
            let mut record = Record::new(&schema).expect("a record");
            record.put("data_file", inner);
            writer.append(record).expect("fits");
            if number % 100 == 99 {
                writer.flush().expect("flushed");
            }
        }
        writer.into_inner().expect("written")
    }

    #[test]
    fn blocks_are_joined() {
        for records in [0, 1, 250] {
            let paths = entries::files_of(&file(records)).expect("a manifest");
            assert_eq!(paths.len(), records);
            assert_eq!(paths.last().cloned(), records.checked_sub(1).map(|last| format!("file:///{last}")));
        }
    }

    #[test]
    fn whatever_is_damaged_is_refused() {
        let whole = file(250);
        // Cut off anywhere but after a block, it is no shorter file.
        for length in (0..whole.len()).step_by(7) {
            let (cut, ends) = (&whole[..length], Records::of(&whole[..length], MOST));
            assert!(ends.is_err() || ends.is_ok_and(|ends| ends.count % 100 == 0), "{length} of {}", cut.len());
        }
        // Whatever a byte is changed to, it is an answer and no panic.
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 0x55;
            drop(entries::files_of(&other));
        }
        let header =
            usize::try_from(read_header_info(Cursor::new(&whole[..])).expect("a header").header_len()).expect("small");
        let huge = |bytes: &[u8]| Records::of(&[&whole[..header], bytes].concat(), MOST).expect_err("refused");
        assert_eq!(huge(&[2, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7e]), "it is cut off");
        assert_eq!(huge(&[3, 0]), "a number in it is negative");
        assert_eq!(huge(&[0xff; 12]), "a number in it is too large");
        // The decoder would look for more of the two for ever, or for a third.
        let two = Records::of(&file(2), MOST).expect("records");
        for count in [0, 1, 3] {
            let other = Records { schema: two.schema.clone(), count, data: two.data.clone() };
            assert_eq!(Records::of(&other.to_file(), MOST).is_err(), count > 0, "{count} of 2");
        }
    }
}
