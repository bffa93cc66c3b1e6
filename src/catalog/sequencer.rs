//! Turns: commits to one table happen one after the other.
//!
//! The comparison in `store/swap.rs` alone keeps a table whole; the sequencer keeps writers of one process from racing
//! each other into lost swaps. Several tables are entered in the order of their ids, so that two transactions never wait
//! for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

type Turns = Arc<Mutex<HashMap<Arc<str>, Arc<Turn<()>>>>>;

/// The turns of all tables. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Sequencer {
    turns: Turns,
}

/// The right to change the tables it was taken for, until dropped.
#[derive(Debug)]
pub struct InTurn {
    turns: Turns,
    held: Vec<(Arc<str>, Option<OwnedMutexGuard<()>>)>,
}

impl Sequencer {
    /// Waits for the turn of every table named by its row's id.
    pub async fn enter(&self, mut ids: Vec<Arc<str>>) -> InTurn {
        ids.sort_unstable();
        ids.dedup();
        let mut turn = InTurn { turns: Arc::clone(&self.turns), held: Vec::with_capacity(ids.len()) };
        for id in ids {
            let lock = Arc::clone(locked(&self.turns).entry(Arc::clone(&id)).or_default());
            // Known before it is waited for, so that a waiter that is dropped cleans up too.
            turn.held.push((id, None));
            let guard = lock.lock_owned().await;
            if let Some((_, held)) = turn.held.last_mut() {
                *held = Some(guard);
            }
        }
        turn
    }
}

impl Drop for InTurn {
    fn drop(&mut self) {
        let mut turns = locked(&self.turns);
        for (id, guard) in self.held.drain(..) {
            drop(guard);
            // One count is the map's own: nobody else holds or waits.
            if turns.get(&id).is_some_and(|turn| Arc::strong_count(turn) == 1) {
                turns.remove(&id);
            }
        }
    }
}

fn locked(turns: &Turns) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<Turn<()>>>> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_left_behind() {
        let sequencer = Sequencer::default();
        let first = sequencer.enter(vec!["b".into(), "a".into(), "a".into()]).await;
        let waiting = tokio::spawn({
            let sequencer = sequencer.clone();
            async move { sequencer.enter(vec!["a".into(), "c".into()]).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "the second must wait for the first");
        drop(first);
        drop(waiting.await.expect("runs"));
        assert!(locked(&sequencer.turns).is_empty(), "turns nobody holds are forgotten");
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_leaves_nothing() {
        let sequencer = Sequencer::default();
        let first = sequencer.enter(vec!["a".into()]).await;
        let waiting = tokio::spawn({
            let sequencer = sequencer.clone();
            async move { sequencer.enter(vec!["a".into()]).await }
        });
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.is_err());
        drop(first);
        assert!(locked(&sequencer.turns).is_empty());
    }
}
