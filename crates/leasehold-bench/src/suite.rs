//! Runs everything that is wanted, in turns, and tells what came out.

use crate::contenders::Kind;
use crate::groups::{self, Group};
use crate::run::{Outcome, run as run_once};
use crate::server::Server;
use crate::{Fault, Options, table};
use std::collections::BTreeMap;

/// The outcomes of one group: of each contender one for each repetition, and one more of the base at the end.
#[derive(Clone, Debug)]
pub struct Measured {
    pub group: Group,
    pub outcomes: BTreeMap<Kind, Vec<Outcome>>,
}

impl Measured {
    /// The figure of each repetition of `kind`.
    pub fn figures(&self, kind: Kind, figure: impl Fn(&Outcome) -> f64) -> Vec<f64> {
        let repeats = if kind == self.group.base() { self.repeats() } else { usize::MAX };
        self.outcomes.get(&kind).into_iter().flatten().take(repeats).map(figure).collect()
    }

    /// The ratio of each repetition of `kind` to its neighbours of `base`.
    pub fn ratios(&self, kind: Kind, base: Kind, figure: impl Fn(&Outcome) -> f64 + Copy) -> Vec<f64> {
        let base: Vec<f64> = self.outcomes.get(&base).into_iter().flatten().map(figure).collect();
        crate::stats::ratios(&self.figures(kind, figure), &base)
    }

    fn repeats(&self) -> usize {
        let others = self.outcomes.iter().filter(|(kind, _)| **kind != self.group.base());
        others.map(|(_, outcomes)| outcomes.len()).max().unwrap_or(usize::MAX)
    }
}

/// Runs what `options` want; true if no run broke a promise.
///
/// # Errors
/// What kept it from being measured.
pub fn run(options: &Options) -> Result<bool, Fault> {
    let groups = wanted(options);
    if options.list {
        for group in &groups {
            group.members.iter().for_each(|kind| println!("{}", group.member_name(*kind)));
        }
        return Ok(true);
    }
    let mut server = Server::start()?;
    let mut violations = Vec::new();
    for group in groups {
        let measured = measure(&mut server, group, options)?;
        print!("{}", table::group(&measured));
        violations.extend(broken(&measured));
    }
    for violation in &violations {
        println!("VIOLATION {violation}");
    }
    Ok(violations.is_empty())
}

/// The groups with the contenders that are wanted, the base included if any is.
fn wanted(options: &Options) -> Vec<Group> {
    let mut groups = groups::all(options.quick);
    for group in &mut groups {
        let name = group.name.clone();
        let wants = |kind: Kind| options.wants(&format!("{name}/{}", kind.name()));
        let base = group.base();
        if group.members.iter().any(|kind| wants(*kind)) {
            group.members.retain(|kind| *kind == base || wants(*kind));
        } else {
            group.members.clear();
        }
        if !cfg!(feature = "rivals") {
            group.members.retain(|kind| !matches!(kind, Kind::Rslock | Kind::Rslock1));
        }
    }
    groups.retain(|group| !group.members.is_empty());
    groups
}

fn measure(server: &mut Server, group: Group, options: &Options) -> Result<Measured, Fault> {
    let repeats = options.repeat.unwrap_or(if options.quick { 2 } else { 5 });
    let mut outcomes: BTreeMap<Kind, Vec<Outcome>> = BTreeMap::new();
    let turns = (0..repeats).flat_map(|_| group.members.clone()).chain([group.base()]);
    for kind in turns {
        let outcome = run_once(server, kind, &group.shape, options);
        let outcome = outcome.map_err(|fault| format!("{}: {fault}", group.member_name(kind)))?;
        outcomes.entry(kind).or_default().push(outcome);
    }
    Ok(Measured { group, outcomes })
}

/// What was broken, with the names of those who broke it, and of each kind one.
fn broken(measured: &Measured) -> Vec<String> {
    let mut found = Vec::new();
    for (kind, outcomes) in &measured.outcomes {
        let all: Vec<&String> = outcomes.iter().flat_map(|outcome| &outcome.violations).collect();
        if let Some(first) = all.first() {
            found.push(format!("{}: {first} ({} in all)", measured.group.member_name(*kind), all.len()));
        }
    }
    found
}
