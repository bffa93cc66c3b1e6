//! Inputs made of others by chance.

use std::ops::Range;

/// Bytes of an input at most.
pub(super) const BYTES_MAX: usize = 64 << 10;

/// Changes that are usually made to one input, and that are made now and then.
const CHANGES: &[usize] = &[1, 1, 1, 2, 2, 3, 6, 30];

/// Bytes at which something begins, ends or turns over.
const BYTES: &[u8] = &[0, 1, 2, 0x15, 0x7f, 0x80, 0x81, 0xfe, 0xff, b'"', b'\n', b'{'];

/// Lengths and numbers that something may be set aside for, or added to.
const NUMBERS: &[u64] = &[
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x00ff_ffff,
    0x1000_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// Numbers of variable length: small, as large as may be, and without an end.
const VARINTS: &[&[u8]] = &[
    b"\x00",
    b"\x01",
    b"\xfe\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\x0f",
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
];

/// Numbers as text that do not fit, or fit only just, or change as more of them is read.
const WRITTEN: &[&str] = &[
    "0",
    "-0",
    "-1",
    "00",
    "1.",
    "1e",
    "1e999",
    "1e-999",
    "1e99999999999999999999",
    "2147483648",
    "3000000000e-1",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "9007199254740993.5",
    "16777217.5",
    "123456789012345678901234567890123456789012",
    "0.1000000000000000000000000000000000000000001",
    "12345678901234567890.25",
    "99999999999999999999999999999999999999e-10",
];

/// Words that mean something in a text.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"\"\"",
    b"\\\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b"{}",
    b"[]",
    b",",
    b":",
    b";",
    b"\t",
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    b" ",
    b"\0",
    b"\x80",
    b"\xff\xfe",
    b"\xc3",
    b"\xf0\x9f\x98",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\\ud83d\\ude00",
    b"\\N",
    b"null",
    b"true",
    b"false",
    b"NaN",
    b"-Infinity",
    b"{\"a\":",
    b",\"a\":1",
    b",\"A\":\"x\"",
    b",\"new\":[{\"x\":1.5}]",
    b"\"id\"",
    b"\"_extra\"",
    b"\"points\":[{\"x\":1}]",
    b"\"op\":\"drop\"",
    b"\"column\":\"/a/0/b\"",
    b"\"pattern\":\"(a|b)+\\\\w{2,9}\"",
    b"\"table\":\"t\",\"row\":{}",
    b"\"data_base64\":\"AA==\"",
    b"\"2024-02-30\"",
    b"\"9999-12-31T23:59:60Z\"",
    b"\"2024-01-01T00:00:00+23:59\"",
    b"\"0000-01-01T00:00:00.1234567891\"",
    b"\"f79c3e09-677c-4bbd-a479-3f349cb785e7\"",
    b"\"::ffff:1.2.3.4\"",
    b"\xe2\x80\xa8",
];

/// Random numbers (xorshift64*), the same for the same seed.
pub(super) struct Rng(u64);

impl Rng {
    /// Those of a seed. Seeds that are close to each other lead far apart.
    pub(super) fn new(seed: u64) -> Self {
        let mixed = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        // Nothing ever comes of a state of zeros.
        let mut rng = Self((mixed ^ (mixed >> 31)) | 1);
        rng.number();
        rng
    }

    /// Any number.
    pub(super) fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below another one; of none, 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from((self.number() >> 16) % (end.max(1) as u64)).unwrap_or_default()
    }

    /// Whether what happens once in so many times happens.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these, of which there is at least one.
    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Bytes next to each other, mostly few; none of nothing.
    fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.below(length);
        let most = self.of(&[1, 2, 4, 8, 16, 64, 512, 4_096]);
        start..(start + 1 + self.below(most)).min(length)
    }
}

/// An input in pieces.
pub(super) fn pieces<'a>(rng: &mut Rng, input: &'a [u8]) -> Vec<&'a [u8]> {
    let most = rng.of(&[1, 7, 60, 1_000, 20_000]);
    let (mut pieces, mut rest) = (Vec::new(), input);
    while !rest.is_empty() {
        let (piece, more) = rest.split_at((1 + rng.below(most)).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

/// One of the inputs, changed here and there.
pub(super) fn damaged(rng: &mut Rng, corpus: &[Vec<u8>], text: bool) -> Vec<u8> {
    let mut bytes = corpus[rng.below(corpus.len())].clone();
    for _ in 0..rng.of(CHANGES) {
        if text && rng.once_in(2) {
            change_text(rng, &mut bytes);
        } else {
            change(rng, &mut bytes, corpus);
        }
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let range = rng.range(bytes.len());
    match rng.below(12) {
        0 | 1 => {
            let bit = 1_u8 << rng.below(8);
            over(bytes, range.start, |byte| byte ^ bit);
        }
        2 => {
            let set = rng.of(BYTES);
            over(bytes, range.start, |_| set);
        }
        3 => {
            let by = rng.of(&[1, 2, 0x10, 0xf0, 0xfe, 0xff]);
            over(bytes, range.start, |byte| byte.wrapping_add(by));
        }
        4 => bytes.truncate(range.start),
        5 => {
            let again = bytes[range.clone()].repeat(rng.of(&[1, 1, 1, 2, 9, 200]));
            put(bytes, range.end..range.end, &again);
        }
        6 => put(bytes, range, b""),
        7 => {
            // The beginning of this one and the end of another.
            let other = &corpus[rng.below(corpus.len())];
            let (from, end) = (rng.below(other.len()), bytes.len());
            put(bytes, range.start..end, &other[from..]);
        }
        8 => {
            let other = &corpus[rng.below(corpus.len())];
            let from = rng.range(other.len());
            put(bytes, range, &other[from]);
        }
        9 => lengthen(rng, bytes),
        10 => {
            let varint = rng.of(VARINTS);
            let end = if rng.once_in(2) { range.start } else { (range.start + 1).min(bytes.len()) };
            put(bytes, range.start..end, varint);
        }
        _ => {
            let (from, to) = (bytes[range].to_vec(), rng.below(bytes.len()));
            let end = (to + from.len()).min(bytes.len());
            put(bytes, to..end, &from);
        }
    }
}

fn change_text(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let range = rng.range(bytes.len());
    match rng.below(4) {
        0 => {
            let many = rng.of(&[1, 1, 1, 1, 1, 2, 3, 70, 300]);
            let token = rng.of(TOKENS).repeat(many);
            put(bytes, range.start..range.start, &token);
        }
        1 => put(bytes, range, rng.of(TOKENS)),
        2 => put(bytes, range, rng.of(WRITTEN).as_bytes()),
        _ => {
            // The next number that is written there becomes another one.
            let Some(before) = bytes[range.start..].iter().position(u8::is_ascii_digit) else { return };
            let start = range.start + before;
            let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            put(bytes, start..start + digits, rng.of(WRITTEN).as_bytes());
        }
    }
}

/// Writes a number over bytes, as lengths are written: with the least byte first. It may be about what is there.
fn lengthen(rng: &mut Rng, bytes: &mut [u8]) {
    let width = rng.of(&[2, 4, 4, 8]);
    let at = rng.below(bytes.len());
    let at = if rng.once_in(2) { at / 4 * 4 } else { at };
    let mut there = [0; 8];
    there.iter_mut().zip(bytes.iter().skip(at).take(width)).for_each(|(there, byte)| *there = *byte);
    let there = u64::from_le_bytes(there);
    let number = match rng.below(4) {
        0 => there.wrapping_add(1),
        1 => there.wrapping_sub(1),
        _ => rng.of(NUMBERS),
    };
    bytes.iter_mut().skip(at).zip(&number.to_le_bytes()[..width]).for_each(|(byte, new)| *byte = *new);
}

fn over(bytes: &mut [u8], at: usize, change: impl FnOnce(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = change(*byte);
    }
}

fn put(bytes: &mut Vec<u8>, place: Range<usize>, new: &[u8]) {
    drop(bytes.splice(place, new.iter().copied()));
}
