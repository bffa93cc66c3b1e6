//! When the rows that wait for a table are committed: a pure function of what waits and of what the table says.

use std::time::{Duration, Instant};

use indexmap::IndexMap;

use crate::catalog::properties;
use crate::limits;

const LINGER: &str = "floeberg.ingest.linger-ms";
const MAX_DELAY: &str = "floeberg.ingest.max-delay-ms";
const MIN_INTERVAL: &str = "floeberg.ingest.min-commit-interval-ms";
const TARGET_BYTES: &str = "floeberg.ingest.target-bytes";

/// Longer than that no table makes rows wait.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// How often a table wants to be committed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// How long rows whose sender waits are held for others to come.
    pub(super) linger: Duration,
    /// How long rows wait that are acknowledged already.
    pub(super) max_delay: Duration,
    /// How long it is from one commit to the next at least.
    pub(super) min_interval: Duration,
    /// Bytes of rows that are committed without waiting any longer.
    pub(super) target_bytes: usize,
}

impl Pace {
    /// Nothing is kept waiting.
    pub(super) const AT_ONCE: Self = Self {
        linger: Duration::ZERO,
        max_delay: Duration::ZERO,
        min_interval: Duration::ZERO,
        target_bytes: usize::MAX,
    };

    /// What a table says. It may not hold back more than so many bytes.
    pub(super) fn of(table: &IndexMap<String, String>, most: usize) -> Self {
        let ms = |key: &str, usual: i64| {
            Duration::from_millis(u64::try_from(properties::whole(table, key, usual)).unwrap_or(0)).min(LONGEST)
        };
        let target_bytes = properties::whole(table, TARGET_BYTES, 64 << 20);
        Self {
            linger: ms(LINGER, 0),
            max_delay: ms(MAX_DELAY, 10_000),
            min_interval: ms(MIN_INTERVAL, 0),
            target_bytes: usize::try_from(target_bytes).unwrap_or(usize::MAX).min(most),
        }
    }
}

/// What waits for a table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    /// Since when the first waits whose sender waits too.
    pub(super) awaited_since: Option<Instant>,
    /// Since when the first waits that is acknowledged.
    pub(super) acknowledged_since: Option<Instant>,
    /// Bytes of rows.
    pub(super) bytes: usize,
    /// Whether nothing is waited for: somebody asked for it, memory is tight, or the server stops.
    pub(super) hurried: bool,
    /// When the last commit ended.
    pub(super) last_commit: Option<Instant>,
    /// Until when as many as last time are waited for, if fewer are there.
    pub(super) gathering: Option<Instant>,
    /// Until when rows that could not be committed are left alone.
    pub(super) not_before: Option<Instant>,
}

/// Requests that are waited for together.
///
/// Clients that send one request after the other come back when they are answered. If the first that is back began the
/// next commit, the others would wait for its end, and so on by turns: so for a part of the time that a commit takes, as
/// many are waited for as were there last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gathering {
    /// How many are expected.
    expected: usize,
    /// How long they are waited for.
    until: Instant,
}

impl Gathering {
    /// What is to be expected after a commit of `committed` requests that took so long, while `waiting` came.
    pub(super) fn after(committed: usize, waiting: usize, took: Duration, now: Instant) -> Self {
        Self { expected: committed + waiting, until: now + (took / 2).min(limits::GATHERING_MAX) }
    }

    /// Until when others are waited for where so many are there; `None` where all are.
    pub(super) fn until(self, there: usize) -> Option<Instant> {
        (there < self.expected).then_some(self.until)
    }

    /// Whether the last that was waited for is there.
    pub(super) fn is_complete_with(self, there: usize) -> bool {
        there == self.expected
    }
}

/// When the rows are to be committed; `None` where there are none.
pub(super) fn due(load: &Load, pace: &Pace, now: Instant) -> Option<Instant> {
    let after = |since: Instant, delay: Duration| if load.hurried { now } else { since + delay };
    let awaited = load.awaited_since.map(|since| after(since, pace.linger));
    let awaited = awaited.map(|at| at.max(load.gathering.filter(|_| !load.hurried).unwrap_or(at)));
    let acknowledged = load.acknowledged_since.map(|since| {
        let late = after(since, pace.max_delay);
        late.max(load.not_before.unwrap_or(late))
    });
    let first = awaited.into_iter().chain(acknowledged).min()?;
    if load.hurried {
        return Some(first);
    }
    let full = load.bytes >= pace.target_bytes && load.not_before.is_none_or(|until| until <= now);
    let first = if full { now } else { first };
    Some(load.last_commit.map_or(first, |last| first.max(last + pace.min_interval)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const PACE: Pace = Pace {
        linger: Duration::from_millis(5),
        max_delay: Duration::from_secs(10),
        min_interval: Duration::from_secs(2),
        target_bytes: 1_000,
    };

    #[test]
    fn rows_are_committed_when_the_first_of_several_reasons_holds() {
        let start = clock::tick();
        let after = |ms: u64| start + Duration::from_millis(ms);
        let now = after(100);
        let told = |load: Load| due(&load, &PACE, now).map(|at| (at - start).as_millis());
        let empty = Load::default();
        assert_eq!(told(empty), None);
        let awaited = Load { awaited_since: Some(after(50)), ..empty };
        let acknowledged = Load { acknowledged_since: Some(after(20)), ..empty };
        assert_eq!(told(awaited), Some(55));
        assert_eq!(told(acknowledged), Some(10_020));
        assert_eq!(told(Load { awaited_since: Some(after(50)), ..acknowledged }), Some(55), "they go along");
        assert_eq!(told(Load { bytes: 1_000, ..acknowledged }), Some(100));
        assert_eq!(told(Load { hurried: true, ..acknowledged }), Some(100));
        let last_commit = Some(after(90));
        assert_eq!(told(Load { last_commit, ..awaited }), Some(2_090), "not too often");
        assert_eq!(told(Load { last_commit, bytes: 1_000, ..acknowledged }), Some(2_090));
        assert_eq!(told(Load { last_commit, hurried: true, ..acknowledged }), Some(100), "unless there is no time");
        let not_before = Some(after(400));
        assert_eq!(told(Load { not_before, hurried: true, bytes: 1_000, ..acknowledged }), Some(400));
        let gathering = Some(after(70));
        assert_eq!(told(Load { gathering, ..awaited }), Some(70), "others are on their way");
        assert_eq!(told(Load { gathering, ..acknowledged }), Some(10_020));
        assert_eq!(told(Load { gathering, bytes: 1_000, ..awaited }), Some(100));
        assert_eq!(told(Load { gathering: Some(after(300)), hurried: true, ..awaited }), Some(100));
        let among = Load { not_before, acknowledged_since: Some(after(20)), ..awaited };
        assert_eq!(told(among), Some(55), "who waits is not kept from trying");
        assert_eq!(told(Load { hurried: true, last_commit, ..among }), Some(100), "nor from asking for it now");
    }

    #[test]
    fn as_many_are_waited_for_as_were_there_last() {
        let now = clock::tick();
        let ms = Duration::from_millis;
        let alone = Gathering::after(1, 0, ms(8), now);
        assert_eq!((alone.until(0), alone.until(1)), (Some(now + ms(4)), None), "who is alone never waits");
        let by_turns = Gathering::after(1, 19, ms(8), now);
        assert_eq!((by_turns.until(19), by_turns.until(20)), (Some(now + ms(4)), None));
        assert!(by_turns.is_complete_with(20) && !by_turns.is_complete_with(21));
        assert_eq!(Gathering::after(9, 0, ms(900), now).until(1), Some(now + limits::GATHERING_MAX));
    }

    #[test]
    fn a_table_says_how_often() {
        let own = [(LINGER, "7"), (MAX_DELAY, "1000"), (MIN_INTERVAL, "2000"), (TARGET_BYTES, "9")];
        let table = own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let said = Pace {
            linger: Duration::from_millis(7),
            max_delay: Duration::from_secs(1),
            min_interval: Duration::from_secs(2),
            target_bytes: 9,
        };
        assert_eq!(Pace::of(&table, 1_000), said);
        assert_eq!(Pace::of(&table, 5).target_bytes, 5, "or else it would be refused more before it is committed");
        assert_eq!(Pace::of(&IndexMap::new(), usize::MAX).max_delay, Duration::from_secs(10));
    }
}
