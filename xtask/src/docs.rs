//! The documents are checked like code: links lead somewhere, the tests that they name exist, the commands that they show work.

use crate::processes;
use crate::tree::{self, TextFile};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// No command of a document runs longer than this.
const COMMAND_MAX: Duration = Duration::from_secs(5 * 60);

/// The mark before a block whose commands are not run.
const NO_RUN: &str = "<!-- no-run -->";

/// The mark before a block whose commands see a Redis server of their own in `LEASEHOLD_URL`.
const WITH_REDIS: &str = "<!-- redis -->";

/// One thing that was checked; `wrong` says what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub what: String,
    pub wrong: Option<String>,
}

/// Checks everything and prints what is wrong; true if nothing is.
///
/// # Errors
/// Those of the file system.
pub fn run(root: &Path) -> io::Result<bool> {
    let place = tempfile::Builder::new().prefix("leasehold-docs-").tempdir()?;
    let checks = check_all(root, place.path())?;
    let wrong: Vec<&Check> = checks.iter().filter(|check| check.wrong.is_some()).collect();
    for check in &wrong {
        println!("{}: {}", check.what, check.wrong.as_deref().unwrap_or_default());
    }
    println!("docs: {} checks, {} wrong", checks.len(), wrong.len());
    Ok(wrong.is_empty())
}

/// Checks the texts, then runs the commands in `place`.
///
/// # Errors
/// Those of the file system.
pub fn check_all(root: &Path, place: &Path) -> io::Result<Vec<Check>> {
    let files = tree::text_files(root)?;
    let mut checks = check_texts(root, &files);
    // The front page first: it builds the program that the others name.
    let mut with_commands: Vec<&TextFile> = files.iter().filter(|file| file.ends_with(".md")).collect();
    with_commands.sort_by_key(|file| (file.path != "README.md", &file.path));
    for file in with_commands {
        for block in blocks(&file.text) {
            checks.extend(run_block(root, place, &file.path, &block)?);
        }
    }
    Ok(checks)
}

/// The links and the names of tests of every document.
fn check_texts(root: &Path, files: &[TextFile]) -> Vec<Check> {
    let mut checks: Vec<Check> = unexplained(files).into_iter().collect();
    for file in files.iter().filter(|file| file.ends_with(".md")) {
        let wrong = broken_links(root, file);
        let wrong = (!wrong.is_empty()).then(|| format!("nothing is at {}", wrong.join(", ")));
        checks.push(Check { what: format!("links of {}", file.path), wrong });
        let named = named_tests(&file.text);
        if !named.is_empty() {
            let absent: Vec<String> =
                named.into_iter().filter(|(stem, test)| !has_test(files, stem, test)).map(|(s, t)| format!("{s}::{t}")).collect();
            let wrong = (!absent.is_empty()).then(|| format!("no such test: {}", absent.join(", ")));
            checks.push(Check { what: format!("tests named in {}", file.path), wrong });
        }
    }
    checks
}

/// Each dependency of the workspace has its sentence in `DESIGN.md`.
fn unexplained(files: &[TextFile]) -> Option<Check> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let (manifest, design) = (text("Cargo.toml")?, text("DESIGN.md")?);
    let lines = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('[')).filter(|line| line.contains(" = "));
    let names = lines.filter_map(|line| line.split(['.', ' ']).next()).filter(|name| !name.starts_with(['#', '"']));
    let ours = |name: &&str| name.starts_with("leasehold");
    let absent: Vec<&str> = names.filter(|name| !ours(name) && !design.contains(&format!("`{name}`"))).collect();
    let wrong = (!absent.is_empty()).then(|| format!("no sentence for {}", absent.join(", ")));
    Some(Check { what: "dependencies in DESIGN.md".into(), wrong })
}

/// The relative links of a document that lead nowhere.
fn broken_links(root: &Path, file: &TextFile) -> Vec<String> {
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new("")).to_path_buf();
    let is_ours = |target: &String| !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:");
    let leads_nowhere = |target: &String| {
        let path = target.split('#').next().unwrap_or_default();
        !plain(&root.join(&folder).join(path)).exists()
    };
    links(&file.text).into_iter().filter(is_ours).filter(leads_nowhere).collect()
}

/// The targets of `[text](target)`, code left out.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        // Every other part of a line lies between back-ticks.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for part in prose.split("](").skip(1) {
            found.extend(part.split([')', ' ']).next().map(str::to_string));
        }
    }
    found
}

/// The path without `.` and `..`, so that a link out of a folder that is not there still counts.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

/// The tests that a document names as `file::test`, both in one pair of back-ticks.
fn named_tests(text: &str) -> BTreeSet<(String, String)> {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let spans = text.lines().filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2));
    let pairs = spans.filter_map(|span| span.split_once("::"));
    // A test is named by a claim, so its name has words; `std::time` has none.
    let named = pairs.filter(|(stem, test)| is_name(stem) && is_name(test) && test.matches('_').count() >= 2);
    named.map(|(stem, test)| (stem.to_string(), test.to_string())).collect()
}

/// True if a file or a folder called `stem` has a test of that name, written out or made by a macro.
fn has_test(files: &[TextFile], stem: &str, test: &str) -> bool {
    let lies_in = |path: &str| path.ends_with(&format!("/{stem}.rs")) || path.contains(&format!("/{stem}/"));
    let names = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == test);
    files.iter().any(|file| file.ends_with(".rs") && lies_in(&file.path) && names(&file.text))
}

/// A block of a document whose lines begin with `$ `.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    /// Number of its first line, from 1.
    line: usize,
    /// True if it sees a Redis server.
    redis: bool,
    /// Each command, and the lines that it is said to print.
    commands: Vec<(String, Vec<String>)>,
}

/// The blocks whose commands are run.
fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for (at, line) in text.lines().enumerate() {
        match &mut open {
            None if ["```console", "```sh"].contains(&line.trim()) && before != NO_RUN => {
                open = Some(Block { line: at + 2, redis: before == WITH_REDIS, commands: Vec::new() });
            }
            None => {}
            Some(_) if line.trim() == "```" => found.extend(open.take()),
            Some(block) => match line.strip_prefix("$ ") {
                Some(command) => block.commands.push((command.to_string(), Vec::new())),
                None => block.commands.iter_mut().next_back().into_iter().for_each(|(_, prints)| prints.push(line.to_string())),
            },
        }
        if !line.trim().is_empty() {
            before = line.trim();
        }
    }
    found.retain(|block| !block.commands.is_empty());
    found
}

/// Runs the commands of a block as somebody would who has just come here.
fn run_block(root: &Path, place: &Path, document: &str, block: &Block) -> io::Result<Vec<Check>> {
    let home = place.join("home");
    std::fs::create_dir_all(&home)?;
    let server = if block.redis { Some(Server::start()?) } else { None };
    let mut checks = Vec::new();
    for (at, (line, prints)) in block.commands.iter().enumerate() {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{{ {line}\n}} 2>&1")]).current_dir(root);
        for (name, value) in homes() {
            command.env(name, value);
        }
        for name in ["LEASEHOLD_URL", "LEASEHOLD_HELD", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
            command.env_remove(name);
        }
        command.env("HOME", &home).env("TMPDIR", place).env("PATH", path_with_ours(root)?);
        if let Some(server) = &server {
            command.env("LEASEHOLD_URL", &server.url);
        }
        let (outcome, left) = processes::run(&mut command, COMMAND_MAX, place, true)?;
        let absent = prints.iter().find(|line| !line.contains('…') && !outcome.lines.contains(line));
        let wrong = if !outcome.success() {
            Some(format!("ended with {}", outcome.status.map_or("nothing in time".into(), |status| status.to_string())))
        } else if let Some(process) = left.first() {
            Some(format!("left process {} running: {}", process.pid, process.what))
        } else {
            absent.map(|line| format!("did not print {line:?}"))
        };
        checks.push(Check { what: format!("{document}:{}: `{line}`", block.line + at), wrong });
    }
    Ok(checks)
}

/// The program as if it were installed.
fn path_with_ours(root: &Path) -> io::Result<OsString> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let others = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(root.join(target).join("release")).chain(std::env::split_paths(&others));
    std::env::join_paths(all).map_err(io::Error::other)
}

/// A Redis server for the commands of one block; ends with it.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start() -> io::Result<Server> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        // It leaves nothing in any place, and no trace of this one, by which left-over processes are found.
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--logfile", "/dev/null"]);
        let process = command.current_dir("/").spawn()?;
        let server = Server { process, url: format!("redis://127.0.0.1:{port}") };
        for _ in 0..3_000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("a redis-server did not start within 30 s"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where the tools live; they are found from `HOME`, which the commands see another of.
fn homes() -> Vec<(&'static str, PathBuf)> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let known = |name, folder| (name, std::env::var_os(name).map_or_else(|| home.join(folder), PathBuf::from));
    vec![known("CARGO_HOME", ".cargo"), known("RUSTUP_HOME", ".rustup")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_lead_somewhere_and_explain_the_dependencies() {
        let root = tree::root();
        let checks = check_texts(&root, &tree::text_files(&root).unwrap());

        let is_wrong = |check: &&Check| !check.what.starts_with("tests named") && check.wrong.is_some();
        let wrong: Vec<&Check> = checks.iter().filter(is_wrong).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_caught() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.md"), "").unwrap();
        let text = "[a](../a.md#x) [web](https://e.org/x) [b](b.md) [c](#here) `[d](d.md)`\n```\n[e](e.md)\n```\n";

        assert_eq!(broken_links(dir.path(), &TextFile::new("docs/x.md", text)), ["b.md"]);
    }

    #[test]
    fn a_test_that_does_not_exist_is_caught() {
        let tests = TextFile::new("crates/a/tests/faults.rs", "fn a_crash_frees_the_lock() {}");
        let page = TextFile::new("docs/x.md", "`faults::a_crash_frees_the_lock` `faults::a_crash_frees_it` `std::time`\n");

        let checks = check_texts(Path::new("/"), &[tests, page]);
        assert_eq!(checks[1].wrong.as_deref(), Some("no such test: faults::a_crash_frees_it"));
    }

    #[test]
    fn a_dependency_without_a_sentence_is_caught() {
        let manifest = "[workspace.dependencies]\nleasehold = { path = \"x\" }\nserde = \"1\"\nclap.version = \"4\"\n\n[profile.dev]\ndebug = 1\n";
        let check =
            |design: &str| unexplained(&[TextFile::new("Cargo.toml", manifest), TextFile::new("DESIGN.md", design)]).unwrap();

        assert_eq!(check("| `serde` | for |\n").wrong.as_deref(), Some("no sentence for clap"));
        assert_eq!(check("`serde`, `clap`").wrong, None);
    }

    #[test]
    fn blocks_are_taken_apart_and_marked_ones_are_left_out() {
        let text = "```console\n$ echo a\na\n$ true\n```\n<!-- no-run -->\n\n```sh\n$ false\n```\n```rust\n$ x\n```\n";

        let expected = vec![("echo a".to_string(), vec!["a".to_string()]), ("true".to_string(), Vec::new())];
        assert_eq!(blocks(text), [Block { line: 2, redis: false, commands: expected }]);
    }

    #[test]
    fn a_marked_block_has_a_server_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let text =
            "<!-- redis -->\n```sh\n$ redis-cli -u $LEASEHOLD_URL ping\nPONG\n```\n```sh\n$ test -z \"$LEASEHOLD_URL\"\n```\n";

        for block in blocks(text) {
            assert_eq!(run_block(dir.path(), dir.path(), "x.md", &block).unwrap().remove(0).wrong, None);
        }
    }

    #[test]
    fn a_command_that_fails_or_prints_something_else_is_caught() {
        let dir = tempfile::tempdir().unwrap();
        let run = |text: &str| run_block(dir.path(), dir.path(), "x.md", &blocks(text)[0]).unwrap().remove(0).wrong;

        assert_eq!(run("```sh\n$ echo a; echo b >&2\na\nb\n…\n```\n"), None);
        assert_eq!(run("```sh\n$ echo a\nb\n```\n").as_deref(), Some("did not print \"b\""));
        assert_eq!(run("```sh\n$ exit 3\n```\n").as_deref(), Some("ended with exit status: 3"));
        assert_eq!(run("```sh\n$ test \"$HOME\" = \"$TMPDIR/home\"\n```\n"), None);
    }
}
