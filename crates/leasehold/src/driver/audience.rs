//! Those who see what happens to the locks of a client, some at once and some on the callbacks' thread; and what they have seen.

use super::callbacks::run_later;
use crate::observer::{Observed, Observer, What};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The observers of one client.
#[derive(Default)]
pub(crate) struct Audience {
    at_once: Vec<Arc<dyn Observer>>,
    later: Arc<[Arc<dyn Observer>]>,
}

impl Audience {
    pub(crate) fn new(observers: Vec<Arc<dyn Observer>>) -> Audience {
        let (at_once, later): (Vec<_>, Vec<_>) = observers.into_iter().partition(|observer| observer.is_prompt());
        Audience { at_once, later: later.into() }
    }

    /// True if nobody looks.
    pub(super) fn is_empty(&self) -> bool {
        self.at_once.is_empty() && self.later.is_empty()
    }

    pub(super) fn show(&self, seen: Observed) {
        self.at_once.iter().for_each(|observer| show_to(&**observer, &seen));
        if !self.later.is_empty() {
            let later = Arc::clone(&self.later);
            run_later(Box::new(move || later.iter().for_each(|observer| show_to(&**observer, &seen))));
        }
    }
}

/// A panic is reported by the panic hook; the lock goes on, and the other observers see the event too.
fn show_to(observer: &dyn Observer, seen: &Observed) {
    let _ = catch_unwind(AssertUnwindSafe(|| observer.saw(seen)));
}

/// What has been shown of a claim, so that each attempt and each hold is seen to begin and to end, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nobody was shown to hold by it yet, or since it was handed on.
    Waiting,
    Holding,
    /// It was lost; whoever held has not let go of it yet.
    Lost,
    /// Its attempt failed, or its hold ended.
    Over,
}

impl Shown {
    /// Takes note of what is to be shown; `None` if it is not to be: its beginning was never shown, or its end was.
    pub(super) fn note(&mut self, what: What) -> Option<What> {
        let (next, what) = match (*self, what) {
            (Shown::Waiting, what @ What::Granted(_)) => (Shown::Holding, what),
            (Shown::Waiting, what @ What::Failed(_)) => (Shown::Over, what),
            (Shown::Holding, what @ What::Lost(_)) => (Shown::Lost, what),
            (Shown::Holding, what @ (What::Detached | What::Released(_))) => (Shown::Over, what),
            // A hold that was lost has ended already: that it is let go of is no release.
            (Shown::Lost, What::Released(answer)) => (Shown::Over, What::LetGo(answer)),
            (_, What::Granted(_) | What::Failed(_) | What::Lost(_) | What::Detached | What::Released(_)) => return None,
            (shown, what) => (shown, what),
        };
        *self = next;
        Some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{LostWhy, Released};
    use crate::observer::Failure;
    use leasehold_core::Token;

    fn granted() -> What {
        What::Granted(Token::new(0, 1).unwrap())
    }

    fn shown(whats: impl IntoIterator<Item = What>) -> Vec<String> {
        let mut state = Shown::Waiting;
        whats.into_iter().filter_map(|what| state.note(what)).map(|what| format!("{what:?}")).collect()
    }

    #[test]
    fn an_attempt_that_is_cancelled_as_its_time_ends_fails_once() {
        assert_eq!(shown([What::Failed(Failure::Cancelled), What::Failed(Failure::Held)]), ["Failed(Cancelled)"]);
    }

    #[test]
    fn a_hold_ends_once_and_the_release_of_a_lost_one_is_none() {
        let released = || What::Released(Ok(Released::Released));
        let lost = || What::Lost(LostWhy::Expired);
        assert_eq!(shown([granted(), lost(), released(), released()])[1..], ["Lost(Expired)", "LetGo(Ok(Released))"]);
        assert_eq!(shown([granted(), released(), lost()])[1..], ["Released(Ok(Released))"]);
        assert_eq!(shown([granted(), What::Detached, released()])[1..], ["Detached"]);
    }

    #[test]
    fn a_grant_that_nobody_was_shown_ends_unseen() {
        assert!(shown([What::Released(Ok(Released::Released))]).is_empty());
    }
}
