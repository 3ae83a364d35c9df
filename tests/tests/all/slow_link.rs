//! Mounting over a link that is slow, or cut. Needs FUSE; without it these are skipped, loudly.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use backstore_tests::computer::Computer;
use backstore_tests::link::{Conditions, FAST, Link};
use backstore_tests::server::Server;
use backstore_tests::{World, tree, versions};

use crate::PROGRAMS;
use crate::mount::{equals, has_fuse, mount, until};

/// As far as another town: 20 ms there and back, 160 Mbit/s.
const FAR: Conditions =
    Conditions { delay: Duration::from_millis(10), bytes_per_second: Some(20_000_000), ..FAST };

/// A computer that reaches its server through a link, with files that were backed up.
pub(crate) struct Linked {
    pub(crate) world: World,
    _server: Server,
    pub(crate) link: Link,
    pub(crate) computer: Computer,
    pub(crate) point: PathBuf,
}

impl Linked {
    pub(crate) fn new(files: impl FnOnce(&Path)) -> Self {
        let world = World::new(PROGRAMS);
        let server = Server::start(&world, "vault");
        let link = Link::to(&server.address, FAST);
        let computer = Computer::new(&world, "home");
        computer.run(["login", &server.invite_to("alice", &link.address)]).ends(0);
        files(&world.folder("data"));
        computer.add_set("docs", &world.path("data"));
        computer.backup();
        let point = world.path("mounted");
        Self { world, _server: server, link, computer, point }
    }

    /// A file in the newest version.
    fn shown(&self, name: &str) -> PathBuf {
        self.point.join("latest").join(self.world.path("data").join(name).strip_prefix("/").unwrap())
    }
}

#[test]
fn a_mount_over_a_slow_link_shows_what_was_backed_up() {
    let test = "a_mount_over_a_slow_link_shows_what_was_backed_up";
    let files = |data: &Path| {
        tree::example(data);
        tree::write(&data.join("large"), &tree::noise(7, 12 << 20));
    };
    if !has_fuse(test) {
        return;
    }
    let scene = Linked::new(files);
    let large = scene.world.path("data/large");
    fs::write(&large, &fs::read(&large).unwrap()[..9 << 20]).unwrap();
    scene.computer.backup();
    scene.link.set(FAR);
    mount(&scene.computer, &scene.point);
    until("the first version", || versions(&scene.point).len() == 2);
    equals(&scene.point.join("latest"), &scene.world.path("data"));
    // Here and there in a version whose end is another, by several readers.
    let before = versions(&scene.point)[0].join(large.strip_prefix("/").unwrap());
    let (file, expected) = (File::open(before).unwrap(), tree::noise(7, 12 << 20));
    std::thread::scope(|scope| {
        for reader in 0..4_u64 {
            let (file, expected) = (&file, &expected);
            scope.spawn(move || {
                for step in 0..50 {
                    let at = (reader * 7_919 + step * 1_299_709) * 4_001 % (12 << 20);
                    let mut bytes = vec![0; 20_000.min((12 << 20) - at as usize)];
                    file.read_exact_at(&mut bytes, at).unwrap();
                    assert!(bytes == expected[at as usize..][..bytes.len()], "reader {reader} at {at}");
                }
            });
        }
    });
    drop(file);
    scene.computer.run([Path::new("umount"), &scene.point]).ends(0);
}

#[test]
fn a_link_that_is_cut_is_an_error_in_time_and_then_works_again() {
    let test = "a_link_that_is_cut_is_an_error_in_time_and_then_works_again";
    let files = |data: &Path| {
        for (seed, name) in (1..).zip(["read", "wanted"]) {
            tree::write(&data.join(name), &tree::noise(seed, 3 << 20));
        }
    };
    if !has_fuse(test) {
        return;
    }
    let scene = Linked::new(files);
    mount(&scene.computer, &scene.point);
    assert!(fs::read(scene.shown("read")).unwrap() == tree::noise(1, 3 << 20));
    scene.link.set(Conditions { is_cut: true, ..FAST });
    assert_eq!(fs::read(scene.shown("wanted")).unwrap_err().raw_os_error(), Some(5), "EIO");
    assert!(fs::read(scene.shown("read")).unwrap() == tree::noise(1, 3 << 20), "it was read before");
    assert_eq!(versions(&scene.point).len(), 1);
    scene.link.set(FAST);
    until("the file once the link is whole", || fs::read(scene.shown("wanted")).is_ok());
    assert!(fs::read(scene.shown("wanted")).unwrap() == tree::noise(2, 3 << 20));
    scene.computer.run([Path::new("umount"), &scene.point]).ends(0);
}

#[test]
fn whoever_waits_for_a_slow_server_can_be_ended() {
    let test = "whoever_waits_for_a_slow_server_can_be_ended";
    let files = |data: &Path| tree::write(&data.join("wanted"), &tree::noise(1, 3 << 20));
    if !has_fuse(test) {
        return;
    }
    let scene = Linked::new(files);
    mount(&scene.computer, &scene.point);
    fs::metadata(scene.shown("wanted")).unwrap();
    // Five seconds from the question to the answer.
    scene.link.set(Conditions { delay: Duration::from_millis(2500), ..FAST });
    let before = scene.link.traffic();
    let mut reader = Command::new("cat").arg(scene.shown("wanted")).stdout(Stdio::null()).spawn().unwrap();
    until("the question", || scene.link.traffic().up > before.up);
    assert!(Command::new("kill").arg(reader.id().to_string()).status().unwrap().success());
    reader.wait().unwrap();
    assert!(scene.link.traffic().down - before.down < 3 << 20, "it did not wait for the answer");
    // Slow is not gone.
    assert!(fs::read(scene.shown("wanted")).unwrap() == tree::noise(1, 3 << 20));
    scene.computer.run([Path::new("umount"), &scene.point]).ends(0);
}
