//! Habits: calls, words and texts that have no place in the tree, each with what to write instead.

use super::Violation;
use super::source::{Source, is_ident};
use crate::tree::TextFile;

/// Calls that do not ship, and what to write instead.
const BANNED_CALLS: [(&str, &str); 4] = [
    (".unwrap()", "say why it holds: `expect(\"…\")`, or return the error"),
    (".unwrap_or_else(|_| panic!", "say why it holds: `expect(\"…\")`, or return the error"),
    ("dbg!(", "take it out"),
    (".unwrap_err()", "match on the result"),
];

/// Macros that stand for code that is not there; nowhere, not even in tests.
const UNFINISHED_CALLS: [&str; 2] = ["todo!", "unimplemented!"];

/// Words of an open question; written apart, so that this file does not find itself.
const UNFINISHED_WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// A second word for a thing that has one, in the names of public items.
const SYNONYMS: [(&str, &str); 9] = [
    ("unlock", "release"),
    ("watchdog", "watch"),
    ("lock_timeout", "ttl"),
    ("fencing_token", "token"),
    ("backend", "engine"),
    ("keepalive", "renew"),
    ("lock_name", "resource"),
    ("lock_key", "resource"),
    ("try_lock", "try_acquire"),
];

/// Texts that only mean something on the machine that wrote them.
const MACHINE_TEXTS: [(&str, &str); 8] = [
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/home", "/user"), "a path of one machine"),
    (concat!("static.crates", ".io"), "a registry's host"),
    (concat!("index.crates", ".io"), "a registry's host"),
    (concat!("registry.npm", "js"), "a registry's host"),
    (concat!("pypi", ".org"), "a registry's host"),
    (concat!("replace-", "with ="), "a source of one machine"),
];

/// SQL and Lua that begin like this belong into files of their own.
const FOREIGN_CODE: [&str; 7] =
    ["SELECT ", "INSERT INTO ", "INSERT OR ", "UPDATE OR ", "DELETE FROM ", "CREATE TABLE ", "redis.call("];

pub fn check_source(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in source.shipped() {
        for (call, mend) in BANNED_CALLS.iter().filter(|(call, _)| line.code.contains(call)) {
            found.push(Violation::new(&source.path, number, format!("`{call}` outside tests"), *mend));
        }
        let is_ours = source.path.starts_with("crates/");
        for code in FOREIGN_CODE.iter().filter(|code| is_ours && is_statement(&line.strings, code)) {
            let what = format!("`{}` inside Rust", code.trim_end());
            found.push(Violation::new(&source.path, number, what, "put it into a .lua or .sql file and include_str! it"));
        }
        found.extend(check_public_name(source, number, &line.code));
        found.extend(check_cancel_safety(source, number, &line.code));
    }
    for (at, line) in source.lines.iter().enumerate() {
        found.extend(check_unfinished(source, at + 1, line));
    }
    found
}

fn check_unfinished(source: &Source, number: usize, line: &super::source::Line) -> Vec<Violation> {
    let mut found = Vec::new();
    for call in UNFINISHED_CALLS.iter().filter(|call| has_word(&line.code, call)) {
        found.push(Violation::new(
            &source.path,
            number,
            format!("`{call}`"),
            "write it, or leave it out and say so in docs/roadmap.md",
        ));
    }
    for word in UNFINISHED_WORDS.iter().filter(|word| has_word(&line.comment, word)) {
        found.push(Violation::new(&source.path, number, format!("`{word}`"), "do it, or ask the question in DESIGN.md"));
    }
    if line.code.contains("#[ignore]") {
        let mend = "name the condition that lifts it: `#[ignore = \"…\"]`";
        found.push(Violation::new(&source.path, number, "an ignored test without a condition", mend));
    }
    found
}

fn check_public_name(source: &Source, number: usize, code: &str) -> Option<Violation> {
    if !source.path.starts_with("crates/") {
        return None;
    }
    let name = public_name(code)?;
    let snake = format!("_{}_", snake_case(name));
    let (word, better) = SYNONYMS.iter().find(|(word, _)| snake.contains(&format!("_{word}_")))?;
    let mend = format!("one concept, one word: `{better}`");
    Some(Violation::new(&source.path, number, format!("`{name}` says `{word}`"), mend))
}

/// Whoever may drop a future has to know what that does. (The suites are for tests, which end with what they test.)
fn check_cancel_safety(source: &Source, number: usize, code: &str) -> Option<Violation> {
    let is_public = source.path.starts_with("crates/leasehold/src/") && !source.path.contains("/conformance/");
    if !is_public || !code.trim_start().starts_with("pub async fn ") {
        return None;
    }
    let before = source.lines[..number - 1].iter().rev();
    let mut page = before.take_while(|line| !line.comment.is_empty() || line.code.trim_start().starts_with("#["));
    if page.any(|line| line.comment.contains("# Cancel safety")) {
        return None;
    }
    Some(Violation::new(&source.path, number, "a future without `# Cancel safety`", "say what dropping it does"))
}

/// True if `text` holds a statement with parameters or a condition; one without reads like a pragma and may stand where it is used.
fn is_statement(text: &str, begin: &str) -> bool {
    text.contains(begin) && (text.contains('?') || text.contains(" WHERE ") || begin.ends_with('('))
}

/// The name of the public item that this line declares.
fn public_name(code: &str) -> Option<&str> {
    let rest = code.trim_start().strip_prefix("pub ")?;
    let rest = ["const ", "async ", "unsafe "].iter().fold(rest, |rest, word| rest.strip_prefix(word).unwrap_or(rest));
    let keywords = ["fn ", "struct ", "enum ", "trait ", "type ", "mod ", "static "];
    let rest = keywords.iter().find_map(|word| rest.strip_prefix(word)).unwrap_or(rest);
    let name = rest.split(|c: char| !is_ident(c)).next()?;
    (!name.is_empty() && name != "use").then_some(name)
}

/// `LockTimeout` is `lock_timeout`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() && !snake.ends_with(|last: char| last.is_uppercase() || last == '_') {
            snake.push('_');
        }
        snake.push(c);
    }
    snake.to_lowercase()
}

/// True if `word` stands in `text` as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    let ends_open = |at: usize| text[..at].chars().next_back().is_none_or(|c| !is_ident(c));
    let begins_open = |at: usize| text[at..].chars().next().is_none_or(|c| !is_ident(c));
    text.match_indices(word).any(|(at, _)| ends_open(at) && begins_open(at + word.len()))
}

/// What no text file of the tree has, whatever its language.
pub fn check_text(file: &TextFile) -> Vec<Violation> {
    if file.path == "Cargo.lock" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        for (text, what) in MACHINE_TEXTS.iter().filter(|(text, _)| line.contains(text)) {
            found.push(Violation::new(&file.path, at + 1, format!("`{text}`: {what}"), "take it out"));
        }
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            found.push(Violation::new(&file.path, at + 1, "the mark of an unfinished merge", "finish the merge"));
        }
        let is_script = [".lua", ".sql", ".toml", ".sh", ".ci/run"].iter().any(|ending| file.ends_with(ending));
        for word in UNFINISHED_WORDS.iter().filter(|word| is_script && has_word(line, word)) {
            found.push(Violation::new(&file.path, at + 1, format!("`{word}`"), "do it, or ask the question in DESIGN.md"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_at(path: &str, text: &str) -> Vec<String> {
        let file = TextFile::new(path, text);
        let mut found = check_source(&Source::read(&file));
        found.extend(check_text(&file));
        found.into_iter().map(|violation| format!("{}: {}", violation.line, violation.what)).collect()
    }

    fn found(text: &str) -> Vec<String> {
        found_at("crates/leasehold/src/x.rs", text)
    }

    #[test]
    fn unwrap_is_caught_outside_tests_only() {
        assert_eq!(found("fn a() {\n    b().unwrap();\n}\n"), ["2: `.unwrap()` outside tests"]);
        assert_eq!(found("fn a() { b().unwrap_or_else(|_| panic!(\"x\")); }").len(), 1);
        assert!(found("#[cfg(test)]\nmod tests {\n    fn a() { b().unwrap(); }\n}\n").is_empty());
        assert!(found("/// ```\n/// b().unwrap();\n/// ```\nfn a() { c().expect(\"b holds\"); }\n").is_empty());
    }

    #[test]
    fn unfinished_work_is_caught_in_tests_too() {
        for word in UNFINISHED_WORDS {
            assert_eq!(found(&format!("// {word}: later\n")).len(), 1, "{word}");
            assert_eq!(check_text(&TextFile::new("a.lua", format!("-- {word}\n"))).len(), 1, "{word}");
        }
        assert_eq!(found("#[cfg(test)]\nmod tests {\n    fn a() { todo!() }\n}\n"), ["3: `todo!`"]);
        assert!(found("// a mastodont, said in a comment: XXXL\nlet s = \"todo!\";\n").is_empty());
    }

    #[test]
    fn an_ignored_test_names_its_condition() {
        assert_eq!(found_at("crates/leasehold/tests/a.rs", "#[test]\n#[ignore]\nfn a() {}\n").len(), 1);
        assert!(found_at("crates/leasehold/tests/a.rs", "#[test]\n#[ignore = \"needs a cluster\"]\nfn a() {}\n").is_empty());
    }

    #[test]
    fn a_second_word_for_a_public_thing_is_caught() {
        let lines = [
            "pub fn unlock(self) {}",
            "pub struct LockTimeout;",
            "pub const fn try_lock() {}",
            "    pub fencing_token: u64,",
            "pub mod backend;",
        ];
        for line in lines {
            assert_eq!(found(line).len(), 1, "{line}");
        }
        for line in ["fn unlock() {}", "pub fn release() {}", "pub struct Unlocked;", "// pub fn unlock", "pub fn timeout() {}"] {
            assert!(found(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn a_public_future_says_what_dropping_it_does() {
        let path = "crates/leasehold/src/a.rs";
        assert_eq!(found_at(path, "/// Acquires.\npub async fn acquire() {}\n").len(), 1);
        assert!(
            found_at(path, "/// Acquires.\n///\n/// # Cancel safety\n/// None.\n#[inline]\npub async fn acquire() {}\n")
                .is_empty()
        );
        assert!(found_at(path, "/// Acquires.\npub(crate) async fn acquire() {}\n").is_empty());
        assert!(found_at("crates/leasehold/src/conformance/a.rs", "pub async fn a_suite() {}\n").is_empty());
    }

    #[test]
    fn texts_of_one_machine_are_caught_in_any_file() {
        for (text, _) in MACHINE_TEXTS {
            assert_eq!(check_text(&TextFile::new("docs/x.md", format!("see {text}\n"))).len(), 1, "{text}");
            assert!(check_text(&TextFile::new("Cargo.lock", text)).is_empty());
        }
    }

    #[test]
    fn an_unfinished_merge_is_caught() {
        assert_eq!(check_text(&TextFile::new("a.md", "<<<<<<< HEAD\na\n=======\nb\n>>>>>>> other\n")).len(), 2);
        assert!(check_text(&TextFile::new("a.md", "Title\n=======\n")).is_empty());
    }

    #[test]
    fn foreign_code_inside_rust_is_caught() {
        assert_eq!(found("let q = \"SELECT 1 FROM a WHERE b = ?1\";").len(), 1);
        assert!(found("let q = \"SELECT count(*) FROM a\";").is_empty());
        assert_eq!(found(&format!("let q = \"return {}'GET')\";", FOREIGN_CODE[6])).len(), 1);
        assert!(found("let q = include_str!(\"claim.sql\"); // SELECT by key\n").is_empty());
    }
}
