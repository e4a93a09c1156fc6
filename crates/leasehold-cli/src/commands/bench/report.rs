//! What was found, for people and for programs.

use super::figures::{Spread, humane};
use super::shop::Double;
use crate::args::Protocol;
use crate::commands::view::table;
use crate::say;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What was measured, in the stable shape of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The store, without its password.
    pub store: String,
    /// How many tasks.
    pub tasks: u32,
    /// How many clients they shared.
    pub clients: u32,
    /// The locks' ttl.
    pub ttl_ms: u64,
    /// Every task a lock of its own.
    pub uncontended: Uncontended,
    /// All tasks one lock.
    pub contended: Contended,
    /// Two clients that pass one lock on.
    pub hand_off: HandOff,
    /// How often two believed to hold at once.
    pub overlaps: u64,
    /// How often a token was not larger than all before it.
    pub tokens_out_of_order: u64,
    /// How many leases ended without a release; the store, or this host, was too slow.
    pub lost: u64,
}

/// Every task a lock of its own.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Uncontended {
    pub cycles: u64,
    pub cycles_per_s: f64,
    pub acquire_us: Spread,
    pub release_us: Spread,
}

/// All tasks one lock.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Contended {
    pub hand_offs: u64,
    pub hand_offs_per_s: f64,
    pub wait_us: Spread,
    pub jain: f64,
}

/// Two clients that pass one lock on.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct HandOff {
    pub count: u64,
    pub latency_us: Spread,
}

impl Measured {
    /// True if nothing was found that must not be.
    pub fn is_ok(&self) -> bool {
        self.overlaps == 0 && self.tokens_out_of_order == 0
    }

    /// For people.
    pub fn text(&self) -> String {
        let row = |what: &str, spread: &Spread| {
            let figures = [spread.p50, spread.p90, spread.p99, spread.p99_9, spread.max].map(humane);
            let [p50, p90, p99, p99_9, max] = figures;
            [what.into(), p50, p90, p99, p99_9, max]
        };
        let spreads = table(&[
            ["", "P50", "P90", "P99", "P99.9", "MAX"].map(String::from),
            row("acquire", &self.uncontended.acquire_us),
            row("release", &self.uncontended.release_us),
            row("wait in line", &self.contended.wait_us),
            row("hand-off", &self.hand_off.latency_us),
        ]);
        let verdict = match (self.is_ok(), self.lost) {
            (false, _) => format!("VIOLATED: {} overlaps, {} tokens out of order", self.overlaps, self.tokens_out_of_order),
            (true, 0) => "no two held at once, every token was larger than all before it".into(),
            (true, lost) => {
                format!("no two held at once, every token rose; {lost} leases were lost: store or host were too slow")
            }
        };
        format!(
            "{}, {} tasks, {} clients, ttl {}\n\n\
             a lock for each task   {:.0} cycles/s\n\
             one lock for all       {:.0} hand-offs/s, fairness {:.3}\n\n\
             {spreads}\n{verdict}\n",
            self.store,
            self.tasks,
            self.clients,
            say::humane(Duration::from_millis(self.ttl_ms)),
            self.uncontended.cycles_per_s,
            self.contended.hand_offs_per_s,
            self.contended.jain,
        )
    }
}

/// What is sold under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Deal {
    /// The lock.
    pub protocol: Protocol,
    /// True if the shop compares tokens.
    pub token_check: bool,
}

impl fmt::Display for Deal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let check = match (self.protocol, self.token_check) {
            (Protocol::Leasehold, true) => ", tokens checked",
            (Protocol::Leasehold, false) => ", tokens not checked",
            _ => "",
        };
        write!(f, "{}{check}", self.protocol.name())
    }
}

/// What was verified, in the stable shape of `--json`.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Verified {
    pub store: String,
    pub processes: u32,
    pub buyers: u32,
    pub stock: u64,
    pub ttl_ms: u64,
    pub runs: Vec<Run>,
    /// True if the first run is.
    pub ok: bool,
}

/// One sale.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Under what.
    #[serde(flatten)]
    pub deal: Deal,
    /// How many sales there were.
    pub sold: u64,
    /// How many of them were of an item that had been sold.
    pub oversold: u64,
    /// The first of these.
    pub first_oversold: Option<Double>,
    /// How often a holder came in while another still believed to hold.
    pub overlaps: u64,
    /// How often a token was not larger than all before it; nothing if there are no tokens.
    pub tokens_out_of_order: Option<u64>,
    /// How often an older token was refused; nothing if none is compared.
    pub fenced: Option<u64>,
    /// How many processes were killed.
    pub killed: u32,
    /// How many processes were stopped, and continued.
    pub paused: u32,
    /// True if nobody got any further.
    pub stuck: bool,
    /// From the opening to the end.
    pub elapsed_ms: u64,
    /// Sales a second.
    pub sales_per_s: f64,
    /// From the wish for the lock to its grant.
    pub wait_us: Spread,
    /// True if exactly the stock was sold, and no two held at once.
    pub ok: bool,
}

impl Run {
    fn verdict(&self) -> String {
        match &self.first_oversold {
            Some(Double { item, buyers: [first, second] }) => format!("OVERSOLD: item {item} to {first} and {second}"),
            None if self.stuck => "STUCK: nobody got the lock any more".into(),
            None if self.ok => "sold exactly the stock".into(),
            None => "VIOLATED".into(),
        }
    }

    fn figures(&self, stock: u64) -> Vec<(&'static str, String)> {
        let count = |count: Option<u64>| count.map_or("-".into(), |count| count.to_string());
        vec![
            ("", self.deal.to_string()),
            ("sold", format!("{} of {stock}", self.sold)),
            ("oversold", self.oversold.to_string()),
            ("overlaps", self.overlaps.to_string()),
            ("tokens out of order", count(self.tokens_out_of_order)),
            ("fenced", count(self.fenced)),
            ("holders killed", self.killed.to_string()),
            ("holders paused", self.paused.to_string()),
            ("sales per second", format!("{:.1}", self.sales_per_s)),
            ("wait p50", humane(self.wait_us.p50)),
            ("wait p99", humane(self.wait_us.p99)),
            ("", self.verdict()),
        ]
    }
}

impl Verified {
    /// For people.
    pub fn text(&self) -> String {
        let ttl = say::humane(Duration::from_millis(self.ttl_ms));
        let columns: Vec<_> = self.runs.iter().map(|run| run.figures(self.stock)).collect();
        let rows: Vec<[String; 3]> = (0..columns[0].len())
            .map(|row| {
                let cell = |run: usize| columns.get(run).map_or(String::new(), |column| column[row].1.clone());
                [columns[0][row].0.into(), cell(0), cell(1)]
            })
            .collect();
        let more = match self.runs.get(1) {
            Some(run) if run.oversold > 0 => {
                "\nWithout the check, the holder that was paused between its last look at the lock and its sale\n\
                 sold again what others had sold. No lock can prevent that: only who checks the token can.\n"
            }
            _ => "",
        };
        let Verified { store, processes, buyers, .. } = self;
        format!("{store}, {processes} processes of {buyers} buyers, ttl {ttl}\n\n{}{more}", table(&rows))
    }
}
