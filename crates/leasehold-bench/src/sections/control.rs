//! The negative control: a run without any lock, which must be caught.

use super::{Section, row};
use crate::contenders::Kind;
use crate::placement::Placement;
use crate::record::Hold;
use crate::run::{Shape, run};
use crate::server::Server;
use crate::{Fault, Options};
use std::time::Duration;

/// Runs it; what was not caught is a violation.
///
/// # Errors
/// What kept it from being run.
pub fn measure(server: &mut Server, options: &Options) -> Result<Section, Fault> {
    let shape = Shape {
        placement: Placement::Cross,
        processes: 2,
        tasks: 1,
        rival_tasks: None,
        one_key: true,
        hold: Hold::ms(1, 2),
        warm: Duration::from_millis(20),
        time: Duration::from_millis(80),
    };
    let outcome = run(server, Kind::Nothing, &shape, options)?;
    let caught = |what: &str| outcome.violations.iter().filter(|violation| violation.contains(what)).count();
    let [overlaps, tokens] = ["held at once", "was granted after"].map(caught);
    let missed =
        [(overlaps, "overlapping holds"), (tokens, "tokens that do not rise")].into_iter().filter(|(count, _)| *count == 0);
    Ok(Section {
        name: "control/cross".into(),
        about: "Two processes hold without any lock, as a check of the judge: it must catch them.".into(),
        rows: vec![row(["overlaps caught", "tokens caught"]), row([&overlaps.to_string(), &tokens.to_string()])],
        checks: Vec::new(),
        violations: missed.map(|(_, what)| format!("control/cross: {what} were not caught")).collect(),
    })
}
