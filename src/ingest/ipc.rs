//! An Arrow IPC stream → columns of the table's schema, batch by batch as they arrive.
//!
//! A message is gathered in one piece of memory, as long as it says that it is, before it is decoded: its columns are copied
//! once, where they were received, and stay there.

use arrow::buffer::{Buffer, MutableBuffer};
use arrow::ipc::reader::StreamDecoder;

use super::columns::Shape;
use super::decode::{Decoded, Reading, guarded, not_readable};
use super::sink::Sink;
use crate::error::{Error, Result};

const WHAT: &str = "Arrow IPC stream (buffers are not compressed: use Content-Encoding)";

/// Bytes that are set aside for a message at its word; for more, they must have come.
const TRUSTED_BYTES: usize = 16 << 20;

/// Bytes of whole messages that are worth a turn of a thread that computes.
const WORTH_BYTES: usize = 2 << 20;

/// Bytes of a message that is nothing but a length: the end of the stream. Any other is longer.
const END_BYTES: usize = 8;

/// What a message is counted for beside its bytes: many of nothing are not much to read, and much to keep.
const MESSAGE_BYTES: usize = 256;

/// Where the table of a message's fields has its fourth: behind two lengths and three other fields of two bytes.
const BODY_LENGTH: usize = 10;

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
    /// Whether the stream has said that it ends: nothing comes behind that.
    ended: bool,
}

impl IpcReader {
    /// A reader of rows for a schema.
    pub(super) fn new(shape: &Shape, reading: Reading) -> Result<Self> {
        Ok(Self {
            decoder: StreamDecoder::new(),
            columns: Sink::new(shape, reading)?,
            message: MutableBuffer::new(0),
            length: length_of(&[]),
            whole: Vec::new(),
            owed: 0,
            ended: false,
        })
    }

    /// Gathers more of the stream: a copy, and no more, of what is [little](Self::gathers).
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.ended {
                return Err(not_readable(WHAT));
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.length - self.message.len()));
            self.message.extend_from_slice(now);
            bytes = later;
            if self.message.len() < self.length {
                continue;
            }
            let length = length_of(&self.message);
            if length == self.length {
                self.take_whole();
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

    fn take_whole(&mut self) {
        self.ended = self.message.len() == self.length && self.length <= END_BYTES;
        self.owed += self.message.len() + MESSAGE_BYTES;
        self.whole.push(std::mem::replace(&mut self.message, MutableBuffer::new(0)).into());
        self.length = length_of(&[]);
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
        self.take_whole();
        self.decode()?;
        self.decoder.finish().map_err(unreadable)?;
        self.columns.finish()
    }
}

/// How long a message is, as far as what has come of it says: `[FF FF FF FF] <length> <description> <body>`, where a length of
/// nothing ends the stream (the Arrow columnar format, "Encapsulated message format"). What is wrong with it is for the
/// decoder to say, which reads what was gathered as the stream that it is.
fn length_of(come: &[u8]) -> usize {
    const MARK: &[u8] = &[0xFF; 4];
    let before = if come.starts_with(MARK) { MARK.len() } else { 0 };
    let Some(length) = come[before..].first_chunk::<4>() else { return before + 4 };
    let described = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX).saturating_add(before + 4);
    match come.get(before + 4..described) {
        Some(description) => described.saturating_add(body_of(description).unwrap_or(0)),
        None => described,
    }
}

/// Bytes of the body that a description speaks of. It is looked up where a flatbuffer has the fourth field of its table, and
/// nothing else is looked at: to verify a description can take long, and is work for another thread.
fn body_of(description: &[u8]) -> Option<usize> {
    let at = |from: usize| description.get(from..);
    let short = |from: usize| at(from)?.first_chunk().map(|bytes| usize::from(u16::from_le_bytes(*bytes)));
    let table = usize::try_from(u32::from_le_bytes(*at(0)?.first_chunk()?)).ok()?;
    let back = i64::from(i32::from_le_bytes(*at(table)?.first_chunk()?));
    let fields = usize::try_from(i64::try_from(table).ok()?.checked_sub(back)?).ok()?;
    let place = if short(fields)? > BODY_LENGTH { short(fields.checked_add(BODY_LENGTH)?)? } else { 0 };
    if place == 0 {
        return None;
    }
    usize::try_from(i64::from_le_bytes(*at(table.checked_add(place)?)?.first_chunk()?)).ok()
}

fn unreadable(error: arrow::error::ArrowError) -> Error {
    not_readable(WHAT).because(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::ingest::decode::tests::{READING, shape_of, stream};

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
        assert!(reader().feed(&[0; 8]).is_err(), "many ends, of four bytes each");
        for more in [&b"m"[..], b"more than that", &[0; 4]] {
            let mut reader = reader();
            let refused = reader.feed(&[&bytes[..], more].concat()).expect_err("refused");
            assert_eq!(refused.code(), Some("malformed_body"));
        }
    }

    #[test]
    fn many_small_messages_are_worth_decoding() {
        let bytes = stream(&vec![numbers(0, 1); 5_000]);
        assert!(bytes.len() < WORTH_BYTES, "{} bytes are less", bytes.len());
        let mut reader = reader();
        reader.feed(&bytes).expect("gathered");
        assert!(reader.is_worth_decoding());
        assert_eq!(reader.finish().expect("read").rows, 5_000);
    }

    #[test]
    fn a_description_that_is_damaged_is_gathered_and_refused() {
        let bytes = stream(&[numbers(0, 10)]);
        for at in 4..bytes.len().min(1_000) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xFF;
            let mut reader = reader();
            // Either it says no more than it did, or it is refused; nothing panics.
            let read = reader.feed(&damaged).and_then(|()| reader.finish());
            assert!(read.is_ok() || read.is_err_and(|error| error.kind() != crate::error::Kind::Internal), "at {at}");
        }
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
