//! One sale: the shop's side of every visit, the faults at their time, and the end.

use super::crew::Crew;
use super::door::{Belief, audit};
use super::faults::{Fault as Trouble, Pause, Plan};
use super::figures::{Spans, rate};
use super::report::{Deal, Run};
use super::shop::{Buyer, Proof, Shop};
use super::wire::{Said, Told};
use crate::args::{Protocol, SaleArgs};
use crate::commands::view::millis;
use crate::exit;
use crate::keeper;
use crate::store::Fault;
use leasehold::Instant;
use std::collections::HashMap;
use std::time::Duration;

/// How long a sale may stand still, if the ttl does not ask for longer.
const STANDSTILL: Duration = Duration::from_secs(10);

/// How often the clock is looked at while nobody says anything.
const LOOK: Duration = Duration::from_millis(20);

/// A sale under way.
#[derive(Debug)]
pub struct Sale {
    crew: Crew,
    shop: Shop,
    plan: Plan,
    deal: Deal,
    stock: u64,
    ttl: Duration,
    up: usize,
    processes: usize,
    /// Who is inside now.
    inside: HashMap<Buyer, Visit>,
    /// Who was.
    beliefs: Vec<Belief>,
    waits: Spans,
    killed: u32,
    last_death: Option<Instant>,
    paused: u32,
    opened: Option<Instant>,
    /// How long nothing has been sold, and when that was looked at.
    idle: Duration,
    looked: Instant,
}

/// A buyer inside the shop.
#[derive(Clone, Debug)]
struct Visit {
    entered: Instant,
    deadline: Instant,
    proof: Option<Proof>,
}

/// How a sale ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left.
    SoldOut,
    /// An item was sold twice.
    Oversold,
    /// Nobody got any further.
    Stuck,
}

impl Sale {
    /// A sale by `crew`, which opens when all are up.
    pub fn new(crew: Crew, args: &SaleArgs, deal: Deal, ttl: Duration) -> Sale {
        Sale {
            crew,
            shop: Shop::new(args.stock, deal.token_check),
            plan: Plan::new(args.kill, args.pause, args.stock, ttl),
            deal,
            stock: args.stock,
            ttl,
            up: 0,
            processes: args.processes as usize,
            inside: HashMap::new(),
            beliefs: Vec::new(),
            waits: Spans::default(),
            killed: 0,
            last_death: None,
            paused: 0,
            opened: None,
            idle: Duration::ZERO,
            looked: keeper::now(),
        }
    }

    /// How many items were sold.
    pub fn sold(&self) -> u64 {
        self.shop.sold
    }

    /// When a process was killed last.
    pub fn last_death(&self) -> Option<Instant> {
        self.last_death
    }

    /// Goes on until something ends it. May be dropped at any await, and taken up again.
    ///
    /// # Errors
    /// What a process could not go on for.
    pub async fn go_on(&mut self) -> Result<Option<End>, Fault> {
        tokio::select! {
            (process, said) = self.crew.hear() => self.heard(process, said)?,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = keeper::now();
        // A longer gap is ours: we were stopped, or the host slept.
        self.idle += now.since(self.looked).min(LOOK * 5);
        self.looked = now;
        self.end_pauses(now);
        Ok(self.end())
    }

    fn heard(&mut self, process: usize, said: Option<Said>) -> Result<(), Fault> {
        match said {
            // What a killed process had said before its end comes too late.
            _ if self.crew.is_gone(process) => {}
            None => {
                return Err(Fault {
                    code: exit::LOST,
                    message: format!("process {} of the buyers ended by itself", process + 1),
                });
            }
            Some(Said::Failed { code, message }) => return Err(Fault { code, message }),
            Some(Said::Up) => self.is_up(),
            Some(Said::Entered { buyer, waited_ns, entered_ns, deadline_ns, proof }) => {
                let (entered, deadline) = (Instant::from_nanos(entered_ns), Instant::from_nanos(deadline_ns));
                self.waits.record(Duration::from_nanos(waited_ns));
                self.entered((process, buyer), Visit { entered, deadline, proof });
            }
            Some(Said::Ready { buyer }) => self.ready((process, buyer)),
            Some(Said::Sell { buyer, item }) => self.sell((process, buyer), item),
            Some(Said::Left { buyer, until_ns }) => self.left((process, buyer), Instant::from_nanos(until_ns)),
        }
        Ok(())
    }

    fn is_up(&mut self) {
        self.up += 1;
        if self.up == self.processes {
            self.opened = Some(keeper::now());
            self.idle = Duration::ZERO;
            self.crew.tell_all(&Told::Open);
        }
    }

    fn entered(&mut self, who: Buyer, visit: Visit) {
        let answer = match self.shop.read(visit.proof.as_ref()) {
            Ok(left) => Told::Stock { buyer: who.1, left },
            Err(_) => Told::Refused { buyer: who.1 },
        };
        self.inside.insert(who, visit);
        self.crew.tell(who.0, &answer);
    }

    /// The one moment that matters: the buyer has looked at its lock for the last time, and has not sold yet.
    fn ready(&mut self, who: Buyer) {
        match self.plan.next(self.shop.sold) {
            Some(Trouble::Kill) => self.kill(who.0),
            Some(Trouble::Pause) => {
                self.crew.stop(who.0);
                self.paused += 1;
                self.plan.pause(Pause { buyer: who, since: keeper::now(), sold: self.shop.sold });
            }
            None => self.crew.tell(who.0, &Told::Go { buyer: who.1 }),
        }
    }

    fn kill(&mut self, process: usize) {
        self.crew.kill(process);
        self.killed += 1;
        let now = keeper::now();
        self.last_death = Some(now);
        let dead: Vec<Buyer> = self.inside.keys().copied().filter(|who| who.0 == process).collect();
        for who in dead {
            // It may have renewed since it came in, but what it knew last is not told to anybody.
            let until = self.inside.get(&who).map_or(now, |visit| visit.deadline.min(now));
            self.left(who, until);
        }
    }

    fn sell(&mut self, who: Buyer, item: u64) {
        let proof = self.inside.get(&who).and_then(|visit| visit.proof.clone());
        let answer = match self.shop.sell(who, item, proof.as_ref()) {
            Ok(()) => {
                self.idle = Duration::ZERO;
                Told::Sold { buyer: who.1 }
            }
            Err(_) => Told::Refused { buyer: who.1 },
        };
        self.crew.tell(who.0, &answer);
    }

    fn left(&mut self, who: Buyer, until: Instant) {
        if let Some(visit) = self.inside.remove(&who) {
            let token = visit.proof.map(|proof| proof.token);
            self.beliefs.push(Belief { from: visit.entered, until, token });
        }
    }

    fn end_pauses(&mut self, now: Instant) {
        let at_most = self.standstill() / 2;
        while let Some(who) = self.plan.next_to_go_on(now, self.shop.sold, at_most) {
            self.crew.go_on(who.0);
            self.crew.tell(who.0, &Told::Go { buyer: who.1 });
        }
    }

    fn end(&self) -> Option<End> {
        if self.shop.oversold > 0 {
            return Some(End::Oversold);
        }
        // Whoever is inside still may sell what is not there.
        if self.shop.left() == 0 && self.inside.is_empty() {
            return Some(End::SoldOut);
        }
        (self.idle > self.standstill()).then_some(End::Stuck)
    }

    /// How long nothing may be sold: a dead holder's lease has to end, and dead waiters' places after it.
    fn standstill(&self) -> Duration {
        STANDSTILL.max(self.ttl * 5)
    }

    /// Ends the processes, and tells the story.
    pub async fn close(mut self, end: End) -> Run {
        let now = keeper::now();
        let elapsed = now.since(self.opened.unwrap_or(now));
        let inside: Vec<(Buyer, Instant)> = self.inside.iter().map(|(who, visit)| (*who, visit.deadline.min(now))).collect();
        for (who, until) in inside {
            self.left(who, until);
        }
        self.crew.see_out().await;
        let door = audit(self.beliefs);
        let shop = self.shop;
        let is_whole = end == End::SoldOut && shop.sold == self.stock && shop.oversold == 0;
        Run {
            ok: is_whole && door.overlaps == 0 && door.disorder == 0,
            deal: self.deal,
            sold: shop.sold,
            oversold: shop.oversold,
            first_oversold: shop.first_oversold,
            overlaps: door.overlaps,
            tokens_out_of_order: (self.deal.protocol == Protocol::Leasehold).then_some(door.disorder),
            fenced: self.deal.token_check.then_some(shop.fenced),
            killed: self.killed,
            paused: self.paused,
            stuck: end == End::Stuck,
            elapsed_ms: millis(elapsed),
            sales_per_s: rate(shop.sold, elapsed),
            wait_us: self.waits.spread(),
        }
    }
}
