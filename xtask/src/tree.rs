//! Finds the project's files: everything below the workspace that is text and not built.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "proptest-regressions"];

/// A text file, named by its path from the workspace's root, with `/` on every system.
#[derive(Clone, Debug)]
pub struct TextFile {
    pub path: String,
    pub text: String,
}

impl TextFile {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> TextFile {
        TextFile { path: path.into(), text: text.into() }
    }

    pub fn ends_with(&self, ending: &str) -> bool {
        self.path.ends_with(ending)
    }
}

/// The folder of the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    // Cargo sets this when it runs a program or a test; the path of the build is only the fallback.
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().expect("xtask lies in the workspace").to_path_buf()
}

/// Every text file of the project, in the order of their paths.
///
/// # Errors
/// Those of the file system.
pub fn text_files(root: &Path) -> std::io::Result<Vec<TextFile>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push(TextFile::new(relative(root, &path), text));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn relative(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_has_this_file_and_nothing_built() {
        let files = text_files(&root()).unwrap();

        assert!(files.iter().any(|file| file.path == "xtask/src/tree.rs"));
        assert!(files.iter().all(|file| !file.path.starts_with("target/")));
    }
}
