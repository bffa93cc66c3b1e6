//! The only place that asks the time, waits, or makes an id.
//!
//! Rooms that need the time are handed a [`Clock`]; tests move it. Ids are random and need no seed: nothing here
//! repeats, and nothing sorts by an id.

#![expect(clippy::disallowed_methods, reason = "this is the one room that may ask the time and make ids")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};
use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Wall time in milliseconds since 1970, UTC, plus whatever a test added.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        ms.saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Moves this clock and its clones forward (or, with a negative number, back).
    pub fn advance_ms(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// A length of time as people write it: a whole number and a unit, `ms`, `s`, `m` or `h`.
pub fn duration_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let ms = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(ms).map(Duration::from_millis)
}

/// A point on the monotonic clock, for measuring how long something took.
pub fn tick() -> Instant {
    Instant::now()
}

/// Waits for `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// A fresh random identifier (UUID version 4), lower-case with hyphens.
pub fn new_uuid() -> String {
    Uuid::new_v4().to_string()
}

/// A fresh identifier that sorts by its time (UUID version 7), for rows and file names.
pub fn new_ordered_id() -> String {
    Uuid::now_v7().to_string()
}

/// A fresh snapshot id: positive, 63 random bits, as Iceberg's own writers make them.
pub fn new_snapshot_id() -> i64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    let id = (high ^ low) & (i64::MAX as u64);
    i64::try_from(id.max(1)).unwrap_or(i64::MAX)
}

/// 256 random bits from the operating system.
pub fn random_bytes() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("The system gives no random bytes"))?;
    Ok(bytes)
}

/// A time as text: RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The time that a text says, RFC 3339 with a zone.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

/// Eight random hexadecimal digits, to make a name unique.
pub fn new_suffix() -> String {
    let mut text = Uuid::new_v4().simple().to_string();
    text.truncate(8);
    text
}
