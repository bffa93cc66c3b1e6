//! The bytes of files: read at any place, by several threads at once, and counted.
//!
//! No more is read than a file had when it was listed. One that got shorter since is an error, never an early end.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::names::Compression;
use crate::error::{Error, Result};

/// Bytes of a file that are read at once where little is asked for at a time.
const STEP_BYTES: usize = 4 << 20;

/// Something that is read at any place.
pub(super) trait ReadAt: Debug + Send + Sync {
    /// Reads some bytes from a place on; none only at the end.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, into, at)
    }
}

/// A file or object of a known size. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    bytes: Arc<dyn ReadAt>,
    size: u64,
}

/// Where bytes come from.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// They can be read again.
    Stored(Stored),
    /// They come once.
    Stdin,
}

/// Reads a file from a place on.
#[derive(Debug)]
pub(super) struct Reader {
    stored: Stored,
    at: u64,
    reached: Arc<AtomicU64>,
}

/// How far in the file a place is in what was made of it.
#[derive(Debug)]
pub(super) enum Measure {
    /// Places are bytes of the file, from this one on.
    From(u64),
    /// The file is read for it from the beginning on.
    Read(Arc<AtomicU64>),
    /// Places are rows, of so many in so many bytes.
    Share {
        /// All rows.
        rows: u64,
        /// All bytes.
        bytes: u64,
    },
}

impl Reader {
    /// Where it is, to be looked at from elsewhere.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.reached)
    }
}

impl Measure {
    /// The bytes that are over.
    pub(super) fn reached(&self, place: u64) -> u64 {
        match self {
            Self::From(from) => place.saturating_sub(*from),
            Self::Read(reached) => reached.load(Ordering::Relaxed),
            Self::Share { rows, bytes } => {
                let share = u128::from(*bytes) * u128::from(place) / u128::from((*rows).max(1));
                u64::try_from(share).unwrap_or(*bytes).min(*bytes)
            }
        }
    }
}

impl Stored {
    /// Bytes of this size.
    pub(super) fn new(bytes: Arc<dyn ReadAt>, size: u64) -> Self {
        Self { bytes, size }
    }

    /// How many there are.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// A reader from a place on.
    pub(super) fn reader(&self, at: u64) -> Reader {
        Reader { stored: self.clone(), at, reached: Arc::new(AtomicU64::new(at)) }
    }

    /// The first bytes, at most so many.
    pub(super) fn first(&self, most: usize) -> Result<Vec<u8>> {
        let mut first = Vec::new();
        fill(&mut self.reader(0), &mut first, most).map_err(unreadable)?;
        Ok(first)
    }
}

impl Input {
    /// What can be read again.
    pub(super) fn stored(&self) -> Option<&Stored> {
        match self {
            Self::Stored(stored) => Some(stored),
            Self::Stdin => None,
        }
    }

    /// Its text from a place on, and how to tell how far the file was read for it.
    pub(super) fn text(&self, compression: Compression, at: u64) -> Result<(Box<dyn Read>, Option<Measure>)> {
        let text: Box<dyn Read> = match (self, compression) {
            (Self::Stdin, _) => Box::new(io::stdin()),
            (Self::Stored(stored), Compression::Plain) => Box::new(stored.reader(at)),
            (Self::Stored(stored), packing) => return unpacked(stored, packing, at),
        };
        Ok((text, None))
    }

    /// A reader of the whole, with a buffer, and how far it is.
    pub(super) fn whole(&self) -> (Box<dyn BufRead>, Measure) {
        let (bytes, counter): (Box<dyn Read>, _) = match self {
            Self::Stored(stored) => {
                let reader = stored.reader(0);
                let counter = reader.counter();
                (Box::new(reader), counter)
            }
            Self::Stdin => {
                let counter = Arc::new(AtomicU64::new(0));
                (Box::new(Counted(Arc::clone(&counter))), counter)
            }
        };
        (Box::new(BufReader::with_capacity(STEP_BYTES, bytes)), Measure::Read(counter))
    }
}

fn unpacked(stored: &Stored, packing: Compression, at: u64) -> Result<(Box<dyn Read>, Option<Measure>)> {
    let reader = stored.reader(0);
    let measure = Measure::Read(reader.counter());
    let packed = BufReader::with_capacity(STEP_BYTES, reader);
    let mut text: Box<dyn Read> = match packing {
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed).map_err(unreadable)?),
        _ => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
    };
    io::copy(&mut text.by_ref().take(at), &mut io::sink()).map_err(unreadable)?;
    Ok((text, Some(measure)))
}

/// Standard input, counted.
#[derive(Debug)]
struct Counted(Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = io::stdin().read(into)?;
        self.0.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Reads until a buffer holds so many bytes. It holds fewer only at the end.
pub(super) fn fill(from: &mut dyn Read, buffer: &mut Vec<u8>, wanted: usize) -> io::Result<()> {
    let mut filled = buffer.len();
    // As much at once as there is room for: each read may be a request to a store.
    buffer.resize(wanted.max(filled), 0);
    let outcome = loop {
        if filled == buffer.len() {
            break Ok(());
        }
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break Ok(()),
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    buffer.truncate(filled);
    outcome
}

/// The file cannot be read, or is not what it should be.
pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid("The file cannot be read").because(error)
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.stored.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = into.len().min(left);
        if most == 0 {
            return Ok(0);
        }
        let length = self.stored.bytes.read_at(self.at, &mut into[..most])?;
        if length == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "it is shorter than it was"));
        }
        self.at += length as u64;
        self.reached.store(self.at, Ordering::Relaxed);
        Ok(length)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(by) => self.stored.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = place.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a place before the beginning"))?;
        Ok(self.at)
    }
}

impl Length for Stored {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Stored {
    type T = BufReader<Reader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(self.reader(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // A damaged footer may ask for anything.
        if length as u64 > self.size.saturating_sub(start) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of {}", self.size)));
        }
        let mut bytes = vec![0; length];
        self.reader(start).read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn stored(bytes: &[u8]) -> Stored {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        Stored::new(Arc::new(file), bytes.len() as u64)
    }

    #[test]
    fn text_is_unpacked_from_any_place_on() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|number| format!("{number}\n").into_bytes()).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).expect("packed");
        let packed = [
            (Compression::Plain, text.clone()),
            (Compression::Gzip, gzip.finish().expect("packed")),
            (Compression::Zstd, zstd::bulk::compress(&text, 1).expect("packed")),
        ];
        for (compression, bytes) in packed {
            let input = Input::Stored(stored(&bytes));
            for at in [0, 1, 777_777, text.len()] {
                let (mut reader, _) = input.text(compression, at as u64).expect("opened");
                let mut rest = Vec::new();
                reader.read_to_end(&mut rest).expect("read");
                assert!(rest == text[at..], "{compression:?} {at}");
            }
        }
    }

    #[test]
    fn a_file_that_got_shorter_is_an_error() {
        let short = Stored { size: 10, ..stored(b"123") };
        let mut all = Vec::new();
        assert_eq!(short.reader(0).read_to_end(&mut all).expect_err("short").kind(), ErrorKind::UnexpectedEof);
        assert!(short.get_bytes(5, 100).is_err());
        assert_eq!(stored(b"123").reader(3).read_to_end(&mut all).expect("the end"), 0);
    }

    #[test]
    fn a_buffer_is_filled_up_to_what_is_wanted() {
        let mut buffer = b"ab".to_vec();
        for (wanted, holds) in [(1, "ab"), (4, "abcd"), (9, "abcdefg"), (9, "abcdefg")] {
            let rest = &b"cdefg"[buffer.len() - 2..];
            fill(&mut &*rest, &mut buffer, wanted).expect("read");
            assert_eq!(buffer, holds.as_bytes());
        }
    }

    #[test]
    fn places_are_measured_in_bytes_of_the_file() {
        assert_eq!(Measure::From(10).reached(25), 15);
        assert_eq!(Measure::Share { rows: 4, bytes: 100 }.reached(3), 75);
        assert_eq!(Measure::Share { rows: 0, bytes: 100 }.reached(3), 100);
    }
}
