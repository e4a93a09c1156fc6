//! Reads a Rust file line by line: what is code, what is comment, what is text, what is a test, where functions begin and end.

use crate::tree::TextFile;

/// One line of a Rust file, taken apart.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// The code, with comments and the insides of literals blanked.
    pub code: String,
    /// The words of its comments.
    pub comment: String,
    /// The insides of its string literals.
    pub strings: String,
    /// True inside `#[cfg(test)]` items and in files that are tests as a whole.
    pub in_test: bool,
}

/// A function: its name, its lines, its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// Number of its first line, from 1.
    pub line: usize,
    /// How many lines it has, signature included; 1 if it has no body.
    pub lines: usize,
    /// How many parameters it has, `self` not counted.
    pub parameters: usize,
}

/// A Rust file, taken apart.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: String,
    pub lines: Vec<Line>,
}

impl Source {
    pub fn read(file: &TextFile) -> Source {
        let mut lines = Lexer::default().run(&file.text);
        if is_test_file(&file.path) {
            lines.iter_mut().for_each(|line| line.in_test = true);
        } else {
            mark_tests(&mut lines);
        }
        Source { path: file.path.clone(), lines }
    }

    /// The lines that are not tests, with their numbers from 1.
    pub fn shipped(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().filter(|(_, line)| !line.in_test).map(|(at, line)| (at + 1, line))
    }

    /// The code outside tests as one text, with the same line breaks as the file.
    pub fn shipped_code(&self) -> String {
        let keep = |line: &Line| if line.in_test { String::new() } else { line.code.clone() };
        self.lines.iter().map(keep).collect::<Vec<_>>().join("\n")
    }

    /// All code as one text, with the same line breaks as the file.
    pub fn all_code(&self) -> String {
        self.lines.iter().map(|line| line.code.as_str()).collect::<Vec<_>>().join("\n")
    }

    pub fn functions(&self) -> Vec<Function> {
        let code: Vec<char> = self.all_code().chars().collect();
        let starts = (0..code.len()).filter(|&at| is_word(&code, at, "fn") && code.get(at + 2) == Some(&' '));
        starts.filter_map(|at| function_at(&code, at)).collect()
    }
}

/// True for files that are tests as a whole, and for the suites, which are tests that are shipped.
pub fn is_test_file(path: &str) -> bool {
    let folders = ["tests", "benches", "examples", "conformance"];
    path.split('/').any(|part| folders.contains(&part)) || path.ends_with("/tests.rs") || path.ends_with("/conformance.rs")
}

/// Number of the line, from 1, of the character at `at`.
pub fn line_of(code: &[char], at: usize) -> usize {
    1 + code[..at].iter().filter(|&&c| c == '\n').count()
}

/// True if the whole word `word` stands at `at`.
pub fn is_word(code: &[char], at: usize, word: &str) -> bool {
    let end = at + word.chars().count();
    let here = end <= code.len() && code[at..end].iter().copied().eq(word.chars());
    here && (at == 0 || !is_ident(code[at - 1])) && code.get(end).is_none_or(|&c| !is_ident(c))
}

pub fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The state of the reader between two characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Code,
    LineComment,
    BlockComment {
        depth: usize,
    },
    Text {
        /// How many `#` close it; `None` for an ordinary string with escapes.
        hashes: Option<usize>,
    },
}

#[derive(Default)]
struct Lexer {
    state: State,
    line: Line,
    lines: Vec<Line>,
}

impl Lexer {
    fn run(mut self, text: &str) -> Vec<Line> {
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            if chars[at] == '\n' {
                self.end_line();
                at += 1;
            } else {
                at += self.step(&chars, at);
            }
        }
        if !text.ends_with('\n') && !text.is_empty() {
            self.end_line();
        }
        self.lines
    }

    fn end_line(&mut self) {
        if self.state == State::LineComment {
            self.state = State::Code;
        }
        self.lines.push(std::mem::take(&mut self.line));
    }

    /// Takes what stands at `at`; returns how many characters that was.
    fn step(&mut self, chars: &[char], at: usize) -> usize {
        match self.state {
            State::Code => self.step_code(chars, at),
            State::LineComment => {
                self.line.comment.push(chars[at]);
                1
            }
            State::BlockComment { depth } => self.step_block(chars, at, depth),
            State::Text { hashes } => self.step_text(chars, at, hashes),
        }
    }

    fn step_code(&mut self, chars: &[char], at: usize) -> usize {
        let next = chars.get(at + 1).copied();
        match chars[at] {
            '/' if next == Some('/') => self.enter(State::LineComment, 2),
            '/' if next == Some('*') => self.enter(State::BlockComment { depth: 1 }, 2),
            '"' => self.enter(State::Text { hashes: None }, 1),
            'r' if at == 0 || !is_ident(chars[at - 1]) || chars[at - 1] == 'b' => match raw_hashes(chars, at) {
                Some(hashes) => self.enter(State::Text { hashes: Some(hashes) }, hashes + 2),
                None => self.keep(chars[at]),
            },
            '\'' => match char_literal(chars, at) {
                Some(taken) => {
                    self.line.code.push_str("' '");
                    taken
                }
                None => self.keep('\''),
            },
            other => self.keep(other),
        }
    }

    fn step_block(&mut self, chars: &[char], at: usize, depth: usize) -> usize {
        match (chars[at], chars.get(at + 1)) {
            ('*', Some('/')) if depth == 1 => self.enter(State::Code, 2),
            ('*', Some('/')) => self.enter(State::BlockComment { depth: depth - 1 }, 2),
            ('/', Some('*')) => self.enter(State::BlockComment { depth: depth + 1 }, 2),
            (other, _) => {
                self.line.comment.push(other);
                1
            }
        }
    }

    fn step_text(&mut self, chars: &[char], at: usize, hashes: Option<usize>) -> usize {
        match (chars[at], hashes) {
            // An escaped line break is left to the caller, which counts lines.
            ('\\', None) if chars.get(at + 1).is_some_and(|&c| c != '\n') => {
                self.line.strings.push(chars[at + 1]);
                2
            }
            ('"', None) => self.enter(State::Code, 1),
            ('"', Some(n)) if chars[at + 1..].iter().take_while(|&&c| c == '#').count() >= n => self.enter(State::Code, n + 1),
            (other, _) => {
                self.line.strings.push(other);
                1
            }
        }
    }

    fn enter(&mut self, state: State, taken: usize) -> usize {
        let was_text = matches!(self.state, State::Text { .. });
        if was_text || matches!(state, State::Text { .. }) {
            self.line.code.push('"');
            // Two literals of one line do not read as one.
            self.line.strings.push(' ');
        }
        self.state = state;
        taken
    }

    fn keep(&mut self, c: char) -> usize {
        self.line.code.push(c);
        1
    }
}

/// How many `#` follow the `r` at `at`, if a raw string begins there.
fn raw_hashes(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// The length of the character literal at `at`; `None` for a lifetime.
fn char_literal(chars: &[char], at: usize) -> Option<usize> {
    if chars.get(at + 1) == Some(&'\\') {
        let end = chars[at + 3..].iter().position(|&c| c == '\'')?;
        return Some(end + 4);
    }
    (chars.get(at + 2) == Some(&'\'')).then_some(3)
}

/// Marks every item behind `#[cfg(test)]`, up to its closing brace or its semicolon.
fn mark_tests(lines: &mut [Line]) {
    let mut at = 0;
    while at < lines.len() {
        let code = lines[at].code.trim_start();
        if !(code.starts_with("#[cfg(test)]") || code.starts_with("#[cfg(all(test")) {
            at += 1;
            continue;
        }
        let end = item_end(lines, at);
        lines[at..=end].iter_mut().for_each(|line| line.in_test = true);
        at = end + 1;
    }
}

/// The last line of the item whose first attribute is on line `from`.
fn item_end(lines: &[Line], from: usize) -> usize {
    let mut depth = 0usize;
    for (at, line) in lines.iter().enumerate().skip(from) {
        for c in line.code.chars() {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth = depth.saturating_sub(1),
                ';' if depth == 0 => return at,
                _ => {}
            }
            if c == '}' && depth == 0 {
                return at;
            }
        }
    }
    lines.len() - 1
}

/// Reads the function whose `fn` stands at `at`.
fn function_at(code: &[char], at: usize) -> Option<Function> {
    let name: String = code[at + 3..].iter().take_while(|&&c| is_ident(c)).collect();
    if name.is_empty() {
        return None;
    }
    let open = after_generics(code, at + 3 + name.chars().count())?;
    let close = closing(code, open)?;
    let body = body(code, close)?;
    let end = if code[body] == '{' { closing(code, body)? } else { at };
    let (line, last) = (line_of(code, at), line_of(code, end));
    Some(Function { name, line, lines: last + 1 - line, parameters: parameters(&code[open + 1..close]) })
}

/// The brace or the semicolon that follows the parameters and the result, which may be `[u8; 2]`.
fn body(code: &[char], from: usize) -> Option<usize> {
    let mut at = from;
    while at < code.len() {
        match code[at] {
            '{' | ';' => return Some(at),
            '(' | '[' => at = closing(code, at)?,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The place of the parenthesis that opens the parameters, past `<…>`.
fn after_generics(code: &[char], from: usize) -> Option<usize> {
    let mut depth = 0i32;
    for at in from..code.len() {
        match code[at] {
            '<' => depth += 1,
            '>' if code[at - 1] != '-' && code[at - 1] != '=' => depth -= 1,
            '(' if depth == 0 => return Some(at),
            '{' | ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The place of the bracket that closes the one at `open`.
pub fn closing(code: &[char], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in code.iter().enumerate().skip(open) {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// How many parameters a list has, `self` not counted.
fn parameters(list: &[char]) -> usize {
    let mut depth = 0i32;
    let mut parts = vec![String::new()];
    for (at, &c) in list.iter().enumerate() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '>' if at > 0 && list[at - 1] != '-' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {}
        }
        parts.last_mut().expect("there is one part from the start").push(c);
    }
    let is_self = |part: &str| part.split(|c: char| !is_ident(c)).find(|w| !w.is_empty() && *w != "mut") == Some("self");
    let named = |part: &&String| part.contains(':') && !is_self(part.trim_start_matches([',', ' ', '\n']));
    parts.iter().filter(named).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Source {
        Source::read(&TextFile::new("crates/leasehold/src/x.rs", text))
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let source =
            read("let a = \"x // \\\" y\"; // why\nlet b = r#\"q\" z\"#; /* c\n d */ let e = '\"'; let f: &'a str = \"\";\n");

        assert_eq!(source.lines[0].code, "let a = \"\"; ");
        assert_eq!(source.lines[0].comment, " why");
        assert!(source.lines[0].strings.contains("x // \" y"));
        assert_eq!(source.lines[1].code, "let b = \"\"; ");
        assert_eq!(source.lines[2].code, " let e = ' '; let f: &'a str = \"\";");
    }

    #[test]
    fn tests_end_where_their_module_ends() {
        let source = read("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");

        let shipped: Vec<usize> = source.shipped().map(|(number, _)| number).collect();
        assert_eq!(shipped, [1, 6]);
    }

    #[test]
    fn functions_are_measured_with_their_parameters() {
        let source = read(
            "impl X {\n    fn go<F: Fn(u8) -> u8>(&mut self, f: F, (a, b): (u8, u8)) -> [u8; 2] {\n        f(a);\n    }\n}\nfn bare();\n",
        );

        let functions = source.functions();
        assert_eq!(functions[0], Function { name: "go".into(), line: 2, lines: 3, parameters: 2 });
        assert_eq!(functions[1], Function { name: "bare".into(), line: 6, lines: 1, parameters: 0 });
    }

    #[test]
    fn self_of_any_form_is_no_parameter() {
        let source = read("fn a(self: Pin<&mut Self>, x: Map<u8, u8>) {}\nfn b(mut self, x: u8, y: impl Fn(u8, u8) -> u8,) {}\n");

        let counted: Vec<usize> = source.functions().iter().map(|f| f.parameters).collect();
        assert_eq!(counted, [1, 2]);
    }
}
