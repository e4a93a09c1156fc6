//! The options of `leasehold top`.

use super::{StoreArgs, span};
use clap::Args;
use std::time::Duration;

/// The shortest time between two looks, and the longest.
const LIMITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3600)];

/// `leasehold top`
#[derive(Clone, Debug, Args)]
#[command(after_help = after_help())]
pub struct Top {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    /// Time from one look at the store to the next, 100ms to 1h; longer if a look takes the store more than a tenth of it
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = every)]
    pub every: Duration,
}

/// What the columns mean, for `--help` and for the help on the screen.
pub const COLUMNS: &str = "\
HELD       how long the holder has held it
LEFT       what is left of its lease; an ordinary holder renews it at a third of its ttl
WAIT       how many wait for it
HAND-OFF/S how often its holder or token was seen to be another than at the look before, per second, over the last 10 s or three looks. \
At most one is seen per look: a lock that changes hands twice between two looks counts once, and ≥ says where that is likely, since more than \
every other look saw a change; a shorter --every sees more. Tokens are one counter over all locks of a store, \
so that their difference tells nothing about one lock.
RAN OUT    how often its lease is believed to have ended without a release, while this looked on: less than a third of it was left at \
one look, it was not renewed, and the holder was gone at the first look after its end. A release between these two looks cannot be told \
from it. What ran out between two looks, with more left at the first, is not counted.";

fn after_help() -> String {
    format!(
        "Nothing here changes a lock, and nothing is left in the store. A look costs the store what `leasehold list` does, and \
         takes at most a tenth of its time: with very many locks looks become rarer. If a look does not succeed, what was seen last stays, marked as old, and it goes on trying. \
         Keys stand in the last line; ? tells more. NO_COLOR is respected. It needs a terminal: programs use `leasehold list --json`.\n\n\
         Columns, as far as the width allows:\n{COLUMNS}"
    )
}

fn every(text: &str) -> Result<Duration, String> {
    let every = span(text)?;
    if every < LIMITS[0] || every > LIMITS[1] {
        return Err("from 100ms to 1h".into());
    }
    Ok(every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_looks_has_limits_and_a_unit() {
        assert_eq!(every("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(every("100ms"), Ok(LIMITS[0]));
        for text in ["0s", "99ms", "61m", "1", "-1s", "soon"] {
            assert!(every(text).is_err(), "{text}");
        }
    }
}
