//! Lua and SQL files begin with a header that says what goes in and what comes out.

use super::Violation;
use crate::tree::TextFile;

/// What the header of a Lua script says beside its purpose, each in one of these wordings.
const LUA_HEADER: [&[&str]; 4] = [&["keys"], &["argv"], &["returns"], &["complexity", "o("]];

/// What the header of a SQL statement with parameters says beside its purpose.
const SQL_HEADER: [&[&str]; 1] = [&["params", "parameters", "arguments"]];

/// A part of a script says which part it is, and leaves the rest to the script.
const FRAGMENT: [&str; 4] = ["fragment", "half", "put in front", "put behind"];

pub fn check(file: &TextFile) -> Vec<Violation> {
    let header = header(&file.text);
    let has = |words: &[&str]| words.iter().any(|word| header.to_lowercase().contains(word));
    let headings: &[&[&str]] = match file.path.rsplit('.').next() {
        Some("lua") if has(&FRAGMENT) => &[],
        Some("lua") => &LUA_HEADER,
        Some("sql") if file.text.lines().any(|line| !line.starts_with("--") && line.contains('?')) => &SQL_HEADER,
        Some("sql") => &[],
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    if header.trim().is_empty() {
        found.push(Violation::new(&file.path, 1, "no purpose", "begin with a comment of one sentence on what it does"));
    }
    for heading in headings.iter().filter(|words| !has(words)) {
        let mend = "say it in the header; `none` if there is none";
        found.push(Violation::new(&file.path, 1, format!("the header does not say `{}`", heading[0]), mend));
    }
    found
}

/// The comment that the file begins with, a `#!` line and empty lines before it skipped.
fn header(text: &str) -> String {
    let lines = text.lines().skip_while(|line| line.starts_with("#!") || line.trim().is_empty());
    lines.map_while(|line| line.strip_prefix("--")).collect::<Vec<_>>().join("\n")
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
            let says = |line: &&str| heading.iter().any(|word| line.to_lowercase().contains(word));
            let without = CLEAN.lines().filter(|line| !says(line)).collect::<Vec<_>>().join("\n");
            assert_eq!(found("a.lua", &without).len(), 1, "{heading:?}");
        }
        assert_eq!(found("a.lua", "return 1\n").len(), 5);
    }

    #[test]
    fn a_heading_below_the_header_does_not_count() {
        assert!(!found("a.lua", &CLEAN.replace("-- ARGV", "local x\n-- ARGV")).is_empty());
    }

    #[test]
    fn a_part_of_a_script_says_which_part_it_is() {
        assert!(found("a.lua", "\n-- claim.lua, its second half: the decision.\nlocal x\n").is_empty());
        assert_eq!(found("a.lua", "\n-- The decision.\nlocal x\n").len(), 4);
    }

    #[test]
    fn a_statement_says_its_purpose_and_its_parameters() {
        assert!(found("a.sql", "-- Ends a hold.\n-- Params: ?1 the claim\nDELETE FROM a;\n").is_empty());
        assert_eq!(found("a.sql", "DELETE FROM a WHERE b = ?1;\n").len(), 2);
        assert_eq!(found("a.sql", "-- Ends a hold.\nDELETE FROM a WHERE b = ?1;\n").len(), 1);
        assert!(found("a.sql", "-- Ends all holds.\nDELETE FROM a;\n").is_empty());
        assert!(found("a.rs", "fn a() {}").is_empty());
    }
}
