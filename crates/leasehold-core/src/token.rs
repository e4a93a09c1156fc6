//! Fencing tokens: one number that any SQL BIGINT can compare.

use core::fmt;

/// A fencing token: larger than that of every grant that the store made before.
///
/// The low 53 bits are the store's counter, the 10 bits above them an epoch, which is 0 unless a chain of engines is used;
/// so a token is never negative as an `i64`, and the counter is exact even in stores that count in doubles.
///
/// A resource accepts a write if its token is larger than the largest seen, or equal to it with the same claim id beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// The largest counter: 2^53 − 1. A counter in microseconds since 1970 reaches it in the year 2255.
    pub const MAX_COUNTER: u64 = (1 << 53) - 1;
    const MAX_EPOCH: u16 = (1 << 10) - 1;

    /// The token with this epoch and counter; `None` if either is too large, or the counter is 0.
    pub const fn new(epoch: u16, counter: u64) -> Option<Token> {
        if counter == 0 || counter > Self::MAX_COUNTER || epoch > Self::MAX_EPOCH {
            return None;
        }
        Some(Token(((epoch as u64) << 53) | counter))
    }

    /// The token that comes `steps` later, of the same epoch; `None` past the last.
    pub const fn after(self, steps: u32) -> Option<Token> {
        Token::new(self.epoch(), self.counter().saturating_add(steps as u64))
    }

    /// The store's counter.
    pub const fn counter(self) -> u64 {
        self.0 & Self::MAX_COUNTER
    }

    /// The epoch: 0 unless a chain of engines is used.
    pub const fn epoch(self) -> u16 {
        (self.0 >> 53) as u16
    }

    /// The token as a number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The token as a SQL BIGINT; never negative.
    pub const fn as_i64(self) -> i64 {
        self.0 as i64
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_outranks_every_counter() {
        let last = Token::new(0, Token::MAX_COUNTER).unwrap();
        let first = Token::new(1, 1).unwrap();
        assert!(first > last);
        assert!(Token::new(1023, Token::MAX_COUNTER).unwrap().as_i64() > 0);
        assert_eq!((first.epoch(), first.counter()), (1, 1));
    }

    #[test]
    fn a_counter_that_a_store_cannot_count_exactly_is_no_token() {
        assert_eq!(Token::new(0, 0), None);
        assert_eq!(Token::new(0, 1 << 53), None);
        assert_eq!(Token::new(1024, 1), None);
    }
}
