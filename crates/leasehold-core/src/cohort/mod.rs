//! The tasks of one process that want the same resource, as a pure machine.
//!
//! One claim in the store is for all of them, and a line in memory, first come first served, along which the hold is passed on.
//!
//! ```text
//!         join: ask                granted: the first in line          freed, and somebody waits here
//!  Idle ────────────▶ Wanted ─────────────────────────────────▶ Held ─────────────────────────────────▶ Wanted
//!    ▲                   │ over, and nobody waits                 │ freed, and nobody waits, or the tenure is over
//!    └───────────────────┴────────────────────────────────────────┘
//! ```
//!
//! The claim itself is a [`Holder`](crate::Holder)'s: this machine only says who is next, and when the claim has had its turn.
//! A **tenure** is the time from the store's grant to the release there. It is bounded as soon as another claim may wait in the
//! store, so that processes take turns as tasks do: a rival waits for at most one tenure of each claim before it, which is
//! [`TENURE`] and one hold.
//!
//! Laws, whatever comes in and in whatever order:
//! - one claim at a time is wanted, and none while nobody waits;
//! - the hold goes to whoever has waited longest, each waiter is told once, and a waiter that left is not told;
//! - a hold is passed on only by whoever has it, and not beyond the end of the tenure.

mod line;
#[cfg(test)]
mod tests;

use crate::time::Instant;
use core::time::Duration;
use line::Line;
pub use line::Ticket;

/// How long a tenure lasts once another claim may wait, but for the hold that is under way then.
const TENURE: Duration = Duration::from_millis(50);

/// How many hand-offs a tenure has at most within that time.
const HAND_OFFS: u32 = 16;

/// Who waits in a process for one resource, and what becomes of its hold.
#[derive(Debug)]
pub struct Cohort<W> {
    line: Line<W>,
    stage: Stage,
    min_hold: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is no claim.
    Idle,
    /// A claim asks, or its hold is being passed on: the next grant is for the first in line.
    Wanted(Option<Tenure>),
    /// Somebody of the process holds.
    Held { tenure: Tenure, since: Instant },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tenure {
    began: Instant,
    hand_offs: u32,
}

/// What to do for whoever joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Nobody asks yet: ask the store.
    Ask,
    /// There is a claim: wait.
    Wait,
    /// Somebody of the process holds: see that the hold can be passed on.
    Prepare,
}

/// What to do with the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Stay,
    /// Pass it on to the first in line.
    HandOn,
    /// Give it back to the store.
    GiveBack,
}

impl<W> Cohort<W> {
    /// A cohort in which nobody waits, of holds that last for `min_hold` at least.
    pub fn new(min_hold: Duration) -> Cohort<W> {
        Cohort { line: Line::default(), stage: Stage::Idle, min_hold }
    }

    /// True while there is neither a claim nor anybody who waits for one.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Idle && self.line.is_empty()
    }

    /// How many tokens the claim's grant is to bring besides its own: none for one alone, who would waste them.
    pub fn spare_tokens(&self) -> u32 {
        if self.line.len() > 1 { HAND_OFFS } else { 0 }
    }

    /// Stands in line, until `give_up` at most.
    pub fn join(&mut self, who: W, give_up: Instant) -> (Ticket, Joined) {
        let first = self.line.is_empty();
        let ticket = self.line.push(who, give_up);
        let joined = match self.stage {
            Stage::Idle => {
                self.stage = Stage::Wanted(None);
                Joined::Ask
            }
            Stage::Held { .. } if first => Joined::Prepare,
            Stage::Wanted(_) | Stage::Held { .. } => Joined::Wait,
        };
        (ticket, joined)
    }

    /// Leaves the line; `None` if the wait is over already.
    pub fn leave(&mut self, ticket: Ticket) -> Option<W> {
        self.line.remove(ticket)
    }

    /// When the next wait ends that has an end.
    pub fn next_give_up(&self) -> Option<Instant> {
        self.line.next_give_up()
    }

    /// Takes out one whose wait is over.
    pub fn give_up(&mut self, now: Instant) -> Option<W> {
        self.line.take_late(now)
    }

    /// Takes out whoever is first in line, to be told that nothing will come.
    pub fn dismiss(&mut self) -> Option<W> {
        self.line.pop()
    }

    /// What to do with a claim that nobody has, now that somebody left the line.
    pub fn wanted(&self) -> Turn {
        let unwanted = matches!(self.stage, Stage::Wanted(_)) && self.line.is_empty();
        if unwanted { Turn::GiveBack } else { Turn::Stay }
    }

    /// The claim holds, and nobody has it yet: whose is it?
    pub fn granted(&mut self, now: Instant) -> Option<W> {
        let Stage::Wanted(tenure) = self.stage else { return None };
        let who = self.line.pop()?;
        let tenure = tenure.unwrap_or(Tenure { began: now, hand_offs: 0 });
        self.stage = Stage::Held { tenure, since: now };
        Some(who)
    }

    /// How often the hold will be passed on in this tenure, unless nobody waits in the store; `None` if nobody holds, or nobody
    /// waits here.
    pub fn hand_offs_left(&self) -> Option<u32> {
        match self.stage {
            Stage::Held { tenure, .. } if !self.line.is_empty() => Some(HAND_OFFS.saturating_sub(tenure.hand_offs)),
            _ => None,
        }
    }

    /// Whoever held gave the hold back; `used` unless it never knew of it.
    pub fn freed(&mut self, now: Instant, used: bool, alone_at: Option<Instant>) -> Turn {
        let Stage::Held { tenure, since } = self.stage else { return Turn::Stay };
        let kept_out = used && now.since(since) < self.min_hold;
        let tenure = Tenure { hand_offs: tenure.hand_offs + 1, ..tenure };
        self.stage = Stage::Wanted(Some(tenure));
        if self.line.is_empty() || kept_out || tenure.is_over(now, alone_at) { Turn::GiveBack } else { Turn::HandOn }
    }

    /// The claim holds no more and will not hold again; true if another is wanted.
    pub fn over(&mut self) -> bool {
        let again = !self.line.is_empty();
        self.stage = if again { Stage::Wanted(None) } else { Stage::Idle };
        again
    }
}

impl Tenure {
    /// Rivals are known to be none only by an answer; one that came in since waits for as long as that may be old, at most.
    fn is_over(self, now: Instant, alone_at: Option<Instant>) -> bool {
        let spent = self.hand_offs > HAND_OFFS || now.since(self.began) >= TENURE;
        spent && alone_at.is_none_or(|at| now.since(at) >= TENURE)
    }
}
