//! A future for what hardly ever comes, such as the end of a listener or a deadline: polled when it has been woken, not
//! whenever the task that waits for it has something else to do.
//!
//! A connection is polled with each request, and each look at a token or a timer takes locks: 700 instructions a hit.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Polls what it holds only when that has been woken.
#[derive(Debug)]
pub(super) struct Rarely<'a, F> {
    future: Pin<&'a mut F>,
    bell: Arc<Bell>,
    /// Rings the bell.
    ringer: Waker,
    /// Who is woken by it.
    listener: Option<Waker>,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    listener: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.listener.wake();
    }
}

impl<'a, F: Future> Rarely<'a, F> {
    pub(super) fn new(future: Pin<&'a mut F>) -> Self {
        // It has not been polled yet, so that nothing would wake it.
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), listener: AtomicWaker::new() });
        Rarely { future, ringer: Waker::from(bell.clone()), bell, listener: None }
    }

    /// What it waits for.
    pub(super) fn get(&self) -> &F {
        &self.future
    }

    /// Changes what it waits for.
    pub(super) fn change(&mut self, change: impl FnOnce(Pin<&mut F>)) {
        change(self.future.as_mut());
        self.bell.rung.store(true, Ordering::Release);
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.listener.as_ref().is_none_or(|listener| !listener.will_wake(cx.waker())) {
            self.bell.listener.register(cx.waker());
            self.listener = Some(cx.waker().clone());
        }
        if !self.bell.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.bell.rung.store(false, Ordering::Release);
        // Who was woken is not listening any more.
        self.bell.listener.register(cx.waker());
        self.future.as_mut().poll(&mut Context::from_waker(&self.ringer))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::sync::Notify;

    use super::*;

    /// A task that notes that it was woken.
    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    fn poll<F: Future>(rarely: &mut Rarely<'_, F>, task: &Arc<Task>) -> Poll<F::Output> {
        rarely.poll(&mut Context::from_waker(&Waker::from(task.clone())))
    }

    #[test]
    fn future_is_polled_when_it_was_woken_and_only_then() {
        let (notify, mut polls) = (Notify::new(), 0);
        let task = Arc::new(Task::default());
        {
            let mut notified = pin!(notify.notified());
            let mut waiting = pin!(poll_fn(|cx| {
                polls += 1;
                notified.as_mut().poll(cx)
            }));
            let mut rarely = Rarely::new(waiting.as_mut());
            for _ in 0..10 {
                assert!(poll(&mut rarely, &task).is_pending());
            }
            notify.notify_one();
            assert!(task.0.load(Ordering::Acquire));
            assert!(poll(&mut rarely, &task).is_ready());
        }
        assert_eq!(polls, 2);
    }

    #[test]
    fn task_that_polled_last_is_woken() {
        let notify = Notify::new();
        let mut waiting = pin!(notify.notified());
        let mut rarely = Rarely::new(waiting.as_mut());
        let (first, second) = (Arc::new(Task::default()), Arc::new(Task::default()));
        assert!(poll(&mut rarely, &first).is_pending());
        assert!(poll(&mut rarely, &second).is_pending());
        notify.notify_one();
        assert!(second.0.load(Ordering::Acquire) && !first.0.load(Ordering::Acquire));
        assert!(poll(&mut rarely, &second).is_ready());
    }

    #[test]
    fn change_has_it_polled_again() {
        let mut waiting = pin!(std::future::pending::<()>());
        let mut rarely = Rarely::new(waiting.as_mut());
        let task = Arc::new(Task::default());
        assert!(poll(&mut rarely, &task).is_pending());
        rarely.change(|_| ());
        assert!(rarely.bell.rung.load(Ordering::Acquire));
        assert!(poll(&mut rarely, &task).is_pending() && !rarely.bell.rung.load(Ordering::Acquire));
    }
}
