//! Counts what passed and what failed, and says it in a table and one line.

use std::fmt;
use std::time::Duration;

/// How long all groups together may take before the report complains.
const BUDGET: Duration = Duration::from_secs(600);

/// How many tests passed, failed and were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
}

impl Tally {
    pub const PASSED: Tally = Tally { passed: 1, failed: 0, ignored: 0 };
    pub const FAILED: Tally = Tally { passed: 0, failed: 1, ignored: 0 };

    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }

    /// The sum of the closing lines of every test program in the output of `cargo test`.
    pub fn of_cargo(lines: &[String]) -> Tally {
        let mut sum = Tally::default();
        for line in lines.iter().filter(|line| line.contains("test result: ")) {
            sum.add(Tally {
                passed: before(line, " passed"),
                failed: before(line, " failed"),
                ignored: before(line, " ignored"),
            });
        }
        sum
    }
}

/// The names of the tests that failed, by the output of `cargo test`.
pub fn failures(lines: &[String]) -> Vec<&str> {
    let failed = |line: &String| line.starts_with("test ") && line.ends_with(" ... FAILED");
    lines.iter().filter(|line| failed(line)).map(|line| &line["test ".len()..line.len() - " ... FAILED".len()]).collect()
}

/// The number that stands before `word`.
fn before(line: &str, word: &str) -> u64 {
    let count = line.split(word).next().and_then(|text| text.rsplit(' ').next());
    count.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// What became of one group.
#[derive(Clone, Debug)]
pub struct Row {
    pub group: String,
    pub tally: Tally,
    pub took: Duration,
}

/// What became of all of them.
#[derive(Debug, Default)]
pub struct Report {
    pub rows: Vec<Row>,
    /// What went wrong beside the tests themselves, one line each.
    pub remarks: Vec<String>,
}

impl Report {
    pub fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        self.rows.iter().for_each(|row| sum.add(row.tally));
        sum
    }
}

/// The table, the remarks, and last the line that programs read.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.group.len()).max().unwrap_or(0).max("group".len());
        writeln!(f, "{:width$}  {:>7}  {:>7}  {:>7}  {:>8}", "group", "passed", "failed", "ignored", "seconds")?;
        for Row { group, tally, took } in &self.rows {
            let Tally { passed, failed, ignored } = tally;
            writeln!(f, "{group:width$}  {passed:>7}  {failed:>7}  {ignored:>7}  {:>8.1}", took.as_secs_f64())?;
        }
        for remark in &self.remarks {
            writeln!(f, "{remark}")?;
        }
        let sum = self.sum();
        let took: Duration = self.rows.iter().map(|row| row.took).sum();
        let over = if took > BUDGET { ", more than the budget of 600 s" } else { "" };
        writeln!(f, "{:.0} s beside building{over}", took.as_secs_f64())?;
        write!(f, "{} passed, {} failed", sum.passed, sum.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_of_all_test_programs_are_summed() {
        let lines = [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test a ... FAILED",
            "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ];

        let lines = lines.map(String::from);
        let tally = Tally::of_cargo(&lines);
        assert_eq!(tally, Tally { passed: 15, failed: 2, ignored: 1 });
        assert_eq!(failures(&lines), ["a"]);
    }

    #[test]
    fn the_last_line_has_the_two_sums() {
        let row = |group: &str, tally| Row { group: group.into(), tally, took: Duration::from_secs(2) };
        let report =
            Report { rows: vec![row("units", Tally::PASSED), row("faults", Tally::FAILED)], remarks: vec!["left: 7".into()] };

        let text = report.to_string();
        assert_eq!(text.lines().last(), Some("1 passed, 1 failed"));
        assert!(text.contains("left: 7"));
    }
}
