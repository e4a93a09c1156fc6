//! Finds the paths that a Rust file names, `use` trees taken apart: `use a::{b, c::d}` names `a::b` and `a::c::d`.

use super::source::{is_ident, line_of};

/// A path that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Number of the line where it ends, from 1.
    pub line: usize,
    pub segments: Vec<String>,
}

impl Named {
    pub fn starts_with(&self, prefix: &str) -> bool {
        let prefix: Vec<&str> = prefix.split("::").collect();
        self.segments.len() >= prefix.len() && self.segments.iter().zip(&prefix).all(|(a, b)| a == b)
    }

    pub fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// Every path of two segments or more in `code`, wherever it stands.
pub fn named(code: &str) -> Vec<Named> {
    let mut reader = Reader { code: code.chars().collect(), at: 0, found: Vec::new() };
    while reader.at < reader.code.len() {
        if reader.at_start_of_path() {
            reader.tree(&[]);
        } else {
            reader.at += 1;
        }
    }
    reader.found
}

struct Reader {
    code: Vec<char>,
    at: usize,
    found: Vec<Named>,
}

impl Reader {
    fn at_start_of_path(&self) -> bool {
        let here = self.code[self.at];
        let before = self.at.checked_sub(1).map(|at| self.code[at]);
        is_ident(here) && !here.is_numeric() && before.is_none_or(|c| !is_ident(c) && c != ':' && c != '.')
    }

    /// Reads one branch of a tree below `prefix`.
    fn tree(&mut self, prefix: &[String]) {
        let mut segments = prefix.to_vec();
        loop {
            segments.push(self.word());
            if !self.take("::") {
                break;
            }
            self.space();
            match self.code.get(self.at) {
                Some('{') => return self.branches(&segments),
                Some('*') => {
                    self.at += 1;
                    segments.push("*".into());
                    break;
                }
                Some(&c) if is_ident(c) => {}
                // A turbofish, or something that is no path.
                _ => break,
            }
        }
        if segments.len() > 1 {
            self.found.push(Named { line: line_of(&self.code, self.at), segments });
        }
    }

    /// Reads `{a, b::c}` below `prefix`.
    fn branches(&mut self, prefix: &[String]) {
        self.at += 1;
        while let Some(&c) = self.code.get(self.at) {
            match c {
                '}' => {
                    self.at += 1;
                    return;
                }
                c if is_ident(c) => self.branch(prefix),
                _ => self.at += 1,
            }
        }
    }

    fn branch(&mut self, prefix: &[String]) {
        self.tree(prefix);
        self.space();
        // A name given with `as` is no path.
        while let Some(&c) = self.code.get(self.at) {
            if c == ',' || c == '}' {
                return;
            }
            self.at += 1;
        }
    }

    fn word(&mut self) -> String {
        let word: String = self.code[self.at..].iter().take_while(|&&c| is_ident(c)).collect();
        self.at += word.chars().count();
        word
    }

    fn take(&mut self, text: &str) -> bool {
        let end = self.at + text.len();
        let here = end <= self.code.len() && self.code[self.at..end].iter().copied().eq(text.chars());
        if here {
            self.at = end;
        }
        here
    }

    fn space(&mut self) {
        while self.code.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(code: &str) -> Vec<String> {
        named(code).iter().map(Named::text).collect()
    }

    #[test]
    fn trees_are_taken_apart() {
        let code = "use crate::{\n    engine::{Engine as E, Notice},\n    world::World,\n};\nuse std::time::*;\n";

        assert_eq!(texts(code), ["crate::engine::Engine", "crate::engine::Notice", "crate::world::World", "std::time::*"]);
        assert_eq!(named(code)[2].line, 3);
    }

    #[test]
    fn paths_inside_expressions_are_found() {
        let code = "let x = tokio::time::sleep(crate::world::boottime()); y.z::<u8>(); Vec::<u8>::new();";

        assert_eq!(texts(code), ["tokio::time::sleep", "crate::world::boottime"]);
    }

    #[test]
    fn a_prefix_is_compared_by_whole_segments() {
        let found = &named("std::threading::x")[0];

        assert!(found.starts_with("std::threading"));
        assert!(!found.starts_with("std::thread"));
    }
}
