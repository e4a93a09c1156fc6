//! What happens to the locks, as events of the `tracing` crate.

use super::words::{answer, failure, kind, loss};
use crate::error::Error;
use crate::guard::Released;
use crate::observer::{Failure, Observed, Observer, What};
use tracing::{debug, error, warn};

/// Tells what happens to the locks as events of the `tracing` crate, on the callbacks' own thread.
///
/// The target is `leasehold`. Each event has the fields `resource`, `claim` and `after_ms`, where there is one also `token`,
/// `cause` (one word), `error` and `took_ms`. What is ordinary has the level debug; what may end in a loss, and releases that
/// the store did not confirm, warn; a loss error. No event holds a URL or a password.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

/// One event at one level, with the fields that all have and some of its own.
macro_rules! tell {
    ($level:ident, $event:expr, $text:literal $(, $($field:tt)*)?) => {
        $level!(
            target: "leasehold",
            resource = $event.resource.as_str(),
            claim = %$event.claim,
            after_ms = millis($event.after),
            $($($field)*,)?
            $text
        )
    };
}

impl Observer for Tracing {
    fn saw(&self, event: &Observed) {
        match &event.what {
            What::Attempt => tell!(debug, event, "asked for"),
            What::Detached => tell!(debug, event, "left to others by its claim"),
            What::Failed(why) => failed(event, why),
            What::Granted(token) => tell!(debug, event, "granted", token = token.as_u64()),
            What::InDoubt => tell!(warn, event, "in doubt: no renewal has come through"),
            What::LetGo(said) => tell!(debug, event, "let go of, after it had been lost", cause = answer(said)),
            What::Lost(why) => tell!(error, event, "lost", cause = loss(*why)),
            What::NearMaxHold => tell!(warn, event, "four fifths of max_hold are over"),
            What::Recovered => tell!(debug, event, "recovered: a renewal came through"),
            What::Released(said) => released(event, said),
            What::Renewed => tell!(debug, event, "renewed"),
            What::RenewalFailed(why) => {
                tell!(warn, event, "not renewed, is tried again", cause = kind(why.kind()), error = %why);
            }
            What::Waiting { by: Some(by) } => tell!(debug, event, "waits", by = %by),
            What::Waiting { by: None } => tell!(debug, event, "waits"),
        }
    }
}

fn failed(event: &Observed, why: &Failure) {
    match why {
        Failure::Error(error) => tell!(warn, event, "not granted", cause = failure(why), error = %error),
        Failure::Cancelled | Failure::Held | Failure::Spent | Failure::TimedOut => {
            tell!(debug, event, "not granted", cause = failure(why))
        }
    }
}

fn released(event: &Observed, said: &Result<Released, Error>) {
    match (said, event.took) {
        (Ok(Released::Released), None) => tell!(debug, event, "handed on to the next task"),
        (Ok(Released::Released), Some(took)) => tell!(debug, event, "released", took_ms = millis(took)),
        (Ok(_), _) => tell!(warn, event, "was not held any more at its release", cause = answer(said)),
        (Err(error), _) => tell!(warn, event, "not released, is tried again", cause = answer(said), error = %error),
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
