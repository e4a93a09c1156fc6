//! What goes wrong during a sale, and when: kills first, then pauses, at even distances.

use super::shop::Buyer;
use leasehold::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// Something that happens to a process while one of its buyers holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is killed.
    Kill,
    /// It is stopped, and continued later.
    Pause,
}

/// The faults that are still to come, and the pauses under way.
#[derive(Debug)]
pub struct Plan {
    /// Each with the number of sales after which the next holder has it.
    to_come: VecDeque<(u64, Fault)>,
    paused: Vec<Pause>,
    ttl: Duration,
}

/// A process that is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The buyer that holds the lock.
    pub buyer: Buyer,
    /// Since when.
    pub since: Instant,
    /// How many sales there had been.
    pub sold: u64,
}

impl Plan {
    /// So many kills and pauses, spread evenly over the sale of `stock`.
    pub fn new(kills: u32, pauses: u32, stock: u64, ttl: Duration) -> Plan {
        let count = u64::from(kills + pauses);
        let kinds = (0..kills).map(|_| Fault::Kill).chain((0..pauses).map(|_| Fault::Pause));
        let to_come = kinds.zip(1..).map(|(fault, number)| (number * stock / (count + 1), fault)).collect();
        Plan { to_come, paused: Vec::new(), ttl }
    }

    /// What happens to the buyer that is about to make the next sale.
    pub fn next(&mut self, sold: u64) -> Option<Fault> {
        let (after, fault) = *self.to_come.front()?;
        (sold >= after).then(|| {
            self.to_come.pop_front();
            fault
        })
    }

    /// A process was stopped.
    pub fn pause(&mut self, pause: Pause) {
        self.paused.push(pause);
    }

    /// A pause that is to end: longer than the ttl, and others have sold meanwhile. Where nobody can sell, since the lock never
    /// expires, it ends after `at_most`.
    pub fn next_to_go_on(&mut self, now: Instant, sold: u64, at_most: Duration) -> Option<Buyer> {
        let is_due = |pause: &Pause| {
            let lasted = now.since(pause.since);
            (lasted > self.ttl * 5 / 4 && sold > pause.sold) || lasted > at_most
        };
        let at = self.paused.iter().position(is_due)?;
        Some(self.paused.swap_remove(at).buyer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn every_fault_comes_before_the_last_sale() {
        for (kills, pauses, stock) in [(2, 1, 200), (2, 1, 1), (1, 0, 7), (5, 5, 3)] {
            let mut plan = Plan::new(kills, pauses, stock, TTL);
            let mut seen = Vec::new();
            for sold in 0..stock {
                seen.extend(std::iter::from_fn(|| plan.next(sold)));
            }
            let expected = (0..kills).map(|_| Fault::Kill).chain((0..pauses).map(|_| Fault::Pause));
            assert_eq!(seen, expected.collect::<Vec<_>>(), "{kills} {pauses} {stock}");
        }
    }

    #[test]
    fn a_pause_lasts_beyond_the_ttl_and_until_others_have_sold() {
        let long = Duration::from_secs(5);
        let mut plan = Plan::new(0, 1, 10, TTL);
        plan.pause(Pause { buyer: (2, 3), since: at(0), sold: 4 });
        assert_eq!(plan.next_to_go_on(at(1_000), 9, long), None);
        assert_eq!(plan.next_to_go_on(at(3_000), 4, long), None);
        assert_eq!(plan.next_to_go_on(at(3_000), 5, long), Some((2, 3)));
        assert_eq!(plan.next_to_go_on(at(9_000), 5, long), None);
        plan.pause(Pause { buyer: (1, 1), since: at(0), sold: 4 });
        assert_eq!(plan.next_to_go_on(at(5_001), 4, long), Some((1, 1)));
    }
}
