//! What the shape of the source has to be: who may use whom, and what may be written where.

use crate::sources::{Source, members, sources};

/// Which of our crates each crate may use; tests and benchmarks may use all.
const ARROWS: [(&str, &[&str]); 6] = [
    ("backstore-protocol", &[]),
    ("backstore-platform", &["backstore-protocol"]),
    ("backstore-vfs", &["backstore-platform", "backstore-protocol"]),
    ("backstore-vault", &["backstore-platform", "backstore-protocol"]),
    ("backstored", &["backstore-vault", "backstore-platform", "backstore-protocol"]),
    ("backstore-agent", &["backstore-vfs", "backstore-vault", "backstore-platform", "backstore-protocol"]),
];
const USES_ALL: [&str; 2] = ["backstore-bench", "backstore-tests"];

#[test]
fn arrows_between_crates() {
    let members = members();
    assert_eq!(members.len(), ARROWS.len() + USES_ALL.len(), "a new crate needs its arrows here");
    for member in &members {
        if USES_ALL.contains(&&*member.name) {
            continue;
        }
        let allowed = ARROWS.iter().find(|(name, _)| *name == member.name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{} has no arrows here", member.name));
        for used in member.dependencies.union(&member.test_dependencies) {
            // A crate's tests may use it with features that only tests have.
            let is_itself = *used == member.name && !member.dependencies.contains(used);
            let is_ours = members.iter().any(|other| other.name == *used);
            assert!(!is_ours || is_itself || allowed.contains(&&**used), "{} uses {used}", member.name);
        }
    }
}

const THIS_FILE: &str = "tests/tests/all/architecture.rs";
/// Where the source may ask which system it is compiled for.
const SYSTEM_FOLDERS: [&str; 2] = ["platform/", "vfs/src/host/"];
const SYSTEM_WORDS: [&str; 6] =
    ["target_os", "target_family", "target_vendor", "target_env", "unix", "windows"];

#[test]
fn systems_are_told_apart_in_their_places_only() {
    for source in sources() {
        // This file holds conditions as examples.
        if source.path == THIS_FILE || SYSTEM_FOLDERS.iter().any(|folder| source.path.starts_with(folder)) {
            continue;
        }
        for condition in conditions(&source.text) {
            let word = words(condition).find(|word| SYSTEM_WORDS.contains(word));
            assert!(word.is_none(), "{}: cfg({condition})", source.path);
        }
    }
    for member in members() {
        let may = matches!(&*member.folder, "platform" | "vfs");
        assert!(may || !member.has_system_dependencies, "{} has dependencies by system", member.name);
    }
}

/// Names of tests in brackets behind what they hold: [`one`, `another`].
fn named_tests(text: &str) -> Vec<&str> {
    let brackets = text.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
    brackets
        .filter(|(inside, after)| inside.starts_with('`') && !after.starts_with('('))
        .flat_map(|(inside, _)| inside.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_promise_names_a_test() {
    let all = sources();
    let is_test = |name: &str| {
        let head = format!("fn {name}(");
        all.iter().any(|source| source.text.contains(&head))
    };
    let documents = [
        ("SEMANTICS.md", include_str!("../../../vfs/SEMANTICS.md"), 60),
        ("SECURITY.md", include_str!("../../../SECURITY.md"), 30),
    ];
    for (document, text, least) in documents {
        let named = named_tests(text);
        assert!(named.len() > least, "{named:?}");
        let missing: Vec<_> = named.into_iter().filter(|name| !is_test(name)).collect();
        assert!(missing.is_empty(), "{document} names tests that are not there: {missing:?}");
    }
}

/// What stands in the parentheses of every `cfg`, `cfg!` and `cfg_attr`.
fn conditions(text: &str) -> impl Iterator<Item = &str> {
    ["cfg(", "cfg!(", "cfg_attr("].into_iter().flat_map(move |start| {
        text.match_indices(start).map(move |(at, _)| {
            let inside = &text[at + start.len()..];
            let mut depth = 1;
            let end = inside.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            &inside[..end.unwrap_or(inside.len())]
        })
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn conditions_are_found() {
    let text =
        "#[cfg(all(test, unix))] x cfg!(windows) #[cfg_attr(target_os = \"linux\", y)] cfg(feature = \"a\"))";
    let found: Vec<_> = conditions(text).collect();
    assert_eq!(found, ["all(test, unix)", "feature = \"a\"", "windows", "target_os = \"linux\", y"]);
}

/// What the protocol must not ask the machine for; only its QUIC module does.
const MACHINE: [&str; 12] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::os",
    "SystemTime",
    "Instant::now",
    "thread::sleep",
    "thread::spawn",
    "getrandom",
    "rand::",
    "tokio",
];

#[test]
fn the_protocol_asks_the_machine_for_nothing() {
    let is_pure = |source: &Source| {
        source.path.starts_with("protocol/src/") && !source.path.starts_with("protocol/src/quic/")
    };
    let pure: Vec<_> = sources().into_iter().filter(is_pure).collect();
    assert!(!pure.is_empty());
    for source in pure {
        for word in MACHINE {
            assert!(!source.text.contains(word), "{}: {word}", source.path);
        }
        // `use std::{fmt, fs}` is the same in other words.
        for (at, start) in source.text.match_indices("std::{") {
            let group = source.text[at + start.len()..].split('}').next().unwrap_or_default();
            let word = words(group).find(|word| ["fs", "net", "env", "process", "os"].contains(word));
            assert_eq!(word, None, "{}", source.path);
        }
    }
}

const LINES_MAX: usize = 600;

#[test]
fn files_are_short_and_named_for_what_they_hold() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", source.path);
        let mut names = source.path.split(['/', '.']);
        let nothing = names
            .find(|name| ["util", "utils", "common", "helper", "helpers", "manager", "misc"].contains(name));
        assert_eq!(nothing, None, "{}", source.path);
    }
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not hold them.
    let markers =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!"), concat!("unimple", "mented!")];
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let marker = markers.into_iter().find(|marker| line.contains(marker));
            assert_eq!(marker, None, "{}:{}", source.path, number + 1);
        }
    }
}
