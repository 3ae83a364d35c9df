//! Checking and rebuilding a vault that was damaged, with and without a server that runs.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use backstore_protocol::ids::{DeviceId, LineageId, ObjectId, SnapshotId};
use backstore_protocol::object::{ObjectKind, SealedObject};
use backstore_vault::registry::Registry;
use backstore_vault::{AccountNumber, Commit, SnapshotHead};
use bytes::Bytes;

use super::*;
use crate::checking::{CheckLine, Step, check};
use crate::identity::socket_path;
use crate::service::Service;

const DEVICE: DeviceId = DeviceId::from_bytes([7; 16]);

fn machine() -> Arc<dyn Machine> {
    Arc::new(System)
}

fn object(kind: ObjectKind, name: u8, references: &[ObjectId]) -> SealedObject {
    let references: Vec<u8> = references.iter().flat_map(|id| *id.as_bytes()).collect();
    let sealed = Bytes::from(vec![name; 20_000]);
    SealedObject {
        id: ObjectId::from_bytes([name; 32]),
        kind,
        level: 0,
        references: references.into(),
        sealed,
    }
}

fn objects() -> Vec<SealedObject> {
    let data = object(ObjectKind::Data, 1, &[]);
    let root = object(ObjectKind::Tree, 2, &[data.id]);
    vec![data, root, object(ObjectKind::Body, 3, &[])]
}

/// A vault in which alice has one snapshot.
fn vault_of_alice() -> (tempfile::TempDir, AccountNumber) {
    let dir = tempfile::tempdir().unwrap();
    run_line(dir.path(), &["init"]).unwrap();
    let vault = open(dir.path(), &machine()).unwrap();
    let number = Registry::new(&vault).create_account("alice", 0).unwrap();
    let account = vault.account(number);
    account.put(DEVICE, objects()).unwrap().wait().unwrap();
    let head = SnapshotHead {
        id: SnapshotId::from_bytes([9; 32]),
        lineage: LineageId::from_bytes([8; 16]),
        sequence: 1,
        fencing: 1,
        previous: None,
        root: objects()[1].id,
        body: objects()[2].id,
    };
    account.commit(&Commit { device: DEVICE, head, header: &[1; 408] }).unwrap();
    vault.close().unwrap();
    (dir, number)
}

/// What the program does with these words and a vault.
fn run_line(dir: &Path, words: &[&str]) -> Result<Exit, CliError> {
    let dir = dir.to_str().unwrap();
    let place: &[&str] = if words == ["init"] { &[dir] } else { &["--vault", dir] };
    let cli = Cli::try_parse_from([&["backstored"], words, place].concat()).unwrap();
    run_command(cli.command, &machine())
}

fn pack(dir: &Path, class: &str) -> PathBuf {
    let packs = fs::read_dir(dir.join("packs")).unwrap().map(|entry| entry.unwrap().path());
    packs.into_iter().find(|path| path.extension().is_some_and(|found| found == class)).unwrap()
}

/// Flips a bit in the data object.
fn damage(dir: &Path) {
    let path = pack(dir, "data");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096 + 144 + 1000] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn check_text(vault: &Vault, repair: bool) -> String {
    check(vault, 0, repair, |_| ControlFlow::Continue(())).unwrap().to_string()
}

#[test]
fn damage_is_named_marked_and_healed() {
    let (dir, number) = vault_of_alice();
    assert_eq!(run_line(dir.path(), &["check"]).unwrap(), Exit::Ok);
    assert_eq!(run_line(dir.path(), &["check", "--repair", "--json"]).unwrap(), Exit::Ok);
    damage(dir.path());
    let name = pack(dir.path(), "data").file_name().unwrap().to_str().unwrap().to_owned();

    let vault = open(dir.path(), &machine()).unwrap();
    let text = check_text(&vault, false);
    let id = objects()[0].id;
    assert!(
        text.contains(&format!("packs/{name} at byte 4096: alice: object {id}: the record is damaged\n")),
        "{text}"
    );
    assert!(text.contains("alice: snapshot 1 of lineage"), "{text}");
    assert!(text.contains("1 problems") && text.contains("Nothing was changed"), "{text}");
    vault.close().unwrap();

    assert_eq!(run_line(dir.path(), &["check"]).unwrap(), Exit::Incomplete);
    assert_eq!(run_line(dir.path(), &["check", "--repair"]).unwrap(), Exit::Incomplete);
    let vault = open(dir.path(), &machine()).unwrap();
    let account = vault.account(number);
    assert_eq!(account.have(&[id]).unwrap(), [false]);
    let text = check_text(&vault, true);
    assert!(text.contains("1 objects are marked as damaged"), "{text}");
    account.put(DEVICE, objects()).unwrap().wait().unwrap();
    assert!(check_text(&vault, false).starts_with("No damage"));
    vault.close().unwrap();
    assert_eq!(run_line(dir.path(), &["check"]).unwrap(), Exit::Ok);
}

#[test]
fn a_running_server_checks_itself() {
    let (dir, _) = vault_of_alice();
    damage(dir.path());
    let vault = open(dir.path(), &machine()).unwrap();
    let here = check(&vault, 0, false, |_| ControlFlow::Continue(())).unwrap();
    let service = Arc::new(Service::new(vault, machine(), 1 << 20));
    local::listen(&service, &socket_path(dir.path())).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    let asked =
        local::ask(&socket_path(dir.path()), &Request::Check { repair: false }, |step| steps.push(step));
    assert_eq!(asked.unwrap(), Some(Response::Checked { report: here }));
    assert!(steps.last().is_some_and(|last| last.bytes == last.bytes_total), "{steps:?}");
    assert_eq!(run_line(dir.path(), &["check", "--repair"]).unwrap(), Exit::Incomplete);
    let rebuilt = run_line(dir.path(), &["rebuild-index"]);
    assert_eq!(rebuilt.unwrap_err().exit(), Exit::Locked);
}

#[test]
fn an_index_is_made_anew() {
    let (dir, number) = vault_of_alice();
    assert_eq!(run_line(dir.path(), &["rebuild-index"]).unwrap(), Exit::Ok);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    assert_eq!(run_line(dir.path(), &["rebuild-index"]).unwrap(), Exit::Ok);
    let vault = open(dir.path(), &machine()).unwrap();
    assert_eq!(vault.report().index_rebuilt, None);
    assert_eq!(vault.account(number).lineages().unwrap().len(), 1);
    vault.close().unwrap();

    // What no pack has is missed.
    fs::remove_file(pack(dir.path(), "data")).unwrap();
    assert_eq!(run_line(dir.path(), &["rebuild-index"]).unwrap(), Exit::Incomplete);
    assert_eq!(run_line(dir.path(), &["check"]).unwrap(), Exit::Incomplete);
    let vault = open(dir.path(), &machine()).unwrap();
    vault.account(number).put(DEVICE, objects()).unwrap().wait().unwrap();
    vault.close().unwrap();
    assert_eq!(run_line(dir.path(), &["rebuild-index"]).unwrap(), Exit::Ok);
    assert_eq!(run_line(dir.path(), &["check"]).unwrap(), Exit::Ok);
}

#[test]
fn without_a_vault_there_is_nothing_to_check() {
    let dir = tempfile::tempdir().unwrap();
    for words in [["check"], ["rebuild-index"]] {
        assert_eq!(run_line(dir.path(), &words).unwrap_err().exit(), Exit::NotFound);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_report_says_how_much_is_left_out() {
    let line = CheckLine { findings_count: 5, affected_count: 3, ..CheckLine::default() };
    let text = line.to_string();
    assert!(
        text.contains("… and 5 more") && text.contains("3 snapshots") && text.contains("… and 3 more"),
        "{text}"
    );
}
