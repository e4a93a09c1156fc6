//! What tells a pump that it has something to do.

use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Wake, Waker};

/// Tell a pump what it has to do. One that is at work does it before it rests: by its own doing it would otherwise come in line
/// behind every task that it has just woken, and could not be called before them.
#[derive(Default)]
pub(super) struct Bells {
    pub(super) task: AtomicWaker,
    state: AtomicU8,
}

impl Bells {
    /// Bytes can be moved.
    pub(super) const TRAFFIC: u8 = 1;
    /// A pipeline was answered.
    pub(super) const ANSWER: u8 = 2;
    /// Calls were made, or the turn is over that they waited for.
    pub(super) const CALL: u8 = 4;
    pub(super) const AT_WORK: u8 = 8;

    pub(super) fn set(&self, flag: u8) -> u8 {
        self.state.fetch_or(flag, Ordering::SeqCst)
    }

    pub(super) fn ring(&self, bell: u8) {
        if self.set(bell) & (bell | Bells::AT_WORK) == 0 {
            self.task.wake();
        }
    }

    pub(super) fn heard(&self, bell: u8) -> bool {
        self.state.fetch_and(!bell, Ordering::SeqCst) & bell != 0
    }

    /// What rings one of them.
    pub(super) fn ringer(self: &Arc<Bells>, bell: u8) -> Waker {
        Waker::from(Arc::new(Ringer { bells: self.clone(), bell }))
    }

    /// Work of somebody else than the pump's task, until this is dropped; `None` if that is at work itself.
    pub(super) fn lend_a_hand(&self) -> Option<Hand<'_>> {
        (self.set(Bells::AT_WORK) & Bells::AT_WORK == 0).then(|| Hand(self))
    }

    /// Ends the work unless a bell was rung.
    pub(super) fn rest(&self) -> bool {
        self.state.compare_exchange(Bells::AT_WORK, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// See [`Bells::lend_a_hand`].
pub(super) struct Hand<'a>(&'a Bells);

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        // What was rung meanwhile is the pump's task's to hear.
        if !self.0.rest() {
            self.0.task.wake();
        }
    }
}

struct Ringer {
    bells: Arc<Bells>,
    bell: u8,
}

impl Wake for Ringer {
    fn wake(self: Arc<Ringer>) {
        self.bells.ring(self.bell);
    }

    fn wake_by_ref(self: &Arc<Ringer>) {
        self.bells.ring(self.bell);
    }
}
