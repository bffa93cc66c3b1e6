//! One value of a column, as it is stored: what bounds, partition tuples and literals are compared as.
//!
//! A value knows its physical form only. Dates, times and timestamps are integers in the unit of their type, text is its
//! UTF-8 bytes (whose order is that of code points). Values of different forms cannot be compared.

use std::borrow::Cow;
use std::cmp::Ordering;

/// A value that is not null.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `boolean`
    Boolean(bool),
    /// Integers, dates, times and timestamps.
    Integer(i64),
    /// `float` and `double`
    Real(f64),
    /// `decimal`, without its scale.
    Decimal(i128),
    /// `string`, `fixed` and `binary`
    Bytes(Cow<'a, [u8]>),
    /// `uuid`
    Uuid([u8; 16]),
}

impl<'a> Value<'a> {
    /// Bytes that are kept elsewhere.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }

    /// The same value, keeping its own bytes.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Boolean(value) => Value::Boolean(value),
            Self::Integer(value) => Value::Integer(value),
            Self::Real(value) => Value::Real(value),
            Self::Decimal(value) => Value::Decimal(value),
            Self::Bytes(value) => Value::Bytes(Cow::Owned(value.into_owned())),
            Self::Uuid(value) => Value::Uuid(value),
        }
    }

    /// How this compares to `other`; `None` where that cannot be said.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => Some(a.cmp(b)),
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(b)),
            (Self::Real(a), Self::Real(b)) => a.partial_cmp(b),
            (Self::Decimal(a), Self::Decimal(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Uuid(a), Self::Uuid(b)) => compare_uuids(a, b),
            _ => None,
        }
    }
}

/// UUIDs are ordered by their bytes, but for older writers, who took each half for a signed number. Where the two
/// differ, nothing can be said of a bound.
fn compare_uuids(a: &[u8; 16], b: &[u8; 16]) -> Option<Ordering> {
    let agree = |at: usize| (a[at] ^ b[at]) & 0x80 == 0;
    (agree(0) && (a[..8] != b[..8] || agree(8))).then(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_of_one_form_are_compared() {
        assert_eq!(Value::Integer(1).compare(&Value::Integer(2)), Some(Ordering::Less));
        assert_eq!(Value::Integer(1).compare(&Value::Real(2.0)), None);
        assert_eq!(Value::Real(f64::NAN).compare(&Value::Real(2.0)), None);
        assert_eq!(Value::Real(-0.0).compare(&Value::Real(0.0)), Some(Ordering::Equal));
        assert_eq!(Value::bytes(b"ab").compare(&Value::bytes(b"abc")), Some(Ordering::Less));
    }

    #[test]
    fn uuids_are_compared_where_both_orders_agree() {
        let uuid = |first: u8, middle: u8| {
            let mut bytes = [0; 16];
            (bytes[0], bytes[8]) = (first, middle);
            Value::Uuid(bytes)
        };
        assert_eq!(uuid(1, 0).compare(&uuid(2, 0)), Some(Ordering::Less));
        assert_eq!(uuid(1, 0).compare(&uuid(0x81, 0)), None);
        assert_eq!(uuid(1, 0).compare(&uuid(1, 0x80)), None);
        assert_eq!(uuid(1, 0).compare(&uuid(2, 0x80)), Some(Ordering::Less));
        assert_eq!(uuid(0x81, 0x80).compare(&uuid(0x81, 0x80)), Some(Ordering::Equal));
    }
}
