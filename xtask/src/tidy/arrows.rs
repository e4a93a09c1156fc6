//! The arrows between rooms: which part of the library may name which, and who may name a clock.

use super::Violation;
use super::paths::{Named, named};
use super::source::Source;

const LIBRARY: &str = "crates/leasehold/src/";
const CORE: &str = "crates/leasehold-core/src/";
const WIRE: &str = "crates/leasehold-wire/src/";

/// The rooms that use the contract: nothing below them names them.
const ABOVE: [&str; 10] =
    ["driver", "kinds", "client", "guard", "session", "claimed", "observer", "observers", "blocking", "conformance"];

/// The rooms that a room must not name, beside those of [`ABOVE`] where the second field says so, and why.
const FORBIDDEN: [(&str, bool, &[&str], &str); 10] = [
    ("engines/", true, &["engines/"], "an engine knows the contract and its own store"),
    ("engine", true, &["engines"], "the contract depends on nothing that uses it"),
    ("error", true, &["engines"], "errors depend on nothing that raises them"),
    ("world", true, &["engines", "engine"], "the world is given to everyone and knows nobody"),
    ("driver", false, &["engines", "kinds", "client", "conformance"], "the driver moves any engine and knows no kind"),
    ("kinds", false, &["engines", "client", "conformance"], "kinds and engines add up, they never multiply"),
    ("guard", false, &["engines", "kinds", "client", "conformance"], "a guard knows a hold, not where it came from"),
    ("session", false, &["engines", "kinds", "client", "conformance"], "a session knows any engine and any kind"),
    ("observers", false, &["engines", "driver", "kinds", "client", "conformance"], "who looks knows events, not who makes them"),
    ("conformance", false, &["engines", "driver"], "the suites see any engine only through the contract"),
];

/// What only `world` may name.
const WORLD_ONLY: [&str; 18] = [
    "std::time::Instant",
    "std::time::SystemTime",
    "std::thread::spawn",
    "std::thread::sleep",
    "std::thread::Builder",
    "std::thread::scope",
    "std::thread::*",
    "tokio::time",
    "tokio::spawn",
    "tokio::task::spawn",
    "tokio::task::spawn_blocking",
    "tokio::task::spawn_local",
    "tokio::runtime::Builder",
    "tokio::runtime::Runtime",
    "getrandom",
    "rustix::time",
    "rustix::thread",
    "rustix::rand",
];

/// What the two pure crates must not name.
const IMPURE: [&str; 11] = [
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
    "rustix",
    "getrandom",
];

pub fn check(sources: &[Source]) -> Vec<Violation> {
    let exports = sources.iter().find(|source| source.path == format!("{LIBRARY}lib.rs")).map(exports).unwrap_or_default();
    let mut found = Vec::new();
    for source in sources {
        if let Some(module) = source.path.strip_prefix(LIBRARY) {
            found.extend(check_rooms(source, module, &exports));
            found.extend(check_world(source, module));
        } else if source.path.starts_with(CORE) || source.path.starts_with(WIRE) {
            found.extend(check_pure(source));
        }
    }
    found
}

/// The names that `lib.rs` re-exports, each with the path that it stands for.
fn exports(lib: &Source) -> Vec<(String, Vec<String>)> {
    let own = |path: &Named| !["leasehold_core", "std", "core"].iter().any(|root| path.starts_with(root));
    let named = named(&lib.shipped_code()).into_iter().filter(own);
    named.filter_map(|path| Some((path.segments.last()?.clone(), path.segments.clone()))).collect()
}

fn check_rooms(source: &Source, module: &str, exports: &[(String, Vec<String>)]) -> Vec<Violation> {
    let here = module_path(module);
    let room = room(&here);
    let mut found = Vec::new();
    let mut knows = (None, None);
    for path in named(&source.shipped_code()) {
        let Some(target) = resolve(&path, &here, exports) else { continue };
        let target = self::room(&target);
        match target.split('/').next() {
            Some("engines") if target.contains('/') => knows.0 = Some(path.line),
            Some("kinds") => knows.1 = Some(path.line),
            _ => {}
        }
        if let Some(why) = forbidden(&room, &target) {
            let what = format!("`{room}` names `{}`", path.text());
            found.push(Violation::new(&source.path, path.line, what, format!("turn the arrow round: {why}")));
        }
    }
    if let (Some(line), Some(_), false) = (knows.0, knows.1, matches!(room.as_str(), "client" | "lib")) {
        found.push(Violation::new(&source.path, line, "one file knows a kind and an engine", "let `client` wire them"));
    }
    found
}

/// `engines/redis/mod.rs` is the module `engines::redis`.
fn module_path(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_string).collect()
}

/// The room that a module path lies in; each engine is a room of its own.
fn room(path: &[String]) -> String {
    match path {
        [first, second, ..] if first == "engines" => format!("engines/{second}"),
        [first, ..] => first.clone(),
        [] => String::from("lib"),
    }
}

/// Where `crate::…`, `self::…` and `super::…` lead, re-exports of `lib.rs` followed.
fn resolve(path: &Named, here: &[String], exports: &[(String, Vec<String>)]) -> Option<Vec<String>> {
    let mut at = match path.segments[0].as_str() {
        "crate" => Vec::new(),
        "self" => here.to_vec(),
        "super" => here[..here.len() - 1].to_vec(),
        _ => return None,
    };
    for segment in &path.segments[1..] {
        match segment.as_str() {
            "super" => drop(at.pop()),
            "self" => {}
            name => at.push(name.to_string()),
        }
    }
    let export =
        at.first().filter(|_| path.segments[0] == "crate").and_then(|first| exports.iter().find(|(name, _)| name == first));
    Some(export.map_or(at, |(_, target)| target.iter().filter(|segment| *segment != "crate").cloned().collect()))
}

fn forbidden(room: &str, target: &str) -> Option<&'static str> {
    if room == target {
        return None;
    }
    let lies_in = |whole: &str, part: &str| match part.strip_suffix('/') {
        Some(folder) => whole.starts_with(folder) && whole[folder.len()..].starts_with('/'),
        None => whole == part || whole.starts_with(&format!("{part}/")),
    };
    let (_, nothing_above, others, why) = FORBIDDEN.iter().find(|(from, ..)| lies_in(room, from))?;
    let above = ABOVE.iter().filter(|_| *nothing_above);
    others.iter().chain(above).any(|to| lies_in(target, to)).then_some(*why)
}

fn check_world(source: &Source, module: &str) -> Vec<Violation> {
    if module == "world.rs" || module.starts_with("world/") {
        return Vec::new();
    }
    let mend = "take it from the `World` that you are given, or add it to world.rs";
    let named = named(&source.shipped_code()).into_iter().filter(|path| WORLD_ONLY.iter().any(|needle| path.starts_with(needle)));
    named.map(|path| Violation::new(&source.path, path.line, format!("`{}` is for `world` alone", path.text()), mend)).collect()
}

fn check_pure(source: &Source) -> Vec<Violation> {
    let mend = "rules and wire are pure: take the value by argument";
    let code = source.shipped_code();
    let mut found = Vec::new();
    for path in named(&code).into_iter().filter(|path| IMPURE.iter().any(|needle| path.starts_with(needle))) {
        found.push(Violation::new(&source.path, path.line, format!("`{}` touches the world", path.text()), mend));
    }
    if source.path.starts_with(CORE) {
        for path in named(&code).into_iter().filter(|path| path.segments[0] == "std") {
            found.push(Violation::new(
                &source.path,
                path.line,
                format!("`{}` in a no_std crate", path.text()),
                "use core or alloc",
            ));
        }
    }
    for (number, line) in source.shipped() {
        if line.code.contains("async ") || line.code.contains(".await") {
            found.push(Violation::new(&source.path, number, "async in a pure crate", "move it to the driver"));
        }
    }
    let is_root = source.path == format!("{CORE}lib.rs");
    if is_root && !(code.contains("#![no_std]") && code.contains("#![forbid(unsafe_code)]")) {
        found.push(Violation::new(&source.path, 1, "the core is not held to no_std without unsafe", "put both attributes back"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TextFile;

    fn found(path: &str, text: &str) -> Vec<String> {
        let lib = TextFile::new(
            "crates/leasehold/src/lib.rs",
            "pub use client::Client;\npub use error::Error;\npub use kinds::mutex::Mutex;\n",
        );
        let sources = [Source::read(&lib), Source::read(&TextFile::new(path, text))];
        check(&sources).iter().map(|violation| format!("{}: {}", violation.line, violation.what)).collect()
    }

    #[test]
    fn an_engine_may_not_name_another_engine() {
        for text in
            ["use crate::engines::sqlite::Db;", "use super::super::sqlite;", "use crate::engines::{redis::x, memory::Store};"]
        {
            assert_eq!(found("crates/leasehold/src/engines/redis/mod2.rs", text).len(), 1, "{text}");
        }
        assert_eq!(found("crates/leasehold/src/engines/memory.rs", "use super::sqlite::Db;").len(), 1);
    }

    #[test]
    fn an_engine_may_name_the_contract_and_its_own_folder() {
        let text = "use crate::engine::{Engine, Notice};\nuse crate::{Error, world::World};\nuse super::keys;\nuse crate::engines::redis::keys;\n";

        assert_eq!(found("crates/leasehold/src/engines/redis/verbs.rs", text), Vec::<String>::new());
    }

    #[test]
    fn an_engine_may_not_reach_a_kind_through_a_re_export() {
        assert_eq!(
            found("crates/leasehold/src/engines/memory.rs", "use crate::Mutex;"),
            ["1: `engines/memory` names `crate::Mutex`"]
        );
        assert_eq!(found("crates/leasehold/src/engines/memory.rs", "fn a(c: crate::Client) {}").len(), 1);
    }

    #[test]
    fn the_driver_may_name_neither_engines_nor_kinds() {
        assert_eq!(found("crates/leasehold/src/driver/mod.rs", "use crate::engines::memory::Memory;").len(), 1);
        assert_eq!(found("crates/leasehold/src/driver.rs", "use crate::kinds::mutex;").len(), 1);
        assert!(found("crates/leasehold/src/driver/run.rs", "use crate::engine::Engine;\nuse super::watch;").is_empty());
    }

    #[test]
    fn kinds_may_not_name_engines() {
        assert_eq!(found("crates/leasehold/src/kinds/mutex.rs", "use crate::engines::memory::Memory;").len(), 1);
        assert!(found("crates/leasehold/src/kinds/mutex.rs", "use crate::driver::Driver;").is_empty());
    }

    #[test]
    fn only_the_client_may_know_both_a_kind_and_an_engine() {
        let text = "use crate::kinds::mutex::Mutex;\nuse crate::engines::memory::Memory;\n";

        assert_eq!(found("crates/leasehold/src/report.rs", text), ["2: one file knows a kind and an engine"]);
        assert!(found("crates/leasehold/src/client.rs", text).is_empty());
    }

    #[test]
    fn only_the_world_may_name_a_clock_a_timer_a_thread_or_chance() {
        let needles = [
            "use std::time::{Duration, Instant};",
            "use std::{fmt, time::SystemTime};",
            "async fn a() { tokio::time::sleep(x).await }",
            "fn a() { std::thread::spawn(b); }",
            "fn a() { tokio::spawn(b); }",
            "fn a() { getrandom::u64(); }",
            "use rustix::time::clock_gettime;",
        ];
        for text in needles {
            assert_eq!(found("crates/leasehold/src/driver.rs", text).len(), 1, "{text}");
            assert!(found("crates/leasehold/src/world.rs", text).is_empty(), "{text}");
        }
        assert!(found("crates/leasehold/src/driver.rs", "use std::time::Duration;\nuse tokio::sync::mpsc;").is_empty());
    }

    #[test]
    fn tests_may_name_a_clock() {
        let text = "#[cfg(test)]\nmod tests {\n    use std::time::Instant;\n}\n";

        assert!(found("crates/leasehold/src/driver.rs", text).is_empty());
        assert!(found("crates/leasehold/tests/faults.rs", "use std::time::Instant;").is_empty());
    }

    #[test]
    fn the_rules_have_no_std_no_runtime_and_no_async() {
        for text in ["use std::collections::BTreeMap;", "async fn a() {}", "fn a() { tokio::x::y(); }"] {
            assert_eq!(found("crates/leasehold-core/src/table.rs", text).len(), 1, "{text}");
        }
        assert!(found("crates/leasehold-core/src/table.rs", "use alloc::collections::BTreeMap;\nuse core::fmt;").is_empty());
        assert_eq!(found("crates/leasehold-core/src/lib.rs", "#![no_std]\n").len(), 1);
    }
}
