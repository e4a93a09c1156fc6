//! `cargo xtask test`: everything that must pass, in one command on a fresh machine.

mod groups;
mod packages;
mod report;

use crate::processes::{self, Process};
use crate::{cargo, docs};
use groups::{Group, How};
use report::{Report, Row, Tally};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// No group runs longer than this.
const GROUP_MAX: Duration = Duration::from_secs(8 * 60);

/// No build takes longer than this.
const BUILD_MAX: Duration = Duration::from_secs(40 * 60);

/// What to run, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Runs this group alone; may be given more than once.
    #[arg(long, value_name = "GROUP")]
    only: Vec<String>,
    /// Names the groups and runs nothing.
    #[arg(long)]
    list: bool,
    /// How often each decisive fault test is repeated.
    #[arg(long, value_name = "N", default_value_t = 20)]
    faults: u32,
}

/// Runs the tests; true if every one passed.
///
/// # Errors
/// What kept them from being run at all.
pub fn run(root: &Path, options: &Options) -> io::Result<bool> {
    let groups = chosen(groups::all(root)?, &options.only)?;
    if options.list {
        groups.iter().for_each(|group| println!("{}", group.name));
        return Ok(true);
    }
    packages::install_missing()?;
    let place = tempfile::Builder::new().prefix("leasehold-test-").tempdir()?;
    let runner = Runner { root, place: place.path(), faults: options.faults };
    if !runner.build(&groups)? {
        println!("the build failed, so no test was run\n0 passed, 1 failed");
        return Ok(false);
    }
    let mut report = Report::default();
    for group in &groups {
        runner.run(group, &mut report)?;
    }
    println!("\n{report}");
    Ok(report.sum().failed == 0)
}

fn chosen(all: Vec<Group>, only: &[String]) -> io::Result<Vec<Group>> {
    if let Some(unknown) = only.iter().find(|name| !all.iter().any(|group| group.name == **name)) {
        let names: Vec<&str> = all.iter().map(|group| group.name.as_str()).collect();
        return Err(io::Error::other(format!("there is no group {unknown:?}, only: {}", names.join(" "))));
    }
    Ok(all.into_iter().filter(|group| only.is_empty() || only.contains(&group.name)).collect())
}

struct Runner<'a> {
    root: &'a Path,
    /// The temporary directory of every test; a process that still mentions it afterwards was left behind.
    place: &'a Path,
    faults: u32,
}

impl Runner<'_> {
    /// Builds everything first, so that the times of the groups are those of the tests.
    fn build(&self, groups: &[Group]) -> io::Result<bool> {
        let started = Instant::now();
        let is_cargo = |group: &Group| matches!(group.how, How::Cargo(_));
        let mut builds: Vec<&[&str]> = Vec::new();
        if groups.iter().any(is_cargo) {
            builds.push(&["test", "--workspace", "--all-features", "--no-run"]);
        }
        if groups.iter().any(|group| group.how == How::Completions) {
            builds.push(&["build", "--package", "leasehold-cli"]);
        }
        if groups.iter().any(|group| group.how == How::Docs) {
            builds.push(&["build", "--release"]);
        }
        for build in builds {
            if !self.cargo(build)? {
                return Ok(false);
            }
        }
        println!("built in {:.0} s", started.elapsed().as_secs_f64());
        Ok(true)
    }

    fn cargo(&self, arguments: &[&str]) -> io::Result<bool> {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(self.root);
        Ok(processes::run(&mut command, BUILD_MAX, self.place, true)?.0.success())
    }

    fn run(&self, group: &Group, report: &mut Report) -> io::Result<()> {
        println!("\n=== {} ===", group.name);
        let started = Instant::now();
        let (mut tally, mut left) = match &group.how {
            How::Cargo(filters) => self.run_cargo(group, filters, report)?,
            How::Completions => self.run_completions(report)?,
            How::Docs => (self.run_docs(report)?, Vec::new()),
        };
        left.extend(processes::sweep(self.place));
        for Process { pid, what } in left {
            tally.add(Tally::FAILED);
            report.remarks.push(format!("{}: process {pid} was left running and had to be ended: {what}", group.name));
        }
        report.rows.push(Row { group: group.name.clone(), tally, took: started.elapsed() });
        Ok(())
    }

    fn run_cargo(&self, group: &Group, filters: &[String], report: &mut Report) -> io::Result<(Tally, Vec<Process>)> {
        let mut command = processes::heedful(&cargo());
        command.args(["test", "--workspace", "--all-features", "--no-fail-fast"]).args(filters).current_dir(self.root);
        command.env("TMPDIR", self.place).env("LEASEHOLD_REQUIRE_SERVERS", "1");
        command.env("LEASEHOLD_FAULT_RUNS", self.faults.to_string()).env_remove("LEASEHOLD_URL");
        let (outcome, left) = processes::run(&mut command, GROUP_MAX, self.place, true)?;
        let mut tally = Tally::of_cargo(&outcome.lines);
        for failed in report::failures(&outcome.lines) {
            report.remarks.push(format!("{}: {failed} failed", group.name));
        }
        if outcome.status.is_none() {
            report.remarks.push(format!("`cargo test {}` did not end within {GROUP_MAX:?}", filters.join(" ")));
        }
        // A test program that crashed or did not build has no closing line.
        if !outcome.success() && tally.failed == 0 {
            tally.add(Tally::FAILED);
        }
        Ok((tally, left))
    }

    /// Each shell's script and the manual page come out of the program, and bash can read its own.
    fn run_completions(&self, report: &mut Report) -> io::Result<(Tally, Vec<Process>)> {
        let mut tally = Tally::default();
        let mut left = Vec::new();
        let printed: [(&[&str], &str); 4] = [
            (&["completions", "bash"], "complete "),
            (&["completions", "fish"], "complete "),
            (&["completions", "zsh"], "#compdef"),
            (&["man"], ".TH leasehold"),
        ];
        for (arguments, sign) in printed {
            let mut command = Command::new(cargo());
            command.args(["run", "--quiet", "--package", "leasehold-cli", "--"]).args(arguments).current_dir(self.root);
            let (outcome, more) = processes::run(&mut command, GROUP_MAX, self.place, false)?;
            left.extend(more);
            let has_sign = outcome.lines.iter().any(|line| line.contains(sign));
            let ok = outcome.success() && has_sign && self.reads(arguments, &outcome.lines)?;
            let name = arguments.join(" ");
            println!("{name} ... {}", if ok { "ok" } else { "FAILED" });
            if !ok {
                report.remarks.push(format!("completions: `leasehold {name}` printed nothing usable"));
            }
            tally.add(if ok { Tally::PASSED } else { Tally::FAILED });
        }
        Ok((tally, left))
    }

    /// True unless it is a script for bash that bash cannot read.
    fn reads(&self, arguments: &[&str], lines: &[String]) -> io::Result<bool> {
        if arguments.last() != Some(&"bash") {
            return Ok(true);
        }
        let script = self.place.join("completions.bash");
        std::fs::write(&script, lines.join("\n"))?;
        Ok(Command::new("bash").arg("-n").arg(&script).status()?.success())
    }

    fn run_docs(&self, report: &mut Report) -> io::Result<Tally> {
        let mut tally = Tally::default();
        for check in docs::check_all(self.root, self.place)? {
            println!("{} ... {}", check.what, if check.wrong.is_none() { "ok" } else { "FAILED" });
            tally.add(if check.wrong.is_none() { Tally::PASSED } else { Tally::FAILED });
            report.remarks.extend(check.wrong.map(|wrong| format!("docs: {}: {wrong}", check.what)));
        }
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> Group {
        Group { name: name.into(), how: How::Docs }
    }

    #[test]
    fn a_group_that_does_not_exist_is_an_error_that_names_those_that_do() {
        let error = chosen(vec![group("units"), group("docs")], &["unit".into()]).unwrap_err();

        assert_eq!(error.to_string(), "there is no group \"unit\", only: units docs");
    }

    #[test]
    fn without_a_choice_every_group_runs() {
        assert_eq!(chosen(vec![group("units"), group("docs")], &[]).unwrap().len(), 2);
        assert_eq!(chosen(vec![group("units"), group("docs")], &["docs".into()]).unwrap(), [group("docs")]);
    }
}
