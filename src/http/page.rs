//! Pages of a listing (`pageToken`, `pageSize` of the REST specification).
//!
//! A token is the last key of the page before, so that it survives what is created and dropped meanwhile. Without
//! `pageToken` everything is returned; the last page has no token.

use std::fmt::Write;

use crate::error::{Error, Result};
use crate::limits;

/// Which part of a listing is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// All of it.
    All,
    /// The part after a key, at most so many.
    After(String, usize),
}

impl Page {
    /// Reads the two query parameters.
    pub(super) fn parse(token: Option<&str>, size: Option<&str>) -> Result<Self> {
        let size = match size {
            None => limits::PAGE_SIZE_MAX,
            Some(text) => {
                let size = text.parse::<usize>().ok().filter(|size| *size > 0);
                let size = size.ok_or_else(|| {
                    Error::malformed(format!("pageSize {text:?} is not a whole number of at least 1"))
                })?;
                size.min(limits::PAGE_SIZE_MAX)
            }
        };
        match token {
            None => Ok(Self::All),
            Some("") => Ok(Self::After(String::new(), size)),
            Some(token) => Ok(Self::After(decode(token)?, size)),
        }
    }

    /// The key after which to start.
    pub(super) fn after(&self) -> &str {
        match self {
            Self::All => "",
            Self::After(key, _) => key,
        }
    }

    /// How many to read: one more than the page holds tells whether there is another.
    pub(super) fn most(&self) -> i64 {
        match self {
            Self::All => i64::MAX,
            Self::After(_, size) => i64::try_from(*size).unwrap_or(i64::MAX - 1) + 1,
        }
    }

    /// Cuts what was read down to the page, and gives the next page's token if there is one.
    pub(super) fn cut<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> &str) -> (Vec<T>, Option<String>) {
        let Self::After(_, size) = self else { return (items, None) };
        if items.len() <= *size {
            return (items, None);
        }
        items.truncate(*size);
        let token = items.last().map(|last| encode(key(last)));
        (items, token)
    }
}

/// The first letter is the version of the token's form.
fn encode(key: &str) -> String {
    let mut token = String::with_capacity(1 + key.len() * 2);
    token.push('a');
    for byte in key.bytes() {
        // Writing to a String cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

fn decode(token: &str) -> Result<String> {
    let bad = || Error::malformed(format!("pageToken {token:?} is not one that this server gave out"));
    let digits = token.strip_prefix('a').ok_or_else(bad)?;
    if !digits.is_ascii() || digits.len() % 2 != 0 {
        return Err(bad());
    }
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| bad());
    let bytes = (0..digits.len()).step_by(2).map(byte).collect::<Result<Vec<u8>>>()?;
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip() {
        for key in ["a", "a\u{1f}b c", "é%"] {
            assert_eq!(decode(&encode(key)).expect("ours"), key);
        }
        for bad in ["", "x", "a0", "azz", "aé", "ac3"] {
            assert!(bad.is_empty() || Page::parse(Some(bad), None).is_err(), "{bad:?} must be refused");
        }
        assert!(Page::parse(Some(""), Some("0")).is_err());
        assert!(Page::parse(None, Some("-1")).is_err());
    }

    #[test]
    fn the_last_page_has_no_token() {
        let page = Page::parse(Some(""), Some("2")).expect("valid");
        let (items, token) = page.cut(vec!["a", "b", "c"], |item| item);
        assert_eq!((items, token.is_some()), (vec!["a", "b"], true));
        let (items, token) = page.cut(vec!["a", "b"], |item| item);
        assert_eq!((items, token), (vec!["a", "b"], None));
    }
}
