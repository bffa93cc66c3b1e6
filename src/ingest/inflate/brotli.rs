//! One stream of Brotli. What stands behind its end is left in the queue, for it to be seen.

use std::io::{BufRead, ErrorKind, Read, Result};

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};

use super::Queue;

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

pub(super) struct Stream {
    state: State,
    pub(super) queue: Queue,
    at: At,
}

/// What the decoder waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Input,
    Output,
    End,
}

impl Default for Stream {
    fn default() -> Self {
        let alloc = StandardAlloc::default;
        // Windows of a gigabyte are no part of what is sent over HTTP (RFC 7932).
        let state = State::new_strict(alloc(), alloc(), alloc());
        Self { state, queue: Queue::default(), at: At::Input }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.at != At::End {
            let there = match self.queue.fill_buf() {
                Ok([]) if self.at == At::Input => return Err(ErrorKind::UnexpectedEof.into()),
                // What it has taken in may still come out.
                Err(_) if self.at == At::Output => &[],
                there => there?,
            };
            let (mut left, mut taken, mut room, mut made, mut all) = (there.len(), 0, buffer.len(), 0, 0);
            let state = &mut self.state;
            let result =
                BrotliDecompressStream(&mut left, &mut taken, there, &mut room, &mut made, buffer, &mut all, state);
            self.queue.consume(taken);
            self.at = match result {
                BrotliResult::ResultSuccess => At::End,
                BrotliResult::NeedsMoreOutput => At::Output,
                BrotliResult::NeedsMoreInput => At::Input,
                BrotliResult::ResultFailure => return Err(ErrorKind::InvalidData.into()),
            };
            if made > 0 {
                return Ok(made);
            }
        }
        Ok(0)
    }
}
