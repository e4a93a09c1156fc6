//! What the library must reach, and whether it did, by the medians.

use crate::contenders::Kind;
use crate::groups::Figure;
use crate::run::Outcome;
use crate::stats::{percentile, spread};
use crate::suite::Measured;
use crate::table;

/// One thing that must hold.
#[derive(Clone, Debug)]
pub struct Check {
    pub what: String,
    pub needed: String,
    pub seen: String,
    pub passed: bool,
}

impl Check {
    pub fn new(what: String, needed: String, seen: String, passed: bool) -> Check {
        Check { what, needed, seen, passed }
    }
}

/// The table of all checks.
pub fn render(checks: &[Check]) -> String {
    let mut rows = vec![["what", "needed", "seen", ""].map(str::to_owned).to_vec()];
    let verdict = |check: &Check| if check.passed { "PASS" } else { "MISS" };
    rows.extend(
        checks.iter().map(|check| vec![check.what.clone(), check.needed.clone(), check.seen.clone(), verdict(check).to_owned()]),
    );
    table::render(&rows)
}

/// The checks of one group, as far as their contenders ran.
pub fn of(measured: &Measured) -> Vec<Check> {
    let group = &measured.group;
    let parts: Vec<&str> = group.name.split('/').collect();
    let tasks = parts[2].trim_end_matches("-tasks");
    match parts[0] {
        "uncontended" => uncontended(measured, parts[1], tasks),
        // The cycle of one task. Where many tasks fill a processor, three quarters of a microsecond are more of each.
        "observed" => {
            at_least(measured, [Kind::Observed, Kind::Ours], if tasks == "1" { 0.97 } else { 0.9 }).into_iter().collect()
        }
        "one-key" => one_key(measured, tasks),
        "latency" => latency(measured, parts[1]),
        _ => Vec::new(),
    }
}

fn at_least(measured: &Measured, kinds: [Kind; 2], least: f64) -> Option<Check> {
    let [kind, base] = kinds;
    let figure = measured.group.figure;
    let ratios = measured.ratios(kind, base, |outcome| figure.of(outcome));
    let median = spread(&ratios)?.median;
    let what = format!("{}: {kind} against {base}, {}", measured.group.name, figure.name());
    Some(Check::new(what, format!("≥ {least} ×"), table::ratio(&ratios), median >= least))
}

fn uncontended(measured: &Measured, placement: &str, tasks: &str) -> Vec<Check> {
    let least = match (placement, tasks) {
        ("same", "1") => Some(0.9),
        ("cross", "1") => Some(0.95),
        (_, "64") => Some(0.85),
        _ => None,
    };
    let bare = least.and_then(|least| at_least(measured, [Kind::Ours, Kind::Bare], least));
    let rslock = (tasks != "1").then(|| at_least(measured, [Kind::Ours, Kind::Rslock], 1.0)).flatten();
    bare.into_iter().chain(rslock).collect()
}

fn one_key(measured: &Measured, tasks: &str) -> Vec<Check> {
    let across = tasks == "4x16";
    let least = match tasks {
        "2" => 3.0,
        "4x16" => 6.0,
        _ => 10.0,
    };
    let mut checks: Vec<Check> = at_least(measured, [Kind::Ours, Kind::Blpop], least).into_iter().collect();
    checks.extend(median_of(measured, Kind::Ours, "Jain", |outcome| outcome.jain).map(|check| check(at_least_099)));
    if across {
        checks.extend(at_least(measured, [Kind::OursAlone, Kind::Fifo], 0.8));
        checks.extend(median_of(measured, Kind::OursAlone, "Jain", |outcome| outcome.jain).map(|check| check(at_least_099)));
        let longest = |outcome: &Outcome| outcome.wait(1.0) / outcome.mean_wait();
        let longest = median_of(measured, Kind::OursAlone, "longest wait against the mean", longest);
        checks.extend(longest.map(|check| check(|value| ("≤ 3 ×", value <= 3.0))));
        let requests = median_of(measured, Kind::OursAlone, "requests per hand-off", |outcome| outcome.requests);
        checks.extend(requests.map(|check| check(|value| ("≤ 2.2", value <= 2.2))));
    }
    checks
}

fn at_least_099(value: f64) -> (&'static str, bool) {
    ("≥ 0.99", value >= 0.99)
}

/// A check of a median, once it is known what it must be.
fn median_of<J: FnOnce(f64) -> (&'static str, bool)>(
    measured: &Measured,
    kind: Kind,
    name: &str,
    of: impl Fn(&Outcome) -> f64,
) -> Option<impl FnOnce(J) -> Check> {
    let seen = spread(&measured.figures(kind, of))?;
    let what = format!("{}: {kind}, {name}", measured.group.name);
    Some(move |judge: J| {
        let (needed, passed) = judge(seen.median);
        Check::new(what, needed.into(), table::short(seen.median), passed)
    })
}

fn latency(measured: &Measured, placement: &str) -> Vec<Check> {
    let figure = Figure::Gap;
    let ratios = measured.ratios(Kind::OursAlone, Kind::Blpop, |outcome| figure.of(outcome));
    let Some(p50) = spread(&ratios) else { return Vec::new() };
    let what = |part: &str| format!("latency/{placement}: release to grant {part} against BLPOP");
    let p99 = |kind: Kind| percentile(&measured.pooled(kind, |outcome| &outcome.gaps), 0.99) as f64;
    let tail = p99(Kind::OursAlone) / p99(Kind::Blpop);
    vec![
        Check::new(what("p50"), "≤ 1.4 ×".into(), table::ratio(&ratios), p50.median <= 1.4),
        Check::new(what("p99"), "≤ 2 ×".into(), table::short(tail), tail <= 2.0),
    ]
}
