//! Steps at which a test makes the process die, fail, panic or wait.
//!
//! A build with the feature `failpoints` reads `FAILPOINTS` in the grammar of the `fail` crate: `swap.begin=return(kill)`
//! ends the process as `kill -9` does, `=return` makes the step fail, `=panic` and `=sleep(100)` say what they do, and
//! `lake.create=2*off->return` leaves the first two times alone. Any other build has nothing of this.

use crate::error::Result;

/// Every step there is, by the order in which an ingest request that creates a table passes them; then those of others.
pub const STEPS: &[&str] = &[
    "ingest.decoded",
    "ingest.created",
    "ingest.encoded",
    "ingest.uploaded",
    "append.prepared",
    "lake.create",
    "lake.written",
    "lake.created",
    "append.put",
    "swap.begin",
    "swap.applied",
    "swap.committed",
    "append.swapped",
    "ingest.flushed",
    "log.begin",
    "log.written",
    "log.synced",
    "ingest.acknowledged",
    "commit.planned",
    "commit.put",
    "commit.swapped",
    "create.put",
    "create.swapped",
    "gc.begin",
    "gc.manifest",
    "gc.deleted",
];

/// Takes what `FAILPOINTS` asks for. Called once, before anything else.
#[cfg(feature = "failpoints")]
pub fn arm() {
    // Dropped, it would take everything back.
    std::mem::forget(fail::FailScenario::setup());
}

/// A step that fails if a test wants it to; certainly nothing happened then.
#[cfg(feature = "failpoints")]
pub fn at(step: &'static str) -> Result<()> {
    use crate::error::{Error, Kind};
    fail::fail_point!(step, |action| {
        if action.as_deref() == Some("kill") {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL)
                .map_err(|error| Error::internal("The process cannot kill itself").because(error))?;
        }
        Err(Error::new(Kind::Unavailable, format!("A test made step {step} fail")))
    });
    Ok(())
}

/// A step that fails if a test wants it to.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn at(_step: &'static str) -> Result<()> {
    Ok(())
}

/// A step after which nothing can fail any more; the process may still die.
pub fn passed(step: &'static str) {
    drop(at(step));
}
