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

/// Whether something is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Show,
    /// As [`What::LetGo`]: the hold had ended by its loss already, so that its release is none.
    LetGo,
    /// Its beginning was never shown, or its end was.
    Hide,
}

impl Shown {
    /// Takes note of what is to be shown.
    pub(super) fn note(&mut self, what: &What) -> Verdict {
        let next = match (*self, what) {
            (Shown::Waiting, What::Granted(_)) => Shown::Holding,
            (Shown::Waiting, What::Failed(_)) => Shown::Over,
            (Shown::Holding, What::Lost(_)) => Shown::Lost,
            (Shown::Holding, What::Detached | What::Released(_)) => Shown::Over,
            (Shown::Lost, What::Released(_)) => {
                *self = Shown::Over;
                return Verdict::LetGo;
            }
            (_, What::Granted(_) | What::Failed(_) | What::Lost(_) | What::Detached | What::Released(_)) => return Verdict::Hide,
            (shown, _) => shown,
        };
        *self = next;
        Verdict::Show
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
        let judged = whats.into_iter().map(|what| (state.note(&what), what));
        let shown = judged.filter(|(verdict, _)| *verdict != Verdict::Hide);
        shown.map(|(verdict, what)| if verdict == Verdict::LetGo { "LetGo".into() } else { format!("{what:?}") }).collect()
    }

    #[test]
    fn an_attempt_that_is_cancelled_as_its_time_ends_fails_once() {
        assert_eq!(shown([What::Failed(Failure::Cancelled), What::Failed(Failure::TimedOut)]), ["Failed(Cancelled)"]);
    }

    #[test]
    fn a_hold_ends_once_and_the_release_of_a_lost_one_is_none() {
        let released = || What::Released(Ok(Released::Released));
        let lost = || What::Lost(LostWhy::Expired);
        assert_eq!(shown([granted(), lost(), released(), released()])[1..], ["Lost(Expired)", "LetGo"]);
        assert_eq!(shown([granted(), released(), lost()])[1..], ["Released(Ok(Released))"]);
        assert_eq!(shown([granted(), What::Detached, released()])[1..], ["Detached"]);
    }

    #[test]
    fn a_grant_that_nobody_was_shown_ends_unseen() {
        assert!(shown([What::Released(Ok(Released::Released))]).is_empty());
    }
}
