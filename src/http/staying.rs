//! A connection that wakes itself goes on where it is.
//!
//! hyper hands each piece of a body to the request through a channel, and wakes for it the task that it runs in. To the
//! runtime that is a task that makes room for others: it goes to the end of the queue, and a processor that has nothing to
//! do is woken for it and takes it. So the processors would read the pieces of one body in turn, and each would find in its
//! cache what belongs to another. Here a wake-up that comes while the connection is at work is followed at once, as often
//! as is fair to others; none is lost.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use tokio::task::coop::has_budget_remaining;

/// How often in a row a future that is woken while it is polled is polled again.
const ROUNDS_MAX: usize = 32;

/// A future that is polled again at once where it was woken while it was polled.
pub(super) struct Staying<F> {
    inner: Pin<Box<F>>,
    wakes: Arc<Wakes>,
}

impl<F: Future> Staying<F> {
    pub(super) fn new(inner: F) -> Self {
        let wakes = Wakes { state: AtomicU8::new(ASLEEP), task: AtomicWaker::new() };
        Self { inner: Box::pin(inner), wakes: Arc::new(wakes) }
    }
}

impl<F: Future> Future for Staying<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { inner, wakes } = self.get_mut();
        wakes.task.register(context.waker());
        let waker = Waker::from(Arc::clone(wakes));
        let mut own = Context::from_waker(&waker);
        for _ in 0..ROUNDS_MAX {
            // Swapped, not stored: what whoever woke did before is seen then.
            wakes.state.swap(POLLED, Ordering::SeqCst);
            if let Poll::Ready(output) = inner.as_mut().poll(&mut own) {
                return Poll::Ready(output);
            }
            if wakes.state.compare_exchange(POLLED, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return Poll::Pending;
            }
            if !has_budget_remaining() {
                break;
            }
        }
        // It is the turn of others; this one is still awake.
        wakes.state.swap(ASLEEP, Ordering::SeqCst);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Nobody is at work: who wakes wakes the task.
const ASLEEP: u8 = 0;
/// It is at work.
const POLLED: u8 = 1;
/// It was woken meanwhile.
const WOKEN: u8 = 2;

/// Takes the wake-ups of a future.
struct Wakes {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let at_work = |state| (state != ASLEEP).then_some(WOKEN);
        if self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, at_work).is_err() {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Polls a future once for a task.
    fn poll<F: Future>(future: &mut Staying<F>, task: &Arc<Task>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(task));
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    /// Wakes itself so many times before it is done.
    fn waking_itself(mut times: usize) -> impl Future<Output = ()> {
        std::future::poll_fn(move |context| {
            if times == 0 {
                return Poll::Ready(());
            }
            times -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn who_wakes_itself_goes_on_at_once() {
        let task = Arc::new(Task::default());
        let mut future = Staying::new(waking_itself(ROUNDS_MAX - 1));
        assert!(poll(&mut future, &task).is_ready());
        assert_eq!(task.0.load(Ordering::SeqCst), 0, "the task heard nothing of it");
    }

    #[test]
    fn others_have_their_turn() {
        let task = Arc::new(Task::default());
        let mut future = Staying::new(waking_itself(ROUNDS_MAX));
        assert!(poll(&mut future, &task).is_pending());
        assert_eq!(task.0.load(Ordering::SeqCst), 1, "the task is told to come again");
        assert!(poll(&mut future, &task).is_ready());
    }

    #[test]
    fn who_sleeps_is_woken_through_its_task() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let (first, second) = (Arc::new(Task::default()), Arc::new(Task::default()));
        let mut future = Staying::new(receiver);
        assert!(poll(&mut future, &first).is_pending());
        // The task has become another one, as in a `select`.
        assert!(poll(&mut future, &second).is_pending());
        sender.send(7).expect("heard");
        assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));
        assert_eq!(poll(&mut future, &second), Poll::Ready(Ok(7)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_up_of_another_thread_is_lost() {
        for _ in 0..2_000 {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
            let sending = tokio::spawn(async move {
                for number in 0..8 {
                    sender.send(number).await.expect("heard");
                }
            });
            let all = async move {
                let mut sum = 0;
                while let Some(number) = receiver.recv().await {
                    sum += number;
                }
                sum
            };
            assert_eq!(tokio::spawn(Staying::new(all)).await.expect("ended"), 28);
            sending.await.expect("ended");
        }
    }
}
