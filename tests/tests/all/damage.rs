//! Damage to every part of a vault: it is named, nothing else suffers, wrong bytes are never given out, and the next backup heals what it can.

use std::fs;
use std::path::{Path, PathBuf};

use backstore_tests::computer::{Computer, Ran};
use backstore_tests::server::Server;
use backstore_tests::{World, files_below, tree};

use crate::PROGRAMS;

/// A server with the archive of one computer.
struct Archived {
    world: World,
    server: Server,
    computer: Computer,
    files: Vec<PathBuf>,
}

impl Archived {
    fn new() -> Self {
        let world = World::new(PROGRAMS);
        let server = Server::start(&world, "vault");
        let computer = Computer::new(&world, "home");
        computer.run(["login", &server.invite("alice")]).ends(0);
        let data = world.folder("data");
        for number in 0..6 {
            tree::write(&data.join(format!("small/{number}")), &tree::noise(number, 3000));
            tree::write(&data.join(format!("large/{number}")), &tree::noise(100 + number, 1_500_000));
        }
        computer.add_set("docs", &data);
        computer.backup();
        let files = files_below(&data);
        Self { world, server, computer, files }
    }

    /// The largest file in a folder of the vault.
    fn largest(&self, folder: &str) -> PathBuf {
        let mut files = files_below(&self.server.vault.join(folder));
        files.sort_by_key(|path| fs::metadata(path).unwrap().len());
        files.pop().unwrap()
    }

    /// Reads every file of the archive: none has wrong bytes. How many cannot be read.
    fn unreadable(&self) -> usize {
        let unreadable = |path: &PathBuf| {
            let ran = self.computer.run([Path::new("dump"), path]);
            let is_read = ran.code == 0;
            if is_read {
                assert!(ran.out_bytes == fs::read(path).unwrap(), "wrong bytes in {}", path.display());
            } else {
                assert!(ran.code == 1 || ran.code == 3, "{}: {}", ran.code, ran.err);
                assert!(
                    ran.err.contains("damaged") || ran.err.contains("not at the destination"),
                    "{}",
                    ran.err
                );
            }
            !is_read
        };
        self.files.iter().filter(|path| unreadable(path)).count()
    }

    /// The next backup sends again what is lost.
    fn heals(&mut self) {
        // A change makes it look at more than the head.
        tree::write(&self.world.path("data/changed"), b"changed");
        self.computer.backup();
        assert_eq!(self.unreadable(), 0);
        assert_eq!(self.computer.backup()["unchanged"], true);
    }
}

fn flip(path: &Path, offset: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset as usize] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Flips a bit in the content of a data record near the middle of a pack. Between records there are zeros that nobody reads.
fn flip_content(path: &Path) {
    const RECORD_OF_DATA: [u8; 5] = [0x8b, 0x42, 0x52, 1, 1];
    const HEADER: usize = 144;
    let bytes = fs::read(path).unwrap();
    let starts =
        bytes.windows(RECORD_OF_DATA.len()).enumerate().filter(|(_, bytes)| *bytes == RECORD_OF_DATA);
    let starts: Vec<usize> = starts.map(|(start, _)| start).collect();
    flip(path, (starts[starts.len() / 2] + HEADER + 1000) as u64);
}

#[test]
fn a_flipped_bit_in_a_pack() {
    let mut archived = Archived::new();
    assert_eq!(archived.server.stop(), 0);
    let pack = archived.largest("packs");
    flip_content(&pack);
    archived.server.restart();
    let unreadable = archived.unreadable();
    assert!((1..=4).contains(&unreadable), "{unreadable} of {} files", archived.files.len());
    let name = pack.file_name().unwrap().to_string_lossy().into_owned();
    archived.server.administer(&["check"]).says(3, &[&name, "damaged"]);
    archived.server.administer(&["check", "--repair"]).says(3, &[&name]);
    archived.heals();
    archived.server.administer(&["check", "--repair"]);
    archived.server.administer(&["check"]).ends(0);
}

#[test]
fn a_pack_that_is_gone() {
    let mut archived = Archived::new();
    assert_eq!(archived.server.stop(), 0);
    let pack = archived.largest("packs");
    fs::remove_file(&pack).unwrap();
    archived.server.restart();
    assert!(archived.unreadable() > 0);
    archived.server.administer(&["check"]).ends(3);
    archived.heals();
}

/// Zeros all tables of the index of a running server, whose new rows are in memory until a repair writes them.
fn zero_tables(archived: &Archived) {
    archived.server.administer(&["check", "--repair"]).ends(0);
    let mut count = 0;
    for path in files_below(&archived.server.vault.join("index")) {
        if path.components().any(|part| part.as_os_str() == "tables") {
            fs::write(&path, vec![0; fs::metadata(&path).unwrap().len() as usize]).unwrap();
            count += 1;
        }
    }
    assert!(count > 0, "there are no tables");
}

#[test]
fn an_index_that_is_damaged_while_it_is_served() {
    let mut archived = Archived::new();
    zero_tables(&archived);
    // The server makes it anew, and the agent tries again until it has.
    archived.heals();
    archived.server.administer(&["check"]).ends(0);
    // So soon again is too often.
    zero_tables(&archived);
    tree::write(&archived.world.path("data/again"), b"again");
    let agent = archived.computer.command(["backup", "--json"]).spawn().unwrap();
    assert_eq!(archived.server.ended(), 13);
    archived.server.restart();
    Ran::of(agent).ends(0);
    assert_eq!(archived.unreadable(), 0);
    archived.server.administer(&["check"]).ends(0);
    assert_eq!(archived.server.stop(), 0);
}

#[test]
fn an_index_that_is_gone_or_damaged() {
    let mut archived = Archived::new();
    assert_eq!(archived.server.stop(), 0);
    fs::remove_dir_all(archived.server.vault.join("index")).unwrap();
    archived.server.restart();
    assert_eq!(archived.unreadable(), 0);
    assert_eq!(archived.computer.backup()["unchanged"], true);
    for seed in 0..4 {
        assert_eq!(archived.server.stop(), 0);
        let file = archived.largest("index");
        let length = fs::metadata(&file).unwrap().len();
        match seed {
            0 => flip(&file, length / 2),
            1 => fs::write(&file, tree::noise(seed, length as usize)).unwrap(),
            2 => fs::File::options().write(true).open(&file).unwrap().set_len(length / 2).unwrap(),
            _ => fs::remove_file(&file).unwrap(),
        }
        archived.server.restart();
        assert_eq!(archived.unreadable(), 0, "damage {seed}");
        assert_eq!(archived.computer.backup()["unchanged"], true, "damage {seed}");
    }
    assert_eq!(archived.server.stop(), 0);
    archived.server.administer(&["rebuild-index"]).ends(0);
    archived.server.restart();
    assert_eq!(archived.unreadable(), 0);
    archived.server.administer(&["check"]).ends(0);
}
