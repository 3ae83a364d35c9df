//! What is wrong around the programs: clocks, rights, folders for temporary files.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use backstore_tests::computer::{Computer, Ran};
use backstore_tests::{World, files_below, skipped, tree};

use crate::PROGRAMS;

/// A backup in the future was made while the clock was wrong; it must not look fresh for years.
#[test]
fn a_last_backup_in_the_future_is_not_fresh() {
    let world = World::new(PROGRAMS);
    let computer = Computer::new(&world, "home");
    computer.enrol_with_folder(&world.path("vault"));
    tree::write(&world.path("data/file"), b"text");
    computer.add_set("docs", &world.path("data"));
    computer.backup();
    computer.run(["status", "--max-age", "3d"]).ends(0);
    let states = files_below(&computer.home.join("state/lineages"));
    let state = states.iter().find(|path| path.extension().is_some_and(|end| end == "json")).unwrap();
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    let at = document["last-success-at"].as_i64().unwrap();
    document["last-success-at"] = (at + 20 * 365 * 86_400_000).into();
    fs::write(state, document.to_string()).unwrap();
    computer.run(["status", "--max-age", "3d"]).says(1, &["in the future", "TOO OLD"]);
    computer.backup();
    computer.run(["status", "--max-age", "3d"]).ends(0);
}

/// The agent as a user whom file modes concern.
struct Somebody<'a>(&'a Computer);

impl Somebody<'_> {
    /// Nobody, if this user may do anything.
    const NOBODY: u32 = 65_534;

    fn start(&self, arguments: &[&str]) -> io::Result<Ran> {
        let mut command = self.0.command(arguments);
        if rustix::process::geteuid().is_root() {
            command.uid(Self::NOBODY).gid(Self::NOBODY);
        }
        command.spawn().map(Ran::of)
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).unwrap()
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_and_folders_that_may_not_be_read() {
    let world = World::new(PROGRAMS);
    set_mode(&world.path("."), 0o777);
    let computer = Computer::new(&world, "home");
    let user = Somebody(&computer);
    let (vault, data) = (world.path("vault"), world.path("data"));
    tree::write(&data.join("open"), b"open");
    tree::write(&data.join("secret"), b"secret");
    tree::write(&data.join("closed/inside"), b"inside");
    let (vault, root) = (vault.to_str().unwrap(), data.to_str().unwrap());
    match user.start(&["init", vault]) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let because = format!("another user cannot run {}: {error}", PROGRAMS.backstore);
            return skipped("files_and_folders_that_may_not_be_read", &because);
        }
        made => made.unwrap().ends(0),
    };
    user.run(&["login", vault]).ends(0);
    user.run(&["set", "add", "docs", root]).ends(0);

    set_mode(&data.join("secret"), 0);
    set_mode(&data.join("closed"), 0);
    let ran = user.run(&["backup", "--json"]).says(3, &["data/secret", "data/closed", "denied"]);
    assert_eq!((ran.json()["errors"].as_u64(), ran.json()["files_new"].as_u64()), (Some(2), Some(2)));
    user.run(&["status"]).says(0, &["2 files were not read whole"]);

    // Once they may be read, they are.
    set_mode(&data.join("secret"), 0o644);
    set_mode(&data.join("closed"), 0o755);
    assert_eq!(user.run(&["backup", "--json"]).ends(0).json()["errors"], 0);

    // What was read once is kept, and no file counts as removed.
    tree::write(&data.join("secret"), b"another secret");
    set_mode(&data.join("secret"), 0);
    set_mode(&data.join("closed"), 0);
    let ran = user.run(&["backup", "--json"]).says(3, &["data/secret", "is kept", "data/closed"]);
    assert_eq!(ran.json()["files_removed"], 0);
    let inside = data.join("closed/inside");
    assert_eq!(user.run(&["dump", inside.to_str().unwrap()]).ends(0).out, "inside");
    set_mode(&data.join("closed"), 0o755);
}

/// Nothing is ever put into the folder for temporary files, so it may be full, or not be there.
#[test]
fn no_folder_for_temporary_files() {
    let world = World::new(PROGRAMS);
    let mut computer = Computer::new(&world, "home");
    let nowhere = world.path("nowhere");
    computer.environment = ["TMPDIR", "TMP", "TEMP"].map(|name| (name.into(), nowhere.clone().into())).into();
    let (vault, data) = (world.path("vault"), world.folder("data"));
    computer.enrol_with_folder(&vault);
    tree::example(&data);
    computer.add_set("docs", &data);
    computer.backup();
    computer.run(["verify", "--full"]).ends(0);
    let restored = world.path("restored");
    computer.run(["restore", data.to_str().unwrap(), "--to", restored.to_str().unwrap()]).ends(0);
    assert_eq!(tree::describe(&restored.join("data")), tree::describe(&data));
    let mut check = Command::new(PROGRAMS.backstored);
    check.env("TMPDIR", &nowhere).arg("check").arg("--vault").arg(&vault);
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!nowhere.exists());
}
