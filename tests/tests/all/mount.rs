//! Mounting: from the command to the end of the process in the background. Needs FUSE; without it these are skipped, loudly.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use backstore_tests::computer::Computer;
use backstore_tests::server::Server;
use backstore_tests::{World, files_below, skipped, tree, versions};

use crate::PROGRAMS;

pub(crate) fn has_fuse(test: &str) -> bool {
    let opened = File::options().read(true).write(true).open("/dev/fuse");
    if let Err(error) = &opened {
        skipped(test, &format!("/dev/fuse: {error}"));
    }
    opened.is_ok()
}

/// A computer whose set was backed up once, and a folder to mount at that is not there yet.
fn backed_up(test: &str) -> Option<(World, Computer, PathBuf)> {
    if !has_fuse(test) {
        return None;
    }
    let world = World::new(PROGRAMS);
    let computer = Computer::new(&world, "home");
    computer.enrol_with_folder(&world.path("vault"));
    tree::example(&world.folder("data"));
    computer.add_set("docs", &world.path("data"));
    computer.backup();
    let point = world.path("mounted");
    Some((world, computer, point))
}

/// What a version shows is what was backed up.
#[track_caller]
pub(crate) fn equals(version: &Path, data: &Path) {
    let shown = version.join(data.strip_prefix("/").unwrap());
    let below = |folder: &Path| {
        let files = files_below(folder).into_iter();
        files.map(|file| file.strip_prefix(folder).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(below(&shown), below(data));
    for file in below(data) {
        if data.join(&file).is_symlink() {
            assert_eq!(fs::read_link(shown.join(&file)).unwrap(), fs::read_link(data.join(&file)).unwrap());
        } else if data.join(&file).is_file() {
            assert_eq!(fs::read(shown.join(&file)).unwrap(), fs::read(data.join(&file)).unwrap(), "{file:?}");
        }
    }
}

/// Waits for what comes by itself, but not for ever.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    /// Far longer than anything takes: only a fault needs it.
    const PATIENCE: Duration = Duration::from_secs(120);
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

pub(crate) fn mount(computer: &Computer, point: &Path) {
    computer.run([Path::new("mount"), point]).says(0, &["mounted at", "set docs", "backstore umount"]);
}

/// The process that serves the only mount.
pub(crate) fn server_of(computer: &Computer) -> String {
    let records = files_below(&computer.home.join("state/mounts"));
    let record = records.iter().find(|file| file.extension().is_some_and(|end| end == "json")).unwrap();
    record.file_stem().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_mount_shows_every_version_and_new_ones_come_by_themselves() {
    let test = "a_mount_shows_every_version_and_new_ones_come_by_themselves";
    let Some((world, computer, point)) = backed_up(test) else { return };
    mount(&computer, &point);
    equals(&point.join("latest"), &world.path("data"));
    computer.run([Path::new("mount"), &point]).says(11, &["already"]);
    fs::write(world.path("data").join("new"), b"new").unwrap();
    computer.backup();
    until("the new version", || versions(&point).len() == 2);
    equals(&versions(&point)[1], &world.path("data"));
    assert!(!versions(&point)[0].join(world.path("data").strip_prefix("/").unwrap()).join("new").exists());
    computer.run([Path::new("umount"), &point]).says(0, &["unmounted"]);
    assert!(!point.exists(), "it was made for the mount");
    assert!(files_below(&computer.home.join("state/mounts")).is_empty());
}

/// Whoever has no keys is told so before anything is mounted; what is mounted has its keys, and stays.
#[test]
fn without_its_keys_nothing_is_mounted() {
    let test = "without_its_keys_nothing_is_mounted";
    let Some((world, computer, point)) = backed_up(test) else { return };
    mount(&computer, &point);
    let another = world.path("another");
    let keyring = computer.home.join("state/keyring");
    let whole = fs::read(&keyring).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for kept in [Some(damaged), Some(Vec::new()), None] {
        match kept {
            Some(bytes) => fs::write(&keyring, bytes).unwrap(),
            None => fs::remove_file(&keyring).unwrap(),
        }
        computer.run([Path::new("mount"), &another]).says(1, &["state/keyring"]);
        assert!(!another.exists());
        equals(&point.join("latest"), &world.path("data"));
    }
    computer.run([Path::new("umount"), &point]).says(0, &["unmounted"]);
}

#[test]
fn the_system_mounts_by_the_helper() {
    let test = "the_system_mounts_by_the_helper";
    let Some((world, computer, point)) = backed_up(test) else { return };
    let helper = world.folder("sbin").join("mount.backstore");
    std::os::unix::fs::symlink(PROGRAMS.backstore, &helper).unwrap();
    let computer = Computer { program: vec![helper.into()], ..computer };
    let words = |rest: &[&str]| {
        let place = [OsStr::new("docs"), point.as_os_str()].into_iter();
        place.chain(rest.iter().map(OsStr::new)).map(OsStr::to_owned).collect::<Vec<_>>()
    };
    computer.run(words(&["-o", "rw,strange"])).says(2, &["strange", "allow_other"]);
    computer.run(words(&["-f", "-o", "rw"])).ends(0);
    assert!(!point.exists());
    computer.run(words(&["-n", "-o", "rw,utc,x-systemd.automount"])).says(0, &["mounted at"]);
    let versions = versions(&point);
    assert!(versions[0].to_str().unwrap().ends_with('Z'), "{versions:?}");
    let computer = Computer { program: vec![PROGRAMS.backstore.into()], ..computer };
    computer.run([Path::new("umount"), &point]).says(0, &["unmounted"]);
}

#[test]
fn a_mount_shows_what_became_of_files() {
    let test = "a_mount_shows_what_became_of_files";
    let Some((world, computer, point)) = backed_up(test) else { return };
    let data = world.path("data");
    let shown = |view: &str| point.join(view).join(data.strip_prefix("/").unwrap());
    for content in ["one", "two"] {
        fs::write(data.join("report.txt"), content).unwrap();
        fs::write(data.join("gone"), content).unwrap();
        computer.backup();
    }
    fs::remove_file(data.join("gone")).unwrap();
    computer.backup();
    mount(&computer, &point);
    until("the history", || shown("deleted").join("gone").exists());
    assert_eq!(fs::read(shown("deleted").join("gone")).unwrap(), b"two");
    let reports = || {
        let mut all: Vec<_> = files_below(&shown("history").join("report.txt"));
        all.sort();
        all.iter().map(|file| fs::read_to_string(file).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(reports(), ["one", "two"]);
    // The command line says the same, with an index of its own beside that of the mount.
    let gone = data.join("gone");
    let listed = computer.run(["ls", "--deleted"]).ends(0).out;
    let last = versions(&point)[2].file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(listed, format!("{}  last in {last}\n", gone.display()));
    let below =
        computer.run([OsStr::new("ls"), OsStr::new("--deleted"), OsStr::new("--json"), gone.as_os_str()]);
    assert_eq!(below.ends(0).json()["last"], *last);
    let nothing =
        computer.run([OsStr::new("ls"), OsStr::new("--deleted"), data.join("report.txt").as_os_str()]);
    assert_eq!(nothing.ends(0).out, "");
    computer.run(["ls", "--deleted", "--at", "latest"]).says(2, &["--deleted"]);
    let versions_of_folder = shown("latest").join(".versions");
    assert!(versions_of_folder.join("report.txt").is_dir() && versions_of_folder.join("gone").is_dir());
    // Whoever walks the folder sees versions only.
    let walked = Command::new("find").arg(&point).args(["-name", "report.txt"]).output().unwrap();
    assert_eq!(String::from_utf8(walked.stdout).unwrap().lines().count(), 2 + 1);
    // What comes while it is mounted is there too.
    fs::write(data.join("report.txt"), "three").unwrap();
    fs::write(data.join("gone"), "back").unwrap();
    computer.backup();
    until("the newest report", || reports() == ["one", "two", "three"]);
    until("the file that is back", || !shown("deleted").join("gone").exists());
    computer.run([Path::new("umount"), &point]).says(0, &["unmounted"]);
    // The index is kept, and made anew if somebody deletes it.
    mount(&computer, &point);
    until("the history", || point.join("history").exists());
    assert_eq!(reports(), ["one", "two", "three"]);
    computer.run([Path::new("umount"), &point]).says(0, &["unmounted"]);
}

#[test]
fn sets_of_all_computers_are_in_one_mount() {
    let test = "sets_of_all_computers_are_in_one_mount";
    let Some((world, computer, point)) = backed_up(test) else { return };
    let vault = world.path("vault");
    let other = Computer::new(&world, "other");
    other.run([OsStr::new("login"), vault.as_os_str(), "--device".as_ref(), "workshop".as_ref()]).ends(0);
    tree::write(&world.path("plans/bridge"), b"old");
    other.add_set("plans", &world.path("plans"));
    other.run(["backup", "--tag", "draft"]).ends(0);
    computer.run([OsStr::new("mount"), "--set".as_ref(), "docs".as_ref(), point.as_os_str()]).ends(0);
    let plans = point.join("sets/workshop/plans");
    let bridge = |version: &str| {
        let path = plans.join(version).join(world.path("plans/bridge").strip_prefix("/").unwrap());
        fs::read_to_string(path).ok()
    };
    assert_eq!(bridge("latest").as_deref(), Some("old"));
    let tagged = versions(&plans)[0].file_name().unwrap().to_owned();
    let link = plans.join(".backstore/tags/draft").join(&tagged);
    assert_eq!(fs::canonicalize(link).unwrap(), fs::canonicalize(&versions(&plans)[0]).unwrap());
    assert_eq!(fs::canonicalize(point.join("sets/plans")).unwrap(), fs::canonicalize(&plans).unwrap());
    // What comes there while it is mounted is seen there, with its past, and so are sets that are new.
    tree::write(&world.path("plans/bridge"), b"new");
    tree::write(&world.path("songs/one"), b"la");
    other.add_set("songs", &world.path("songs"));
    other.run(["backup"]).ends(0);
    until("the new version", || bridge("latest").as_deref() == Some("new"));
    until("its history", || {
        let history = plans.join("history").join(world.path("plans/bridge").strip_prefix("/").unwrap());
        files_below(&history).len() == 2
    });
    until("the new set", || point.join("sets/workshop/songs/latest").exists());
    assert_eq!(versions(&point).len(), 1, "what is mounted is as it was");
    equals(&point.join("latest"), &world.path("data"));
    computer.run([Path::new("umount"), &point]).says(0, &["unmounted"]);
}

#[test]
fn who_uses_a_mount_is_named() {
    let Some((world, computer, point)) = backed_up("who_uses_a_mount_is_named") else { return };
    fs::create_dir(&point).unwrap();
    mount(&computer, &point);
    let data = point.join("latest").join(world.path("data").strip_prefix("/").unwrap());
    let file = File::open(&files_below(&data)[0]).unwrap();
    let pid = std::process::id().to_string();
    computer.run([Path::new("umount"), &point]).says(1, &["in use", &pid, "--force"]);
    drop(file);
    computer.run([Path::new("umount"), &point]).ends(0);
    assert!(point.exists(), "it was there before");
    computer.run([Path::new("umount"), &point]).says(1, &["no BackStore archive"]);
}

#[test]
fn a_killed_mount_is_mounted_again_or_cleared_away() {
    let Some((world, computer, point)) = backed_up("a_killed_mount_is_mounted_again_or_cleared_away") else {
        return;
    };
    let kill = || {
        let pid = server_of(&computer);
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        until("the end of the mount", || fs::read_dir(&point).is_err());
    };
    mount(&computer, &point);
    kill();
    mount(&computer, &point);
    equals(&point.join("latest"), &world.path("data"));
    kill();
    computer.run([Path::new("umount"), &point]).says(0, &["unmounted"]);
    assert!(!point.exists());
    assert!(files_below(&computer.home.join("state/mounts")).is_empty());
}

#[test]
fn what_cannot_be_mounted_leaves_nothing() {
    let Some((world, computer, point)) = backed_up("what_cannot_be_mounted_leaves_nothing") else { return };
    computer
        .run(["mount".as_ref(), "--set".as_ref(), "photos".as_ref(), point.as_os_str()])
        .says(10, &["photos"]);
    assert!(!point.exists());
    computer.run([Path::new("mount"), &world.path("data")]).says(1, &["not empty", "name an empty folder"]);
    let nowhere = world.path("no/such/folder");
    computer.run([Path::new("mount"), &nowhere]).says(1, &["no/such/folder", "the folder above"]);
    computer.run([Path::new("umount"), &nowhere]).says(1, &["no BackStore archive", "fuse.backstore"]);
    let other = Computer::new(&world, "other");
    other.run([Path::new("mount"), &point]).says(10, &["belongs to no account"]);
}

#[test]
fn while_the_server_is_down_reads_fail_and_then_work_again() {
    let test = "while_the_server_is_down_reads_fail_and_then_work_again";
    if !has_fuse(test) {
        return;
    }
    let world = World::new(PROGRAMS);
    let mut server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    let names = ["a", "b", "c"].map(|name| world.folder("data").join(name));
    for (seed, name) in (1..).zip(&names) {
        tree::write(name, &tree::noise(seed, 3 << 20));
    }
    computer.add_set("docs", &world.path("data"));
    computer.backup();
    let point = world.path("mounted");
    mount(&computer, &point);
    let shown = names.each_ref().map(|name| point.join("latest").join(name.strip_prefix("/").unwrap()));
    server.stop();
    for file in &shown {
        assert_eq!(fs::read(file).unwrap_err().raw_os_error(), Some(5), "EIO");
    }
    // What is listed before anything is read needs no server.
    assert_eq!(versions(&point).len(), 1);
    server.restart();
    for (file, original) in shown.iter().zip(&names) {
        until("the file once its server is back", || fs::read(file).is_ok());
        assert!(fs::read(file).unwrap() == fs::read(original).unwrap(), "{file:?}");
    }
    computer.run([Path::new("umount"), &point]).ends(0);
}
