//! Pieces of files as they are sent, and the thread that makes them ahead of who sends.
//!
//! Where a piece ends follows from where it begins and what the file holds. The thread stops when nobody takes its pieces
//! any more; it says when there are no more, so that one that broke off is not taken for one that is done.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::columns::ColumnChunks;
use super::input::unreadable;
use super::names::Format;
use super::stripes::{Opened, Run, Stripe, WHOLE_BYTES_MAX};
use super::text::TextChunks;
use crate::error::{Error, Result};

/// Bytes under which a piece is not made smaller.
const LEAST_BYTES: usize = 64 << 10;

/// How much one request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Bytes, about.
    pub(super) bytes: usize,
    /// Rows at most: a server takes a million.
    pub(super) rows: usize,
}

impl Size {
    /// Well within what a server takes where nobody told it otherwise, and worth a snapshot.
    pub(super) const USUAL: Self = Self { bytes: 8 << 20, rows: 500_000 };

    /// Half of it, if that is worth a request.
    pub(super) fn half(self) -> Option<Self> {
        let half = Self { bytes: self.bytes / 2, rows: self.rows / 2 };
        (half.bytes >= LEAST_BYTES).then_some(half)
    }
}

/// How bodies go over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// As they are.
    Plain,
    /// Compressed with Zstandard.
    Zstd,
}

/// The body of one request.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Its bytes, packed.
    pub(super) body: Bytes,
    /// How they are packed.
    pub(super) packing: Packing,
    /// What is packed.
    pub(super) content_type: &'static str,
    /// Where the next one begins.
    pub(super) next: u64,
    /// Whether it is known to be the last one.
    pub(super) last: bool,
    /// Bytes of the file that are over with it, from the stripe's beginning on.
    pub(super) reached: u64,
}

/// Where a chunk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    /// Where the next one begins.
    pub(super) next: u64,
    /// Whether it is known to be the last one.
    pub(super) last: bool,
    /// Bytes of the file that are over.
    pub(super) reached: u64,
}

impl Chunk {
    /// Packs a body.
    pub(super) fn of(body: Vec<u8>, content_type: &'static str, packing: Packing, ends: Ends) -> Result<Self> {
        let body = match packing {
            Packing::Plain => Bytes::from(body),
            Packing::Zstd => zstd::bulk::compress(&body, 1)
                .map_err(|error| Error::internal("A body cannot be compressed").because(error))?
                .into(),
        };
        let Ends { next, last, reached } = ends;
        Ok(Self { body, packing, content_type, next, last, reached })
    }
}

/// Makes the pieces of a stripe, one after the other.
pub(super) trait Chunks {
    /// The next one, if there is one.
    fn next(&mut self) -> Result<Option<Chunk>>;
}

/// What is to be read, and how.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// The file.
    pub(super) file: Arc<Opened>,
    /// The part of it.
    pub(super) stripe: Stripe,
    /// The place to begin at, where that is not the stripe's beginning.
    pub(super) from: Option<u64>,
    /// How large pieces are.
    pub(super) size: Size,
    /// How they are packed.
    pub(super) packing: Packing,
}

/// Pieces, and a `None` behind the last of them.
pub(super) type Pieces = mpsc::Receiver<Result<Option<Chunk>>>;

impl Reading {
    /// Begins to read. The thread is none of the runtime's, which waits for its own when it ends, and standard input may
    /// keep one for ever.
    pub(super) fn start(self) -> Result<Pieces> {
        let (sender, pieces) = mpsc::channel(1);
        let work = move || {
            let mut chunks = match self.open() {
                Ok(chunks) => chunks,
                Err(error) => return drop(sender.blocking_send(Err(error))),
            };
            loop {
                let piece = chunks.next();
                let more = matches!(piece, Ok(Some(_)));
                if sender.blocking_send(piece).is_err() || !more {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("read".to_owned()).spawn(work);
        thread.map_err(|error| Error::internal("A thread cannot be started").because(error))?;
        Ok(pieces)
    }

    fn open(&self) -> Result<Box<dyn Chunks>> {
        let chunks: Box<dyn Chunks> = match (&self.stripe.run, self.file.form.format) {
            (Run::Whole, format) => Box::new(Whole(Some(whole(self, format)?))),
            (_, format) if format.is_text() => Box::new(TextChunks::open(self)?),
            _ => Box::new(ColumnChunks::open(self)?),
        };
        Ok(chunks)
    }
}

/// A file that is sent in one piece.
#[derive(Debug)]
struct Whole(Option<Chunk>);

impl Chunks for Whole {
    fn next(&mut self) -> Result<Option<Chunk>> {
        Ok(self.0.take())
    }
}

fn whole(reading: &Reading, format: Format) -> Result<Chunk> {
    let stored = reading.file.input.stored().ok_or_else(|| Error::internal("Standard input has no size"))?;
    let size = usize::try_from(stored.size()).ok().filter(|size| *size <= WHOLE_BYTES_MAX);
    let size = size.ok_or_else(|| unreadable(std::io::Error::other("it is too large to be sent in one piece")))?;
    let (content_type, packing) = match format {
        Format::Avro => ("application/avro", Packing::Plain),
        _ => ("application/json", reading.packing),
    };
    let ends = Ends { next: stored.size(), last: true, reached: stored.size() };
    Chunk::of(stored.first(size)?, content_type, packing, ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_made_smaller_down_to_some_size() {
        let mut sizes = vec![Size::USUAL];
        while let Some(half) = sizes.last().and_then(|size| size.half()) {
            sizes.push(half);
        }
        assert_eq!(sizes.len(), 8);
        assert_eq!(sizes.last(), Some(&Size { bytes: LEAST_BYTES, rows: 3_906 }));
    }

    #[test]
    fn bodies_are_packed() {
        let ends = Ends { next: 3, last: true, reached: 3 };
        let plain = Chunk::of(b"aaa".to_vec(), "text/csv", Packing::Plain, ends).expect("made");
        assert_eq!((&plain.body[..], plain.next, plain.last), (&b"aaa"[..], 3, true));
        let packed = Chunk::of(b"aaa".to_vec(), "text/csv", Packing::Zstd, ends).expect("made");
        assert_eq!(zstd::bulk::decompress(&packed.body, 10).expect("unpacked"), b"aaa");
    }
}
