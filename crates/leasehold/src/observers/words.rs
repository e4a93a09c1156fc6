//! What happened, in one word each: for labels and fields that a search can rely on.

use crate::error::{Error, ErrorKind};
use crate::guard::{LostWhy, Released};
use crate::observer::Failure;

/// Why an attempt failed, in one word.
pub(super) fn failure(why: &Failure) -> &'static str {
    match why {
        Failure::Cancelled => "cancelled",
        Failure::Error(error) => kind(error.kind()),
        Failure::Held => "held",
        Failure::Spent => "spent",
        Failure::TimedOut => "timeout",
    }
}

/// What the caller can do about an error, in one word.
pub(super) fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Config => "config",
        ErrorKind::Lost => "lost",
        ErrorKind::Permission => "permission",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Unsupported => "unsupported",
    }
}

/// Why a lease ended without a release, in one word.
pub(super) fn loss(why: LostWhy) -> &'static str {
    match why {
        LostWhy::Ended => "ended",
        LostWhy::Expired => "expired",
        LostWhy::Revoked => "revoked",
        LostWhy::Store => "store",
        _ => "other",
    }
}

/// What the store said to a release, in one word.
pub(super) fn answer(answer: &Result<Released, Error>) -> &'static str {
    match answer {
        Ok(Released::Expired) => "expired",
        Ok(Released::Gone) => "gone",
        // How many clones are left is a guard's answer, never the store's.
        Ok(Released::Released | Released::StillHeld(_)) => "released",
        Ok(Released::Taken { .. }) => "taken",
        Err(_) => "unknown",
    }
}
