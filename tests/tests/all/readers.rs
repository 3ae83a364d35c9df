//! A mount read in the ways that programs read, by one and by many. Needs FUSE; without it these are skipped, loudly.

use std::fs::{self, File, OpenOptions};
use std::io::{IoSliceMut, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use backstore_tests::computer::Computer;
use backstore_tests::server::Server;
use backstore_tests::{World, tree, versions};
use rustix::fs::OFlags;

use crate::PROGRAMS;
use crate::mount::{has_fuse, mount};
use crate::slow_link::Linked;

/// Threads that read at once.
const READERS: usize = 1000;

#[test]
fn a_thousand_readers_of_one_file_share_what_is_fetched() {
    if !has_fuse("a_thousand_readers_of_one_file_share_what_is_fetched") {
        return;
    }
    const LENGTH: u64 = 8 << 20;
    let expected = tree::noise(1, LENGTH as usize);
    let scene = Linked::new(|data| tree::write(&data.join("file"), &expected));
    let Linked { world, link, computer, point, .. } = &scene;
    mount(computer, point);
    let path = versions(point)[0].join(world.path("data/file").strip_prefix("/").unwrap());
    let before = link.traffic().down;
    std::thread::scope(|scope| {
        for reader in 0..READERS as u64 {
            let (path, expected) = (&path, &expected);
            scope.spawn(move || {
                let file = File::open(path).unwrap();
                let mut bytes = vec![0; 50_000];
                for step in 0..4 {
                    let at = (reader * 104_729 + step * 2_750_159) % (LENGTH - 50_000);
                    file.read_exact_at(&mut bytes, at).unwrap();
                    assert!(bytes == expected[at as usize..][..50_000], "reader {reader} at {at}");
                }
            });
        }
    });
    let fetched = link.traffic().down - before;
    assert!(fetched < LENGTH + LENGTH / 2, "{fetched} bytes came of a file of {LENGTH}");
    computer.run([Path::new("umount"), point]).ends(0);
}

/// Offsets and lengths like those of programs: anywhere, and at borders of pages, of megabytes and of the file.
struct Draws {
    state: u64,
    size: u64,
}

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    fn next(&mut self) -> (u64, usize) {
        let unit = [1, 4096, 65_536, 1 << 20][self.below(4) as usize];
        let border = self.below(self.size / unit + 2) * unit;
        let at = (border + self.below(3)).saturating_sub(1).min(self.size + 10);
        let bound = [2, 5000, 300_000][self.below(3) as usize];
        (at, self.below(bound) as usize)
    }
}

/// Reads with one of the calls that programs use. What is short is asked for again, as they do.
fn read_by(call: u64, file: &mut File, path: &Path, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    let direct = OFlags::DIRECT.bits() as i32;
    let direct = OpenOptions::new().read(true).custom_flags(direct).open(path).unwrap();
    let target = tempfile::tempfile().unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    loop {
        let offset = at + filled as u64;
        let count = match call {
            0 => file.read_at(&mut bytes[filled..], offset).unwrap(),
            1 => file.read(&mut bytes[filled..]).unwrap(),
            2 => {
                let middle = (length - filled) / 3;
                let (first, second) = bytes[filled..].split_at_mut(middle);
                let mut parts = [IoSliceMut::new(first), IoSliceMut::new(second)];
                rustix::io::preadv(&*file, &mut parts, offset).unwrap()
            }
            3 => direct.read_at(&mut bytes[filled..], offset).unwrap(),
            _ => {
                let mut from = offset;
                let count = rustix::fs::sendfile(&target, &*file, Some(&mut from), length - filled).unwrap();
                target.read_exact_at(&mut bytes[filled..][..count], filled as u64).unwrap();
                count
            }
        };
        filled += count;
        if count == 0 || filled == length {
            bytes.truncate(filled);
            return bytes;
        }
    }
}

#[test]
fn whatever_call_is_used_the_bytes_are_those_of_the_source() {
    if !has_fuse("whatever_call_is_used_the_bytes_are_those_of_the_source") {
        return;
    }
    let world = World::new(PROGRAMS);
    let server = Server::start(&world, "vault");
    let computer = Computer::new(&world, "home");
    computer.run(["login", &server.invite("alice")]).ends(0);
    tree::ugly(&world.folder("data"));
    computer.add_set("docs", &world.path("data"));
    computer.run(["backup"]).ends(0);
    // Another version, of which much is as it was.
    let large = world.path("data/large");
    let old = fs::read(&large).unwrap();
    let file = OpenOptions::new().write(true).open(&large).unwrap();
    file.write_all_at(b"in the middle", 2_500_001).unwrap();
    drop(file);
    computer.run(["backup"]).ends(0);
    let point = world.path("mounted");
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    // Cold, and then from the system's pages too.
    for round in 0..2 {
        mount(&computer, &point);
        let new = fs::read(&large).unwrap();
        for (version, name, expected) in [
            (0, "large", old.clone()),
            (1, "large", new),
            (1, "sparse", fs::read(world.path("data/sparse")).unwrap()),
            (1, "small", fs::read(world.path("data/small")).unwrap()),
            (1, "inline", fs::read(world.path("data/inline")).unwrap()),
        ] {
            let shown = world.path("data").join(name);
            let path = versions(&point)[version].join(shown.strip_prefix("/").unwrap());
            let mut file = File::open(&path).unwrap();
            let mut draws = Draws { state: seed ^ round, size: expected.len() as u64 };
            for _ in 0..150 {
                let ((at, length), call) = (draws.next(), draws.below(5));
                let got = read_by(call, &mut file, &path, at, length);
                let start = (at as usize).min(expected.len());
                let end = (start + length).min(expected.len());
                assert!(got == expected[start..end], "seed {seed}: {name}, call {call}, {length} at {at}");
            }
        }
        computer.run([Path::new("umount"), &point]).ends(0);
    }
}
