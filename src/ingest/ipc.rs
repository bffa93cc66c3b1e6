//! An Arrow IPC stream → columns of the table's schema, batch by batch as they arrive.

use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;

use super::columns::Shape;
use super::decode::{Decoded, Reading, guarded, not_readable};
use super::sink::Sink;
use crate::error::{Error, Result};

const WHAT: &str = "Arrow IPC stream (buffers are not compressed: use Content-Encoding)";

/// Reads one stream.
pub(super) struct IpcReader {
    decoder: StreamDecoder,
    columns: Sink,
}

impl IpcReader {
    /// A reader of rows for a schema.
    pub(super) fn new(shape: &Shape, reading: Reading) -> Result<Self> {
        Ok(Self { decoder: StreamDecoder::new(), columns: Sink::new(shape, reading)? })
    }

    /// Takes more of the stream.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let mut buffer = Buffer::from(bytes);
        while !buffer.is_empty() {
            let decoder = &mut self.decoder;
            let read = guarded(WHAT, || decoder.decode(&mut buffer).map_err(unreadable))?;
            if let Some(batch) = read {
                self.columns.take(batch)?;
            }
        }
        Ok(())
    }

    /// What came of the whole. A stream that is cut off is refused.
    pub(super) fn finish(mut self) -> Result<Decoded> {
        self.decoder.finish().map_err(unreadable)?;
        self.columns.finish()
    }
}

fn unreadable(error: arrow::error::ArrowError) -> Error {
    not_readable(WHAT).because(error)
}
