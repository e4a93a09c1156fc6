//! The arrows between crates, read from their `Cargo.toml`.

use super::Violation;
use crate::tree::TextFile;

/// What each crate may depend on outside its tests: crates of ours, and whether it may use others.
struct Rule {
    manifest: &'static str,
    ours: &'static [&'static str],
    others: Others,
}

enum Others {
    Any,
    Only(&'static [&'static str]),
}

/// What the benchmark may use: those it compares, and what it needs to run, to count and to draw.
const BENCH: [&str; 10] =
    ["clap", "metrics-exporter-prometheus", "plotters", "redis", "rslock", "rustix", "serde", "serde_json", "tempfile", "tokio"];

const RULES: [Rule; 7] = [
    Rule { manifest: "crates/leasehold-core/Cargo.toml", ours: &[], others: Others::Only(&[]) },
    Rule { manifest: "crates/leasehold-wire/Cargo.toml", ours: &["leasehold-core"], others: Others::Only(&[]) },
    Rule { manifest: "crates/leasehold/Cargo.toml", ours: &["leasehold-core", "leasehold-wire"], others: Others::Any },
    Rule { manifest: "crates/leasehold-cli/Cargo.toml", ours: &["leasehold"], others: Others::Any },
    Rule { manifest: "crates/leasehold-bench/Cargo.toml", ours: &["leasehold"], others: Others::Only(&BENCH) },
    Rule { manifest: "crates/leasehold-sim/Cargo.toml", ours: &["leasehold-core", "leasehold-wire"], others: Others::Any },
    Rule { manifest: "xtask/Cargo.toml", ours: &[], others: Others::Only(&["clap", "rustix", "tempfile"]) },
];

pub fn check(file: &TextFile) -> Vec<Violation> {
    let Some(rule) = RULES.iter().find(|rule| rule.manifest == file.path) else { return Vec::new() };
    let mut found = Vec::new();
    for (line, name) in dependencies(&file.text) {
        let allowed = if name.starts_with("leasehold") {
            rule.ours.contains(&name.as_str())
        } else {
            match rule.others {
                Others::Any => true,
                Others::Only(list) => list.contains(&name.as_str()),
            }
        };
        if !allowed {
            let mend = "arrows point one way: see ARCHITECTURE.md";
            found.push(Violation::new(&file.path, line, format!("this crate may not depend on `{name}`"), mend));
        }
    }
    found
}

/// The crates that ship with this one, each with the number of its line; those of tests left out.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (at, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_string();
            if let Some((kind, name)) = section.rsplit_once('.')
                && ships(kind)
            {
                found.push((at + 1, name.to_string()));
            }
        } else if ships(&section) && !line.is_empty() && !line.starts_with('#') && line.contains('=') {
            let name: String = line.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
            found.push((at + 1, name));
        }
    }
    found
}

fn ships(section: &str) -> bool {
    let last = section.rsplit('.').next().unwrap_or_default();
    matches!(last, "dependencies" | "build-dependencies") && !section.starts_with("workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&TextFile::new(path, text)).into_iter().map(|violation| format!("{}: {}", violation.line, violation.what)).collect()
    }

    #[test]
    fn the_core_depends_on_nothing() {
        let text = "[package]\nname = \"leasehold-core\"\n\n[dependencies]\nserde = \"1\"\n";

        assert_eq!(found("crates/leasehold-core/Cargo.toml", text), ["5: this crate may not depend on `serde`"]);
        assert!(found("crates/leasehold-core/Cargo.toml", "[dev-dependencies]\nproptest.workspace = true\n").is_empty());
    }

    #[test]
    fn the_program_knows_the_library_alone() {
        let text = "[dependencies]\nleasehold.workspace = true\nleasehold-core.workspace = true\nclap.workspace = true\n";

        assert_eq!(found("crates/leasehold-cli/Cargo.toml", text), ["3: this crate may not depend on `leasehold-core`"]);
    }

    #[test]
    fn the_benchmark_knows_the_library_from_outside() {
        let text =
            "[dependencies]\nleasehold = { path = \"../leasehold\" }\nleasehold-wire.workspace = true\nrslock = \"0.10\"\n";

        assert_eq!(found("crates/leasehold-bench/Cargo.toml", text), ["3: this crate may not depend on `leasehold-wire`"]);
    }

    #[test]
    fn a_dependency_in_a_section_of_its_own_or_of_a_platform_is_seen() {
        assert_eq!(found("crates/leasehold-wire/Cargo.toml", "[dependencies.redis]\nversion = \"1\"\n").len(), 1);
        assert_eq!(found("crates/leasehold-wire/Cargo.toml", "[target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n").len(), 1);
    }
}
