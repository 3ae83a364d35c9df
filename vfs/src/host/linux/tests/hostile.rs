//! Archives that say what no file system would: an answer or an error for each, and the mount goes on.

use backstore_protocol::entry::{Content, Extent, Time};
use backstore_protocol::ids::ContentHash;

use super::*;

/// What no honest agent stores, each in a directory of its own, beside an honest file.
fn hostile(archive: &mut TestArchive) -> Vec<&'static str> {
    let mut directories = Vec::new();
    let mut put = |archive: &mut TestArchive, of: &'static str, name: &[u8], entry: Entry| {
        if !directories.contains(&of) {
            directory(archive, &format!("/{of}"));
            directories.push(of);
        }
        archive.add_raw(child_key(format!("/\0{of}").as_bytes(), name), entry);
    };
    for (of, name) in [("above", &b".."[..]), ("slash", b"../../etc"), ("nothing", b""), ("zero", b"a\0b")] {
        put(archive, of, name, Entry::new(Kind::Fifo));
    }
    let link = |target: &str| Entry {
        content: Content::Inline(target.as_bytes().into()),
        size: target.len() as u64,
        ..Entry::new(Kind::Symlink)
    };
    for (name, target) in [("a", "b"), ("b", "a"), ("self", "self"), ("up", "../../../../../../up")] {
        put(archive, "loops", name.as_bytes(), link(target));
    }
    put(archive, "loops", b"long", link(&"x/".repeat(2000)));
    for (name, size) in [("most", u64::MAX), ("signed", i64::MAX as u64), ("more", i64::MAX as u64 + 1)] {
        let content = Content::Extents(Box::new([Extent::Hole { length: size }]));
        let content_hash = Some(ContentHash::ZERO);
        let entry = Entry { content, size, content_hash, ..Entry::new(Kind::File) };
        put(archive, "huge", name.as_bytes(), entry);
    }
    for (name, seconds) in [("first", i64::MIN), ("last", i64::MAX)] {
        let time = Time { seconds, nanoseconds: 999_999_999 };
        let mut entry = Entry {
            mtime: time,
            mode: u16::MAX,
            device: (u32::MAX, u32::MAX),
            ..Entry::new(Kind::CharacterDevice)
        };
        entry.nlink = u32::MAX;
        put(archive, "numbers", name.as_bytes(), entry);
    }
    directories
}

#[test]
fn hostile_trees_are_answers_or_errors() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    let directories = hostile(&mut archive);
    file(&mut archive, "/fine", vec![7; 3000]);
    let root = archive.finish();
    let mounted = mounted(archive, &[root]);
    let top = mounted.version(1);
    for directory in directories {
        let Ok(names) = fs::read_dir(top.join(directory)) else { continue };
        for name in names {
            let Ok(name) = name else { break };
            let path = name.path();
            assert_eq!(path.parent(), Some(&*top.join(directory)), "{path:?} is not where it was listed");
            // Whatever it is, it is said at once.
            let _ = fs::metadata(&path);
            let _ = fs::read_link(&path);
            // Opening a FIFO would wait for ever.
            let is_file = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
            if let Some(mut open) = is_file.then(|| File::open(&path).ok()).flatten() {
                let mut start = [1; 8192];
                if let Ok(read) = open.read(&mut start) {
                    assert_eq!(start[..read], vec![0; read]);
                }
                let _ = open.read_at(&mut start, i64::MAX as u64 - 4096);
                let _ = seek(&open, SeekFrom::Hole(0));
            }
        }
        // Programs that walk end, and never leave the version.
        let found = Command::new("find").arg("-L").arg(top.join(directory)).stderr(Stdio::null()).output();
        let found = String::from_utf8_lossy(&found.unwrap().stdout).into_owned();
        assert!(found.lines().all(|line| Path::new(line).starts_with(top.join(directory))), "{found}");
    }
    for name in ["a", "b", "self"] {
        assert_eq!(errno(fs::metadata(top.join("loops").join(name))), Some(Errno::LOOP));
    }
    assert_eq!(fs::read(top.join("fine")).unwrap(), [7; 3000]);
}
