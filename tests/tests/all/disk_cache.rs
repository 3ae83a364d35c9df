//! What mounts keep of a server's archive on the disk. Needs FUSE; without it these are skipped, loudly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backstore_agent::cached::{CacheOptions, ObjectCache};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::object::{ObjectKind, SealedObject};
use backstore_tests::computer::Computer;
use backstore_tests::server::Server;
use backstore_tests::{World, files_below, skipped, tree};

use crate::PROGRAMS;
use crate::mount::{equals, has_fuse, mount, server_of, until};
use crate::round_trip::SmallDisk;

/// A computer whose files were backed up to a server.
struct Scene {
    world: World,
    server: Server,
    computer: Computer,
    point: PathBuf,
}

fn backed_up(test: &str) -> Option<Scene> {
    if !has_fuse(test) {
        return None;
    }
    let world = World::new(PROGRAMS);
    let server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    tree::example(&world.folder("data"));
    computer.add_set("docs", &world.path("data"));
    computer.backup();
    let point = world.path("mounted");
    Some(Scene { world, server, computer, point })
}

impl Scene {
    /// Where the objects are.
    fn folder(&self) -> PathBuf {
        let domains = fs::read_dir(self.computer.home.join("cache/objects"));
        domains
            .ok()
            .and_then(|mut domains| domains.next())
            .map_or_else(PathBuf::new, |found| found.unwrap().path())
    }

    /// Objects that are kept.
    fn count(&self) -> u64 {
        let indexes = files_below(&self.folder()).into_iter();
        let indexes = indexes.filter(|file| file.extension().is_some_and(|end| end == "index"));
        indexes.map(|file| fs::metadata(file).map_or(0, |found| found.len() / 16 - 1)).sum()
    }

    fn mount(&self, point: &Path) {
        mount(&self.computer, point);
    }

    fn umount(&self, point: &Path) {
        self.computer.run([Path::new("umount"), point]).ends(0);
    }

    #[track_caller]
    fn reads_all(&self, point: &Path) {
        equals(&point.join("latest"), &self.world.path("data"));
    }

    fn kill_mount(&self) {
        let pid = server_of(&self.computer);
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        until("the end of the mount", || fs::read_dir(&self.point).is_err());
    }
}

#[test]
fn what_a_killed_mount_has_read_needs_no_server() {
    let Some(mut scene) = backed_up("what_a_killed_mount_has_read_needs_no_server") else { return };
    let other = scene.world.path("other");
    // How many objects there are is known after an orderly end.
    scene.mount(&scene.point);
    scene.reads_all(&scene.point);
    scene.umount(&scene.point);
    let count = scene.count();
    assert!(count > 8, "{count}");
    scene.computer.run(["status"]).says(0, &["kept on this disk"]);
    let status = scene.computer.run(["status", "--json"]).ends(0).json();
    assert_eq!(status["cache_bytes"], ObjectCache::bytes_in(&scene.folder()));
    fs::remove_dir_all(scene.folder()).unwrap();

    scene.mount(&scene.point);
    scene.reads_all(&scene.point);
    until("all objects", || scene.count() >= count);
    scene.kill_mount();
    scene.mount(&scene.point);
    // Another one, at the same time: they share it.
    scene.mount(&other);
    scene.server.stop();
    scene.reads_all(&scene.point);
    scene.reads_all(&other);
    scene.umount(&scene.point);
    scene.umount(&other);
    assert_eq!(scene.count(), count, "nothing was kept twice");
}

#[test]
fn a_mount_that_runs_sees_what_another_has_fetched() {
    let Some(mut scene) = backed_up("a_mount_that_runs_sees_what_another_has_fetched") else { return };
    let other = scene.world.path("other");
    scene.mount(&scene.point);
    scene.mount(&other);
    scene.reads_all(&scene.point);
    scene.umount(&scene.point);
    scene.server.stop();
    scene.reads_all(&other);
    scene.umount(&other);
}

#[test]
fn a_damaged_cache_is_no_error() {
    let Some(scene) = backed_up("a_damaged_cache_is_no_error") else { return };
    scene.mount(&scene.point);
    scene.reads_all(&scene.point);
    scene.umount(&scene.point);
    for (number, file) in files_below(&scene.folder()).into_iter().enumerate() {
        let mut bytes = fs::read(&file).unwrap();
        bytes.iter_mut().step_by(1009).for_each(|byte| *byte ^= 0x10);
        bytes.truncate(bytes.len() - number % 7 * bytes.len() / 10);
        fs::write(&file, bytes).unwrap();
    }
    scene.mount(&scene.point);
    scene.reads_all(&scene.point);
    scene.umount(&scene.point);
}

#[test]
fn a_full_disk_under_the_cache_is_no_error() {
    let test = "a_full_disk_under_the_cache_is_no_error";
    let Some(scene) = backed_up(test) else { return };
    let Some(disk) = SmallDisk::mount(scene.computer.home.join("cache/objects"), "size=2m") else {
        return skipped(test, "mounting a tmpfs is not permitted");
    };
    scene.mount(&scene.point);
    scene.reads_all(&scene.point);
    scene.umount(&scene.point);
    assert_eq!(ObjectCache::bytes_in(&scene.folder()), 0, "the last of the disk is not for a cache");
    // The same where it is used up only later.
    let folder = disk.0.join("direct");
    let options = CacheOptions { free_bytes_min: 0, rest: Duration::ZERO, ..CacheOptions::new(64 << 20) };
    let cache = ObjectCache::open(folder.clone(), options.clone()).unwrap();
    let object = |number: u8| SealedObject {
        id: ObjectId::from_bytes([number; 32]),
        kind: ObjectKind::Data,
        level: 0,
        references: Default::default(),
        sealed: tree::noise(u64::from(number), 300_000).into(),
    };
    for number in 0..20 {
        cache.put(&object(number));
        cache.flush();
    }
    let kept = (0..20).filter(|number| {
        let found = cache.get(&object(*number).id);
        assert!(found.is_none() || found == Some(object(*number)), "{number}");
        found.is_some()
    });
    let kept = kept.count();
    assert!((3..7).contains(&kept), "{kept}");
    disk.resize("size=20m");
    cache.put(&object(19));
    cache.flush();
    drop(cache);
    let cache = ObjectCache::open(folder, options).unwrap();
    assert_eq!(cache.get(&object(19).id), Some(object(19)), "once there is room it is used");
}

#[test]
fn a_cache_of_no_size_keeps_nothing() {
    let Some(scene) = backed_up("a_cache_of_no_size_keeps_nothing") else { return };
    scene.mount(&scene.point);
    scene.reads_all(&scene.point);
    scene.umount(&scene.point);
    assert!(scene.count() > 0);
    let config = scene.computer.home.join("config/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("size-mib = 2048", "size-mib = 0")).unwrap();
    scene.mount(&scene.point);
    scene.reads_all(&scene.point);
    scene.umount(&scene.point);
    assert_eq!(files_below(&scene.computer.home.join("cache/objects")), Vec::<PathBuf>::new());
    fs::write(&config, text.replace("size-mib = 2048", "size-mib = 5")).unwrap();
    scene.computer.run(["set", "list"]).says(2, &["cache.size-mib"]);
}

/// What is to be known is what the server still has.
#[test]
fn verify_does_not_look_into_the_cache() {
    let Some(scene) = backed_up("verify_does_not_look_into_the_cache") else { return };
    scene.mount(&scene.point);
    scene.reads_all(&scene.point);
    scene.umount(&scene.point);
    let before = scene.count();
    let mut damaged = 0;
    for pack in files_below(&scene.server.vault.join("packs")) {
        let mut bytes = fs::read(&pack).unwrap();
        if bytes.len() > 4 << 20 {
            // What lies behind the objects is room for more.
            let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) / 2;
            bytes[middle..middle + 64].fill(0x55);
            fs::write(&pack, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0, "{:?}", files_below(&scene.server.vault));
    scene.computer.run(["verify", "--full"]).ends(3);
    assert_eq!(scene.count(), before);
    // The folder still has all of it.
    scene.mount(&scene.point);
    scene.reads_all(&scene.point);
    scene.umount(&scene.point);
}
