//! A file manager that opens a folder of pictures, and other desktop programs, must not fetch the archive.
//!
//! Needs the Debian packages xvfb, dbus, thunar, tumbler, pcmanfm and libglib2.0-bin; therefore these tests run only where `BACKSTORE_TEST_FILE_MANAGER` is set, as
//! `.ci/run` does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use backstore_tests::{tree, versions};

use crate::mount::until;
use crate::slow_link::Linked;

/// Nothing where these tests were not asked for.
fn scene(files: impl FnOnce(&Path)) -> Option<Linked> {
    std::env::var_os("BACKSTORE_TEST_FILE_MANAGER").map(|_| Linked::new(files))
}

impl Linked {
    /// Mounts, gives the folder as it was backed up to `look`, and tells how many bytes came from the server until nothing more did.
    fn bytes_fetched(&self, options: &[&str], look: impl FnOnce(&Path)) -> u64 {
        let place = ["mount"].into_iter().chain(options.iter().copied()).map(AsRef::as_ref);
        self.computer.run(place.chain([self.point.as_os_str()])).ends(0);
        let shown = versions(&self.point)[0].join(self.world.path("data").strip_prefix("/").unwrap());
        let before = self.link.traffic().down;
        look(&shown);
        self.computer.run([Path::new("umount"), &self.point]).ends(0);
        // What is kept on the disk would spare the next one the link.
        let _ = fs::remove_dir_all(self.computer.home.join("cache"));
        self.link.traffic().down - before
    }

    /// Waits until something has come, and then nothing more for a while.
    fn until_calm(&self, before: u64) {
        const CALM: Duration = Duration::from_secs(4);
        let came = || self.link.traffic().down;
        until("the first look", || came() > before);
        let (mut last, mut since) = (came(), Instant::now());
        until("the end of all reading", || {
            let now = came();
            // Connections are kept alive by a packet now and then.
            if now > last + 500 {
                (last, since) = (now, Instant::now());
            }
            since.elapsed() > CALM
        });
    }
}

/// A screen that nobody looks at.
struct Screen(Child, String);

impl Screen {
    fn new() -> Self {
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-nolisten", "tcp"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("Xvfb, of the package xvfb");
        let mut number = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut number).unwrap();
        Self(child, format!(":{}", number.trim()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A picture of noise, more than a megabyte, as PNG (RFC 2083) without compression (RFC 1951, 3.2.4).
fn picture(seed: u64) -> Vec<u8> {
    const WIDTH: u32 = 640;
    const HEIGHT: u32 = 600;
    let noise = tree::noise(seed, (3 * WIDTH * HEIGHT) as usize);
    let rows: Vec<u8> = noise.chunks((3 * WIDTH) as usize).flat_map(|row| [&[0], row].concat()).collect();
    let mut packed = vec![0x78, 0x01];
    let blocks = rows.chunks(0xffff).count();
    for (number, block) in rows.chunks(0xffff).enumerate() {
        packed.push(u8::from(number + 1 == blocks));
        packed.extend((block.len() as u16).to_le_bytes());
        packed.extend((!(block.len() as u16)).to_le_bytes());
        packed.extend(block);
    }
    let (low, high) = rows.iter().fold((1, 0), |(low, high): (u32, u32), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    packed.extend((high << 16 | low).to_be_bytes());
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&WIDTH.to_be_bytes()[..], &HEIGHT.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    for (kind, data) in [(b"IHDR", header), (b"IDAT", packed), (b"IEND", Vec::new())] {
        png.extend((data.len() as u32).to_be_bytes());
        let checked = [&kind[..], &data].concat();
        png.extend(&checked);
        png.extend(crc(&checked).to_be_bytes());
    }
    png
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    let table: Vec<u32> = (0..256).map(|byte| (0..8).fold(byte, |crc, _| step(crc))).collect();
    !bytes.iter().fold(!0, |crc, byte| table[(crc as u8 ^ byte) as usize] ^ (crc >> 8))
}

const PICTURES: u64 = 500;

#[test]
fn a_file_manager_does_not_fetch_the_pictures_it_lists() {
    let pictures = |data: &Path| {
        for number in 0..PICTURES {
            tree::write(&data.join(format!("{number:03}.png")), &picture(number));
        }
    };
    let Some(scene) = scene(pictures) else { return };
    let screen = Screen::new();
    let look = |manager: &str, shown: &Path| {
        let own = scene.world.folder("desktop");
        let before = scene.link.traffic().down;
        let mut command = Command::new("dbus-run-session");
        command.args(["--", manager]).arg(shown).env("DISPLAY", &screen.1).env("HOME", &own);
        for name in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"] {
            command.env(name, &own);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut manager = command.spawn().expect("dbus-run-session, of the package dbus");
        scene.until_calm(before);
        // With the session all that it has started ends.
        Command::new("pkill").args(["-P", &manager.id().to_string()]).status().unwrap();
        manager.wait().unwrap();
        fs::remove_dir_all(&own).unwrap();
    };
    // Thunar has them made by tumblerd, PCManFM makes them by a thread of its own.
    for manager in ["thunar", "pcmanfm"] {
        let fetched = scene.bytes_fetched(&[], |shown| look(manager, shown));
        assert!(fetched < 2 << 20, "{fetched} bytes for a look at {PICTURES} pictures by {manager}");
        let fetched = scene.bytes_fetched(&["--thumbnails", "all"], |shown| look(manager, shown));
        assert!(fetched > 5 << 20, "nobody wanted thumbnails: {fetched} bytes for {manager}");
    }
}

#[test]
fn telling_what_files_are_fetches_one_object_of_each() {
    const FILES: u64 = 30;
    const LENGTH: u64 = 5 << 20;
    let files = |data: &Path| {
        for number in 0..FILES {
            tree::write(&data.join(format!("unknown{number}")), &tree::noise(number, LENGTH as usize));
        }
    };
    let Some(scene) = scene(files) else { return };
    let fetched = scene.bytes_fetched(&[], |shown| {
        let mut gio = Command::new("gio");
        let listed = gio.args(["list", "-l", "-a", "standard::*"]).arg(shown).output();
        let listed = listed.expect("gio, of the package libglib2.0-bin");
        assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count() as u64, FILES);
    });
    // Chunks are 2 MiB on average.
    assert!(fetched < FILES * LENGTH * 3 / 4, "{fetched} bytes for the kinds of {FILES} files of {LENGTH}");
}

#[test]
fn a_folder_copied_out_keeps_times_and_modes() {
    let Some(scene) = scene(tree::example) else { return };
    let copied = scene.world.path("copied");
    scene.bytes_fetched(&[], |shown| {
        assert!(Command::new("cp").arg("-a").arg(shown).arg(&copied).status().unwrap().success());
    });
    assert_eq!(tree::describe(&copied), tree::describe(&scene.world.path("data")));
}
