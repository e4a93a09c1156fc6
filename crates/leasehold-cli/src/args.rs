//! The command line, as people write it.

mod bench;
mod doctor;
mod top;

pub use bench::{Bench, Protocol, SaleArgs};
pub use doctor::Doctor;
pub use top::{COLUMNS, Top};

use crate::exit::{self, Code};
use crate::store::Fault;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Puts any command under a distributed lock.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, after_help = AFTER, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
The store is named by --url, by the first line of --url-file, or by LEASEHOLD_URL; without any, it \
is a file of this user on this host. A URL with a password belongs in LEASEHOLD_URL or in a file: \
everybody on the host can read command lines.

Exit codes: 0 done · 1 `doctor` warns, `bench --verify` found a fault · 2 `doctor` found a danger · \
64 bad usage · 69 store unreachable · 70 lease lost · 75 not granted in time · \
77 permission refused; `run` otherwise exits as its command does (128+N if signal N ended it, 126 or \
127 if it cannot be started).";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command while holding a lock
    Run(Run),
    /// Acquire a lock that outlives this process, and print its claim and token
    Acquire(Acquire),
    /// Renew a lock that `acquire` got
    Renew(Renew),
    /// Release a lock that `acquire` got, or take one away from its holder
    Release(Release),
    /// List the locks that are held or waited for
    List(List),
    /// Show who holds a lock and who waits for it
    Inspect(Inspect),
    /// Watch all locks of a store live, on a terminal
    Top(Top),
    /// Serve metrics of a store's locks, for Prometheus
    Serve(Serve),
    /// Measure a store, or verify that nothing is sold twice under its locks
    Bench(Bench),
    /// Check a store and this host for what endangers locks
    Doctor(Doctor),
    /// Print completions for a shell
    Completions(Completions),
    /// Print the manual page, or write all of them into a directory
    Man(Man),
}

/// Which store.
#[derive(Clone, Debug, Default, Args)]
pub struct StoreArgs {
    /// The store: sqlite:PATH, redis://HOST, rediss://HOST, … [default: $LEASEHOLD_URL]
    #[arg(long, value_name = "URL", conflicts_with = "url_file")]
    pub url: Option<String>,
    /// Read the store's URL from the first line of a file, so that its password stays off the command line
    #[arg(long, value_name = "FILE")]
    pub url_file: Option<PathBuf>,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// The hold's policy.
#[derive(Clone, Debug, Args)]
pub struct PolicyArgs {
    /// How long the store keeps the lock without a renewal: 400ms to 24h
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span)]
    pub ttl: Duration,
    /// Send no renewal later than this after the grant; the lease then runs out
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub max_hold: Option<Duration>,
    /// Keep others out until this long after the grant, even if released earlier
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub min_hold: Option<Duration>,
    /// Make others wait this much longer after the lock was lost
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub lock_delay: Option<Duration>,
}

/// How to wait for the lock.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// How long to wait for the lock: `forever`, `0s` to ask exactly once, or a time such as 10s
    #[arg(long, value_name = "TIME", default_value = "forever", value_parser = wait)]
    pub wait: Wait,
    /// Exit with this code instead of 75 if the lock is not granted in time
    #[arg(long, value_name = "CODE")]
    pub busy_exit: Option<u8>,
    /// A word of yours that `list` and `inspect` show to others
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
}

impl WaitArgs {
    /// The same fault, with the exit code that is wanted for a lock that was not granted in time.
    pub fn as_asked(&self, fault: Fault) -> Fault {
        match self.busy_exit {
            Some(code) if fault.code == exit::BUSY => Fault { code: Code::asked(code), ..fault },
            _ => fault,
        }
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until it is granted.
    Forever,
    /// This long.
    For(Duration),
}

/// `leasehold run`
#[derive(Clone, Debug, Args)]
#[command(after_help = RUN)]
pub struct Run {
    /// The lock's name, such as order:123:pay
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub waiting: WaitArgs,
    /// Do not renew: the command has one ttl to finish
    #[arg(long)]
    pub no_renew: bool,
    /// What to do when the lease is lost, or cannot be renewed in time
    #[arg(long, value_enum, default_value_t = OnLost::Kill)]
    pub on_lost: OnLost,
    /// Time between SIGTERM and SIGKILL, at most a third of the ttl [default: 5s, or a third of the ttl if that is less]
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub grace: Option<Duration>,
    /// Write what happened to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write metrics of this run to this file, for the textfile collector of node_exporter; one file for each lock, ending in .prom
    #[arg(long, value_name = "FILE")]
    pub metrics_file: Option<PathBuf>,
    /// Hold the lock until everything that the command left running has ended too, instead of ending it
    #[arg(long)]
    pub wait_tree: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

const RUN: &str = "\
The command runs only while the lock is held: if the lock cannot be renewed, the command and all \
that it started get SIGTERM, then SIGKILL, before anybody else can be granted the lock, even if \
leasehold itself was killed or stopped. Signals are passed on to it. Not covered: processes of other \
users, and those that another service starts for the command.

The command finds the lock in LEASEHOLD_NAME, LEASEHOLD_CLAIM, LEASEHOLD_TOKEN (for stores that \
check tokens) and LEASEHOLD_HELD (with it, a `leasehold run` of the same lock inside the command \
joins it instead of waiting for it).

Examples:
  leasehold run nightly-backup -- ./backup.sh
  leasehold run deploy:prod --wait 0s --busy-exit 0 -- make deploy
      skips the deployment if somebody else is at it
  leasehold run job:42 --ttl 10s --max-hold 1h -- python job.py
      gives up after an hour
  leasehold run cron:hourly --wait 0s --min-hold 5m -- ./hourly
      runs on one of many hosts, though their clocks differ

Report, with null for what did not happen:
  {\"name\", \"asked_at\", \"granted_at\", \"waited_ms\", \"joined\", \"claim\", \"token\",
   \"command\": {\"exited\": CODE} | {\"killed\": SIGNAL} | {\"not_started\": ERRNO},
   \"ended_at\", \"lost\", \"release\", \"error\", \"exit_code\"}

Metrics file, each with the label `name`: leasehold_run_{granted,refused,lost,success} (0 or 1), \
leasehold_run_{wait,hold,timestamp}_seconds, leasehold_run_exit_code.

Exit codes:
  as the command does; 128+N if signal N ended it, or the wait
  64 bad usage · 69 store unreachable until --wait was over · 70 lease lost, command killed
  75 not granted within --wait · 77 permission refused
  126 command cannot be executed · 127 command not found";

/// What to do with the command when the lease is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnLost {
    /// End it before the lease ends.
    Kill,
    /// Say so, and let it run on without the lock.
    Warn,
}

/// `leasehold acquire`
#[derive(Clone, Debug, Args)]
#[command(after_help = ACQUIRE)]
pub struct Acquire {
    /// The lock's name
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub waiting: WaitArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const ACQUIRE: &str = "\
Nobody renews the lock but you: it ends one ttl after the grant, unless `leasehold renew` or `release` comes first.

Examples:
  eval $(leasehold acquire build --ttl 10m)    # sets $claim and $token
  leasehold renew build --claim $claim --ttl 10m
  leasehold release build --claim $claim

JSON: {\"name\", \"claim\", \"token\", \"lease_left_ms\"}";

/// `leasehold renew`
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit codes: 0 renewed · 70 the lock is lost\n\nJSON: {\"name\", \"claim\", \"answer\": \"renewed\" | \"lost\", \"lease_left_ms\"}"
)]
pub struct Renew {
    /// The lock's name
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    /// The claim that `acquire` printed
    #[arg(long, value_name = "CLAIM")]
    pub claim: String,
    /// How long the lock lasts from now
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span)]
    pub ttl: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `leasehold release`
#[derive(Clone, Debug, Args)]
#[command(after_help = RELEASE)]
pub struct Release {
    /// The lock's name
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    /// The claim that `acquire` printed
    #[arg(long, value_name = "CLAIM", conflicts_with_all = ["force", "now"], required_unless_present = "force")]
    pub claim: Option<String>,
    /// Take the lock away from whoever holds it: the holder is told, and others wait until it lets go or its lease ends
    #[arg(long)]
    pub force: bool,
    /// With --force: let others in at once. This breaks exclusion: the holder may still be at work
    #[arg(long, requires = "force")]
    pub now: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const RELEASE: &str = "\
Examples:
  leasehold release build --claim $claim
  leasehold release build --force
      the holder is told, `leasehold run` ends its command
  leasehold release build --force --now
      only if you know that the holder is dead

Exit codes: 0 released, or with --force taken away · 70 the lock had been lost before

JSON: {\"name\", \"answer\": \"released\" | \"gone\" | \"expired\" | \"taken\", \"by\"},
with --force {\"name\", \"answer\": \"revoked\", \"holds\"}";

/// `leasehold list`
#[derive(Clone, Debug, Args)]
#[command(after_help = LIST)]
pub struct List {
    /// Only names that match: * stands for any text, ? for one character
    pub pattern: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const LIST: &str = "\
Examples:
  leasehold list 'order:*'
  leasehold list --json | jq -r '.[] | select(.waiters | length > 3) | .name'

JSON: an array of what `inspect --json` prints";

/// `leasehold inspect`
#[derive(Clone, Debug, Args)]
#[command(after_help = INSPECT)]
pub struct Inspect {
    /// The lock's name
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const INSPECT: &str = "\
JSON: {\"name\", \"holders\": [PARTY], \"waiters\": [PARTY]}, first in line first, where PARTY is
  {\"claim\", \"foreign\", \"token\", \"since_ms\", \"lease_left_ms\", \"state\",
   \"host\", \"pid\", \"program\", \"label\"}
with null for what the store does not know; \"lease_left_ms\" is null for a lease without an end. \
\"state\" is \"live\", \"detached\" (`acquire`), \"ghost\" (kept by --min-hold or --lock-delay) or \
\"revoked\" (`release --force`).";

/// `leasehold serve`
#[derive(Clone, Debug, Args)]
#[command(after_help = SERVE)]
pub struct Serve {
    /// Only names that match: * stands for any text, ? for one character
    pub pattern: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    /// Where to listen. There is no password: whoever can connect can read the names of all locks
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9464")]
    pub listen: String,
    /// Show at most this many locks one by one, those with the most waiters first; the totals count all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub max: usize,
}

const SERVE: &str = "\
GET /metrics looks into the store and shows what is held and waited for by all clients at that moment; \
GET /healthz is 200 if the store answers, else 503. Nothing can be changed this way. While the store \
does not answer, /metrics says leasehold_store_up 0. SIGTERM and SIGINT end it.

Examples:
  leasehold serve --url redis://localhost
  leasehold serve 'order:*' --listen 0.0.0.0:9464
  curl -s localhost:9464/metrics | grep waiters

Exit codes: 0 ended by a signal · 64 the address cannot be used, or bad usage · 77 permission refused";

/// `leasehold completions`
#[derive(Clone, Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// `leasehold man`
#[derive(Clone, Debug, Args)]
pub struct Man {
    /// Write leasehold.1 and a page for each command into this directory
    pub dir: Option<PathBuf>,
}

fn span(text: &str) -> Result<Duration, String> {
    if text.parse::<f64>().is_ok_and(|number| number != 0.0) {
        return Err(format!("a time needs a unit: {text}s, {text}ms or {text}m"));
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

fn wait(text: &str) -> Result<Wait, String> {
    if text == "forever" {
        return Ok(Wait::Forever);
    }
    span(text).map(Wait::For)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(words: &[&str]) -> Result<Run, String> {
        let words = ["leasehold", "run"].iter().chain(words);
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Run(run) => Ok(run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn waits_are_forever_or_a_time_with_a_unit() {
        assert_eq!(run(&["a", "--", "true"]).unwrap().waiting.wait, Wait::Forever);
        for (text, millis) in [("0s", 0), ("10s", 10_000), ("1m 30s", 90_000), ("250ms", 250)] {
            assert_eq!(wait(text), Ok(Wait::For(Duration::from_millis(millis))));
        }
        let error = run(&["a", "--wait", "10", "--", "true"]).unwrap_err();
        assert!(error.contains("a time needs a unit: 10s"), "{error}");
    }

    #[test]
    fn options_after_the_dashes_belong_to_the_command() {
        let run = run(&["a", "--", "ls", "--url", "x"]).unwrap();
        assert_eq!(run.command, ["ls", "--url", "x"]);
        assert_eq!(run.store.url, None);
    }

    #[test]
    fn now_needs_force_and_release_needs_a_claim_or_force() {
        let parse = |words: &[&str]| Cli::try_parse_from(["leasehold", "release", "a"].iter().chain(words)).is_ok();
        assert!(parse(&["--claim", "x"]));
        assert!(parse(&["--force", "--now"]));
        assert!(!parse(&["--now"]));
        assert!(!parse(&[]));
        assert!(!parse(&["--claim", "x", "--force"]));
    }
}
