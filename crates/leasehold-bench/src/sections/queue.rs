//! What a hand-off costs the server with a short queue and with a long one.

use super::{Section, row};
use crate::contenders::Kind;
use crate::placement::Placement;
use crate::record::Hold;
use crate::run::{Outcome, Shape, run};
use crate::server::Server;
use crate::stats::{ratios, spread};
use crate::thresholds::Check;
use crate::{Fault, Options, table};
use std::time::Duration;

const SHORT: usize = 10;
const LONG: usize = 10_000;

/// Measures both in turns.
///
/// # Errors
/// What kept it from being measured.
pub fn measure(server: &mut Server, options: &Options) -> Result<Section, Fault> {
    let mut section = Section {
        name: "queue/cross".into(),
        about: "Time of the server's threads for each hand-off, with 10 and with 10 000 tasks of one process in its queue \
                (no cohort), their beats included."
            .into(),
        rows: vec![row([
            "contender",
            "µs, 10 waiters",
            "µs, 10 000",
            "ratio",
            "requests/hand-off, 10",
            "10 000",
            "hand-offs/s, 10",
            "10 000",
        ])],
        ..Section::default()
    };
    for kind in [Kind::OursAlone, Kind::Fifo].into_iter().take(if options.quick { 1 } else { 2 }) {
        let (mut short, mut long) = (Vec::new(), Vec::new());
        let repeats = match (options.quick, kind) {
            (true, _) => 1,
            (false, Kind::Fifo) => 2,
            (false, _) => 5,
        };
        for _ in 0..options.repeat.unwrap_or(repeats) {
            short.push(run(server, kind, &shape(SHORT, options.quick), options)?);
            long.push(run(server, kind, &shape(LONG, options.quick), options)?);
        }
        let broken = short.iter().chain(&long).flat_map(|outcome| &outcome.violations);
        section.violations.extend(broken.map(|violation| format!("queue/cross, {kind}: {violation}")));
        let each = |outcomes: &[Outcome], of: fn(&Outcome) -> f64| outcomes.iter().map(of).collect::<Vec<f64>>();
        let cost = |outcome: &Outcome| outcome.server_cpu * 100.0;
        let ratio = ratios(&each(&long, cost), &each(&short, cost));
        let shown = [(&short, cost as fn(&Outcome) -> f64), (&long, cost)].map(|(of, what)| table::median(&each(of, what)));
        let requests = [&short, &long].map(|of| table::median(&each(of, |outcome| outcome.requests)));
        let rate = [&short, &long].map(|of| table::median(&each(of, |outcome| outcome.hand_offs)));
        let of = table::ratio(&ratio);
        section.rows.push(row([kind.name(), &shown[0], &shown[1], &of, &requests[0], &requests[1], &rate[0], &rate[1]]));
        if kind == Kind::OursAlone {
            let passed = spread(&ratio).is_some_and(|ratio| ratio.median <= 1.5);
            let what = "server time per hand-off, 10 000 waiters against 10";
            section.checks.push(Check::new(what.into(), "≤ 1.5 ×".into(), of, passed));
        }
    }
    Ok(section)
}

fn shape(tasks: usize, quick: bool) -> Shape {
    let ms = Duration::from_millis;
    let warm = match tasks {
        // All must have queued once.
        LONG => ms(1_800),
        _ => ms(200),
    };
    let time = if quick { ms(500) } else { ms(1_000) };
    Shape { placement: Placement::Cross, processes: 1, tasks, rival_tasks: None, one_key: true, hold: Hold::NONE, warm, time }
}
