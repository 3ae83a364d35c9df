//! Words that versions are given after they were made, by several computers.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use backstore_tests::computer::{Computer, Ran};
use backstore_tests::server::Server;
use backstore_tests::{World, files_below, tree, versions};

use crate::PROGRAMS;
use crate::mount::{has_fuse, until};

/// The words of each version of a set, newest first.
fn tags(computer: &Computer, set: &str) -> Vec<Vec<String>> {
    let listed = computer.run(["snapshots", "--json", set]).ends(0);
    let words = |line: &str| {
        let version: serde_json::Value = serde_json::from_str(line).unwrap();
        let tags = version["tags"].as_array().unwrap().iter();
        tags.map(|tag| tag.as_str().unwrap().to_owned()).collect()
    };
    listed.out.lines().map(words).collect()
}

/// A computer with two versions, the first of them made with the word `first`.
fn two_versions(computer: &Computer, data: &Path) {
    tree::write(&data.join("a"), b"one");
    computer.add_set("docs", data);
    computer.run(["backup", "--tag", "first"]).ends(0);
    tree::write(&data.join("a"), b"other");
    computer.backup();
}

#[test]
fn several_computers_give_and_take_the_tags_of_one_set() {
    let world = World::new(PROGRAMS);
    let mut server = Server::start(&world, "server");
    let invite = server.invite("anna");
    let one = Computer::new(&world, "one");
    one.run(["login", &invite, "--device", "one"]).ends(0);
    two_versions(&one, &world.path("data"));
    let other = Computer::new(&world, "other");
    other.run(["login", &server.invite("anna"), "--device", "other"]).ends(0);
    one.run(["tag", "release 1"]).says(0, &["docs", "has the tag release 1"]);
    other.run(["tag", "sent", "--at", "latest"]).ends(0);
    other.run(["tag", "first", "--at", "latest"]).ends(0);
    assert_eq!(tags(&one, "docs"), [vec!["first", "release 1", "sent"], vec!["first"]]);
    one.run(["tag", "sent"]).says(0, &["already"]);
    // Each takes away what the other gave, and what a backup was made with; and may give it again.
    other.run(["tag", "--remove", "release 1"]).says(0, &["no longer has"]);
    one.run(["tag", "--remove", "sent"]).ends(0);
    let oldest = one.run(["snapshots", "--json"]).ends(0).out;
    let oldest: serde_json::Value = serde_json::from_str(oldest.lines().last().unwrap()).unwrap();
    let oldest = oldest["version"].as_str().unwrap();
    other.run(["tag", "--remove", "first", "--at", oldest]).ends(0);
    assert_eq!(tags(&other, "docs"), [vec!["first"], vec![]]);
    other.run(["tag", "--remove", "first", "--at", oldest]).says(1, &[oldest, "no tag \"first\""]);
    one.run(["tag", "first", "--at", oldest]).ends(0);
    server.stop();
    server.restart();
    assert_eq!(tags(&other, "docs"), [vec!["first"], vec!["first"]]);
    let listed = other.run(["tag", "--list", "--json"]).ends(0);
    let listed = listed.out.lines().map(|line| serde_json::from_str(line).unwrap());
    let listed: Vec<(String, String)> = listed
        .map(|line: serde_json::Value| {
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            assert_eq!((&*text("set"), &*text("device")), ("docs", "one"));
            (text("tag"), text("version"))
        })
        .collect();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|(tag, _)| tag == "first"));
    assert!(listed[0].1 > listed[1].1 && listed[1].1 == oldest, "newest first: {listed:?}");
    assert_eq!(one.run(["tag", "--list", "firs"]).ends(0).out, "");
    let text = one.run(["tag", "--list", "first"]).ends(0).out;
    let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(lines, ["first", &*listed[0].1, &*listed[1].1]);
    let found = one.run(["snapshots", "--json", "--tag", "first"]).ends(0);
    assert_eq!(found.out.lines().count(), 2);
    // What is said of tags is no backup set, and none is needed to say it.
    assert_eq!(one.run(["snapshots", "--json"]).ends(0).out.lines().count(), 2);
    one.run(["snapshots", "tags"]).ends(10);
    one.run(["verify", "--full"]).ends(0);
    one.run(["status", "--max-age", "1d"]).ends(0);
    one.run(["ls"]).ends(0);
    one.run(["tag", "--remove", "first", "--all"])
        .says(0, &["docs: 2 versions no longer have the tag first"]);
    assert_eq!(tags(&other, "docs"), [vec![""; 0], vec![]]);
    other
        .run(["tag", "--remove", "first", "--all"])
        .says(1, &["no version of set docs", "\"first\"", "tag --list"]);
    assert_eq!(other.run(["tag", "--list"]).ends(0).out, "");
}

#[test]
fn a_mount_follows_what_is_said_of_tags() {
    if !has_fuse("a_mount_follows_what_is_said_of_tags") {
        return;
    }
    let world = World::new(PROGRAMS);
    let computer = Computer::new(&world, "home");
    computer.enrol_with_folder(&world.path("vault"));
    two_versions(&computer, &world.path("data"));
    computer.run(["tag", "before"]).ends(0);
    let point = world.path("mounted");
    computer.run([OsStr::new("mount"), point.as_os_str()]).ends(0);
    let shown = |tag: &str| {
        let listed = fs::read_dir(point.join(".backstore/tags").join(tag)).into_iter().flatten();
        listed.map(|link| link.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let mut names: Vec<_> = versions(&point)
        .iter()
        .map(|version| version.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    until("the tag from before", || shown("before") == names[1..]);
    assert_eq!(shown("first"), names[..1]);
    computer.run(["tag", "later", "--at", &names[0]]).ends(0);
    until("the new tag", || shown("later") == names[..1]);
    computer.run(["tag", "--remove", "first", "--at", &names[0]]).ends(0);
    until("the end of a tag", || shown("first").is_empty());
    // Of a computer that came later as well.
    let other = Computer::new(&world, "other");
    let vault = world.path("vault");
    other.run([OsStr::new("login"), vault.as_os_str(), "--device".as_ref(), "workshop".as_ref()]).ends(0);
    other.run(["tag", "from there"]).ends(0);
    until("the tag of another computer", || shown("from there") == names[1..]);
    assert!(!point.join("sets/tags").exists());
    computer.run([Path::new("umount"), &point]).ends(0);
}

/// Several processes of one computer write to its one tag lineage: each begins again until it was the one that came first.
#[test]
fn tags_given_at_the_same_moment_are_all_kept() {
    let world = World::new(PROGRAMS);
    let server = Server::start(&world, "server");
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("anna")]).ends(0);
    two_versions(&computer, &world.path("data"));
    let words = ["a", "b", "c", "d"];
    let running = words.map(|word| computer.command(["tag", word]).spawn().unwrap());
    for child in running {
        Ran::of(child).ends(0);
    }
    assert_eq!(tags(&computer, "docs"), [words.to_vec(), vec!["first"]]);
}

/// Flips a bit in each node that the packs hold beyond the lengths they had, and in its copies; how many there were.
fn damage_newer_nodes(server: &Server, lengths: &HashMap<PathBuf, usize>) -> usize {
    const RECORD_OF_NODE: [u8; 5] = [0x8b, 0x42, 0x52, 1, 2];
    const HEADER: usize = 144;
    let mut damaged = 0;
    for path in files_below(&server.vault.join("packs")) {
        let mut bytes = fs::read(&path).unwrap();
        let from = lengths.get(&path).copied().unwrap_or(0);
        let starts = bytes[from..].windows(RECORD_OF_NODE.len()).enumerate();
        let starts: Vec<_> =
            starts.filter(|(_, bytes)| *bytes == RECORD_OF_NODE).map(|(start, _)| from + start).collect();
        starts.iter().for_each(|start| bytes[start + HEADER + 200] ^= 0x10);
        damaged += starts.len();
        fs::write(&path, bytes).unwrap();
    }
    damaged
}

#[test]
fn damaged_tags_are_named_and_hide_nothing_else() {
    let world = World::new(PROGRAMS);
    let mut server = Server::start(&world, "server");
    let one = Computer::new(&world, "one");
    one.run(["login", &server.invite("anna"), "--device", "one"]).ends(0);
    two_versions(&one, &world.path("data"));
    // One that has not read what is to be damaged, so that it has no copy of it.
    let other = Computer::new(&world, "other");
    other.run(["login", &server.invite("anna"), "--device", "other"]).ends(0);
    server.stop();
    server.restart();
    let packs = files_below(&server.vault.join("packs"));
    let lengths = packs.into_iter().map(|path| (path.clone(), fs::metadata(path).unwrap().len() as usize));
    let lengths = lengths.collect();
    one.run(["tag", "lost"]).ends(0);
    server.stop();
    assert!(damage_newer_nodes(&server, &lengths) > 0);
    server.restart();
    let named = ["what one said of tags cannot be read", "damaged at the destination"];
    other.run(["snapshots"]).says(0, &named).says(0, &["#first"]);
    other.run(["tag", "--list"]).says(0, &named);
    other.run(["verify"]).says(3, &["something is DAMAGED"]).says(3, &named);
    other.run(["tag", "kept"]).says(0, &named);
    assert_eq!(tags(&other, "docs"), [vec!["kept"], vec!["first"]]);
    if has_fuse("damaged_tags_are_named_and_hide_nothing_else") {
        let point = world.path("mounted");
        other.run([OsStr::new("mount"), point.as_os_str()]).ends(0);
        assert_eq!(versions(&point).len(), 2);
        until("the tag that can be read", || point.join(".backstore/tags/kept").exists());
        assert!(!point.join(".backstore/tags/lost").exists());
        other.run([Path::new("umount"), &point]).ends(0);
    }
    // Whose tags they were has a copy of what it said, and goes on from there.
    one.run(["tag", "again"]).ends(0);
    assert_eq!(tags(&other, "docs"), [vec!["again", "kept", "lost"], vec!["first"]]);
}

#[test]
fn what_is_no_tag_or_no_version_is_refused() {
    let world = World::new(PROGRAMS);
    let computer = Computer::new(&world, "home");
    computer.run(["tag", "x"]).says(10, &["belongs to no account"]);
    computer.enrol_with_folder(&world.path("vault"));
    computer.run(["tag", "x"]).says(10, &["nothing has been backed up"]);
    two_versions(&computer, &world.path("data"));
    for wrong in ["", ".", "a/b", "a\nb", &"x".repeat(256)] {
        computer.run(["tag", wrong]).says(2, &["is not a tag"]);
    }
    computer.run(["tag", "x", "--at", "1999-01-01"]).says(10, &["1999-01-01"]);
    computer.run(["tag", "x", "--set", "other"]).says(10, &["other"]);
    for wrong in [
        &["tag"][..],
        &["tag", "x", "--all"],
        &["tag", "x", "--json"],
        &["tag", "--list", "--at", "latest"],
        &["tag", "--list", "--remove"],
        &["tag", "x", "--remove", "--all", "--at", "latest"],
    ] {
        computer.run(wrong).says(2, &["Usage"]);
    }
    computer.run(["tag", "--list", "--set", "other"]).says(10, &["other"]);
    assert_eq!(tags(&computer, "docs"), [vec![], vec!["first"]]);
}
