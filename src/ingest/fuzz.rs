//! Damaged bodies for everything that reads what others wrote.
//!
//! A fuzzer that is no more than unit tests, one for each decoder ([`tests`]). Inputs are small valid ones that the real
//! writers made ([`bodies`]), damaged by chance ([`damage`]). Nothing is known of the code's paths, so what counts as new
//! is told by outcomes: an input whose outcome was not seen before is kept and damaged further. Whatever an input is,
//! what [`rows`] and [`rest`] say of its outcome must hold; it must neither panic, nor hang, nor take memory without end
//! ([`watch`]), nor be answered with a fault of the server's own.
//!
//! * `FUZZ_SECONDS`: for how long each target is fed; where nothing is said, only the first inputs are, as they are.
//! * `FUZZ_SEED`: where chance begins. Nothing but this, and no clock, decides which inputs follow which; a failure
//!   names it.
//! * `FUZZ_CASE`: a file that a failure names, with the input in it; nothing but that case is run, by its target.

mod bodies;
mod damage;
mod rest;
mod rows;
mod tests;
mod watch;

use std::collections::HashSet;
use std::time::Duration;

use crate::clock;
use damage::{Rng, damaged};
use watch::{Noted, UnderWay};

/// Inputs that are kept beside the first ones.
const KEPT_MAX: usize = 256;

/// Outcomes that are remembered; beyond that nothing is new.
const SEEN_MAX: usize = 20_000;

/// How often each of the first inputs is fed as it is.
const FIRST_TIMES: usize = 4;

/// How long to look, and where to begin.
struct Plan {
    time: Duration,
    seed: u64,
    /// The one case that is to be run again.
    again: Option<Noted>,
}

/// What came of an input.
struct Told {
    /// Whether something in it was taken.
    taken: bool,
    /// The same for inputs of which the same came.
    what: String,
}

/// Feeds an input; chance decides how it is to be read. Panics where what comes of it is wrong.
type Feed = dyn Fn(&[u8], &mut Rng) -> Told;

/// A decoder.
struct Target {
    name: &'static str,
    /// Whether its inputs are text.
    text: bool,
    /// The first inputs.
    corpus: Vec<Vec<u8>>,
    feed: Box<Feed>,
}

/// Feeds a target as long as is planned.
fn run(target: &Target, plan: &Plan) {
    if let Some(noted) = &plan.again {
        if noted.target == target.name {
            let under_way = UnderWay::new(target.name, noted.seed);
            drop(once(target, &under_way, noted.case, &noted.input));
            under_way.over();
        }
        return;
    }
    let under_way = UnderWay::new(target.name, plan.seed);
    let (started, mut rng) = (clock::tick(), Rng::new(plan.seed));
    let (mut corpus, first) = (target.corpus.clone(), target.corpus.len());
    let (mut seen, mut cases, mut taken) = (HashSet::new(), 0, 0_usize);
    while cases < first * FIRST_TIMES || started.elapsed() < plan.time {
        let as_it_is = cases < first * FIRST_TIMES;
        let input = if as_it_is { corpus[cases % first].clone() } else { damaged(&mut rng, &corpus, target.text) };
        let told = once(target, &under_way, rng.number(), &input);
        taken += usize::from(told.taken);
        if seen.len() < SEEN_MAX && seen.insert(told.what) && !as_it_is {
            keep(&mut corpus, first, input, &mut rng);
        }
        cases += 1;
    }
    under_way.over();
    assert!(taken > 0, "{}: nothing of {cases} inputs was taken, so nothing was looked at", target.name);
}

/// Feeds one input.
fn once(target: &Target, under_way: &UnderWay, case: u64, input: &[u8]) -> Told {
    let (mut told, panicked) = under_way.watched(case, input, || (target.feed)(input, &mut Rng::new(case)));
    // A decoder of others that panicked behind its guard: where it did says more than the answer.
    if let Some(panicked) = panicked {
        told.what.push_str(panicked.lines().next().unwrap_or_default());
    }
    told
}

/// Keeps an input that did something new; one of the others goes where there are enough.
fn keep(corpus: &mut Vec<Vec<u8>>, first: usize, input: Vec<u8>, rng: &mut Rng) {
    if corpus.len() < first + KEPT_MAX {
        corpus.push(input);
    } else {
        let at = first + rng.below(KEPT_MAX);
        corpus[at] = input;
    }
}
