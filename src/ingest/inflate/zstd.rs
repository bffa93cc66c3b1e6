//! The frames of Zstandard, one after the other.
//!
//! The decoder would also take what versions before the format's first release wrote, with code that nobody looks after. So
//! each frame's first bytes are looked at before.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

use zstd::stream::read::Decoder;

use super::Queue;

/// The window of what is sent over HTTP (RFC 9659), as a power of two: so much memory a body takes, whatever it unpacks to.
const WINDOW_LOG_MAX: u32 = 23;

const MAGIC: u32 = 0xfd2f_b528;
/// Frames that hold something else, and are passed over.
const SKIPPED: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;

pub(super) enum Frames {
    Between(Queue),
    Within(Decoder<'static, Queue>),
}

impl Frames {
    /// What has arrived and was not unpacked yet.
    pub(super) fn queue(&mut self) -> &mut Queue {
        match self {
            Self::Between(queue) => queue,
            Self::Within(decoder) => decoder.get_mut(),
        }
    }

    /// Begins the next frame; whether there is one.
    fn begin(&mut self) -> Result<bool> {
        let queue = self.queue();
        let magic = match queue.first_bytes() {
            Some(bytes) => u32::from_le_bytes(bytes),
            None if queue.fill_buf()?.is_empty() => return Ok(false),
            None if queue.ended => return Err(ErrorKind::UnexpectedEof.into()),
            None => return Err(ErrorKind::WouldBlock.into()),
        };
        if magic != MAGIC && !SKIPPED.contains(&magic) {
            return Err(Error::new(ErrorKind::InvalidData, "no frame begins so"));
        }
        let mut decoder = Decoder::with_buffer(std::mem::take(queue))?.single_frame();
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        *self = Self::Within(decoder);
        Ok(true)
    }
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let Self::Within(decoder) = self else {
                if self.begin()? {
                    continue;
                }
                return Ok(0);
            };
            match decoder.read(buffer)? {
                0 => *self = Self::Between(std::mem::take(decoder.get_mut())),
                length => return Ok(length),
            }
        }
    }
}
