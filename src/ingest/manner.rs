//! How strictly values are taken: what a request may say of it.

/// How values are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// Fractions of a second finer than the column (`time_precision`).
    pub precision: TimePrecision,
    /// Values of another kind than the column's (`coerce`).
    pub leniency: Leniency,
    /// Digits of a decimal that its column has no room for behind the point (`round`).
    pub rounding: Rounding,
    /// What numbers count that come for a point in time (`ts_unit`); `None`: they do not come.
    pub counts: Option<Counting>,
}

/// What to do with a fraction of a second finer than the column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimePrecision {
    /// Refuse it if a digit that would be lost is not zero.
    #[default]
    Exact,
    /// Cut it off.
    Truncate,
}

/// Whether a value of another kind than the column's is taken where its meaning is plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leniency {
    /// Never.
    #[default]
    Strict,
    /// Numbers written as texts, texts made of anything, numbers that count since 1970, whole numbers that a double only
    /// comes near.
    Lenient,
}

/// What becomes of digits behind the point that a decimal column has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounding {
    /// The value is refused.
    #[default]
    Never,
    /// The nearest value is taken; of two that are as near, the one further from zero.
    HalfUp,
}

/// What a number counts since the beginning of 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// Seconds.
    Seconds,
    /// Thousandths of them.
    Millis,
    /// Millionths.
    Micros,
    /// Billionths.
    Nanos,
}

impl Counting {
    /// The one that this word means.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "s" => Some(Self::Seconds),
            "ms" => Some(Self::Millis),
            "us" => Some(Self::Micros),
            "ns" => Some(Self::Nanos),
            _ => None,
        }
    }

    /// Digits of a second that it counts.
    pub(super) fn digits(self) -> i64 {
        match self {
            Self::Seconds => 0,
            Self::Millis => 3,
            Self::Micros => 6,
            Self::Nanos => 9,
        }
    }
}

impl Leniency {
    /// The one that this word means.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "strict" => Some(Self::Strict),
            "lenient" => Some(Self::Lenient),
            _ => None,
        }
    }
}
