//! Everything that users, disks and networks do wrong ends in a message that says what and where, and in the documented exit code.

use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::process::Stdio;

use backstore_tests::World;
use backstore_tests::computer::Computer;
use backstore_tests::server::Server;
use backstore_tests::tree;
use backstore_vault::registry::Registry;
use backstore_vault::{OpenOptions, Vault};

use crate::PROGRAMS;

/// A computer with a set, whose archive is in a folder.
fn with_folder() -> (World, Computer) {
    let world = World::new(PROGRAMS);
    let computer = Computer::new(&world, "home");
    computer.enrol_with_folder(&world.path("vault"));
    tree::example(&world.folder("data"));
    computer.add_set("docs", &world.path("data"));
    (world, computer)
}

#[test]
fn nothing_is_set_up() {
    let world = World::new(PROGRAMS);
    let computer = Computer::new(&world, "home");
    computer.run(["backup"]).says(2, &["set add"]);
    computer.add_set("docs", &world.folder("data"));
    computer.run(["backup"]).says(10, &["belongs to no account", "backstore login"]);
    computer.run(["status"]).says(0, &["never backed up", "backstore login"]);
    computer.run(["status", "--max-age", "3d"]).says(1, &["docs"]);
}

#[test]
fn words_and_flags_that_are_not_there() {
    let world = World::new(PROGRAMS);
    let computer = Computer::new(&world, "home");
    computer.run(["bakcup"]).says(2, &["bakcup"]);
    computer.run(["backup", "--fast"]).says(2, &["--fast"]);
    computer.run(["prune"]).says(2, &["destination"]);
    computer.run(["extract"]).says(2, &["restore"]);
    computer.run(["status", "--max-age", "soon"]).says(2, &["soon", "3d"]);
    computer.run(["set", "add", "", "/"]).says(2, &["name"]);
    computer.run(["backup", "--tag", "a/b"]).ends(2);
}

#[test]
fn unknown_sets() {
    let (_world, computer) = with_folder();
    computer.run(["backup", "photos"]).says(10, &["photos", "set list"]);
    computer.run(["set", "show", "photos"]).says(10, &["photos"]);
    computer.run(["set", "remove", "photos"]).says(10, &["photos"]);
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let (_world, computer) = with_folder();
    let path = computer.home.join("config/config.toml");
    let good = fs::read(&path).unwrap();
    fs::write(&path, b"[[set]]\nname = 7\n").unwrap();
    computer.run(["backup"]).says(2, &["config.toml", "name"]);
    fs::write(&path, [&good[..], b"\nunknown-word = 1\n"].concat()).unwrap();
    computer.run(["backup"]).says(2, &["config.toml", "unknown-word"]);
    fs::write(&path, b"\xff\xfe\x00").unwrap();
    assert_ne!(computer.run(["backup"]).code, 0);
    fs::write(&path, &good).unwrap();
    computer.run(["backup"]).ends(0);
}

#[test]
fn wrong_passwords() {
    let (world, computer) = with_folder();
    let mut other = Computer::new(&world, "other");
    other.password = "something else".to_owned();
    let vault = world.path("vault");
    other.run(["login", vault.to_str().unwrap()]).says(12, &["password"]);
    // The computer that is enrolled is none the worse.
    computer.backup();
    other.password = computer.password.clone();
    other.run(["login", vault.to_str().unwrap()]).ends(0);
}

#[test]
fn wrong_passwords_at_a_server() {
    let world = World::new(PROGRAMS);
    let server = Server::start(&world, "vault");
    let first = Computer::new(&world, "first");
    first.run(["login", &server.invite("alice")]).ends(0);
    let mut second = Computer::new(&world, "second");
    second.password = "something else".to_owned();
    let invitation = server.invite("alice");
    second.run(["login", &invitation]).says(12, &["password"]);
    // A mistyped password does not use the invitation up.
    second.password = first.password.clone();
    second.run(["login", &invitation]).ends(0);
    // Once used it is.
    let third = Computer::new(&world, "third");
    let refused = third.run(["login", &invitation]);
    assert!(refused.code == 1 && refused.err.contains("invitation"), "{}", refused.err);
}

#[test]
fn a_server_with_another_key() {
    let world = World::new(PROGRAMS);
    let server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    let invitation = server.invite("alice");
    let (url, fingerprint) = invitation.split_once('#').unwrap();
    let flipped: String = fingerprint
        .chars()
        .enumerate()
        .map(|(at, c)| if at == 3 { if c == 'a' { 'b' } else { 'a' } } else { c })
        .collect();
    computer.run(["login", &format!("{url}#{flipped}")]).says(1, &["fingerprint", fingerprint]);
    computer.run(["login", &invitation]).ends(0);
}

#[test]
fn invitations_that_are_none() {
    let world = World::new(PROGRAMS);
    let computer = Computer::new(&world, "home");
    for text in [
        "backstore://",
        "backstore://host",
        "backstore://host:99999/a/b#c",
        "backstore://host/a/b",
        "backstore:x",
    ] {
        computer.run(["login", text]).says(2, &["invitation"]);
    }
    let nowhere = world.path("nowhere");
    computer.run(["login", nowhere.to_str().unwrap()]).says(10, &["nowhere", "init"]);
    assert!(!nowhere.exists());
}

#[test]
fn a_device_the_server_does_not_know() {
    let world = World::new(PROGRAMS);
    let mut server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    computer.add_set("docs", &world.folder("data"));
    computer.backup();
    // The same server key over an empty vault: as if the vault had been lost.
    server.stop();
    let key = server.vault.join("server.key");
    let key = if key.exists() { key } else { find_key(&server.vault) };
    let kept = fs::read(&key).unwrap();
    let name = key.strip_prefix(&server.vault).unwrap().to_owned();
    fs::remove_dir_all(&server.vault).unwrap();
    let address = server.address.clone();
    let mut empty = Server::start(&world, "vault");
    empty.stop();
    fs::write(empty.vault.join(name), kept).unwrap();
    empty.address = address;
    empty.restart();
    computer.run(["backup"]).says(1, &["device"]);
}

#[test]
fn a_device_that_was_revoked() {
    let world = World::new(PROGRAMS);
    let mut server = Server::start(&world, "vault");
    let [lost, kept] = ["lost", "kept"].map(|name| {
        let computer = Computer::new(&world, name);
        computer.run(["login", &server.invite("alice")]).ends(0);
        computer.add_set(name, &world.folder("data"));
        computer.backup();
        computer
    });
    server.stop();
    {
        let machine = std::sync::Arc::new(backstore_platform::machine::System);
        let vault = Vault::open(OpenOptions::server(server.vault.clone(), machine)).unwrap();
        let registry = Registry::new(&vault);
        let (number, _) = registry.account("alice").unwrap().unwrap();
        let state = registry.state(number).unwrap();
        assert!(registry.revoke(&state.devices[0].tls).unwrap());
    }
    server.restart();
    lost.run(["backup"]).says(1, &["this device was revoked", "ask whoever runs the server"]);
    lost.run(["snapshots"]).says(1, &["this device was revoked", "ask whoever runs the server"]);
    lost.run(["restore", "--to", world.path("nothing").to_str().unwrap()]).says(1, &["revoked"]);
    kept.backup();
}

/// The file with the server's key: the one that only its user can read.
fn find_key(vault: &std::path::Path) -> std::path::PathBuf {
    let mut files = backstore_tests::files_below(vault);
    files.retain(|path| path.to_string_lossy().contains("key"));
    files.pop().expect("a vault has a key")
}

#[test]
fn a_server_that_is_not_there() {
    let world = World::new(PROGRAMS);
    let mut server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    computer.add_set("docs", &world.folder("data"));
    computer.backup();
    let config = computer.home.join("config/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("retry-seconds = 60"), "{text}");
    fs::write(&config, text.replace("retry-seconds = 60", "retry-seconds = 2")).unwrap();
    server.kill();
    computer.run(["backup"]).says(1, &[&server.address]);
    computer.run(["status"]).says(0, &["last attempt"]);
    server.restart();
    computer.backup();
}

#[test]
fn a_destination_folder_that_is_missing() {
    let (world, computer) = with_folder();
    computer.backup();
    fs::rename(world.path("vault"), world.path("elsewhere")).unwrap();
    computer.run(["backup"]).says(10, &["vault", "connected"]);
    assert!(!world.path("vault").exists(), "it is never made anew");
    world.folder("vault");
    computer.run(["backup"]).says(10, &["vault"]);
    fs::remove_dir(world.path("vault")).unwrap();
    fs::rename(world.path("elsewhere"), world.path("vault")).unwrap();
    computer.backup();
}

#[test]
fn another_vault_in_the_folder() {
    let (world, computer) = with_folder();
    computer.backup();
    fs::rename(world.path("vault"), world.path("elsewhere")).unwrap();
    computer.run(["init", world.path("vault").to_str().unwrap()]).ends(0);
    computer.run(["backup"]).says(1, &["another vault"]);
}

#[test]
fn a_vault_that_is_in_use() {
    let world = World::new(PROGRAMS);
    let server = Server::start(&world, "vault");
    server.administer(&["rebuild-index"]).says(11, &["vault"]);
    let computer = Computer::new(&world, "home");
    computer.run(["login", server.vault.to_str().unwrap()]).ends(11);
}

/// A server let in nobody who had called it 16 times within half a minute: it kept the connections of programs that had ended.
#[test]
fn one_command_after_the_other_is_let_in() {
    let world = World::new(PROGRAMS);
    let server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    computer.add_set("docs", &world.folder("data"));
    let config = computer.home.join("config/config.toml");
    let text = fs::read_to_string(&config).unwrap().replace("retry-seconds = 60", "retry-seconds = 0");
    fs::write(&config, text).unwrap();
    for number in 0..20 {
        tree::write(&world.path("data/file"), &[number]);
        computer.backup();
        computer.run(["snapshots"]).ends(0);
    }
}

#[test]
fn init_where_something_is() {
    let world = World::new(PROGRAMS);
    let computer = Computer::new(&world, "home");
    tree::write(&world.path("full/file"), b"x");
    let full = world.path("full");
    computer.run(["init", full.to_str().unwrap()]).says(1, &["full", "not empty"]);
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
}

#[test]
fn roots_that_are_missing_or_empty() {
    let (world, computer) = with_folder();
    let report = computer.backup();
    fs::rename(world.path("data"), world.path("away")).unwrap();
    computer.run(["backup"]).says(1, &["data"]);
    world.folder("data");
    computer.run(["backup"]).says(1, &["data", "--accept-root-change"]);
    let status = computer.run(["status", "--json"]).ends(0).json();
    assert_eq!(status["sets"][0]["version"], report["snapshot"], "nothing was committed");
    computer.run(["backup", "--accept-root-change"]).ends(0);
    let never = world.path("never");
    computer.run(["set", "add", "never", never.to_str().unwrap()]);
    assert_ne!(computer.run(["backup", "never"]).code, 0);
}

#[test]
fn passwords_are_not_arguments() {
    let world = World::new(PROGRAMS);
    let computer = Computer::new(&world, "home");
    computer.run(["init", world.path("vault").to_str().unwrap()]).ends(0);
    let mut command =
        computer.command(["login", world.path("vault").to_str().unwrap(), "--password-file", "-"]);
    command.env_remove("BACKSTORE_PASSWORD").stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"correct horse battery\n").unwrap();
    backstore_tests::computer::Ran::of(child).ends(0);
    // Nobody to ask.
    let mut command =
        Computer::new(&world, "other").command(["login", world.path("vault").to_str().unwrap()]);
    command.env_remove("BACKSTORE_PASSWORD");
    backstore_tests::computer::Ran::of(command.spawn().unwrap()).says(2, &["--password-file"]);
}

#[test]
fn rubbish_on_the_wire_does_not_disturb_the_server() {
    let world = World::new(PROGRAMS);
    let mut server = Server::start(&world, "vault");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for seed in 0..200 {
        let length = (seed as usize * 37) % 1400 + 1;
        socket.send_to(&tree::noise(seed, length), &server.address).unwrap();
    }
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    computer.add_set("docs", &world.folder("data"));
    computer.backup();
    assert_eq!(server.stop(), 0);
}
