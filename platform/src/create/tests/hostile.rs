//! What must not be possible: entries that lie, and folders that others write to meanwhile.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use backstore_protocol::entry::Kind;

use super::super::*;
use super::{USUAL, entry, folders, wanted};
use crate::machine::System;
use crate::metadata::PrincipalIds;
use crate::testing::is_ordinary_user;
use crate::walk::stat_file;

#[test]
fn names_do_not_leave_their_directory() {
    let (folder, target) = folders();
    for name in [&b""[..], b".", b"..", b"../outside/x", b"/etc/x", b"a/b", b"a\0b"] {
        let refused = |error: io::Error| assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
        refused(target.create_file(name).unwrap_err());
        refused(target.open_existing_file(name).unwrap_err());
        refused(target.make_directory(name).unwrap_err());
        refused(target.open_directory(name).unwrap_err());
        refused(target.open_below(&[b"a", name]).unwrap_err());
        refused(target.create_link(name, b"x").unwrap_err());
        refused(target.create_special(name, Kind::Fifo, (0, 0), &USUAL).unwrap_err());
        refused(
            target
                .create_hard_link(
                    name,
                    &target,
                    b"x",
                    stat_file(&fs::File::open("/").unwrap()).unwrap().identity(),
                )
                .unwrap_err(),
        );
        refused(
            target
                .create_hard_link(
                    b"x",
                    &target,
                    name,
                    stat_file(&fs::File::open("/").unwrap()).unwrap().identity(),
                )
                .unwrap_err(),
        );
        refused(target.remove_file(name).unwrap_err());
        refused(target.remove_directory(name).unwrap_err());
        refused(target.create_temporary(&System).unwrap().put_in_place(name, Existing::Replace).unwrap_err());
        refused(
            target
                .finish_named(name, &wanted(&entry(Kind::Fifo, 0)), &USUAL, &mut PrincipalIds::default())
                .unwrap_err(),
        );
    }
    assert_eq!(fs::read_dir(folder.path().join("outside")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(folder.path().join("target")).unwrap().count(), 0);
}

#[test]
fn links_below_the_target_are_never_followed() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    symlink("../outside", path("parent")).unwrap();
    symlink("../outside/secret", path("file")).unwrap();
    symlink("../outside/new", path("dangling")).unwrap();
    fs::create_dir(path("real")).unwrap();
    symlink("../../outside", path("real/deep")).unwrap();

    assert!(target.open_directory(b"parent").is_err());
    assert!(target.open_below(&[b"parent"]).is_err());
    assert!(target.open_below(&[b"real", b"deep"]).is_err());
    assert!(target.open_below(&[b"real"]).is_ok());
    for name in [&b"parent"[..], b"file", b"dangling"] {
        assert_eq!(target.create_file(name).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(target.make_directory(name).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(target.open_existing_file(name).unwrap().is_none());
    }
    // Replacing replaces the link, not what it leads to.
    let temporary = target.create_temporary(&System).unwrap();
    temporary.file().write_all(b"new").unwrap();
    temporary.put_in_place(b"file", Existing::Replace).unwrap();
    assert_eq!(fs::read(path("file")).unwrap(), b"new");
    assert_eq!(fs::read(folder.path().join("outside/secret")).unwrap(), b"secret");
    assert!(!folder.path().join("outside/new").exists());
}

#[test]
fn links_on_the_way_to_the_target_are_followed_only_if_the_user_named_them() {
    let (folder, _) = folders();
    symlink("target", folder.path().join("link")).unwrap();
    fs::create_dir(folder.path().join("target/inner")).unwrap();
    for (path, has_link) in [("target", false), ("target/inner", false), ("link", true), ("link/inner", true)]
    {
        let path = folder.path().join(path);
        assert!(TargetDirectory::open(&path, Links::Follow).is_ok());
        assert_eq!(TargetDirectory::open(&path, Links::Refuse).is_err(), has_link, "{path:?}");
        // The same where the system has no call for it.
        let stepwise = unix::stepwise(
            rustix::fs::CWD,
            std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()),
            rustix::fs::OFlags::NOFOLLOW,
        );
        assert_eq!(stepwise.is_err(), has_link, "{path:?}");
    }
    assert!(TargetDirectory::open(&folder.path().join("outside/secret"), Links::Refuse).is_err());
    assert!(TargetDirectory::open(Path::new("/"), Links::Refuse).is_ok());
}

#[test]
fn a_parent_swapped_for_a_link_leads_nowhere() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    let inner = target.make_directory(b"inner").unwrap();
    fs::rename(path("inner"), path("moved")).unwrap();
    symlink("../outside", path("inner")).unwrap();
    inner.create_file(b"file").unwrap();
    assert!(path("moved/file").exists(), "what is open stays what it is");
    assert!(!folder.path().join("outside/file").exists());
    assert!(target.open_directory(b"inner").is_err());
}

#[test]
fn hard_links_go_only_to_what_was_made_here() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    let made = stat_file(&target.create_file(b"made").unwrap()).unwrap().identity();
    target.create_hard_link(b"second", &target, b"made", made).unwrap();
    assert_eq!(fs::metadata(path("second")).unwrap().ino(), made.1);
    assert_eq!(
        target.create_hard_link(b"second", &target, b"made", made).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );

    // A link put in its place, and a file of somebody else.
    fs::remove_file(path("made")).unwrap();
    symlink("../outside/secret", path("made")).unwrap();
    assert_eq!(
        target.create_hard_link(b"third", &target, b"made", made).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    fs::remove_file(path("made")).unwrap();
    fs::rename(folder.path().join("outside/secret"), path("made")).unwrap();
    assert_eq!(
        target.create_hard_link(b"third", &target, b"made", made).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(!path("third").exists());
}

#[test]
fn hard_links_of_every_kind_as_any_user() {
    is_ordinary_user("create::tests::hostile::hard_links_of_every_kind_as_any_user");
    hard_links_of_every_kind();
}

fn hard_links_of_every_kind() {
    let (_folder, target) = folders();
    let inner = target.make_directory(b"inner").unwrap();
    drop(target.create_file(b"file").unwrap());
    target.create_link(b"link", b"nowhere").unwrap();
    let mut names = vec![&b"file"[..], b"link"];
    if cfg!(target_os = "linux") {
        assert!(target.create_special(b"fifo", Kind::Fifo, (0, 0), &USUAL).unwrap().is_none());
        assert!(target.create_special(b"socket", Kind::Socket, (0, 0), &USUAL).unwrap().is_none());
        names.extend([&b"fifo"[..], b"socket"]);
    }
    for name in names {
        let made = target.stat(name).unwrap().unwrap();
        inner.create_hard_link(b"second", &target, name, made.identity()).unwrap();
        let second = inner.stat(b"second").unwrap().unwrap();
        assert_eq!((second.identity(), second.kind, second.nlink), (made.identity(), made.kind, 2));
        inner.remove_file(b"second").unwrap();
    }
}

#[test]
fn a_swapped_name_gets_no_metadata() {
    let (folder, target) = folders();
    let path = |name: &str| folder.path().join("target").join(name);
    let mut ids = PrincipalIds::default();
    let archived = entry(Kind::Symlink, 0o777);
    let mut finish = |name: &[u8]| target.finish_named(name, &wanted(&archived), &USUAL, &mut ids).map(drop);
    target.create_link(b"link", b"x").unwrap();
    finish(b"link").unwrap();
    fs::remove_file(path("link")).unwrap();
    assert_eq!(finish(b"link").unwrap_err().kind(), ErrorKind::NotFound);
    fs::rename(folder.path().join("outside/secret"), path("link")).unwrap();
    assert!(finish(b"link").is_err());
    fs::remove_file(path("link")).unwrap();
    symlink("foreign", folder.path().join("outside/foreign")).unwrap();
    fs::hard_link(folder.path().join("outside/foreign"), path("link")).unwrap();
    assert_eq!(finish(b"link").unwrap_err().kind(), ErrorKind::NotFound);
}
