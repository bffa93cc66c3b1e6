//! The bytes of a request, decompressed piece by piece as they arrive.
//!
//! A few bytes may stand for gigabytes. So no more than a buffer is ever unpacked at once, and who takes the pieces says
//! when it is too much.

mod brotli;
mod lz4;
mod zstd;

use std::collections::VecDeque;
use std::io::{BufRead, ErrorKind, Read};

use bytes::{Buf, Bytes};

use crate::error::{Error, Kind, Result};

use lz4::{Lz4, Units};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip
    Gzip,
    /// Zstandard
    Zstd,
    /// The frame format of LZ4
    Lz4,
    /// Brotli
    Brotli,
}

impl Encoding {
    /// Reads a `Content-Encoding` header.
    pub fn parse(header: Option<&str>) -> Result<Self> {
        match header.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Ok(Self::Identity),
            Some("gzip" | "x-gzip") => Ok(Self::Gzip),
            Some("zstd") => Ok(Self::Zstd),
            Some("lz4") => Ok(Self::Lz4),
            Some("br") => Ok(Self::Brotli),
            Some(other) => Err(Error::new(
                Kind::UnsupportedMedia,
                format!("Content-Encoding {other:?} is not spoken here: send gzip, zstd, lz4, br or none"),
            )
            .with_code("unsupported_encoding")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Brotli => "brotli",
        }
    }
}

/// Bytes that are unpacked at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Unpacks one body.
pub(super) struct Inflater {
    encoding: Encoding,
    unpacker: Unpacker,
    /// Bytes that may still come out.
    left: usize,
    most: usize,
}

enum Unpacker {
    Identity,
    Gzip(flate2::bufread::MultiGzDecoder<Queue>),
    Zstd(zstd::Frames),
    Lz4(Lz4),
    Brotli(Box<brotli::Stream>),
}

impl Inflater {
    /// One that lets no more than `most` bytes out.
    pub(super) fn new(encoding: Encoding, most: usize) -> Result<Self> {
        let queue = Queue::default();
        let unpacker = match encoding {
            Encoding::Identity => Unpacker::Identity,
            Encoding::Gzip => Unpacker::Gzip(flate2::bufread::MultiGzDecoder::new(queue)),
            Encoding::Zstd => Unpacker::Zstd(zstd::Frames::Between(queue)),
            Encoding::Lz4 => {
                Unpacker::Lz4(Lz4 { decoder: lz4_flex::frame::FrameDecoder::new(queue), units: Units::default() })
            }
            Encoding::Brotli => Unpacker::Brotli(Box::default()),
        };
        Ok(Self { encoding, unpacker, left: most, most })
    }

    /// Unpacks what has arrived and hands it on.
    pub(super) fn feed(&mut self, bytes: Bytes, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if let Unpacker::Identity = self.unpacker {
            self.take(bytes.len())?;
            return out(&bytes);
        }
        let bytes = match &mut self.unpacker {
            Unpacker::Lz4(lz4) => lz4.units.whole(&bytes).ok_or_else(|| damaged(self.encoding))?,
            _ => bytes,
        };
        if let Some(queue) = self.queue() {
            queue.pieces.push_back(bytes);
        }
        self.unpack(out)
    }

    /// Unpacks the rest. A body that is cut off is refused.
    pub(super) fn finish(&mut self, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if let Unpacker::Lz4(lz4) = &self.unpacker
            && !lz4.units.is_between_frames()
        {
            return Err(damaged(self.encoding));
        }
        if let Some(queue) = self.queue() {
            queue.ended = true;
        }
        self.unpack(out)
    }

    fn unpack(&mut self, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let encoding = self.encoding;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut left_before = usize::MAX;
        loop {
            match self.unpacker.read(&mut buffer) {
                // A frame of LZ4 is over, and another one follows.
                Ok(0) if self.encoding == Encoding::Lz4 && (1..left_before).contains(&self.left_to_unpack()) => {
                    left_before = self.left_to_unpack();
                }
                Ok(0) => return self.ended(),
                Ok(length) => {
                    self.take(length)?;
                    out(&buffer[..length])?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(damaged(encoding).because(error)),
            }
        }
    }

    /// Bytes that have arrived and were not looked at.
    fn left_to_unpack(&mut self) -> usize {
        self.queue().map_or(0, |queue| queue.pieces.iter().map(Bytes::len).sum())
    }

    fn take(&mut self, length: usize) -> Result<()> {
        let most = self.most;
        self.left = self.left.checked_sub(length).ok_or_else(|| {
            Error::new(Kind::TooLarge, format!("Body has more than {most} bytes when decompressed: send less at once"))
        })?;
        Ok(())
    }

    /// The stream says that it is over: then nothing may be left.
    fn ended(&mut self) -> Result<()> {
        let damaged = damaged(self.encoding);
        match self.queue() {
            Some(queue) if !queue.pieces.iter().all(Bytes::is_empty) => Err(damaged),
            _ => Ok(()),
        }
    }

    fn queue(&mut self) -> Option<&mut Queue> {
        match &mut self.unpacker {
            Unpacker::Identity => None,
            Unpacker::Gzip(decoder) => Some(decoder.get_mut()),
            Unpacker::Zstd(frames) => Some(frames.queue()),
            Unpacker::Lz4(lz4) => Some(lz4.decoder.get_mut()),
            Unpacker::Brotli(stream) => Some(&mut stream.queue),
        }
    }
}

impl Read for Unpacker {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Identity => Ok(0),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(frames) => frames.read(buffer),
            Self::Brotli(stream) => stream.read(buffer),
            Self::Lz4(lz4) => lz4.decoder.read(buffer),
        }
    }
}

/// What has arrived and was not unpacked yet. Whoever reads past it is told to come back, or, at the body's end, that
/// there is no more.
#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    ended: bool,
}

impl Queue {
    /// The next four bytes, once they are there.
    fn first_bytes(&self) -> Option<[u8; 4]> {
        let mut first = self.pieces.iter().flatten().copied();
        Some([first.next()?, first.next()?, first.next()?, first.next()?])
    }
}

impl Read for Queue {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let there = self.fill_buf()?;
        let length = there.len().min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Queue {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        while self.pieces.front().is_some_and(Bytes::is_empty) {
            self.pieces.pop_front();
        }
        match self.pieces.front() {
            Some(piece) => Ok(piece),
            None if self.ended => Ok(&[]),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn consume(&mut self, length: usize) {
        if let Some(piece) = self.pieces.front_mut() {
            piece.advance(length);
        }
    }
}

fn damaged(encoding: Encoding) -> Error {
    let more = if encoding == Encoding::Zstd { " with a window of at most 8 MiB (RFC 9659)" } else { "" };
    Error::malformed(format!("Body is not valid {} data{more}", encoding.name())).with_code("malformed_encoding")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(text: &[u8]) -> Vec<(Encoding, Bytes)> {
        let gzip = crate::catalog::loaded::gzip(text).expect("compresses");
        let zstd = ::zstd::encode_all(text, 1).expect("compresses");
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(text).expect("compresses");
        let lz4 = lz4.finish().expect("compresses");
        let mut brotli = ::brotli::CompressorWriter::new(Vec::new(), 4_096, 1, 20);
        brotli.write_all(text).expect("compresses");
        let all = [
            (Encoding::Gzip, gzip),
            (Encoding::Zstd, zstd),
            (Encoding::Lz4, lz4),
            (Encoding::Brotli, brotli.into_inner()),
            (Encoding::Identity, text.to_vec()),
        ];
        all.into_iter().map(|(encoding, bytes)| (encoding, bytes.into())).collect()
    }

    fn unpack(encoding: Encoding, bytes: &Bytes, piece: usize, most: usize) -> Result<Vec<u8>> {
        let mut inflater = Inflater::new(encoding, most)?;
        let mut whole = Vec::new();
        let mut out = |bytes: &[u8]| {
            assert!(bytes.len() <= BUFFER_BYTES.max(piece), "no more than a buffer at once");
            whole.extend_from_slice(bytes);
            Ok(())
        };
        for start in (0..bytes.len()).step_by(piece) {
            inflater.feed(bytes.slice(start..bytes.len().min(start + piece)), &mut out)?;
        }
        inflater.finish(&mut out)?;
        Ok(whole)
    }

    #[test]
    fn what_was_packed_comes_out_however_it_arrives() {
        let text: Vec<u8> =
            (0..300_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for text in [&text[..], b"{}", b""] {
            for (encoding, bytes) in packed(text) {
                for piece in [1_009, 1 << 20] {
                    let whole = unpack(encoding, &bytes, piece, 2 << 20).expect("unpacked");
                    assert!(whole == text, "{encoding:?} of {} bytes in pieces of {piece}", text.len());
                }
            }
        }
    }

    #[test]
    fn small_pieces_and_frames_one_after_the_other_are_joined() {
        for (encoding, bytes) in packed(b"{\"a\":1}").into_iter().filter(|(encoding, _)| *encoding != Encoding::Brotli)
        {
            let twice: Bytes = [&bytes[..], &bytes].concat().into();
            let whole = unpack(encoding, &twice, 1, 100).expect("unpacked");
            assert_eq!(whole, b"{\"a\":1}{\"a\":1}", "{encoding:?}");
        }
    }

    #[test]
    fn bombs_are_refused_and_cuts_are_seen() {
        let zeros = vec![b' '; 10 << 20];
        for (encoding, bytes) in packed(&zeros) {
            let error = unpack(encoding, &bytes, 1 << 30, 1 << 20).expect_err("too large");
            assert_eq!(error.kind(), Kind::TooLarge, "{encoding:?}");
        }
        for (encoding, bytes) in packed(b"{\"some\":\"text\"}") {
            if encoding == Encoding::Identity {
                continue;
            }
            for end in 1..bytes.len() {
                let cut = unpack(encoding, &bytes.slice(..end), 3, 100);
                assert_eq!(cut.expect_err("cut").kind(), Kind::Malformed, "{encoding:?} cut at {end}");
            }
            let more: Bytes = [&bytes[..], b"more"].concat().into();
            for piece in [1, 7, 1_000] {
                assert!(unpack(encoding, &more, piece, 100).is_err(), "{encoding:?} with more behind it");
            }
        }
        // What versions before the first release wrote is no Zstandard.
        assert!(unpack(Encoding::Zstd, &b"\x27\xb5\x2f\xfd\x00\x10\x00\x00\x00"[..].into(), 100, 100).is_err());
        assert!(Encoding::parse(Some("deflate")).is_err());
        assert_eq!(Encoding::parse(Some("GZIP")).expect("known"), Encoding::Gzip);
        assert_eq!(Encoding::parse(Some("br")).expect("known"), Encoding::Brotli);
    }
}
