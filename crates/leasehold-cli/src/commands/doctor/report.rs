//! All checks, for people and for programs.

use super::finding::{Check, Severity};
use crate::exit::{self, Code};
use crate::store::{Fault, Store};
use serde::Serialize;
use std::fmt::Write;

/// How wide a line of text is at most.
const WIDTH: usize = 110;

/// What a doctor found, in the stable shape of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    store: String,
    checks: Vec<Check>,
    worst: Severity,
    exit_code: Code,
    /// True if the store asks for a password.
    #[serde(skip)]
    is_secret: bool,
}

/// How much of it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// What is wrong.
    Quiet,
    /// What is wrong, or one line.
    Plain,
    /// Everything.
    Verbose,
}

impl Report {
    /// Sums up.
    pub fn new(store: &Store, checks: Vec<Check>) -> Report {
        let worst = checks.iter().map(|check| check.severity).max().unwrap_or(Severity::Ok);
        let exit_code = match worst {
            Severity::Ok | Severity::Note => exit::OK,
            Severity::Warning => exit::WARNED,
            Severity::Danger => exit::ENDANGERED,
        };
        Report { store: format!("{store:?}"), checks, worst, exit_code, is_secret: store.has_secret() }
    }

    /// Of a store that could not be checked.
    pub fn of_fault(store: &Store, fault: &Fault) -> Report {
        let check = Check::danger("store", "the store cannot be checked", &fault.message).means("locks do not work from here");
        Report { exit_code: fault.code, ..Report::new(store, vec![check]) }
    }

    /// The exit code that says the worst.
    pub fn exit_code(&self) -> Code {
        self.exit_code
    }

    /// For people.
    pub fn text(&self, voice: Voice) -> String {
        let least = match (voice, self.worst) {
            (Voice::Verbose, _) => Severity::Ok,
            (Voice::Plain, Severity::Warning | Severity::Danger) => Severity::Note,
            _ => Severity::Warning,
        };
        let mut shown: Vec<&Check> = self.checks.iter().filter(|check| check.severity >= least).collect();
        // The worst first; else in the order in which they were made.
        shown.sort_by_key(|check| std::cmp::Reverse(check.severity));
        let mut text = String::new();
        if voice != Voice::Quiet || !shown.is_empty() {
            let _ = writeln!(text, "{}", self.summary(voice));
        }
        for check in &shown {
            text += &paragraph(check);
        }
        text + &self.footer(&shown)
    }

    fn summary(&self, voice: Voice) -> String {
        let count = |severity| self.checks.iter().filter(|check| check.severity == severity).count();
        let say = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            more => Some(format!("{more} {what}s")),
        };
        let (dangers, warnings, notes) = (count(Severity::Danger), count(Severity::Warning), count(Severity::Note));
        let checks = self.checks.len();
        let notes = say(notes, "note");
        if self.worst < Severity::Warning {
            let hint = if voice == Voice::Verbose { "" } else { " (--verbose shows them)" };
            return format!("nothing found · {checks} checks{}", notes.map_or(String::new(), |notes| format!(", {notes}{hint}")));
        }
        let parts: Vec<String> = [say(dangers, "danger"), say(warnings, "warning"), notes].into_iter().flatten().collect();
        format!("{}: {} · {checks} checks", self.store, parts.join(", "))
    }

    /// What holds for all commands that were proposed.
    fn footer(&self, shown: &[&Check]) -> String {
        let proposed = |what: &str| shown.iter().any(|check| check.remedy.as_ref().is_some_and(|text| text.contains(what)));
        let mut text = String::new();
        if proposed("CONFIG SET") {
            text +=
                "\nCONFIG SET lasts until the server restarts; CONFIG REWRITE keeps it, if the server has a file of its own.\n";
        }
        if self.is_secret && proposed("redis-cli ") {
            text += "\nredis-cli gives no password by itself: export REDISCLI_AUTH=PASSWORD first, and add --user NAME unless it is \
                     the default user's.\n";
        }
        if proposed("ACL SETUSER") {
            text += "\nACL SETUSER lasts until the server restarts; ACL SAVE or CONFIG REWRITE keeps it.\n";
        }
        text
    }
}

fn paragraph(check: &Check) -> String {
    if check.severity == Severity::Ok {
        return wrapped(&format!("ok       {}: ", check.id), &check.seen, 9);
    }
    let mark = match check.severity {
        Severity::Danger => "DANGER",
        Severity::Warning => "WARNING",
        _ => "note",
    };
    let mut text = format!("\n{mark:<9}{} ({})\n", check.title, check.id);
    text += &wrapped("  seen   ", &check.seen, 9);
    if let Some(means) = &check.means {
        text += &wrapped("  means  ", means, 9);
    }
    // Never broken: they are there to be pasted.
    for (at, line) in check.remedy.iter().flat_map(|remedy| remedy.lines()).enumerate() {
        let _ = writeln!(text, "{}{line}", if at == 0 { "  do     " } else { "         " });
    }
    text
}

/// `text` behind `head`, broken at spaces, each further line indented.
fn wrapped(head: &str, text: &str, indent: usize) -> String {
    let mut whole = head.to_owned();
    let (mut width, mut first) = (head.chars().count(), true);
    for word in text.split(' ') {
        let size = word.chars().count();
        if !first && width + 1 + size > WIDTH {
            whole = whole + "\n" + &" ".repeat(indent);
            (width, first) = (indent, true);
        }
        if !first {
            whole.push(' ');
            width += 1;
        }
        whole += word;
        (width, first) = (width + size, false);
    }
    whole + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(checks: Vec<Check>) -> Report {
        Report::new(&Store::at("redis://h"), checks)
    }

    #[test]
    fn a_healthy_store_is_one_line_and_notes_are_only_counted() {
        let healthy = report(vec![Check::ok("a", "t", "s"), Check::note("b", "t", "s")]);
        assert_eq!(healthy.text(Voice::Plain), "nothing found · 2 checks, 1 note (--verbose shows them)\n");
        assert_eq!(healthy.text(Voice::Quiet), "");
        assert_eq!(healthy.exit_code(), exit::OK);
        assert!(healthy.text(Voice::Verbose).contains("ok       a: s\n"));
    }

    #[test]
    fn the_worst_comes_first_and_decides_the_exit_code() {
        let checks = vec![
            Check::note("a", "low", "s"),
            Check::warning("b", "mid", "s"),
            Check::danger("c", "high", "s").means("m").remedy("x CONFIG SET y\nz"),
        ];
        let found = report(checks.clone());
        let text = found.text(Voice::Plain);
        assert!(text.starts_with("redis://h: 1 danger, 1 warning, 1 note · 3 checks\n\nDANGER   high (c)\n"), "{text}");
        assert!(text.contains("  do     x CONFIG SET y\n         z\n") && text.contains("CONFIG REWRITE"), "{text}");
        assert!(!found.text(Voice::Quiet).contains("low"));
        assert_eq!((found.exit_code(), report(checks[..2].to_vec()).exit_code()), (exit::ENDANGERED, exit::WARNED));
    }

    #[test]
    fn the_json_shape_is_this() {
        let shown = serde_json::to_string(&report(vec![Check::danger("a", "t", "s").remedy("d")])).unwrap();
        let expected = "{\"store\":\"redis://h\",\"checks\":[{\"id\":\"a\",\"severity\":\"danger\",\"title\":\"t\",\"seen\":\"s\",\
            \"means\":null,\"do\":\"d\"}],\"worst\":\"danger\",\"exit_code\":2}";
        assert_eq!(shown, expected);
    }

    #[test]
    fn long_texts_are_broken_at_spaces() {
        let text = wrapped("  seen   ", &"word ".repeat(40), 9);
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }
}
