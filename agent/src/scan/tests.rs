//! Scans of real directories.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn rules(room: &Path, bytes_max: usize) -> ScanRules {
    ScanRules {
        exclusions: Exclusions::default(),
        exclude_if_present: vec![b".nobackup".to_vec()],
        exclude_larger_than: None,
        one_file_system: false,
        exclude_caches: true,
        never_enter: Vec::new(),
        pseudo: Vec::new(),
        sort_room: SortRoom { folder: room.to_owned(), bytes_max },
    }
}

fn scan(roots: &[PathBuf], rules: ScanRules) -> Vec<Listing> {
    let mut scanner = Scanner::start(Roots::open(roots).unwrap(), rules, 2);
    std::iter::from_fn(|| scanner.next_listing()).collect()
}

/// More names than fit into the memory for them, in several listings; and subdirectories among them, which come behind all of it.
#[test]
fn a_large_directory_is_listed_in_order() {
    const FILES: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap().join("root");
    fs::create_dir(&root).unwrap();
    let name = |number: usize| format!("{:x}", number.wrapping_mul(0x9e37_79b9) & 0xffff_ffff);
    for number in 0..FILES {
        fs::File::create(root.join(name(number))).unwrap();
    }
    fs::create_dir(root.join("00 directory")).unwrap();
    fs::write(root.join("00 directory/file"), "").unwrap();
    let room = folder.path().join("room");
    let listings = scan(std::slice::from_ref(&root), rules(&room, 16 * 1024));
    assert!(listings.iter().all(|listing| listing.error.is_none() && listing.files.len() <= 4096));
    let (below, rest): (Vec<_>, Vec<_>) =
        listings.iter().partition(|listing| listing.path.joined().ends_with(b"00 directory"));
    let of_root = rest.iter().filter(|listing| listing.path.joined().ends_with(b"root"));
    let found: Vec<&[u8]> = of_root.flat_map(|listing| &listing.files).map(|file| &file.name[..]).collect();
    let mut expected: Vec<String> = (0..FILES).map(name).collect();
    expected.push("00 directory".to_owned());
    expected.sort();
    assert!(
        found == expected.iter().map(String::as_bytes).collect::<Vec<_>>(),
        "other names or another order"
    );
    assert_eq!(below.len(), 1);
    assert!(std::ptr::eq(below[0], listings.last().unwrap()), "a directory comes behind the one it is in");
    assert_eq!(fs::read_dir(&room).unwrap().count(), 0);
}

/// Marks are seen whether the names fit into memory or not.
#[test]
fn marked_directories_are_left_out() {
    for bytes_max in [1, 1 << 20] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("root");
        for (directory, tag) in
            [("cache", "CACHEDIR.TAG"), ("not a cache", "CACHEDIR.TAG"), ("marked", ".nobackup")]
        {
            fs::create_dir_all(root.join(directory)).unwrap();
            let content =
                if directory == "cache" { "Signature: 8a477f597d28d172789f06886806bc55\n" } else { "" };
            fs::write(root.join(directory).join(tag), content).unwrap();
            fs::write(root.join(directory).join("file"), "").unwrap();
        }
        let listings = scan(std::slice::from_ref(&root), rules(&folder.path().join("room"), bytes_max));
        let of = |directory: &str| {
            let listing =
                listings.iter().find(|listing| listing.path.name() == directory.as_bytes()).unwrap();
            let names: Vec<_> =
                listing.files.iter().map(|file| String::from_utf8_lossy(&file.name)).collect();
            (names.join(" "), listing.excluded)
        };
        assert_eq!(of("cache"), ("CACHEDIR.TAG".to_owned(), 1));
        assert_eq!(of("not a cache"), ("CACHEDIR.TAG file".to_owned(), 0));
        assert_eq!(of("marked"), (String::new(), 2));
    }
}

/// Names are ordered as keys are: a directory's subtree before its neighbours whose names begin with its own, whatever byte follows.
#[test]
fn directories_come_in_the_order_of_keys() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap().join("root");
    let names: [&[u8]; 7] = [b"a", b"a\x01", b"a ", b"a!", b"a.b", b"a0", b"a\xff\n"];
    for name in names {
        fs::create_dir_all(root.join(OsStr::from_bytes(name)).join("below\x01/file")).unwrap();
    }
    let listings = scan(std::slice::from_ref(&root), rules(&folder.path().join("room"), 1 << 20));
    let keys: Vec<Vec<u8>> = listings
        .iter()
        .flat_map(|listing| {
            listing.files.iter().map(|file| listing.path.join(&file.name).unwrap().key()).collect::<Vec<_>>()
        })
        .collect();
    assert!(keys.is_sorted(), "{keys:?}");
    assert!(keys.len() >= 21);
}
