//! Secrets on a real file system, and the ways they can be given away.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::testing::{is_ordinary_user, make_fifo, world_readable_folder};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Names in the folder of `path`.
fn names(path: &Path) -> Vec<OsString> {
    let mut names: Vec<_> =
        fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_secret_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/key");
    let written = write_secret(&path, b"secret").unwrap();
    assert_eq!(written, Written { durability: Durability::Full, privacy: Privacy::OwnerOnly });
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(mode(&folder.path().join("a")), 0o700);
    assert_eq!(&read_secret(&path, 6).unwrap()[..], b"secret");
    // Replaced as a whole, whatever was there and whoever could read it.
    chmod(&path, 0o644);
    let _ = write_secret(&path, b"").unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(&read_secret(&path, 0).unwrap()[..], b"");
    assert_eq!(names(&path), ["key"]);
}

#[test]
fn a_secret_open_to_others_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let _ = write_secret(&path, b"secret").unwrap();
    for exposed in [0o640, 0o604, 0o620, 0o601, 0o644, 0o777] {
        chmod(&path, exposed);
        let refused = read_secret(&path, 100).unwrap_err();
        assert!(
            matches!(refused, PrivateFileError::Exposed { mode, .. } if u32::from(mode) == exposed),
            "{refused:?}"
        );
    }
    for fine in [0o600, 0o400, 0o700] {
        chmod(&path, fine);
        assert_eq!(&read_secret(&path, 100).unwrap()[..], b"secret");
    }
}

#[test]
fn what_is_no_small_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let _ = write_secret(&path("key"), b"secret").unwrap();
    symlink("key", path("link")).unwrap();
    make_fifo(&path("fifo"));
    fs::create_dir(path("folder")).unwrap();
    assert!(matches!(read_secret(&path("link"), 100), Err(PrivateFileError::File { action: "open", .. })));
    assert!(matches!(read_secret(&path("fifo"), 100), Err(PrivateFileError::NotAFile { .. })));
    assert!(matches!(read_secret(&path("folder"), 100), Err(PrivateFileError::NotAFile { .. })));
    assert!(matches!(read_secret(&path("key"), 5), Err(PrivateFileError::TooLarge { bytes_max: 5, .. })));
    let missing = read_secret(&path("none"), 5).unwrap_err();
    assert!(
        matches!(missing, PrivateFileError::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    );
}

#[test]
fn a_secret_of_somebody_else_is_refused() {
    if !is_ordinary_user("private_file::tests::a_secret_of_somebody_else_is_refused") {
        return;
    }
    // A file of root that an ordinary user may open: on a normal system its mode alone would be refused, so its owner has to be first.
    let refused = read_secret(Path::new("/etc/passwd"), 1 << 20).unwrap_err();
    assert!(matches!(refused, PrivateFileError::ForeignOwner { owner: 0, .. }), "{refused:?}");
}

#[test]
fn replacing_leaves_the_old_file_or_the_new_one() {
    let folder = world_readable_folder();
    let path = folder.path().join("state");
    assert_eq!(replace(&path, b"one").unwrap(), Durability::Full);
    let old = File::open(&path).unwrap();
    assert_eq!(replace(&path, b"two").unwrap(), Durability::Full);
    // Whoever had it open still reads the old one, whole.
    assert_eq!(io::read_to_string(old).unwrap(), "one");
    assert_eq!(fs::read(&path).unwrap(), b"two");

    // A folder cannot be replaced by a file; the attempt leaves nothing behind.
    fs::create_dir(folder.path().join("folder")).unwrap();
    let failed = replace(&folder.path().join("folder"), b"x").unwrap_err();
    assert!(matches!(failed, PrivateFileError::File { action: "replace", .. }), "{failed:?}");
    assert!(matches!(replace(&folder.path().join("none/x"), b"x"), Err(PrivateFileError::File { .. })));
    assert_eq!(names(&path), ["folder", "state"]);
}

#[test]
fn many_writers_never_mix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    std::thread::scope(|scope| {
        for writer in 0..4u8 {
            let path = &path;
            scope.spawn(move || {
                (0..20).for_each(|_| assert_eq!(replace(path, &[writer; 10_000]).unwrap(), Durability::Full))
            });
        }
    });
    let content = fs::read(&path).unwrap();
    assert!(content.len() == 10_000 && content.iter().all(|byte| *byte == content[0]));
    assert_eq!(names(&path), ["state"]);
}

#[test]
fn a_scratch_file_has_no_name() {
    use std::io::{Read, Seek};
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let mut file = scratch_file(&cache).unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
    file.write_all(b"names").unwrap();
    file.rewind().unwrap();
    let mut read = String::new();
    file.read_to_string(&mut read).unwrap();
    assert_eq!(read, "names");
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(matches!(scratch_file(&folder.path().join("file")), Err(PrivateFileError::File { .. })));
}
