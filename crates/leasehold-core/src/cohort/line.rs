//! The line of those who wait: enter at the end, leave from anywhere, each in a step or two however long it is.

use crate::time::Instant;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// A place in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// Never the same twice, so that a ticket from before is no good for a place that is used again.
    serial: u64,
    at: usize,
}

/// Those who wait, the first in line first: a list whose links are places of a vector.
#[derive(Debug)]
pub(super) struct Line<W> {
    places: Vec<Place<W>>,
    /// The first of those that nobody stands in; the next is behind it.
    vacant: Option<usize>,
    waiting: usize,
    first: Option<usize>,
    last: Option<usize>,
    last_serial: u64,
    /// Those whose wait has an end.
    give_ups: BTreeSet<(Instant, Ticket)>,
}

#[derive(Debug)]
struct Place<W> {
    serial: u64,
    who: Option<W>,
    give_up: Instant,
    before: Option<usize>,
    behind: Option<usize>,
}

impl<W> Default for Line<W> {
    fn default() -> Line<W> {
        Line { places: Vec::new(), vacant: None, waiting: 0, first: None, last: None, last_serial: 0, give_ups: BTreeSet::new() }
    }
}

impl<W> Line<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// How many places there are, vacant ones included.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.places.len()
    }

    pub(super) fn push(&mut self, who: W, give_up: Instant) -> Ticket {
        self.last_serial += 1;
        let place = Place { serial: self.last_serial, who: Some(who), give_up, before: self.last, behind: None };
        self.waiting += 1;
        let at = match self.vacant {
            Some(at) => {
                self.vacant = self.places[at].behind;
                self.places[at] = place;
                at
            }
            None => {
                self.places.push(place);
                self.places.len() - 1
            }
        };
        match self.last {
            Some(last) => self.places[last].behind = Some(at),
            None => self.first = Some(at),
        }
        self.last = Some(at);
        let ticket = Ticket { serial: self.last_serial, at };
        if give_up < Instant::FAR {
            self.give_ups.insert((give_up, ticket));
        }
        ticket
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<W> {
        let place = self.places.get_mut(ticket.at).filter(|place| place.serial == ticket.serial)?;
        let who = place.who.take()?;
        let (before, behind, give_up) = (place.before, place.behind, place.give_up);
        match before {
            Some(before) => self.places[before].behind = behind,
            None => self.first = behind,
        }
        match behind {
            Some(behind) => self.places[behind].before = before,
            None => self.last = before,
        }
        self.places[ticket.at].behind = self.vacant;
        self.vacant = Some(ticket.at);
        self.waiting -= 1;
        if give_up < Instant::FAR {
            self.give_ups.remove(&(give_up, ticket));
        }
        Some(who)
    }

    pub(super) fn pop(&mut self) -> Option<W> {
        let at = self.first?;
        self.remove(Ticket { serial: self.places[at].serial, at })
    }

    pub(super) fn next_give_up(&self) -> Option<Instant> {
        self.give_ups.first().map(|(at, _)| *at)
    }

    pub(super) fn take_late(&mut self, now: Instant) -> Option<W> {
        let (at, ticket) = *self.give_ups.first()?;
        if now < at { None } else { self.remove(ticket) }
    }
}
