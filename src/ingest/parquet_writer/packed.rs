//! Numbers of so many bits, in Parquet's hybrid of runs and packed groups ("Encodings", RLE = 3).
//!
//! Eight numbers that are alike begin a run, other eights are packed; the tail is a run if it may be, else it is filled up
//! with zeros. The library's encoder makes the same choices.

/// Numbers in a group.
const GROUP: usize = 8;

/// Groups that one byte can say there are.
const GROUPS_MAX: u8 = 63;

/// How many bits hold all numbers up to this one.
pub(super) fn bits_of(greatest: usize) -> u32 {
    usize::BITS - greatest.leading_zeros()
}

/// As many bytes as these numbers take at most; the library's estimate.
pub(super) fn bytes_at_most(bits: u32, numbers: usize) -> usize {
    let groups = numbers.div_ceil(GROUP);
    let packed = groups + groups * bits as usize;
    let runs = groups * (1 + (bits as usize).div_ceil(8));
    packed.max(runs)
}

/// Appends numbers, each below two to the power of `bits`.
pub(super) fn encode(numbers: &[u32], bits: u32, out: &mut Vec<u8>) {
    let mut open = OpenGroups::default();
    let mut rest = numbers;
    while let Some((group, after)) = rest.split_first_chunk::<GROUP>() {
        if group.iter().all(|number| *number == group[0]) {
            open.end(out);
            let more = after.iter().take_while(|number| **number == group[0]).count();
            run(group[0], GROUP + more, bits, out);
            rest = &after[more..];
        } else {
            open.add(group, bits, out);
            rest = after;
        }
    }
    if let Some(first) = rest.first() {
        if open.groups == 0 && rest.iter().all(|number| number == first) {
            run(*first, rest.len(), bits, out);
        } else {
            let mut group = [0; GROUP];
            group[..rest.len()].copy_from_slice(rest);
            open.add(&group, bits, out);
        }
    }
    open.end(out);
}

/// Appends one number, so many times.
pub(super) fn run(number: u32, times: usize, bits: u32, out: &mut Vec<u8>) {
    let mut header = times << 1;
    while header >= 0x80 {
        out.push(header.to_le_bytes()[0] | 0x80);
        header >>= 7;
    }
    out.push(header.to_le_bytes()[0]);
    out.extend_from_slice(&number.to_le_bytes()[..(bits as usize).div_ceil(8)]);
}

/// Packed groups whose number is not known yet.
#[derive(Default)]
struct OpenGroups {
    /// Where their number belongs.
    header: usize,
    groups: u8,
}

impl OpenGroups {
    fn add(&mut self, group: &[u32; GROUP], bits: u32, out: &mut Vec<u8>) {
        if self.groups == 0 {
            self.header = out.len();
            out.push(0);
        }
        pack(group, bits, out);
        self.groups += 1;
        if self.groups == GROUPS_MAX {
            self.end(out);
        }
    }

    fn end(&mut self, out: &mut [u8]) {
        if self.groups > 0 {
            out[self.header] = self.groups << 1 | 1;
            self.groups = 0;
        }
    }
}

fn pack(group: &[u32; GROUP], bits: u32, out: &mut Vec<u8>) {
    if bits <= 16 {
        let packed = group.iter().rev().fold(0_u128, |packed, number| packed << bits | u128::from(*number));
        out.extend_from_slice(&packed.to_le_bytes()[..bits as usize]);
        return;
    }
    let (mut held, mut word) = (0, 0_u64);
    for number in group {
        word |= u64::from(*number) << held;
        held += bits;
        while held >= 8 {
            out.push(word.to_le_bytes()[0]);
            word >>= 8;
            held -= 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_groups_are_laid_out_as_the_format_says() {
        let mut out = Vec::new();
        encode(&[0, 1, 2, 3, 4, 5, 6, 7], 3, &mut out);
        assert_eq!(out, [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010], "the example of the format's specification");
        out.clear();
        encode(&[300; 10], 9, &mut out);
        assert_eq!(out, [20, 0x2c, 1]);
        out.clear();
        encode(&[5, 5], 3, &mut out);
        assert_eq!(out, [4, 5], "a short tail of one number is a run");
        out.clear();
        encode(&[0; 100], 0, &mut out);
        assert_eq!(out, [0xc8, 1], "of no bits there is only how many");
    }

    #[test]
    fn wide_numbers_are_packed_as_narrow_ones_are() {
        let group = [1, 0xff_ffff, 3, 0x80_0001, 5, 6, 7, 8];
        let mut out = Vec::new();
        encode(&group, 24, &mut out);
        let plain: Vec<u8> = group.iter().flat_map(|number: &u32| number.to_le_bytes()[..3].to_vec()).collect();
        assert_eq!((out[0], &out[1..]), (3, plain.as_slice()));
    }

    #[test]
    fn bits_and_bytes_are_counted() {
        assert_eq!([0, 1, 2, 255, 256].map(bits_of), [0, 1, 2, 8, 9]);
        assert_eq!((bytes_at_most(0, 8), bytes_at_most(3, 9), bytes_at_most(9, 1)), (1, 8, 10));
    }
}
