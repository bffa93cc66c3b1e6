//! Sizes that a Parquet file's structures claim, looked at before anybody sets memory aside for them.
//!
//! A footer or a page header of a few bytes, in Thrift's compact protocol, may say that a list of two thousand million
//! structures follows. Here it is walked through without being built: every list and text must lie within the bytes that are
//! there, and every field that a reader knows must be of the kind that the format gives it, because readers go by a field's
//! number and not by what it says it is. Whoever builds it afterwards needs no more memory than it is long, times a constant.

/// Numbers in structures that a structure may have: none that is meant well has as many.
const INNER_MAX: usize = 64;

/// Levels of structures inside each other.
const DEPTH_MAX: usize = 32;

/// What a field is, as far as readers rely on it.
#[derive(Debug)]
pub(super) enum Form {
    /// True or false.
    Flag,
    /// A whole number of any size but one byte.
    Number,
    /// A byte.
    Byte,
    /// A floating point number.
    Double,
    /// A text, or bytes.
    Text,
    /// A list of numbers.
    Numbers,
    /// A list of texts.
    Texts,
    /// A structure.
    One(&'static Fields),
    /// A list of structures.
    Many(&'static Fields),
}

/// The fields of a structure, from number 1 on; of others nothing is known, and nobody builds anything of them.
pub(super) type Fields = [Form];

use Form::{Byte, Double, Flag, Many, Number, Numbers, One, Text, Texts};

/// `FileMetaData`
pub(super) const FOOTER: [Form; 9] = [
    Number,
    Many(&ELEMENT),
    Number,
    Many(&ROW_GROUP),
    Many(&[Text, Text]),
    Text,
    Many(&[One(&[])]),
    One(&[One(&CIPHER), One(&CIPHER)]),
    Text,
];

/// `AesGcmV1` and `AesGcmCtrV1`
const CIPHER: [Form; 3] = [Text, Text, Flag];

/// `PageHeader`
pub(super) const PAGE: [Form; 8] = [
    Number,
    Number,
    Number,
    Number,
    One(&[Number, Number, Number, Number, One(&STATISTICS)]),
    One(&[]),
    One(&[Number, Number, Flag]),
    One(&[Number, Number, Number, Number, Number, Number, Flag, One(&STATISTICS)]),
];

/// `SchemaElement`
const ELEMENT: [Form; 10] = [Number, Number, Number, Text, Number, Number, Number, Number, Number, One(&LOGICAL_TYPE)];

/// `LogicalType`: one of many structures.
const LOGICAL_TYPE: [Form; 18] = [
    One(&[]),
    One(&[]),
    One(&[]),
    One(&[]),
    One(&[Number, Number]),
    One(&[]),
    One(&[Flag, One(&UNIT)]),
    One(&[Flag, One(&UNIT)]),
    One(&[]),
    One(&[Byte, Flag]),
    One(&[]),
    One(&[]),
    One(&[]),
    One(&[]),
    One(&[]),
    One(&[Byte]),
    One(&[Text]),
    One(&[Text, Number]),
];

/// `TimeUnit`
const UNIT: [Form; 3] = [One(&[]), One(&[]), One(&[])];

/// `RowGroup`
const ROW_GROUP: [Form; 7] = [Many(&CHUNK), Number, Number, Many(&[Number, Flag, Flag]), Number, Number, Number];

/// `ColumnChunk`
const CHUNK: [Form; 9] =
    [Text, Number, One(&COLUMN), Number, Number, Number, Number, One(&[One(&[]), One(&[Texts, Text])]), Text];

/// `ColumnMetaData`
const COLUMN: [Form; 17] = [
    Number,
    Numbers,
    Texts,
    Number,
    Number,
    Number,
    Number,
    Many(&[Text, Text]),
    Number,
    Number,
    Number,
    One(&STATISTICS),
    Many(&[Number, Number, Number]),
    Number,
    Number,
    One(&[Number, Numbers, Numbers]),
    One(&[One(&[Double, Double, Double, Double, Double, Double, Double, Double]), Numbers]),
];

/// `Statistics`
const STATISTICS: [Form; 8] = [Text, Text, Number, Number, Text, Text, Flag, Flag];

impl Form {
    /// Whether a field of this kind of the protocol may be it.
    fn is(&self, kind: u8) -> bool {
        match self {
            Flag => matches!(kind, 1 | 2),
            Number => matches!(kind, 4..=6),
            Byte => kind == 3,
            Double => kind == 7,
            Text => kind == 8,
            Numbers | Texts | Many(_) => kind == 9,
            One(_) => kind == 12,
        }
    }

    /// Whether its items may be of this kind.
    fn is_of(&self, kind: u8) -> bool {
        match self {
            Numbers => matches!(kind, 4..=6),
            Texts => kind == 8,
            Many(_) => kind == 12,
            _ => true,
        }
    }

    /// The fields of the structures in it.
    fn fields(&self) -> &'static Fields {
        match self {
            One(fields) | Many(fields) => fields,
            _ => &[],
        }
    }
}

/// A structure that was walked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walked {
    /// Bytes that it takes.
    pub(super) length: usize,
    /// The whole numbers among its fields 1, 2 and 3.
    pub(super) numbers: [Option<i64>; 3],
    /// The whole numbers in structures among its fields: the field's number, that of the number's own field, and it.
    pub(super) inner: Vec<(i64, i64, i64)>,
}

impl Walked {
    /// What a field of the structure that a field is says, as often as it stands there.
    pub(super) fn inner(&self, outer: i64, id: i64) -> impl Iterator<Item = i64> {
        self.inner.iter().filter(move |found| (found.0, found.1) == (outer, id)).map(|found| found.2)
    }
}

/// Walks through the structure that these bytes begin with; `None` where it claims what is not there, or is another than it
/// should be.
pub(super) fn walk(bytes: &[u8], fields: &'static Fields) -> Option<Walked> {
    let mut walker = Walker { bytes, at: 0 };
    let (mut numbers, mut inner) = ([None; 3], Vec::new());
    walker.structure((0, 0), fields, &mut |(outer, id), number| match outer {
        0 => {
            if let Some(place) = usize::try_from(id - 1).ok().and_then(|index| numbers.get_mut(index)) {
                *place = Some(number);
            }
        }
        outer if inner.len() <= INNER_MAX => inner.push((outer, id, number)),
        _ => {}
    })?;
    (inner.len() <= INNER_MAX).then_some(Walked { length: walker.at, numbers, inner })
}

/// A number of variable length, and the place behind it.
pub(super) fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
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
        varint(self.bytes, &mut self.at)
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

    /// Walks through a structure that is the field `outer` of one at the top, if it is; then its numbers are taken.
    fn structure(
        &mut self,
        (depth, outer): (usize, i64),
        fields: &'static Fields,
        take: &mut dyn FnMut((i64, i64), i64),
    ) -> Option<()> {
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            let (step, kind) = (head >> 4, head & 0x0f);
            id = if step == 0 { self.number()? } else { id + i64::from(step) };
            if !(1..=i64::from(i16::MAX)).contains(&id) {
                return None;
            }
            let known = usize::try_from(id - 1).ok().and_then(|index| fields.get(index));
            if known.is_some_and(|form| !form.is(kind)) {
                return None;
            }
            match kind {
                // The field's kind is its value: true or false.
                1 | 2 => {}
                4..=6 => take((outer, id), self.number()?),
                12 if depth == 0 => self.structure((1, id), known.map_or(&[], Form::fields), take)?,
                kind => self.value(kind, depth, known)?,
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize, known: Option<&'static Form>) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match kind {
            1..=3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.pass(8),
            8 => self.count().and_then(|length| self.pass(length)),
            9 | 10 => self.list(depth + 1, known),
            11 => self.map(depth + 1),
            12 => self.structure((depth + 1, 0), known.map_or(&[], Form::fields), &mut |_, _| {}),
            _ => None,
        }
    }

    fn list(&mut self, depth: usize, known: Option<&'static Form>) -> Option<()> {
        let head = self.byte()?;
        let (short, kind) = (head >> 4, head & 0x0f);
        let count = if short == 15 { self.count()? } else { usize::from(short) };
        if count > 0 && known.is_some_and(|form| !form.is_of(kind)) {
            return None;
        }
        (0..count).try_for_each(|_| self.value(kind, depth, known))
    }

    fn map(&mut self, depth: usize) -> Option<()> {
        let count = self.count()?;
        if count == 0 {
            return Some(());
        }
        let kinds = self.byte()?;
        (0..count).try_for_each(|_| {
            self.value(kinds >> 4, depth, None)?;
            self.value(kinds & 0x0f, depth, None)
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
        let whole = Walked { length: bytes.len(), numbers: [Some(2), Some(-1), None], inner: Vec::new() };
        assert_eq!(walk(&bytes, &[]), Some(whole.clone()));
        for cut in 0..bytes.len() {
            assert_eq!(walk(&bytes[..cut], &[]), None, "{cut}");
        }
        bytes.extend_from_slice(b"more");
        assert_eq!(walk(&bytes, &[]), Some(whole), "what follows is another's");
    }

    #[test]
    fn numbers_of_inner_structures_are_told() {
        // 5: struct {1: i32 -2, 2: i32 7, 5: struct {3: i32 1}, 2: i32 6}
        let header = [0x5c, 0x15, 0x03, 0x15, 0x0e, 0x3c, 0x35, 0x02, 0x00, 0x05, 0x04, 0x0c, 0x00, 0x00];
        let walked = walk(&header, &[]).expect("a structure");
        assert_eq!(walked.inner, [(5, 1, -2), (5, 2, 7), (5, 2, 6)]);
        let said = |outer, id| walked.inner(outer, id).collect::<Vec<_>>();
        assert_eq!((said(5, 2), said(5, 3), said(7, 1)), (vec![7, 6], vec![], vec![]));
        // Nor can one be hidden behind others.
        let many = |count: usize| [&[0x5c][..], &[0x05, 0x04, 0x0c].repeat(count), &[0, 0]].concat();
        assert!(walk(&many(INNER_MAX), &[]).is_some() && walk(&many(INNER_MAX + 1), &[]).is_none());
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
            assert_eq!(walk(claim, &[]), None, "{claim:?}");
        }
        for deep in [0x1c, 0x19, 0x1b] {
            assert_eq!(walk(&vec![deep; 4_000_000], &[]), None, "depth is bounded");
        }
        let maps = [0x1b, 1, 0xbb].into_iter().chain([1, 0xbb].repeat(100_000)).collect::<Vec<u8>>();
        assert_eq!(walk(&maps, &[]), None);
    }

    #[test]
    fn a_field_is_of_the_kind_that_readers_take_it_for() {
        // The number of the list of columns, as a whole number; as a list of numbers; a number out of range.
        for wrong in [
            &[0x25, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00][..],
            &[0x29, 0x15, 0x02, 0x00],
            &[0x09, 0x84, 0x80, 0x08, 0x1c, 0x00, 0x00],
        ] {
            assert_eq!(walk(wrong, &FOOTER), None, "{wrong:?}");
        }
        assert!(walk(&[0x29, 0x1c, 0x00, 0x00], &FOOTER).is_some(), "one column that says nothing");
        assert_eq!(walk(&[0x15, 0, 0x12, 0x15, 0, 0], &PAGE), None, "a page's size is a number");
    }
}
