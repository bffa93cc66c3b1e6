//! Which snapshots a table that is written to all the time can do without.
//!
//! All of the last ten minutes stay, then the last of each minute for two hours, then the last of each hour for five days.
//! Of more than a table may have, the oldest go first. What a branch or tag points at, and what a retention keeps that
//! somebody has set, stays whatever its age.

use std::collections::HashSet;

const MINUTE_MS: i64 = 60_000;
const ALL_FOR_MS: i64 = 10 * MINUTE_MS;
const MINUTES_FOR_MS: i64 = 120 * MINUTE_MS;
const HOURS_FOR_MS: i64 = 5 * 24 * 60 * MINUTE_MS;

/// Snapshots that go at once: looking for what each one alone could reach costs more than keeping it for a while.
const BATCH: usize = 16;

/// A snapshot and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The snapshot's id.
    pub id: i64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

/// What bounds the snapshots of a table.
#[derive(Debug)]
pub struct Bounds {
    /// How many there may be.
    pub most: usize,
    /// How many there are beside those that are looked at.
    pub others: usize,
    /// Those that stay.
    pub protected: HashSet<i64>,
}

/// The ids of those that go, oldest first. `moments` are in the order of commits; the last always stays.
pub fn surplus(moments: &[Moment], bounds: &Bounds, now_ms: i64) -> Vec<i64> {
    let Some((_, earlier)) = moments.split_last() else { return Vec::new() };
    let is_recent = |moment: &Moment| now_ms.saturating_sub(moment.at_ms) <= ALL_FOR_MS;
    if moments.len() + bounds.others <= bounds.most && moments.first().is_some_and(is_recent) {
        return Vec::new();
    }
    let may_go = |moment: &Moment| !bounds.protected.contains(&moment.id);
    let mut going: Vec<bool> =
        moments.windows(2).map(|pair| may_go(&pair[0]) && !has_its_rung(pair[0], pair[1], now_ms)).collect();
    let gone = going.iter().filter(|goes| **goes).count();
    let stay = moments.len() + bounds.others - gone;
    if stay > bounds.most {
        // Room is made for some more, so that not every commit has to.
        let mut excess = stay - bounds.most + bounds.most / BATCH;
        for (goes, moment) in going.iter_mut().zip(earlier) {
            if excess > 0 && !*goes && may_go(moment) {
                *goes = true;
                excess -= 1;
            }
        }
    } else if gone < BATCH {
        return Vec::new();
    }
    earlier.iter().zip(going).filter(|(_, goes)| *goes).map(|(moment, _)| moment.id).collect()
}

/// Whether a snapshot is the last of its time, as finely as its age is told.
fn has_its_rung(moment: Moment, next: Moment, now_ms: i64) -> bool {
    let age = now_ms.saturating_sub(moment.at_ms);
    let last_of = |length_ms: i64| moment.at_ms.div_euclid(length_ms) != next.at_ms.div_euclid(length_ms);
    if age <= ALL_FOR_MS {
        true
    } else if age <= MINUTES_FOR_MS {
        last_of(MINUTE_MS)
    } else {
        age <= HOURS_FOR_MS && last_of(60 * MINUTE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_700_000_000_000;

    /// Commits every `step_ms`, each followed by its thinning; what is there at the end, and the most there ever were.
    fn run(commits: i64, step_ms: i64, most: usize, protected: &[i64]) -> (Vec<Moment>, usize) {
        let bounds = Bounds { most, others: 0, protected: protected.iter().copied().collect() };
        let mut moments: Vec<Moment> = Vec::new();
        let mut peak = 0;
        for id in 0..commits {
            let now_ms = START_MS + id * step_ms;
            moments.push(Moment { id, at_ms: now_ms });
            let gone = surplus(&moments, &bounds, now_ms);
            if !gone.is_empty() {
                moments.retain(|moment| gone.binary_search(&moment.id).is_err());
            }
            peak = peak.max(moments.len());
        }
        (moments, peak)
    }

    #[test]
    fn a_commit_every_second_for_a_month_never_makes_too_many() {
        let (moments, peak) = run(2_600_000, 1_000, 500, &[]);
        assert!(peak <= 500, "{peak}");
        assert!(moments.len() > 400 && moments.windows(2).all(|pair| pair[1].id == pair[0].id + 1), "the newest stay");
    }

    #[test]
    fn the_further_back_the_fewer_there_are() {
        let (moments, peak) = run(20_000, 130_000, 500, &[]);
        let now_ms = moments.last().expect("the newest").at_ms;
        let older = |ms: i64| moments.iter().filter(|moment| now_ms - moment.at_ms > ms).count();
        let hours = older(MINUTES_FOR_MS);
        assert!((100..=140).contains(&hours), "an hour each for five days: {hours}");
        assert!(older(HOURS_FOR_MS) <= BATCH, "five days");
        assert_eq!(moments.len() - older(MINUTES_FOR_MS), 56, "all of two hours");
        assert!(peak < 220, "{peak}");
    }

    #[test]
    fn what_is_protected_stays_and_the_others_make_room() {
        let (moments, peak) = run(1_000, 1_000, 64, &[3, 500]);
        assert!(moments.iter().any(|moment| moment.id == 3) && moments.iter().any(|moment| moment.id == 500));
        assert!(peak <= 64, "{peak}");
        // Where nothing may go, nothing does.
        let all: Vec<i64> = (0..100).collect();
        let (moments, _) = run(100, 1_000, 10, &all);
        assert_eq!(moments.len(), 100);
        let bounds = Bounds { most: 10, others: 20, protected: HashSet::new() };
        let two = [Moment { id: 1, at_ms: START_MS }, Moment { id: 2, at_ms: START_MS }];
        assert_eq!(surplus(&two, &bounds, START_MS), [1], "the newest stays however many others there are");
        assert!(surplus(&[], &bounds, START_MS).is_empty());
    }
}
