//! Lua and SQL files begin with a header that says what goes in and what comes out.

use super::Violation;
use crate::tree::TextFile;

/// What the header of a Lua script says, beside its purpose.
const LUA_HEADER: [&str; 4] = ["KEYS", "ARGV", "returns", "complexity"];

/// What the header of a SQL statement says, beside its purpose.
const SQL_HEADER: [&str; 1] = ["params"];

pub fn check(file: &TextFile) -> Vec<Violation> {
    let headings: &[&str] = if file.ends_with(".lua") {
        &LUA_HEADER
    } else if file.ends_with(".sql") {
        &SQL_HEADER
    } else {
        return Vec::new();
    };
    let header = header(&file.text);
    let mut found = Vec::new();
    if !header.first().is_some_and(|line| line.trim_end().ends_with(['.', ':'])) {
        found.push(Violation::new(&file.path, 1, "no purpose", "begin with a comment of one sentence on what it does"));
    }
    for heading in headings {
        let says = |line: &String| line.to_lowercase().contains(&heading.to_lowercase());
        if !header.iter().any(says) {
            let mend = "say it in the header; `none` if there is none";
            found.push(Violation::new(&file.path, 1, format!("the header does not say `{heading}`"), mend));
        }
    }
    found
}

/// The lines of the comment that the file begins with, a `#!` line before it skipped.
fn header(text: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| line.starts_with("#!"));
    lines.map_while(|line| line.strip_prefix("--").map(|rest| rest.trim().to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "#!lua\n-- Releases a hold.\n-- KEYS: 1 the record\n-- ARGV: 1 the claim\n-- Returns: 1 or 0\n-- Complexity: O(1)\nreturn 1\n";

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&TextFile::new(path, text)).into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn a_script_says_what_goes_in_and_what_comes_out() {
        assert!(found("a.lua", CLEAN).is_empty());
        for heading in LUA_HEADER {
            let without = CLEAN
                .lines()
                .filter(|line| !line.to_lowercase().contains(&heading.to_lowercase()))
                .collect::<Vec<_>>()
                .join("\n");
            assert_eq!(found("a.lua", &without).len(), 1, "{heading}");
        }
        assert_eq!(found("a.lua", "return 1\n").len(), 5);
    }

    #[test]
    fn a_heading_below_the_header_does_not_count() {
        assert!(!found("a.lua", &CLEAN.replace("-- ARGV", "local x\n-- ARGV")).is_empty());
    }

    #[test]
    fn a_statement_says_its_purpose_and_its_parameters() {
        assert!(found("a.sql", "-- Ends a hold.\n-- Params: ?1 the claim\nDELETE FROM a;\n").is_empty());
        assert_eq!(found("a.sql", "DELETE FROM a;\n").len(), 2);
        assert!(found("a.rs", "fn a() {}").is_empty());
    }
}
