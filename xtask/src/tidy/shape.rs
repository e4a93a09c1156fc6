//! Sizes and first lines: functions, files, parameter lists, and the sentence that says what a file is for.

use super::Violation;
use super::source::{Source, is_test_file};
use crate::tree::TextFile;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
const FILE_LINES_SOFT: usize = 400;
const PARAMETERS_MAX: usize = 4;

pub fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for function in source.functions() {
        if function.lines > FUNCTION_LINES_MAX {
            let what = format!("`{}` has {} lines, at most {FUNCTION_LINES_MAX}", function.name, function.lines);
            found.push(Violation::new(&source.path, function.line, what, "let one function decide and leaves compute"));
        }
        if function.parameters > PARAMETERS_MAX {
            let what = format!("`{}` has {} parameters, at most {PARAMETERS_MAX}", function.name, function.parameters);
            found.push(Violation::new(&source.path, function.line, what, "put those that belong together into a struct"));
        }
    }
    let lines = file_lines(source);
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines without tests, at most {FILE_LINES_MAX}");
        found.push(Violation::new(&source.path, 1, what, "split the file by what it knows"));
    }
    found
}

/// A file over the soft limit, for the reader to judge.
pub fn note(source: &Source) -> Option<String> {
    let lines = file_lines(source);
    let over = lines > FILE_LINES_SOFT && lines <= FILE_LINES_MAX;
    over.then(|| format!("{} has {lines} lines without tests, aim for {FILE_LINES_SOFT}", source.path))
}

/// The first line of a Rust file is one `//!` sentence.
pub fn check_first_line(file: &TextFile) -> Option<Violation> {
    if !file.ends_with(".rs") {
        return None;
    }
    let first = file.text.lines().next().unwrap_or_default();
    let is_sentence = first.strip_prefix("//! ").is_some_and(|text| text.trim_end().ends_with(['.', ':', '?', '…']));
    let mend = "begin with one `//!` sentence on what the file is for, ended by a full stop";
    (!is_sentence).then(|| Violation::new(&file.path, 1, "no first sentence", mend))
}

/// Lines that count: all but the tests in a file that ships, all in a file of tests.
fn file_lines(source: &Source) -> usize {
    if is_test_file(&source.path) { source.lines.len() } else { source.shipped().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let source = Source::read(&TextFile::new("crates/leasehold/src/x.rs", text));
        check(&source).into_iter().map(|violation| format!("{}: {}", violation.line, violation.what)).collect()
    }

    #[test]
    fn a_function_of_71_lines_is_caught() {
        let function = |lines: usize| format!("\nfn long() {{\n{}}}\n", "    a();\n".repeat(lines - 2));

        assert_eq!(found(&function(71)), ["2: `long` has 71 lines, at most 70"]);
        assert!(found(&function(70)).is_empty());
    }

    #[test]
    fn a_file_of_801_lines_is_caught_and_its_tests_do_not_count() {
        assert_eq!(found(&"a!();\n".repeat(801)).len(), 1);
        let with_tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "a!();\n".repeat(800), "a!();\n".repeat(100));
        assert!(found(&with_tests).is_empty());
    }

    #[test]
    fn a_fifth_parameter_is_caught() {
        assert_eq!(found("fn a(b: u8, c: u8, d: u8, e: u8, f: u8) {}").len(), 1);
        assert!(found("fn a(&self, b: u8, c: (u8, u8), d: Map<u8, u8>, e: impl Fn(u8, u8)) {}").is_empty());
    }

    #[test]
    fn a_file_over_the_soft_limit_is_noted() {
        let source = |lines: usize| Source::read(&TextFile::new("a.rs", "a!();\n".repeat(lines)));

        assert_eq!(note(&source(400)), None);
        assert!(note(&source(401)).unwrap().contains("401 lines"));
    }

    #[test]
    fn a_file_begins_with_a_sentence() {
        for text in ["use std::fmt;\n", "//! no stop\n", "", "//!\n//! Late.\n", "// Plain.\n"] {
            assert!(check_first_line(&TextFile::new("a.rs", text)).is_some(), "{text:?}");
        }
        assert_eq!(check_first_line(&TextFile::new("a.rs", "//! What it is for.\n")), None);
        assert_eq!(check_first_line(&TextFile::new("a.md", "# Title\n")), None);
    }
}
