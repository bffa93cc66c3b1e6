//! An Arrow IPC stream → columns of the table's schema, batch by batch as they arrive.
//!
//! A message is gathered in one piece of memory, as long as it says that it is, before it is decoded: its columns are copied
//! once, where they were received, and stay there.

use arrow::buffer::{Buffer, MutableBuffer};
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::root_as_message;

use super::columns::Shape;
use super::decode::{Decoded, Reading, guarded, not_readable};
use super::sink::Sink;
use crate::error::{Error, Result};

const WHAT: &str = "Arrow IPC stream (buffers are not compressed: use Content-Encoding)";

/// Bytes that are set aside for a message at its word; for more, they must have come.
const TRUSTED_BYTES: usize = 16 << 20;

/// Bytes of whole messages that are worth a turn of a thread that computes.
const WORTH_BYTES: usize = 2 << 20;

/// Reads one stream.
pub(super) struct IpcReader {
    decoder: StreamDecoder,
    columns: Sink,
    /// The message that is arriving, and how long it is, as far as is known.
    message: MutableBuffer,
    length: usize,
    /// Those that are whole and were not decoded, and their bytes.
    whole: Vec<Buffer>,
    owed: usize,
}

impl IpcReader {
    /// A reader of rows for a schema.
    pub(super) fn new(shape: &Shape, reading: Reading) -> Result<Self> {
        Ok(Self {
            decoder: StreamDecoder::new(),
            columns: Sink::new(shape, reading)?,
            message: MutableBuffer::new(0),
            length: length_of(&[])?,
            whole: Vec::new(),
            owed: 0,
        })
    }

    /// Gathers more of the stream: a copy, and no more, of what is [little](Self::gathers).
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.length - self.message.len()));
            self.message.extend_from_slice(now);
            bytes = later;
            if self.message.len() < self.length {
                continue;
            }
            let length = length_of(&self.message)?;
            if length == self.length {
                self.take_whole()?;
                continue;
            }
            self.length = length;
            self.message.reserve(length.min(TRUSTED_BYTES).saturating_sub(self.message.len()));
        }
        Ok(())
    }

    /// Whether what comes next is copied once at most: it has a place.
    pub(super) fn gathers(&self) -> bool {
        self.length <= TRUSTED_BYTES
    }

    /// Whether enough messages are whole to decode them.
    pub(super) fn is_worth_decoding(&self) -> bool {
        self.owed >= WORTH_BYTES
    }

    fn take_whole(&mut self) -> Result<()> {
        self.owed += self.message.len();
        self.whole.push(std::mem::replace(&mut self.message, MutableBuffer::new(0)).into());
        self.length = length_of(&[])?;
        Ok(())
    }

    /// Decodes the messages that are whole.
    pub(super) fn decode(&mut self) -> Result<()> {
        self.owed = 0;
        for mut message in std::mem::take(&mut self.whole) {
            while !message.is_empty() {
                let decoder = &mut self.decoder;
                let read = guarded(WHAT, || decoder.decode(&mut message).map_err(unreadable))?;
                if let Some(batch) = read {
                    self.columns.take(batch)?;
                }
            }
        }
        Ok(())
    }

    /// What came of the whole. A stream that is cut off is refused.
    pub(super) fn finish(mut self) -> Result<Decoded> {
        self.take_whole()?;
        self.decode()?;
        self.decoder.finish().map_err(unreadable)?;
        self.columns.finish()
    }
}

/// How long a message is, as far as what has come of it says: `[FF FF FF FF] <length> <description> <body>`, where a length of
/// nothing ends the stream (the Arrow columnar format, "Encapsulated message format").
fn length_of(come: &[u8]) -> Result<usize> {
    const MARK: &[u8] = &[0xFF; 4];
    let before = if come.starts_with(MARK) { MARK.len() } else { 0 };
    let Some(length) = come[before..].first_chunk::<4>() else { return Ok(before + 4) };
    let described = before + 4 + u32::from_le_bytes(*length) as usize;
    if come.len() < described || described == before + 4 {
        return Ok(described);
    }
    let message = root_as_message(&come[before + 4..described]);
    let message = message.map_err(|error| not_readable(WHAT).because(error.to_string()))?;
    let body = usize::try_from(message.bodyLength()).ok().and_then(|body| body.checked_add(described));
    body.ok_or_else(|| not_readable(WHAT))
}

fn unreadable(error: arrow::error::ArrowError) -> Error {
    not_readable(WHAT).because(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;
    use arrow::ipc::writer::StreamWriter;

    use super::*;
    use crate::ingest::decode::tests::{READING, shape_of};

    fn stream(batches: &[RecordBatch]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &batches[0].schema()).expect("a writer");
        batches.iter().for_each(|batch| writer.write(batch).expect("written"));
        writer.finish().expect("finished");
        drop(writer);
        bytes
    }

    fn numbers(from: i64, to: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
        RecordBatch::try_from_iter([("n", column)]).expect("a batch")
    }

    fn reader() -> IpcReader {
        IpcReader::new(&shape_of(&[("n", "long")]), READING).expect("a reader")
    }

    #[test]
    fn a_message_is_as_long_as_it_says_however_it_is_cut() {
        let bytes = stream(&[numbers(0, 3), numbers(3, 1_000)]);
        for step in [1, 3, 4, 7, 64, 1_000, bytes.len()] {
            let mut reader = reader();
            for piece in bytes.chunks(step) {
                reader.feed(piece).expect("gathered");
                assert!(reader.gathers() && !reader.is_worth_decoding());
            }
            let decoded = reader.finish().expect("read");
            let read: Vec<i64> = decoded
                .batches
                .iter()
                .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
                .collect();
            assert_eq!(read, (0..1_000).collect::<Vec<i64>>(), "in steps of {step}");
        }
    }

    #[test]
    fn what_is_decoded_meanwhile_is_owed_no_more() {
        let bytes = stream(&[numbers(0, 300_000), numbers(300_000, 300_001)]);
        let mut reader = reader();
        reader.feed(&bytes).expect("gathered");
        assert!(reader.is_worth_decoding());
        reader.decode().expect("decoded");
        assert!(!reader.is_worth_decoding());
        assert_eq!(reader.finish().expect("read").rows, 300_001);
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_refused() {
        let bytes = stream(&[numbers(0, 100)]);
        for end in [1, 4, 6, 100, bytes.len() - 9] {
            let mut reader = reader();
            reader.feed(&bytes[..end]).expect("gathered");
            assert_eq!(reader.finish().expect_err("refused").code(), Some("malformed_body"), "cut at {end}");
        }
        let mut reader = reader();
        reader.feed(&[&bytes[..], b"more"].concat()).expect("gathered");
        assert_eq!(reader.finish().expect_err("refused").code(), Some("malformed_body"));
    }

    #[test]
    fn memory_is_not_set_aside_at_the_word_of_a_message() {
        let mut reader = reader();
        reader.feed(&0xFFFF_FFF0_u32.to_le_bytes()).expect("gathered");
        assert!(!reader.gathers() && reader.message.capacity() <= TRUSTED_BYTES + 64);
        reader.feed(&[7; 100]).expect("gathered");
        assert_eq!(reader.finish().expect_err("refused").code(), Some("malformed_body"));
    }
}
