//! The groups that the tests run in: what each is called and how it is run.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// A part of the tests with a name and a time of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub how: How,
}

/// How a group is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// By `cargo test --workspace` with these filters.
    Cargo(Vec<String>),
    /// By checking the scripts that the program prints for shells.
    Completions,
    /// By checking the documents.
    Docs,
}

/// Every group there is, in the order in which they run: the quick ones first.
///
/// # Errors
/// Those of the file system.
pub fn all(root: &Path) -> io::Result<Vec<Group>> {
    let cargo = |name: &str, filters: &[&str]| Group {
        name: name.to_string(),
        how: How::Cargo(filters.iter().map(|filter| filter.to_string()).collect()),
    };
    let mut groups = vec![cargo("units", &["--lib", "--bins"])];
    groups.extend(integration_tests(root)?.iter().map(|name| cargo(name, &["--test", name])));
    groups.push(cargo("doc-tests", &["--doc"]));
    groups.push(Group { name: "completions".into(), how: How::Completions });
    groups.push(Group { name: "docs".into(), how: How::Docs });
    Ok(groups)
}

/// The names of the integration tests of every crate.
fn integration_tests(root: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let Ok(tests) = fs::read_dir(entry?.path().join("tests")) else { continue };
        for test in tests {
            let path = test?.path();
            let is_test = path.extension().is_some_and(|ending| ending == "rs") || path.join("main.rs").is_file();
            if let (true, Some(name)) = (is_test, path.file_stem()) {
                names.insert(name.to_string_lossy().into_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_integration_test_is_a_group_and_helpers_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let tests = dir.path().join("crates/a/tests");
        fs::create_dir_all(tests.join("support")).unwrap();
        fs::create_dir_all(tests.join("big")).unwrap();
        for file in ["faults.rs", "support/mod.rs", "big/main.rs", "notes.md"] {
            fs::write(tests.join(file), "").unwrap();
        }

        let names: Vec<String> = all(dir.path()).unwrap().into_iter().map(|group| group.name).collect();
        assert_eq!(names, ["units", "big", "faults", "doc-tests", "completions", "docs"]);
    }
}
