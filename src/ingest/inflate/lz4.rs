//! Where the frames of LZ4 end.

use bytes::Bytes;

use super::Queue;

/// LZ4's decoder cannot wait in the middle of a block, and takes a frame for ended that lacks its end mark. So it is given
/// whole blocks only, and where frames end is looked at here.
pub(super) struct Lz4 {
    pub(super) decoder: lz4_flex::frame::FrameDecoder<Queue>,
    pub(super) units: Units,
}

/// The headers and blocks of LZ4's frames.
#[derive(Default)]
pub(super) struct Units {
    /// What is not whole yet.
    waiting: Vec<u8>,
    /// The flags of the frame that has begun.
    frame: Option<u8>,
}

const LZ4_MAGIC: u32 = 0x184d_2204;
const LZ4_BLOCK_BYTES_MAX: usize = 4 << 20;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 1;

impl Units {
    /// What is whole by now; `None` if it is no LZ4.
    pub(super) fn whole(&mut self, bytes: &[u8]) -> Option<Bytes> {
        self.waiting.extend_from_slice(bytes);
        let mut end = 0;
        while let Some(length) = self.next(end)? {
            end += length;
        }
        let whole = self.waiting.drain(..end).collect::<Vec<u8>>();
        Some(whole.into())
    }

    /// Bytes of the header or block that begins here: `Some(None)` if it is not whole, `None` if it is none.
    fn next(&mut self, start: usize) -> Option<Option<usize>> {
        let rest = &self.waiting[start..];
        let Some(first) = rest.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)) else { return Some(None) };
        let if_set = |flags: u8, flag: u8, bytes: usize| if flags & flag == 0 { 0 } else { bytes };
        let (length, frame) = match self.frame {
            None if first != LZ4_MAGIC => return None,
            None => {
                let Some(flags) = rest.get(4).copied() else { return Some(None) };
                (7 + if_set(flags, CONTENT_SIZE, 8) + if_set(flags, DICTIONARY, 4), Some(flags))
            }
            Some(flags) if first == 0 => (4 + if_set(flags, CONTENT_CHECKSUM, 4), None),
            Some(flags) => {
                let size = usize::try_from(first & 0x7fff_ffff).ok().filter(|size| *size <= LZ4_BLOCK_BYTES_MAX)?;
                (4 + size + if_set(flags, BLOCK_CHECKSUMS, 4), Some(flags))
            }
        };
        if rest.len() < length {
            return Some(None);
        }
        self.frame = frame;
        Some(Some(length))
    }

    pub(super) fn is_between_frames(&self) -> bool {
        self.waiting.is_empty() && self.frame.is_none()
    }
}
