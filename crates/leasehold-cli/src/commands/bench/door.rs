//! Who is inside the lock, as far as the holders themselves believe: finds two at once, and tokens that do not rise.

use leasehold::Instant;

/// One lock's door, told of every holder in the order in which they came in.
#[derive(Debug, Default)]
pub struct Door {
    inside: Vec<Inside>,
    greatest: Option<u64>,
    tickets: u64,
    /// How often a holder came in while another still believed to hold.
    pub overlaps: u64,
    /// How often a token was not larger than one before it.
    pub disorder: u64,
}

#[derive(Debug)]
struct Inside {
    ticket: u64,
    /// When others came in. Whether that was too early shows when this holder's belief has ended.
    later: Vec<Instant>,
}

impl Door {
    /// A holder came in, with its token if its lock has any; the ticket is for its way out.
    pub fn enter(&mut self, at: Instant, token: Option<u64>) -> u64 {
        for other in &mut self.inside {
            other.later.push(at);
        }
        if token.is_some() && token <= self.greatest {
            self.disorder += 1;
        }
        self.greatest = self.greatest.max(token);
        self.tickets += 1;
        self.inside.push(Inside { ticket: self.tickets, later: Vec::new() });
        self.tickets
    }

    /// A holder went out, and had believed to hold until `until`.
    pub fn leave(&mut self, ticket: u64, until: Instant) {
        let Some(at) = self.inside.iter().position(|inside| inside.ticket == ticket) else { return };
        let gone = self.inside.swap_remove(at);
        self.overlaps += gone.later.iter().filter(|later| **later < until).count() as u64;
    }
}

/// A hold as its holder saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belief {
    /// Since when.
    pub from: Instant,
    /// Until when.
    pub until: Instant,
    /// By which token, if the lock has any.
    pub token: Option<u64>,
}

/// A door through which all of these went.
pub fn audit(mut beliefs: Vec<Belief>) -> Door {
    beliefs.sort_by_key(|belief| belief.from);
    let mut door = Door::default();
    let mut inside: Vec<(Instant, u64)> = Vec::new();
    for belief in beliefs {
        inside.retain(|&(until, ticket)| {
            let stays = until > belief.from;
            if !stays {
                door.leave(ticket, until);
            }
            stays
        });
        inside.push((belief.until, door.enter(belief.from, belief.token)));
    }
    for (until, ticket) in inside {
        door.leave(ticket, until);
    }
    door
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn beliefs(all: &[(u64, u64, u64)]) -> (u64, u64) {
        let door = audit(
            all.iter().map(|&(from, until, token)| Belief { from: at(from), until: at(until), token: Some(token) }).collect(),
        );
        (door.overlaps, door.disorder)
    }

    #[test]
    fn holders_one_after_the_other_are_no_overlap() {
        assert_eq!(beliefs(&[(0, 5, 1), (5, 9, 2), (20, 30, 7)]), (0, 0));
    }

    #[test]
    fn each_pair_of_holders_at_once_is_an_overlap() {
        assert_eq!(beliefs(&[(0, 10, 1), (9, 20, 2)]), (1, 0));
        assert_eq!(beliefs(&[(0, 100, 1), (10, 20, 2), (30, 40, 3), (35, 50, 4)]), (4, 0));
    }

    #[test]
    fn a_token_that_does_not_rise_is_counted() {
        assert_eq!(beliefs(&[(0, 1, 5), (2, 3, 5)]), (0, 1));
        assert_eq!(beliefs(&[(2, 3, 4), (0, 1, 5), (4, 5, 6)]), (0, 1));
    }

    #[test]
    fn a_holder_that_leaves_late_but_knew_better_is_no_overlap() {
        let mut door = Door::default();
        let first = door.enter(at(0), Some(1));
        let second = door.enter(at(50), Some(2));
        door.leave(second, at(60));
        door.leave(first, at(40));
        assert_eq!((door.overlaps, door.disorder), (0, 0));
        let third = door.enter(at(70), None);
        door.enter(at(80), None);
        door.leave(third, at(81));
        assert_eq!((door.overlaps, door.disorder), (1, 0));
    }
}
