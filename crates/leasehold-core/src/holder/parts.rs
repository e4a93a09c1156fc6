//! Small parts of the machine: requests in flight, the asks that were sent, jitter.

use crate::claim::ReqNo;
use crate::time::Instant;
use crate::token::Token;
use crate::verb::Block;
use alloc::collections::VecDeque;
use core::time::Duration;

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) no: ReqNo,
    pub(super) sent_at: Instant,
    pub(super) io_deadline: Instant,
    /// True for the renewal that marks the hold as outliving its client.
    pub(super) detached: bool,
    /// How many tokens the renewal asked for.
    pub(super) tokens: u32,
}

impl Call {
    /// Takes the call out if it is the one with this number; a reply to any other is ignored.
    pub(super) fn take(call: &mut Option<Call>, no: ReqNo) -> Option<Call> {
        call.take_if(|call| call.no == no)
    }
}

/// When the last asks were sent, for grants that count from one of them.
// Nearly every claim asks once: only the others need a list.
#[derive(Debug, Default)]
pub(super) struct SentAsks {
    last: Option<(ReqNo, Instant)>,
    before: VecDeque<(ReqNo, Instant)>,
}

impl SentAsks {
    /// A place lives three beats, and one ask goes out per beat, or a few more when the link flaps.
    const REMEMBERED: usize = 16;

    pub(super) fn push(&mut self, no: ReqNo, sent_at: Instant) {
        self.before.extend(self.last.replace((no, sent_at)));
        if self.before.len() == Self::REMEMBERED {
            self.before.pop_front();
        }
    }

    /// When this ask was sent; `None` if it is no longer remembered: then it is no evidence.
    pub(super) fn sent_at(&self, no: ReqNo) -> Option<Instant> {
        self.last.iter().chain(&self.before).find(|(sent, _)| *sent == no).map(|(_, at)| *at)
    }
}

/// Tokens that the store set aside, the smallest first.
#[derive(Debug, Default)]
pub(super) struct SpareTokens(VecDeque<Block>);

impl SpareTokens {
    /// Adds a block, unless it is out of order: such a token would be smaller than one that was given out.
    pub(super) fn add(&mut self, block: Block, held: Token) {
        let last = self.0.back().and_then(|block| block.first.after(block.count.saturating_sub(1)));
        if block.count > 0 && block.first > last.unwrap_or(held) {
            self.0.push_back(block);
        }
    }

    pub(super) fn take(&mut self) -> Option<Token> {
        let block = self.0.front_mut()?;
        let token = block.first;
        block.count -= 1;
        match token.after(1) {
            Some(next) if block.count > 0 => block.first = next,
            _ => drop(self.0.pop_front()),
        }
        Some(token)
    }

    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|block| block.count).sum()
    }
}

/// A small random source for jitter (xorshift); never for ids.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Jitter {
        Jitter(seed | 1)
    }

    /// Between four fifths of `span` and `span`.
    pub(super) fn shorten(&mut self, span: Duration) -> Duration {
        span - span / 5 * self.next() / 255
    }

    /// Between `span` and a tenth more.
    pub(super) fn lengthen(&mut self, span: Duration) -> Duration {
        span + span / 10 * self.next() / 255
    }

    /// Up to 255.
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 40 & 0xff).unwrap_or(0)
    }

    /// The pause before try number `failures + 1`: doubles from 25 ms up to `most`.
    pub(super) fn backoff(&mut self, failures: u32, most: Duration) -> Duration {
        let pause = Duration::from_millis(25) * (1 << failures.min(10));
        self.shorten(pause.min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_are_spread_over_a_tenth_and_never_come_early() {
        let span = Duration::from_secs(2);
        let pauses: alloc::vec::Vec<Duration> = (0..200).map(|seed| Jitter::new(seed << 40).lengthen(span)).collect();
        let most = Duration::from_millis(2_200);
        assert!(pauses.iter().all(|pause| (span..=most).contains(pause)), "{pauses:?}");
        let spread = *pauses.iter().max().unwrap() - *pauses.iter().min().unwrap();
        assert!(spread > Duration::from_millis(150), "{spread:?}");
        let mut jitter = Jitter::new(7);
        let mean = (0..1000).map(|_| jitter.lengthen(span)).sum::<Duration>() / 1000;
        assert!((Duration::from_millis(2_080)..Duration::from_millis(2_120)).contains(&mean), "{mean:?}");
    }
}
