//! How many calls are worth a pipeline of their own: learnt from the way the answers come.
//!
//! Where the server works while the client does, what is under way travels in parts, so that neither waits for the other. Where
//! both share a processor, the server does nothing before the client rests: parts would only cost more.

/// The pace of one connection.
#[derive(Debug)]
pub(super) struct Pace {
    /// How many calls were under way at a time, of late.
    crowd: usize,
    /// In how many parts they travel, times [`FINE`].
    parts: usize,
    /// How many pipelines went out.
    sent: usize,
}

const FINE: usize = 16;
const MOST_PARTS: usize = 4;
/// One of so many pipelines is sent as if there were two parts at least, to see how they are answered.
const TRY: usize = 16;

impl Default for Pace {
    fn default() -> Pace {
        Pace { crowd: 0, parts: FINE, sent: 0 }
    }
}

impl Pace {
    /// A call was made, and so many are under way.
    pub(super) fn posted(&mut self, under_way: usize) {
        self.crowd = self.crowd.max(under_way);
    }

    /// True if so many calls need not wait for more.
    pub(super) fn is_enough(&self, calls: usize) -> bool {
        let tries = self.sent.is_multiple_of(TRY);
        let parts = if tries { self.parts.max(2 * FINE) } else { self.parts };
        calls * parts >= self.crowd * FINE
    }

    /// A pipeline goes out, and so many calls are under way with it.
    pub(super) fn sent(&mut self, under_way: usize) {
        self.sent += 1;
        self.crowd = under_way.max(self.crowd - self.crowd.div_ceil(8));
    }

    /// So many pipelines were answered at once, and others are under way or not.
    pub(super) fn answered(&mut self, together: usize, others: bool) {
        match together {
            1 if others => self.parts = (self.parts + FINE).min(MOST_PARTS * FINE),
            0 | 1 => {}
            _ => self.parts = (self.parts - 1).max(FINE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd_of(calls: usize) -> Pace {
        let mut pace = Pace { sent: 1, ..Pace::default() };
        pace.posted(calls);
        pace
    }

    #[test]
    fn a_crowd_is_waited_for_and_forgotten() {
        let mut pace = crowd_of(64);
        assert!(!pace.is_enough(63) && pace.is_enough(64));
        for _ in 0..100 {
            pace.sent(1);
        }
        assert!(pace.is_enough(1));
    }

    #[test]
    fn a_server_that_answers_meanwhile_gets_smaller_parts_and_one_that_does_not_gets_all_at_once() {
        let mut pace = crowd_of(64);
        for smaller in [32, 22, 16, 16] {
            pace.answered(1, true);
            assert!(pace.is_enough(smaller) && !pace.is_enough(smaller - 1), "{pace:?}");
        }
        pace.answered(1, false);
        assert!(pace.is_enough(16));
        (0..1000).for_each(|_| pace.answered(2, false));
        assert!(pace.is_enough(64) && !pace.is_enough(63));
    }

    #[test]
    fn now_and_then_half_is_sent_to_see_how_it_is_answered() {
        let mut pace = crowd_of(64);
        let halves = (0..64).filter(|_| {
            pace.sent(64);
            pace.is_enough(32)
        });
        assert_eq!(halves.count(), 64 / TRY);
    }
}
