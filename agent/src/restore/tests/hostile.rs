//! Archives and targets that mean harm, and archives that are damaged: one test for each attack.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use backstore_platform::create::Part as MetadataPart;
use backstore_protocol::entry::{Content, Entry, Extent, Kind, ObjectRef, Time, Xattr};
use backstore_protocol::ids::{ContentHash, ObjectId};
use backstore_protocol::object::ObjectKind;
use backstore_protocol::path::ArchivePath;
use backstore_protocol::store::ReadFailure;
use backstore_vfs::objects::{ObjectReader, ReaderOptions};
use backstore_vfs::test_archive::{Part, TestArchive};
use tempfile::TempDir;

use super::*;

/// An archive with `/d`, which is restored into `target`; `outside` lies beside it.
struct Attack {
    folder: TempDir,
    archive: TestArchive,
}

fn path(text: &str) -> ArchivePath {
    text.split('/').skip(1).fold(ArchivePath::unix_root(), |path, name| path.join(name.as_bytes()).unwrap())
}

fn entry(kind: Kind, mode: u16) -> Entry {
    Entry { mode, mtime: Time { seconds: 1_500_000_000, nanoseconds: 7 }, ..Entry::new(kind) }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

impl Attack {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("target")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/secret"), "secret").unwrap();
        let mut attack = Self { folder, archive: TestArchive::new() };
        attack.archive.add(&ArchivePath::unix_root(), entry(Kind::ImpliedDirectory, 0o755), &[]);
        attack.add("/d", entry(Kind::Directory, 0o755), &[]);
        attack
    }

    fn add(&mut self, name: &str, entry: Entry, parts: &[Part]) {
        self.archive.add(&path(name), entry, parts);
    }

    fn file(&mut self, name: &str, bytes: &[u8]) {
        self.add(name, entry(Kind::File, 0o644), &[Part::Data(bytes.to_vec())]);
    }

    fn target(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("target").join(name)
    }

    fn view(&mut self) -> View {
        let options =
            ReaderOptions { deadline: std::time::Duration::from_secs(20), ..ReaderOptions::default() };
        let reader = ObjectReader::new(self.archive.source(), self.archive.keys(), &options).unwrap();
        View::new(reader, self.archive.finish())
    }

    fn restore_view(&self, view: View, how: &How) -> (RestoreReport, Vec<String>) {
        let done = restore_items(
            view,
            items_by_name(&[path("/d")]).unwrap(),
            &self.folder.path().join("target"),
            how,
        );
        let outside: Vec<_> = fs::read_dir(self.folder.path().join("outside")).unwrap().collect();
        assert_eq!(outside.len(), 1, "nothing came outside");
        assert_eq!(fs::read_to_string(self.folder.path().join("outside/secret")).unwrap(), "secret");
        done
    }

    fn restore(&mut self, how: &How) -> (RestoreReport, Vec<String>) {
        let view = self.view();
        self.restore_view(view, how)
    }
}

fn privileged() -> How {
    How { policy: Policy { privileged: true, owners: Owners::ById, ..USUAL }, ..How::default() }
}

fn is_root() -> bool {
    backstore_platform::process::is_privileged() == Some(true)
}

fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
    assert!(std::env::var_os("CI").is_none(), "no test is skipped in CI: {why}");
}

#[test]
fn names_that_lead_elsewhere() {
    for name in [&b".."[..], b".", b"", b"a/b", b"../outside/evil", b"/etc/evil"] {
        let mut attack = Attack::new();
        attack.file("/d/good", b"good");
        let evil =
            Entry { size: 4, content: Content::Inline(Box::from(&b"evil"[..])), ..entry(Kind::File, 0o644) };
        attack.archive.add_raw([b"/\0d\0\0", name].concat(), evil);
        let (report, told) = attack.restore(&How::default());
        assert!(report.errors > 0 && !told.is_empty(), "{name:?}: {told:?}");
        assert!(told.iter().all(|line| line.starts_with("/d")), "{told:?}");
        assert!(!attack.target("evil").exists() && !attack.target("a").exists());
    }
}

#[test]
fn names_below_something_that_is_no_directory() {
    let mut attack = Attack::new();
    let outside = attack.folder.path().join("outside").to_str().unwrap().to_owned();
    attack.add("/d/link", entry(Kind::Symlink, 0o777), &[Part::Data(outside.into_bytes())]);
    attack.file("/d/link/evil", b"evil");
    attack.file("/d/link/secret", b"evil");
    let (report, told) = attack.restore(&How::default());
    assert_eq!((report.files, report.others, told.len()), (0, 1, 0));
    assert!(fs::symlink_metadata(attack.target("d/link")).unwrap().is_symlink());
}

#[test]
fn links_planted_in_the_target_are_not_followed() {
    for (existing, expected) in [
        (Existing::Rename, "d (2026-11-22 14-30-05)/sub/secret"),
        (Existing::Overwrite, "d/sub/secret"),
        (Existing::Skip, ""),
    ] {
        let mut attack = Attack::new();
        attack.add("/d/sub", entry(Kind::Directory, 0o755), &[]);
        attack.file("/d/sub/secret", b"restored");
        symlink("../outside", attack.target("d")).unwrap();
        let (report, told) = attack.restore(&How { existing, ..How::default() });
        assert_eq!((report.errors, told.len()), (0, 0), "{told:?}");
        if !expected.is_empty() {
            assert_eq!(fs::read_to_string(attack.target(expected)).unwrap(), "restored");
        }
    }
    // Deeper, and in place of a file.
    let mut attack = Attack::new();
    attack.add("/d/sub", entry(Kind::Directory, 0o755), &[]);
    attack.file("/d/sub/secret", b"restored");
    attack.file("/d/secret", b"restored");
    fs::create_dir(attack.target("d")).unwrap();
    symlink("../../outside", attack.target("d/sub")).unwrap();
    symlink("../../outside/secret", attack.target("d/secret")).unwrap();
    let (report, _) = attack.restore(&How { existing: Existing::Overwrite, ..How::default() });
    assert_eq!((report.files, report.errors), (2, 0));
    assert!(fs::symlink_metadata(attack.target("d/sub")).unwrap().is_dir());
    assert!(fs::symlink_metadata(attack.target("d/secret")).unwrap().is_file());
}

/// A file that was begun, or so it seems, and is one more name of somebody else's.
#[test]
fn a_planted_hard_link_is_not_written_into() {
    let mut attack = Attack::new();
    attack.file("/d/file", b"restored");
    fs::create_dir(attack.target("d")).unwrap();
    let secret = attack.folder.path().join("outside/secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o1600)).unwrap();
    fs::hard_link(&secret, attack.target("d/file")).unwrap();
    let (report, _) = attack.restore(&How::default());
    assert_eq!((report.files, report.errors), (1, 0));
    assert_eq!(fs::read_to_string(attack.target("d/file")).unwrap(), "restored");
}

#[test]
fn special_bits_devices_and_privileged_attributes_need_asking() {
    if !is_root() {
        return skip("only root can make devices");
    }
    let build = || {
        let mut attack = Attack::new();
        let special = entry(Kind::File, 0o6755);
        attack.add("/d/setuid", special, &[Part::Data(b"x".to_vec())]);
        let device = Entry { device: (1, 3), ..entry(Kind::CharacterDevice, 0o666) };
        attack.add("/d/null", device, &[]);
        attack.add("/d/pipe", entry(Kind::Fifo, 0o644), &[]);
        let mut trusted = entry(Kind::File, 0o644);
        let value = Content::Inline(Box::from(&b"1"[..]));
        trusted.xattrs = vec![Xattr { name: Box::from(&b"trusted.x"[..]), size: 1, value }];
        attack.add("/d/trusted", trusted, &[]);
        attack
    };
    let mut attack = build();
    let (report, told) = attack.restore(&How::default());
    assert_eq!((report.errors, told.len(), report.files, report.others), (0, 0, 2, 1));
    for part in [MetadataPart::SpecialMode, MetadataPart::Device, MetadataPart::PrivilegedXattr] {
        assert_eq!(report.left_out.of(part), 1, "{part}");
    }
    assert_eq!(fs::metadata(attack.target("d/setuid")).unwrap().mode() & 0o7777, 0o755);
    assert!(fs::symlink_metadata(attack.target("d/null")).is_err());
    let mut attack = build();
    let (report, told) = attack.restore(&privileged());
    assert_eq!((report.errors, told.len(), report.others), (0, 0, 2));
    assert_eq!(report.left_out.of(MetadataPart::Device), 0);
    assert_eq!(fs::symlink_metadata(attack.target("d/null")).unwrap().rdev(), 0x103);
}

#[test]
fn sizes_that_lie() {
    let mut attack = Attack::new();
    attack.file("/d/good", b"good");
    let hole = |length| Content::Extents(Box::new([Extent::Hole { length }]));
    let lie = |size, content| {
        let content_hash = Entry::has_content_hash(&content).then_some(ContentHash::from_bytes([1; 16]));
        Entry { size, content, content_hash, ..entry(Kind::File, 0o644) }
    };
    attack.archive.add_raw(path("/d/huge").key(), lie(1 << 62, hole(1 << 62)));
    let object = ObjectRef { id: ObjectId::from_bytes([9; 32]), length: 4096 };
    let missing = Content::Extents(Box::new([Extent::Data { object, offset: 0, length: 4096 }]));
    attack.archive.add_raw(path("/d/missing").key(), lie(4096, missing));
    attack.archive.add_raw(path("/d/unread").key(), lie(10, Content::Unread));
    let (report, told) = attack.restore(&How::default());
    assert_eq!(fs::read(attack.target("d/good")).unwrap(), b"good");
    assert_eq!((report.files, report.errors, told.len()), (1, 3, 3), "{told:?}");
    for name in ["huge", "missing", "unread"] {
        assert!(told.iter().any(|line| line.starts_with(&format!("/d/{name}: "))), "{told:?}");
        assert!(!attack.target("d").join(name).exists(), "{name}");
    }
}

/// What can be read of a damaged file is there, marked as unfinished, and becomes whole when the archive is healed.
#[test]
fn a_damaged_object_concerns_its_files_only() {
    let mut attack = Attack::new();
    let large = noise(3 << 20);
    attack.file("/d/large", &large);
    attack.file("/d/small", b"inline");
    attack.add("/d/sub", entry(Kind::Directory, 0o755), &[]);
    attack.file("/d/sub/file", b"inline");
    let view = attack.view();
    let chunks = attack.archive.source().ids(ObjectKind::Data);
    assert!(chunks.len() > 2);
    attack.archive.source().fail(chunks[1], ReadFailure::Missing);
    let (report, told) = attack.restore_view(view.clone(), &How::default());
    assert_eq!((report.files, report.errors, told.len()), (2, 1, 1), "{told:?}");
    assert!(told[0].starts_with("/d/large: ") && told[0].contains("bytes, the first at byte"), "{told:?}");
    let half = fs::metadata(attack.target("d/large")).unwrap();
    assert_eq!((half.len(), half.mode() & 0o7777), (large.len() as u64, 0o1600));
    attack.archive.source().heal();
    let (report, told) = attack.restore_view(view, &How::default());
    assert_eq!((report.files, report.present, report.renamed, told.len()), (1, 2, 0, 0), "{told:?}");
    assert!(fs::read(attack.target("d/large")).unwrap() == large);
    assert_eq!(fs::metadata(attack.target("d/large")).unwrap().mode() & 0o7777, 0o644);
}

/// A good file is not given up for what is left of a damaged one.
#[test]
fn a_damaged_file_replaces_nothing() {
    let mut attack = Attack::new();
    attack.file("/d/file", &noise(3 << 20));
    let view = attack.view();
    let chunks = attack.archive.source().ids(ObjectKind::Data);
    attack.archive.source().fail(chunks[0], ReadFailure::Missing);
    fs::create_dir(attack.target("d")).unwrap();
    fs::write(attack.target("d/file"), "good").unwrap();
    let (report, told) = attack.restore_view(view, &How { existing: Existing::Overwrite, ..How::default() });
    assert_eq!((report.files, report.errors, told.len()), (0, 1, 1));
    assert_eq!(fs::read_to_string(attack.target("d/file")).unwrap(), "good");
    assert_eq!(fs::read_dir(attack.target("d")).unwrap().count(), 1);
}

#[test]
fn a_dead_destination_ends_it_with_one_message() {
    let mut attack = Attack::new();
    for number in 0..300 {
        attack.file(&format!("/d/{number}"), &noise(2000 + number));
    }
    let view = attack.view();
    let _ = view.resolve(&path("/d")).unwrap();
    view.children(&path("/d")).unwrap().for_each(drop);
    attack.archive.source().die();
    let (report, told) = attack.restore_view(view, &How::default());
    assert_eq!((report.ended, told.len()), (Some(Ended::Stopped), 1), "{told:?}");
}

/// One message, and the same restore goes on when there is room.
#[test]
fn a_full_target_ends_it_with_one_message() {
    if !is_root() {
        return skip("only root can mount a small file system");
    }
    let mut attack = Attack::new();
    for number in 0..40 {
        attack.file(&format!("/d/{number}"), &noise(200_000 + number));
    }
    let target = attack.target("");
    let mount = |options: &str| {
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&target)
            .status()
            .is_ok_and(|s| s.success())
    };
    if !mount("size=4m") {
        return skip("no tmpfs can be mounted");
    }
    let view = attack.view();
    let (report, told) = attack.restore_view(view.clone(), &How::default());
    let grown = mount("remount,size=40m");
    let (again, told_again) = attack.restore_view(view, &How::default());
    let files = fs::read_dir(attack.target("d")).unwrap().count();
    assert!(Command::new("umount").arg(&target).status().unwrap().success());
    assert_eq!((report.ended, told.len()), (Some(Ended::Stopped), 1), "{told:?}");
    assert!(told[0].contains("full"), "{told:?}");
    assert!(grown && (10..40).contains(&report.files), "{report:?}");
    assert_eq!(
        (again.files + again.present, again.renamed, told_again.len(), files),
        (40, 0, 0, 40),
        "{told_again:?}"
    );
}
