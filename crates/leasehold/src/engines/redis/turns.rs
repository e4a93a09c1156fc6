//! Turns of the scheduler, for pipelines that wait for one.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use tokio::sync::Notify;

/// Turns of the scheduler, for pipelines that wait for one.
#[derive(Debug, Default)]
pub(super) struct Turns {
    wanted: Notify,
    over: AtomicBool,
}

impl Turns {
    pub(super) fn ask(&self) {
        self.over.store(false, Ordering::Relaxed);
        self.wanted.notify_one();
    }

    pub(super) fn are_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.wanted.notify_one();
    }

    /// Ends when a turn was asked for and is over. Not in the pump's own task, so that a call can wake that in between; and by a
    /// wake of its own, not by the scheduler's list of those that yield: that is one of the worker's thread, and a task that
    /// blocks the thread would hold the pipeline back, where other workers can take a task that was woken.
    pub(super) async fn pass(&self) {
        self.wanted.notified().await;
        let mut gone_last = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut gone_last, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.over.store(true, Ordering::Release);
    }
}
