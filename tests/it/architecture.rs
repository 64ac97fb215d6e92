//! The crate's map holds: who may import whom, what `policy` may use, and that every file says what it is for.

mod scan;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::repository;
use scan::{Source, paths_in};

/// Rooms, from the ground up, and what each may use of ours: rooms, or modules of rooms. Itself is always allowed.
/// The same as in `src/lib.rs`. A room may only use those above it here, so there are no circles.
const ROOMS: &[(&str, &[&str])] = &[
    ("policy", &[]),
    ("clock", &["policy"]),
    ("config", &["policy"]),
    // Settings are plain data, which says how to log.
    ("telemetry", &["policy", "config::settings"]),
    ("content", &["policy", "config"]),
    ("cache", &["policy", "clock", "config", "telemetry", "content"]),
    ("upstream", &["policy", "config", "clock", "telemetry"]),
    ("proxy", &["policy", "clock", "config", "telemetry", "content", "cache", "upstream"]),
    ("server", &["policy", "clock", "config", "telemetry", "content", "cache", "upstream", "proxy"]),
    ("control", &["policy", "clock", "config", "telemetry", "content", "cache", "upstream", "proxy"]),
    ("cli", EVERYTHING),
    ("lib", EVERYTHING),
    ("main", EVERYTHING),
];

const EVERYTHING: &[&str] =
    &["policy", "clock", "config", "telemetry", "content", "cache", "upstream", "proxy", "server", "control", "cli"];

/// Crates that `policy` may use; those of its tests beside them.
const PURE: &[&str] =
    &["bytes", "http", "httpdate", "itoa", "percent_encoding", "sfv", "smallvec", "proptest", "http_cache_semantics"];

/// What of `std` would make `policy` impure. `SystemTime` is a type that parsers of dates speak; its `now` is not.
const IMPURE: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread", "time::Instant"];

#[test]
fn rooms_import_only_what_the_map_allows() {
    let faults: Vec<_> = sources().iter().flat_map(forbidden_imports).collect();
    assert!(faults.is_empty(), "imports that src/lib.rs does not allow:\n{}", faults.join("\n"));
}

#[test]
fn policy_is_pure() {
    let dependencies = dependencies();
    let faults: Vec<_> = sources().iter().flat_map(|source| impurities(source, &dependencies)).collect();
    assert!(faults.is_empty(), "policy decides without I/O, clock or runtime:\n{}", faults.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "files without a leading //! line:\n{}", silent.join("\n"));
}

#[test]
fn map_names_every_room_and_has_no_circle() {
    let library = fs::read_to_string(repository("src/lib.rs")).unwrap();
    let declared: Vec<_> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    for room in &declared {
        assert!(ROOMS.iter().any(|(known, _)| known == room), "{room} is no room of the map");
    }
    assert_eq!(declared.len() + 2, ROOMS.len(), "rooms, the library's root and the program's");
    for (index, (room, allowed)) in ROOMS.iter().enumerate() {
        for used in allowed.iter().map(|used| room_of(used)).filter(|used| used != room) {
            assert!(
                ROOMS[..index].iter().any(|(below, _)| *below == used),
                "{room} uses {used}, which is not below it"
            );
        }
    }
}

#[test]
fn checks_find_what_is_forbidden() {
    let import = |path: &str, text: &str| forbidden_imports(&source(path, text)).len();
    assert_eq!(import("src/policy/store.rs", "use crate::clock::Clock;"), 1);
    assert_eq!(import("src/policy/store.rs", "use crate::policy::time::Timestamp;"), 0);
    assert_eq!(import("src/cache/key.rs", "use crate::{policy::vary, proxy::{self, body}};"), 2);
    assert_eq!(import("src/cache/key.rs", "// crate::proxy\n/* crate::proxy */ let x = \"crate::proxy\";"), 0);
    assert_eq!(import("src/cache/key.rs", "fn f() -> crate::proxy::Proxy { crate::server::x() }"), 2);
    assert_eq!(import("src/cache/key.rs", "use super::super::server::Server;"), 1);
    assert_eq!(import("src/cache/key.rs", "use super::entry;\nmod tests {\n use super::super::entry;\n}"), 0);
    assert_eq!(import("src/telemetry/mod.rs", "use crate::config::settings::LogTarget;"), 0);
    assert_eq!(import("src/telemetry/mod.rs", "use crate::config::{settings, file};"), 1);
    assert_eq!(import("src/clock.rs", "use crate::upstream;"), 1);
    assert_eq!(import("src/upstream/mod.rs", "pub(in crate::upstream) fn f() {}\npub(crate) fn g() {}"), 0);
    assert_eq!(import("src/cli/run.rs", "use crate::server::Server;\nuse crate::control;"), 0);
    assert_eq!(import("src/attic/mod.rs", "use crate::policy;"), 1, "a room that the map does not know");

    let impure = |path: &str, text: &str| {
        impurities(&source(path, text), &["tokio".to_owned(), "http".to_owned(), "serde_json".to_owned()]).len()
    };
    assert_eq!(impure("src/policy/store.rs", "use tokio::time::Instant;"), 1);
    assert_eq!(impure("src/policy/store.rs", "use std::{fs, time::{Duration, Instant, SystemTime}};"), 2);
    assert_eq!(impure("src/policy/store.rs", "let now = std::time::Instant::now();"), 1);
    assert_eq!(impure("src/policy/store.rs", "let now = SystemTime::now();"), 1);
    assert_eq!(impure("src/policy/store.rs", "use http::HeaderMap;\nuse std::time::Duration;\nuse std::fmt;"), 0);
    assert_eq!(impure("src/cache/key.rs", "use tokio::sync::watch;"), 0);

    let faults = forbidden_imports(&source("src/policy/a.rs", "//! A.\n\nuse crate::{\n    clock,\n};"));
    assert_eq!(faults, ["src/policy/a.rs:4: policy may not use crate::clock"]);
}

/// Imports of one file that the map does not allow, each with its place.
fn forbidden_imports(source: &Source) -> Vec<String> {
    let room = source.room();
    let known = ROOMS.iter().find(|(known, _)| *known == room);
    let Some((_, allowed)) = known else {
        return vec![format!("{}: {room} is no room of the map", source.path.display())];
    };
    let imported = paths_in(&source.text).into_iter().filter_map(|found| {
        let rooted = source.rooted(&found)?;
        let used = rooted.first()?.clone();
        // The root's own items (`crate::Something`), and `crate` alone, are nobody's room.
        ROOMS.iter().any(|(known, _)| *known == used).then_some((found.line, used, rooted.join("::")))
    });
    imported
        .filter(|(_, used, _)| *used != room)
        .filter(|(_, _, path)| !allowed.iter().any(|allowed| is_within(path, allowed)))
        .map(|(line, _, path)| format!("{}:{line}: {room} may not use crate::{path}", source.path.display()))
        .collect()
}

/// What one file of `policy` uses that is not pure. Other rooms are free.
fn impurities(source: &Source, dependencies: &[String]) -> Vec<String> {
    if source.room() != "policy" {
        return Vec::new();
    }
    let impure = |path: &[String]| {
        if path.ends_with(&["SystemTime".to_owned(), "now".to_owned()]) {
            return true;
        }
        let first = path[0].as_str();
        if first == "std" || first == "core" {
            return IMPURE.iter().any(|impure| is_within(&path[1..].join("::"), impure));
        }
        dependencies.iter().any(|name| name == first) && !PURE.contains(&first)
    };
    paths_in(&source.text)
        .into_iter()
        .filter(|found| impure(&found.segments))
        .map(|found| format!("{}:{}: {}", source.path.display(), found.line, found.segments.join("::")))
        .collect()
}

/// Whether a path is a module or lies within it.
fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn room_of(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// Names of all dependencies, as code writes them.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(repository("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let tables = ["dependencies", "dev-dependencies"].map(|table| manifest[table].as_table().unwrap());
    tables.iter().flat_map(|table| table.keys()).map(|name| name.replace('-', "_")).collect()
}

/// Every file under `src/`.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(repository("").join(&directory)).unwrap() {
            let path = directory.join(entry.unwrap().file_name());
            let absolute = repository("").join(&path);
            if absolute.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(Source { text: fs::read_to_string(absolute).unwrap(), path });
            }
        }
    }
    assert!(found.len() > 50, "the sources are somewhere else");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn source(path: &str, text: &str) -> Source {
    Source { path: Path::new(path).to_owned(), text: text.to_owned() }
}
