//! The options of `leasehold doctor`.

use super::StoreArgs;
use clap::Args;

/// `leasehold doctor`
#[derive(Clone, Debug, Args)]
#[command(after_help = DOCTOR)]
pub struct Doctor {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print every check, also what is well and what is only worth a note
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
}

const DOCTOR: &str = "\
Checks a store and this host for what endangers locks. Where nothing is wrong it prints one line. \
Each finding says what was seen, what it means for the three promises (P1 exclusion, P2 order of \
tokens, P3 fenced resources; docs/guarantees.md) and for who waits, and what to do: commands to be \
pasted into a shell, by somebody who may administrate the store.

What it does to the store: it reads; it writes only under names that begin with leasehold-doctor: \
and a random number, removes them again, and if this program is killed they end after 30 s. Running \
locks are not touched. It takes about a second; a store that does not answer for 2 s ends it with 69.

Severity: a danger breaks a promise, or locks do not work at all; a warning may come to that; a note \
is worth knowing, and is shown with --verbose or beside a warning or danger.

Exit codes: 0 nothing, or notes only · 1 warnings · 2 dangers · 64 bad usage · 69 store unreachable \
· 77 permission refused

Examples:
  leasehold doctor --url redis://localhost
  leasehold doctor --verbose
  leasehold doctor --json | jq -r '.checks[] | select(.severity == \"danger\") | .do'

JSON: {\"store\", \"checks\": [{\"id\", \"severity\", \"title\", \"seen\", \"means\", \"do\"}], \"worst\", \"exit_code\"}
\"severity\" and \"worst\" are \"ok\", \"note\", \"warning\" or \"danger\"; \"means\" and \"do\" are null where there \
is nothing to say. What an \"id\" stands for does not change; docs/operating.md lists them.";
