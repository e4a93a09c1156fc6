//! How long another process waits for a lock that sixteen tasks of one process pass on among themselves.

use super::{Section, row};
use crate::contenders::Kind;
use crate::placement::Placement;
use crate::record::Hold;
use crate::run::{Shape, run};
use crate::server::Server;
use crate::stats::percentile;
use crate::thresholds::Check;
use crate::{Fault, Options, table};
use std::time::Duration;

/// The longest that a process passes a lock on inside before others have their turn.
const TENURE: Duration = Duration::from_millis(50);

/// Measures it for holds of 0, 1 and 100 ms.
///
/// # Errors
/// What kept it from being measured.
pub fn measure(server: &mut Server, options: &Options) -> Result<Section, Fault> {
    let mut section = Section {
        name: "rival/cross".into(),
        about: "16 tasks of one process pass a lock on; one task of another process wants it too. Its place in the queue is 1."
            .into(),
        rows: vec![row(["hold", "rival's waits", "p50", "p99", "max", "bound"])],
        ..Section::default()
    };
    let trip = round_trip(server, options)?;
    for hold in [0, 1, 100] {
        let bound = TENURE + Duration::from_millis(hold) + 2 * trip;
        let waits = waits(server, options, hold, &mut section.violations)?;
        let at = |part: f64| percentile(&waits, part) as f64;
        let count = waits.len().to_string();
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|part| table::time(at(part)));
        let limit = table::time(bound.as_nanos() as f64);
        section.rows.push(row([&format!("{hold} ms"), &count, &p50, &p99, &most, &limit]));
        let what = format!("p99 wait of a rival process, holds of {hold} ms");
        let passed = !waits.is_empty() && at(0.99) <= bound.as_nanos() as f64;
        section.checks.push(Check::new(what, format!("≤ {limit}"), p99, passed));
    }
    Ok(section)
}

fn shape(hold: u64, time: Duration) -> Shape {
    Shape {
        placement: Placement::Cross,
        processes: 2,
        tasks: 16,
        rival_tasks: Some(1),
        one_key: true,
        hold: Hold::ms(hold, hold),
        warm: Duration::from_millis(100),
        time,
    }
}

/// A round trip of the bare client.
fn round_trip(server: &mut Server, options: &Options) -> Result<Duration, Fault> {
    let shape = Shape { processes: 1, tasks: 1, rival_tasks: None, ..shape(0, Duration::from_millis(200)) };
    let outcome = run(server, Kind::Bare, &shape, options)?;
    Ok(Duration::from_nanos(percentile(&outcome.waits, 0.5)))
}

/// The rival's waits over all repetitions.
fn waits(server: &mut Server, options: &Options, hold: u64, violations: &mut Vec<String>) -> Result<Vec<u64>, Fault> {
    let (repeats, time) = match (options.quick, hold) {
        (true, 100) => (1, 1_500),
        (true, _) => (1, 500),
        (false, 100) => (5, 3_000),
        (false, _) => (5, 1_000),
    };
    let mut waits = Vec::new();
    for _ in 0..options.repeat.unwrap_or(repeats) {
        let outcome = run(server, Kind::Ours, &shape(hold, Duration::from_millis(time)), options)?;
        waits.extend(outcome.rival_waits);
        violations.extend(outcome.violations.iter().map(|violation| format!("rival/cross, hold {hold} ms: {violation}")));
    }
    waits.sort_unstable();
    Ok(waits)
}
