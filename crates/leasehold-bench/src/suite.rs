//! Runs everything that is wanted, in turns, and tells what came out.

use crate::contenders::Kind;
use crate::groups::{self, Group};
use crate::run::{Outcome, run as run_once};
use crate::sections::{self, Section};
use crate::server::Server;
use crate::thresholds::{self, Check};
use crate::{Fault, Options, table};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

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

    /// All values of all repetitions of `kind`, sorted.
    pub fn pooled(&self, kind: Kind, of: impl Fn(&Outcome) -> &Vec<u64>) -> Vec<u64> {
        let mut all: Vec<u64> = self.outcomes.get(&kind).into_iter().flatten().flat_map(|outcome| of(outcome).clone()).collect();
        all.sort_unstable();
        all
    }

    /// How often each contender ran, the base's last run apart.
    pub fn repeats(&self) -> usize {
        let others = self.outcomes.iter().filter(|(kind, _)| **kind != self.group.base());
        others.map(|(_, outcomes)| outcomes.len()).max().unwrap_or(usize::MAX)
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Default)]
pub struct Results {
    pub groups: Vec<Measured>,
    pub sections: Vec<Section>,
}

impl Results {
    /// Everything that must hold.
    pub fn checks(&self) -> Vec<Check> {
        let sections = self.sections.iter().flat_map(|section| section.checks.clone());
        self.groups.iter().flat_map(thresholds::of).chain(sections).collect()
    }

    fn violations(&self) -> Vec<String> {
        let sections = self.sections.iter().flat_map(|section| section.violations.clone());
        self.groups.iter().flat_map(broken).chain(sections).collect()
    }
}

/// How long a part of a run took.
struct Took(Instant);

impl Took {
    fn start(name: &str) -> Took {
        eprintln!("measuring {name}");
        Took(Instant::now())
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "took {:.1} s", self.0.elapsed().as_secs_f64())
    }
}

/// Runs what `options` want; true if no run broke a promise.
///
/// # Errors
/// What kept it from being measured.
pub fn run(options: &Options) -> Result<bool, Fault> {
    let groups = wanted(options);
    let sections = sections::ALL.iter().filter(|(name, _)| options.wants(name));
    if options.list {
        for group in &groups {
            group.members.iter().for_each(|kind| println!("{}", group.member_name(*kind)));
        }
        sections.for_each(|(name, _)| println!("{name}"));
        return Ok(true);
    }
    let mut server = Server::start()?;
    let mut results = Results::default();
    for group in groups {
        let took = Took::start(&group.name);
        let measured = measure(&mut server, group, options)?;
        print!("{}{took}", table::group(&measured));
        results.groups.push(measured);
    }
    for (name, measure) in sections {
        let took = Took::start(name);
        let section = measure(&mut server, options).map_err(|fault| format!("{name}: {fault}"))?;
        print!("{}{took}", table::section(&section));
        results.sections.push(section);
    }
    let checks = results.checks();
    if !checks.is_empty() {
        print!("\n{}", thresholds::render(&checks));
    }
    let violations = results.violations();
    // Figures of a lock that is none are not worth keeping.
    if let Some(folder) = options.write.as_ref().filter(|_| violations.is_empty()) {
        crate::report::write(&results, &mut server, options, folder)?;
    }
    violations.iter().for_each(|violation| println!("VIOLATION {violation}"));
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
    let repeats = options.repeats() * group.rounds;
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
