//! Bounds that are shorter than the values they stand for: a prefix is never above, a prefix with its end raised is never
//! below. `None` where there is no such thing; texts stay texts.

use std::str;

/// At most so many of these bytes, not above them all.
pub(super) fn below(bytes: &[u8], most: usize, text: bool) -> Option<Vec<u8>> {
    let kept = if text { str::from_utf8(bytes).ok()?.floor_char_boundary(most) } else { most.min(bytes.len()) };
    (kept > 0).then(|| bytes[..kept].to_vec())
}

/// At most so many bytes, not below what begins with as many of these.
pub(super) fn above(bytes: &[u8], most: usize, text: bool) -> Option<Vec<u8>> {
    let kept = below(bytes, most, text)?;
    if text { raised_text(str::from_utf8(&kept).ok()?).map(String::into_bytes) } else { raised_bytes(&kept) }
}

/// The least text, as long at most, that no text beginning like this one is above.
pub(super) fn raised_text(text: &str) -> Option<String> {
    text.char_indices().rev().find_map(|(at, last)| {
        // The code points of surrogates are no characters: the next one after them is.
        let next = match u32::from(last) {
            0xd7ff => Some('\u{e000}'),
            code => char::from_u32(code + 1),
        };
        let next = next.filter(|next| next.len_utf8() == last.len_utf8())?;
        Some(format!("{}{next}", &text[..at]))
    })
}

/// The least bytes, as many at most, that none beginning like these are above.
pub(super) fn raised_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.iter().rposition(|byte| *byte < 0xff)?;
    let mut raised = bytes[..=at].to_vec();
    raised[at] += 1;
    Some(raised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_cut_between_characters() {
        assert_eq!(below("aäb".as_bytes(), 2, true).as_deref(), Some(b"a".as_slice()));
        assert_eq!(below("aäb".as_bytes(), 2, false).as_deref(), Some([b'a', 0xc3].as_slice()));
        assert_eq!(below("äb".as_bytes(), 1, true), None, "not even one character fits");
        assert_eq!(below(b"ab", 9, false).as_deref(), Some(b"ab".as_slice()));
    }

    #[test]
    fn what_is_raised_is_above_everything_that_begins_alike() {
        assert_eq!(raised_text("abc").as_deref(), Some("abd"));
        assert_eq!(raised_text("ab\u{d7ff}").as_deref(), Some("ab\u{e000}"));
        assert_eq!(
            raised_text("ab\u{10ffff}").as_deref(),
            Some("ac"),
            "there is no next one: the one before is raised"
        );
        assert_eq!(raised_text("ab\u{7f}").as_deref(), Some("ac"), "the next one is longer");
        assert_eq!(raised_text("\u{10ffff}\u{10ffff}"), None);
        assert_eq!(raised_bytes(&[1, 0xff, 0xff]).as_deref(), Some([2].as_slice()));
        assert_eq!(raised_bytes(&[0xff; 3]), None);
        assert_eq!(above("aäb".as_bytes(), 2, true).as_deref(), Some(b"b".as_slice()));
        assert_eq!(above(&[7, 8, 9], 2, false).as_deref(), Some([7, 9].as_slice()));
    }
}
