//! The options of `leasehold bench`.

use super::{StoreArgs, span};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `leasehold bench`
#[derive(Clone, Debug, Args)]
#[command(after_help = BENCH)]
pub struct Bench {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    /// How long the store keeps a lock without a renewal [default: 10s, with --verify 1s]
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub ttl: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Sell a stock under the lock while holders are killed and paused, and count what went wrong
    #[arg(long)]
    pub verify: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub load: LoadArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sale: SaleArgs,
}

/// What is measured.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Measuring")]
pub struct LoadArgs {
    /// How many tasks acquire and release side by side
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096), conflicts_with = "verify")]
    pub tasks: u32,
    /// How many clients of the store they share, each with its own connections and thread
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=64), conflicts_with = "verify")]
    pub clients: u32,
    /// How long each of the three measurements lasts
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds, conflicts_with = "verify")]
    pub seconds: Duration,
}

/// What is sold, by whom, and what goes wrong meanwhile.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Verifying")]
pub struct SaleArgs {
    /// How many processes buy
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64), requires = "verify")]
    pub processes: u32,
    /// How many buyers each process has
    #[arg(long, value_name = "M", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024), requires = "verify")]
    pub buyers: u32,
    /// How many items there are to sell
    #[arg(long, value_name = "K", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000), requires = "verify")]
    pub stock: u64,
    /// How many processes are killed while they hold the lock
    #[arg(long, value_name = "N", default_value_t = 2, requires = "verify")]
    pub kill: u32,
    /// How many processes are stopped for longer than the ttl while they hold the lock
    #[arg(long, value_name = "N", default_value_t = 1, requires = "verify")]
    pub pause: u32,
    /// The lock that the buyers use
    #[arg(long, value_enum, default_value_t = Protocol::Leasehold, requires = "verify")]
    pub protocol: Protocol,
}

/// A way to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// This library
    Leasehold,
    /// SETNX, then DEL: no expiry
    Setnx,
    /// SETNX, then PEXPIRE; DEL by whoever believes to hold
    SetnxExpire,
    /// SET NX PX; deleted only by its owner; no token
    SetNxEx,
}

impl Protocol {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().into())
    }
}

const BENCH: &str = "\
Without --verify, three measurements, each with its own names: every task a lock of its own (cycles \
per second, time to acquire and to release), all tasks one lock (hand-offs per second, time in line, \
Jain's index of fairness: 1 if every task had its turn equally often), and two clients that pass a \
lock on (from the release's call to the other's grant).

With --verify, N processes of M buyers each sell a stock of K items under one lock: a buyer acquires, \
reads the stock, thinks for 2 ms, and sells the last item. Some processes are killed while one of \
their buyers holds the lock; one is stopped between its last look at the lock and its sale, until the \
lock has expired and others have sold, and then goes on. With Leasehold the stock compares the lock's \
fencing token in the same step as the sale and refuses an older one (\"fenced\"); the same run with \
that check off stands beside it, and does not count. The other protocols have no token; they need a \
redis:// URL. A run ends at the first item that is sold twice.

What it does to the store: it acquires and releases locks as fast as it can, so other users of the \
store are slowed down meanwhile. Names begin with leasehold-bench: and a random number, and no other \
name is touched. Nothing is left behind; if this program is killed, what is left ends with the ttl \
(but for setnx, whose key never ends).

Exit codes: 0 all is well · 1 an item was sold twice, two held at once, a token did not rise, or the \
sale stood still · 64 bad usage · 69 store unreachable · 77 permission refused

Examples:
  leasehold bench --url redis://localhost
  leasehold bench --verify --url redis://localhost
  leasehold bench --verify --url redis://localhost --protocol setnx-expire

JSON, times in microseconds and each SPREAD {\"p50\", \"p90\", \"p99\", \"p99_9\", \"max\"}:
  {\"store\", \"tasks\", \"clients\", \"ttl_ms\",
   \"uncontended\": {\"cycles\", \"cycles_per_s\", \"acquire_us\": SPREAD, \"release_us\": SPREAD},
   \"contended\": {\"hand_offs\", \"hand_offs_per_s\", \"wait_us\": SPREAD, \"jain\"},
   \"hand_off\": {\"count\", \"latency_us\": SPREAD},
   \"overlaps\", \"tokens_out_of_order\", \"lost\"}
with --verify:
  {\"store\", \"processes\", \"buyers\", \"stock\", \"ttl_ms\", \"runs\": [{\"protocol\", \"token_check\",
   \"sold\", \"oversold\", \"first_oversold\", \"overlaps\", \"tokens_out_of_order\", \"fenced\", \"killed\",
   \"paused\", \"stuck\", \"elapsed_ms\", \"sales_per_s\", \"wait_us\": SPREAD, \"ok\"}], \"ok\"}";

/// A number of seconds, which may have a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "a number of seconds, such as 5 or 0.5".to_string())?;
    if !(0.05..=600.0).contains(&number) {
        return Err("at least 0.05 and at most 600".into());
    }
    Ok(Duration::from_secs_f64(number))
}
