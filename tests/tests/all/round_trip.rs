//! Trees with everything a file system can hold come back whole: through a server, from a mount and by a restore, over several versions.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use backstore_tests::computer::Computer;
use backstore_tests::server::Server;
use backstore_tests::{World, skipped, tree, versions};

use crate::PROGRAMS;

/// A computer whose set `docs` is the folder `data`, archived by a server.
fn with_server() -> (World, Server, Computer, PathBuf) {
    let world = World::new(PROGRAMS);
    let server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    let data = world.folder("data").canonicalize().unwrap();
    computer.add_set("docs", &data);
    (world, server, computer, data)
}

/// Restores the newest version of `data` and gives the restored folder.
#[track_caller]
fn restore(computer: &Computer, data: &Path, to: &Path) -> PathBuf {
    let words = [OsStr::new("restore"), data.as_os_str(), OsStr::new("--to"), to.as_os_str()];
    computer.run(words).ends(0);
    to.join(data.file_name().unwrap())
}

#[test]
fn ugly_trees_over_several_versions() {
    let (world, _server, computer, data) = with_server();
    tree::ugly(&data);
    let mut described = vec![tree::describe(&data)];
    computer.backup();
    assert_eq!(tree::describe(&restore(&computer, &data, &world.path("restored 0"))), described[0]);
    fs::remove_file(data.join("new\nline")).unwrap();
    fs::rename(data.join("empty folder"), data.join("renamed folder")).unwrap();
    tree::write(&data.join("deep/beside"), b"changed");
    described.push(tree::describe(&data));
    computer.backup();
    let mut bytes = fs::read(data.join("large")).unwrap();
    bytes.splice(1_000_000..1_000_000, *b"an insertion");
    fs::write(data.join("large"), bytes).unwrap();
    fs::remove_file(data.join("link")).unwrap();
    fs::create_dir(data.join("link")).unwrap();
    described.push(tree::describe(&data));
    computer.backup();
    assert_eq!(tree::describe(&restore(&computer, &data, &world.path("restored 2"))), described[2]);
    let point = world.path("mounted");
    if let Err(error) = File::options().read(true).write(true).open("/dev/fuse") {
        return skipped("ugly_trees_over_several_versions", &format!("/dev/fuse: {error}"));
    }
    computer.run([Path::new("mount"), &point]).ends(0);
    let shown: Vec<_> = versions(&point)
        .iter()
        .map(|version| tree::describe(&version.join(data.strip_prefix("/").unwrap())))
        .collect();
    computer.run([Path::new("umount"), &point]).ends(0);
    assert_eq!(shown, described);
}

#[test]
fn a_sparse_file_of_ten_gibibytes() {
    let (world, server, computer, data) = with_server();
    let file = File::create(data.join("disk")).unwrap();
    file.set_len(10 << 30).unwrap();
    let content = tree::noise(1, 1 << 20);
    file.write_all_at(&content, 7 << 30).unwrap();
    let report = computer.backup();
    assert!(report["bytes_read"].as_u64().unwrap() < 4 << 20, "{report}");
    let stored: u64 = backstore_tests::files_below(&server.vault.join("packs"))
        .iter()
        .map(|pack| fs::metadata(pack).unwrap().blocks() * 512)
        .sum();
    assert!(stored < 64 << 20, "{stored} bytes in packs");
    let restored = restore(&computer, &data, &world.path("restored")).join("disk");
    let metadata = fs::metadata(&restored).unwrap();
    assert_eq!(metadata.len(), 10 << 30);
    assert!(metadata.blocks() * 512 < 8 << 20, "{} blocks", metadata.blocks());
    let mut found = vec![0; 1 << 20];
    File::open(&restored).unwrap().read_exact_at(&mut found, 7 << 30).unwrap();
    assert!(found == content);
}

#[test]
fn a_hundred_thousand_files_in_one_directory() {
    let (world, _server, computer, data) = with_server();
    for number in 0..100_000 {
        fs::write(data.join(format!("{number}")), if number % 10 == 0 { "text" } else { "" }).unwrap();
    }
    let report = computer.backup();
    assert_eq!(report["files"], 100_000);
    assert_eq!(computer.backup()["unchanged"], true);
    fs::remove_file(data.join("77777")).unwrap();
    assert_eq!(computer.backup()["files_removed"], 1);
    let restored = restore(&computer, &data, &world.path("restored"));
    assert_eq!(tree::describe(&restored), tree::describe(&data));
}

#[test]
fn files_that_change_vanish_grow_and_shrink_meanwhile() {
    let (world, server, computer, data) = with_server();
    tree::example(&data);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                let path = data.join(format!("churn/{}", round % 50));
                match round % 4 {
                    0 => drop(fs::remove_file(&path)),
                    1 => tree::write(&path, &tree::noise(round, (round % 300) as usize * 1000)),
                    2 => {
                        let grown = fs::read(&path).unwrap_or_default().repeat(2);
                        tree::write(&path, &grown[..grown.len().min(3 << 20)]);
                    }
                    _ => {
                        if let Ok(file) = File::options().write(true).open(&path) {
                            let length = file.metadata().unwrap().len();
                            file.set_len(length / 3).unwrap();
                        }
                    }
                }
            }
        });
        for _ in 0..6 {
            let ran = computer.run(["backup"]);
            assert!(
                ran.code == 0 || (ran.code == 3 && ran.err.contains("changed")),
                "{} {}",
                ran.code,
                ran.err
            );
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    computer.backup();
    let restored = restore(&computer, &data, &world.path("restored"));
    assert_eq!(tree::describe(&restored), tree::describe(&data));
    server.administer(&["check"]).ends(0);
}

/// A file system of its own with room for so much.
pub(crate) struct SmallDisk(pub(crate) PathBuf);

impl SmallDisk {
    pub(crate) fn mount(path: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&path).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(path))
    }

    pub(crate) fn resize(&self, options: &str) {
        let mounted = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(mounted.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_server_whose_disk_is_full() {
    let world = World::new(PROGRAMS);
    let Some(disk) = SmallDisk::mount(world.path("disk"), "size=24m") else {
        return skipped("a_server_whose_disk_is_full", "mounting a tmpfs is not permitted");
    };
    let mut server = Server::start_in(&world, disk.0.join("vault"));
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    let data = world.folder("data").canonicalize().unwrap();
    computer.add_set("docs", &data);
    tree::write(&data.join("first"), b"first");
    let first = computer.backup();
    tree::write(&data.join("too much"), &tree::noise(1, 40 << 20));
    let config = computer.home.join("config/config.toml");
    let text = fs::read_to_string(&config).unwrap().replace("retry-seconds = 60", "retry-seconds = 1");
    fs::write(&config, text).unwrap();
    computer.run(["backup"]).says(1, &["full"]);
    let snapshots = computer.run(["snapshots", "--json"]).ends(0);
    assert_eq!(snapshots.out.lines().count(), 1, "nothing is half committed: {}", snapshots.out);
    assert!(snapshots.out.contains(first["snapshot"].as_str().unwrap()));
    server.administer(&["check"]).ends(0);
    disk.resize("size=200m");
    // What is full once stays readable; writing begins again by itself or with the next start.
    if computer.run(["backup"]).code != 0 {
        server.stop();
        server.restart();
    }
    computer.backup();
    let restored = restore(&computer, &data, &world.path("restored"));
    assert_eq!(tree::describe(&restored), tree::describe(&data));
}

#[test]
fn a_computer_whose_disks_are_full() {
    let (world, _server, mut computer, data) = with_server();
    tree::example(&data);
    let Some(disk) = SmallDisk::mount(world.path("full"), "size=64k") else {
        return skipped("a_computer_whose_disks_are_full", "mounting a tmpfs is not permitted");
    };
    let _ = fs::write(disk.0.join("fill"), tree::noise(1, 1 << 20));
    // A full folder for temporary files does not matter.
    computer.environment.push(("TMPDIR".into(), disk.0.clone().into()));
    computer.backup();
    let ran = computer.run([OsStr::new("restore"), data.as_os_str(), OsStr::new("--to"), disk.0.as_os_str()]);
    assert!(ran.code == 1 || ran.code == 3, "{} {}", ran.code, ran.err);
    assert!(ran.err.contains("full") || ran.err.contains("space"), "{}", ran.err);
    assert!(ran.err.lines().count() < 8, "one message, not one per file: {}", ran.err);
}
