//! Style and architecture as a test: reads the tree and names every line that breaks a rule, with its mend.

mod arrows;
mod habits;
mod manifests;
mod paths;
mod scripts;
mod shape;
mod source;

use crate::tree::{self, TextFile};
use source::Source;
use std::fmt;
use std::path::Path;

/// A line that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub path: String,
    pub line: usize,
    pub what: String,
    pub mend: String,
}

impl Violation {
    fn new(path: &str, line: usize, what: impl Into<String>, mend: impl Into<String>) -> Violation {
        Violation { path: path.into(), line, what: what.into(), mend: mend.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.path, self.line, self.what, self.mend)
    }
}

/// What one look at the tree found.
#[derive(Debug, Default)]
pub struct Findings {
    pub violations: Vec<Violation>,
    /// Worth a look, not a failure.
    pub notes: Vec<String>,
}

/// Checks every rule on every file below `root`.
///
/// # Errors
/// Those of the file system.
pub fn check(root: &Path) -> std::io::Result<Findings> {
    Ok(check_files(&tree::text_files(root)?))
}

fn check_files(files: &[TextFile]) -> Findings {
    let sources: Vec<Source> = files.iter().filter(|file| file.ends_with(".rs")).map(Source::read).collect();
    let mut violations = Vec::new();
    for source in &sources {
        violations.extend(shape::check(source));
        violations.extend(habits::check_source(source));
    }
    for file in files {
        violations.extend(habits::check_text(file));
        violations.extend(scripts::check(file));
        violations.extend(manifests::check(file));
        violations.extend(shape::check_first_line(file));
    }
    violations.extend(arrows::check(&sources));
    violations.sort();
    violations.dedup();
    Findings { violations, notes: sources.iter().filter_map(shape::note).collect() }
}

/// Prints what was found; true if the tree is tidy.
///
/// # Errors
/// Those of the file system.
pub fn run(root: &Path) -> std::io::Result<bool> {
    let findings = check(root)?;
    for note in &findings.notes {
        println!("note: {note}");
    }
    for violation in &findings.violations {
        println!("{violation}");
    }
    println!("tidy: {} violations, {} notes", findings.violations.len(), findings.notes.len());
    Ok(findings.violations.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let findings = check(&tree::root()).unwrap();

        let list: Vec<String> = findings.violations.iter().map(Violation::to_string).collect();
        assert!(list.is_empty(), "\n{}", list.join("\n"));
    }

    #[test]
    fn a_violation_names_its_line_and_its_mend() {
        let file = TextFile::new("crates/leasehold/src/x.rs", "//! Says what it is for.\nfn a() { b().unwrap(); }\n");

        let findings = check_files(&[file]);
        let text = findings.violations[0].to_string();
        assert!(text.starts_with("crates/leasehold/src/x.rs:2: "), "{text}");
        assert!(text.contains("expect("), "{text}");
    }
}
