//! Sizes that a structure in Thrift's compact protocol claims, looked at before anybody sets memory aside for them.
//!
//! A footer or a page header of a few bytes may say that a list of two thousand million structures follows. Here a structure
//! is walked through without being built: every list and text must lie within the bytes that are there, so whoever builds it
//! afterwards needs no more memory than it is long, times a constant.

/// Levels of structures inside each other.
const DEPTH_MAX: usize = 32;

/// A structure that was walked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walked {
    /// Bytes that it takes.
    pub(super) length: usize,
    /// The whole numbers among its fields 1, 2 and 3.
    pub(super) numbers: [Option<i64>; 3],
}

/// Walks through the structure that these bytes begin with; `None` where it claims what is not there.
pub(super) fn walk(bytes: &[u8]) -> Option<Walked> {
    let mut walker = Walker { bytes, at: 0 };
    let mut numbers = [None; 3];
    walker.structure(0, &mut |id, number| {
        if let Some(place) = usize::try_from(id - 1).ok().and_then(|index| numbers.get_mut(index)) {
            *place = Some(number);
        }
    })?;
    Some(Walked { length: walker.at, numbers })
}

struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walker<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A whole number, which is written so that small negative ones are short.
    fn number(&mut self) -> Option<i64> {
        let written = self.varint()?;
        let half = i64::try_from(written >> 1).ok()?;
        Some(if written & 1 == 0 { half } else { -half - 1 })
    }

    /// How many bytes or items follow: at most as many as bytes are left.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.varint()?).ok()?;
        (count <= self.bytes.len() - self.at).then_some(count)
    }

    fn structure(&mut self, depth: usize, take: &mut dyn FnMut(i64, i64)) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            id = if head >> 4 == 0 { self.number()? } else { id.checked_add(i64::from(head >> 4))? };
            match head & 0x0f {
                // The field's type is its value: true or false.
                1 | 2 => {}
                4..=6 => take(id, self.number()?),
                kind => self.value(kind, depth)?,
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1..=3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.pass(8),
            8 => self.count().and_then(|length| self.pass(length)),
            9 | 10 => self.list(depth),
            11 => self.map(depth),
            12 => self.structure(depth + 1, &mut |_, _| {}),
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.count()? } else { usize::from(head >> 4) };
        (0..count).try_for_each(|_| self.value(head & 0x0f, depth))
    }

    fn map(&mut self, depth: usize) -> Option<()> {
        let count = self.count()?;
        if count == 0 {
            return Some(());
        }
        let kinds = self.byte()?;
        (0..count).try_for_each(|_| {
            self.value(kinds >> 4, depth)?;
            self.value(kinds & 0x0f, depth)
        })
    }

    fn pass(&mut self, length: usize) -> Option<()> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        self.at = end;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_is_as_long_as_it_says() {
        // 1: i32 2, 2: i32 -1, 3: list of two texts, 4: true, 5: struct {1: double}, 6: map of one i32 to one byte, 9: i64
        let mut bytes = vec![0x15, 0x04, 0x15, 0x01, 0x19, 0x28, 2, b'a', b'b', 0, 0x11, 0x1c, 0x17];
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[0, 0x1b, 1, 0x53, 0x06, 0x07, 0x36, 0x80, 0x01, 0]);
        let whole = Walked { length: bytes.len(), numbers: [Some(2), Some(-1), None] };
        assert_eq!(walk(&bytes), Some(whole));
        for cut in 0..bytes.len() {
            assert_eq!(walk(&bytes[..cut]), None, "{cut}");
        }
        bytes.extend_from_slice(b"more");
        assert_eq!(walk(&bytes), Some(whole), "what follows is another's");
    }

    #[test]
    fn claims_that_nothing_stands_behind_are_not_believed() {
        for claim in [
            // A list of 2^31 - 1 structures, a text of as many bytes, a map, and a number without an end.
            &[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0][..],
            &[0x18, 0xff, 0xff, 0xff, 0xff, 0x07, 0],
            &[0x1b, 0xff, 0xff, 0xff, 0xff, 0x07, 0x55, 0],
            &[0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
            &[0x1f, 0],
        ] {
            assert_eq!(walk(claim), None, "{claim:?}");
        }
        assert_eq!(walk(&[0x1c; 100_000]), None, "depth is bounded");
    }
}
