//! The document that a full run writes: everything it measured, on what, and what each contender is.

use crate::contenders::Kind;
use crate::groups::Figure;
use crate::server::Server;
use crate::stats::spread;
use crate::suite::{Measured, Results};
use crate::{Fault, Options, plots, table, thresholds};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Writes `benchmarks.md` and its pictures into `folder`.
///
/// # Errors
/// Those of the file system.
pub fn write(results: &Results, server: &mut Server, options: &Options, folder: &Path) -> Result<(), Fault> {
    let pictures = plots::draw(results, &folder.join("benchmarks"))?;
    let mut text = String::from(HEAD);
    text += &machine(server, options)?;
    text += "\n## What must hold\n\n";
    text += "By the medians of this run. A MISS is open work.\n\n";
    text += &thresholds::render(&results.checks());
    text += "\n## Contenders\n\n";
    text += &contenders();
    text += &client_cost(results);
    for (heading, figure) in FIGURES {
        let groups: Vec<&Measured> = results.groups.iter().filter(|measured| measured.group.figure == figure).collect();
        if !groups.is_empty() {
            text += &format!("\n## {heading}\n");
            groups.iter().for_each(|measured| text += &group(measured));
        }
    }
    for (file, what) in pictures {
        text += &format!("\n![{what}](benchmarks/{file})\n");
    }
    text += "\n## One by one\n";
    for section in &results.sections {
        text += &format!("\n### {}\n\n{}\n\n{}", section.name, section.about, table::render(&section.rows));
    }
    fs::write(folder.join("benchmarks.md"), text)?;
    Ok(())
}

const FIGURES: [(&str, Figure); 3] = [
    ("Uncontended: each task its own lock", Figure::Cycles),
    ("Contended: all tasks one lock", Figure::HandOffs),
    ("From a release to the next grant", Figure::Gap),
];

const HEAD: &str = "# Benchmarks

<!-- Written by `cargo xtask bench`; a change by hand is lost at the next run. -->

Everything on this page was measured in one run of

<!-- no-run -->

```console
$ cargo xtask bench
```

on a redis-server of its own, on loopback, without persistence. Contenders run in turns (A B C A B C … A), each in fresh client
processes; a ratio is one contender's figure against the first one's runs just before and just after it, and the table shows the
median of all repetitions with the least and the most. Compare ratios and processor time; absolute figures are this machine's.

Every run is checked: holds of one lock that overlap, across all processes, or tokens that do not rise end the benchmark with exit
code 1.

- **same**: clients and server on processor 0, which shows what the path costs. **cross**: clients on processor 0, server on
  processor 1, where each hop pays a wake-up, as in a local network.
- *wait*: from asking to being told, over all repetitions. *starved*: the longest that one task was without the lock. *Jain*: 1 if
  all tasks got it equally often, 1/n if one got it always.
- *client CPU*, *server CPU*: seconds of processor time for 10 000 cycles, of all client processes and of the server.
- *requests/cycle*: by the server's counters: a transaction, a top-level script call or a plain command each; what our clients write
  about themselves for `list` apart. *server reads/cycle*: fewer than requests where several travelled in one write.
- A hand-off is a grant to another task than the one before. Holds are of no length unless said otherwise.
";

fn machine(server: &mut Server, options: &Options) -> Result<String, Fault> {
    let said = |program: &str, arguments: &[&str]| -> Result<String, Fault> {
        let output = Command::new(program).args(arguments).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown").trim_start_matches(['\t', ' ', ':']);
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let versions = ["redis", "rslock", "tokio"].map(|name| format!("`{name}` {}", version(name)));
    let rows = [
        ["date", &said("date", &["-u", "+%F"])?],
        ["machine", &format!("{count} × {model}, Linux {}", said("uname", &["-r"])?)],
        ["server", &format!("redis-server {}", server.info("server", "redis_version")?)],
        ["library", &format!("leasehold {}, {}", env!("CARGO_PKG_VERSION"), said("git", &["rev-parse", "--short", "HEAD"])?)],
        ["crates", &versions.join(", ")],
        ["build", &format!("profile `{}`, for all contenders alike", profile()?)],
        ["repetitions", &format!("{} of each contender, unless said otherwise", options.repeats())],
        ["clients", &format!("tokio, {} worker threads in each process, all on one processor", options.workers)],
    ];
    Ok(rows.iter().fold(String::from("\n"), |text, [what, which]| text + &format!("- {what}: {which}\n")))
}

/// The folder of this program: cargo names it after the profile that it built it with.
fn profile() -> Result<String, Fault> {
    let program = std::env::current_exe()?;
    let folder = program.parent().and_then(Path::file_name).ok_or("a program is in a folder")?;
    Ok(folder.to_string_lossy().into_owned())
}

/// The version of a crate that this program was built with.
fn version(name: &str) -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n"))).unwrap_or_default();
    entry.lines().find_map(|line| line.strip_prefix("version = ")).unwrap_or("unknown").trim_matches('"')
}

fn contenders() -> String {
    Kind::ALL.iter().map(|kind| format!("- **{kind}**: {}.\n", kind.meaning())).collect()
}

/// What the client crate costs: bare and raw send the same commands.
fn client_cost(results: &Results) -> String {
    let mut parts = Vec::new();
    for measured in results.groups.iter().filter(|measured| measured.group.figure == Figure::Cycles) {
        let median =
            |kind: Kind, of: fn(&crate::run::Outcome) -> f64| spread(&measured.figures(kind, of)).map(|seen| seen.median);
        let cpu = |kind: Kind| median(kind, |outcome| outcome.client_cpu * 100.0);
        if let (Some(bare), Some(raw), Some(ours)) = (cpu(Kind::Bare), cpu(Kind::Raw), cpu(Kind::Ours)) {
            let [bare, raw, ours] = [bare, raw, ours].map(table::short);
            let (placement, tasks) = (measured.group.shape.placement, measured.group.shape.tasks);
            parts.push(vec![format!("{placement}, {tasks} tasks"), raw, bare, ours]);
        }
    }
    if parts.is_empty() {
        return String::new();
    }
    let header = ["client CPU per cycle, µs", "raw cycle", "bare: with the crate and tokio", "ours"].map(str::to_owned).to_vec();
    let rows = [vec![header], parts].concat();
    format!("\nWhat the client crate costs against commands written by hand:\n\n{}", table::render(&rows))
}

fn group(measured: &Measured) -> String {
    let repeated = match measured.group.rounds {
        1 => String::new(),
        _ => format!("{} repetitions.\n\n", measured.repeats()),
    };
    let text = table::group(measured);
    let (name, table) = text.trim_start().split_once('\n').unwrap_or_default();
    let hold = measured.group.shape.hold;
    let held = match hold.most_us {
        0 => String::new(),
        most => format!(
            "Holds of {} to {} ms, evenly drawn; two processes of one task each.\n\n",
            hold.least_us / 1_000,
            most / 1_000
        ),
    };
    format!("\n### {name}\n\n{repeated}{held}{table}")
}
