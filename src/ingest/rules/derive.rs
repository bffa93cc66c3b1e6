//! Points in time: a part of one as a column, and one cut to a unit.
//!
//! A text is a date, or a date and time with a zone or without; without one it is taken as it stands. A number is a point
//! in time only where the rule says what it counts. What is none of these is the misfit `bad_timestamp`.

use chrono::{DateTime, Datelike, Timelike, Utc};

use super::RuleFault;
use super::act::Place;
use super::object::{self, Edit, Fit, Member};
use crate::ingest::coerce::{Misfit, Unit, counted, date, quoted, timestamp};
use crate::ingest::json::lexer::Kind;
use crate::ingest::manner::{Counting, TimePrecision};

const DAY_MICROS: i64 = 86_400_000_000;

/// How a value is made of a point in time.
#[derive(Debug)]
pub(super) struct Derive {
    /// Where that is.
    pub(super) from: Place,
    /// What it counts where it is a number.
    pub(super) unit: Option<Counting>,
    /// What is wanted of it.
    pub(super) part: Part,
}

/// A part of a point in time, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Date,
    Year,
    Month,
    Day,
    Hour,
    Minute,
}

impl Derive {
    /// The value; `None` where there is no point in time.
    pub(super) fn value(&self, members: &[Member<'_>]) -> Result<Option<String>, RuleFault> {
        let value = match object::find(members, self.from.path())[..] {
            [] => Ok(None),
            [value] => self.value_of(value),
            _ => Err(Misfit::new("duplicate_key", "the field stands twice in its object")),
        };
        value.map_err(|misfit| self.from.fault(misfit))
    }

    fn value_of(&self, value: &str) -> Fit<Option<String>> {
        let micros = match (object::kind_of(value), self.unit) {
            (Kind::Null, _) => return Ok(None),
            (Kind::String, _) => moment(&object::text_of(value).unwrap_or_default())?,
            (Kind::Number, Some(_)) => counted(value, self.unit, Unit::Micro, TimePrecision::Truncate)?,
            (Kind::Number, None) => {
                let detail = "a number is a point in time where the rule has a \"unit\": s, ms, us or ns";
                return Err(Misfit::new("bad_timestamp", detail));
            }
            (kind, _) => return Err(Misfit::new("bad_timestamp", format!("{} is no point in time", kind.word()))),
        };
        let time = DateTime::from_timestamp_micros(micros).filter(|time| (0..=9_999).contains(&time.year()));
        let far = || Misfit::new("timestamp_overflow", format!("{} is outside the years 0 to 9999", quoted(value)));
        time.map(|time| Some(self.part.of(&time))).ok_or_else(far)
    }
}

impl Part {
    /// Its JSON.
    fn of(self, time: &DateTime<Utc>) -> String {
        match self {
            Self::Date => format!("\"{:04}-{:02}-{:02}\"", time.year(), time.month(), time.day()),
            Self::Year => time.year().to_string(),
            Self::Month => time.month().to_string(),
            Self::Day => time.day().to_string(),
            Self::Hour => time.hour().to_string(),
            Self::Minute => time.minute().to_string(),
        }
    }
}

/// A text as microseconds since 1970.
fn moment(text: &str) -> Fit<i64> {
    let at = |zoned| timestamp(text, Unit::Micro, zoned, TimePrecision::Truncate);
    let micros = match text.len() {
        10 => date(text).map(|days| i64::from(days) * DAY_MICROS),
        _ => at(true).or_else(|_| at(false)),
    };
    micros.map_err(|_| {
        let detail = format!("{} is neither a date as YYYY-MM-DD nor a time as YYYY-MM-DDTHH:MM:SSZ", quoted(text));
        Misfit::new("bad_timestamp", detail)
    })
}

/// A unit that times are cut to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grain {
    Day,
    Hour,
    Minute,
    Second,
}

impl Grain {
    /// Cuts a time, in the zone that it names. A date has nothing to cut.
    pub(super) fn cut(self, value: &str) -> Fit<Edit> {
        let no_text = || {
            let what = object::kind_of(value).word();
            Misfit::new("bad_timestamp", format!("{what} is no time as a text: a rule with \"width\" cuts numbers"))
        };
        let text = object::text_of(value).ok_or_else(no_text)?;
        moment(&text)?;
        // It is either a date or `YYYY-MM-DDTHH:MM:SS[.f][zone]`.
        let Some((time, rest)) = text.split_at_checked(19) else { return Ok(Edit::Keep) };
        let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
        let (kept, zeros) = match self {
            Self::Day => (11, "00:00:00"),
            Self::Hour => (13, ":00:00"),
            Self::Minute => (16, ":00"),
            Self::Second => (19, ""),
        };
        Ok(Edit::Put(object::quoted(&format!("{}{zeros}{zone}", &time[..kept]))))
    }
}
