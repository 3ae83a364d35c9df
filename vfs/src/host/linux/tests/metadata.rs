//! Extended attributes, and names.

use super::*;

#[test]
fn xattrs_are_off_by_default() {
    if obstacle().is_some() {
        return;
    }
    let make = |xattrs| {
        let mut archive = TestArchive::new();
        let xattr = backstore_protocol::entry::Xattr {
            name: Box::new(*b"user.note"),
            size: 3,
            value: backstore_protocol::entry::Content::Inline(Box::new(*b"abc")),
        };
        archive.add(&unix("/f"), Entry { xattrs: vec![xattr], ..Entry::new(Kind::File) }, &[]);
        let root = archive.finish();
        mount_with(
            archive,
            &[root],
            &MountOptions { xattrs, ..MountOptions::default() },
            &ReaderOptions::default(),
        )
    };
    let mut buffer = [0; 64];
    let off = make(false);
    let path = off.version(1).join("f");
    for _ in 0..5 {
        assert_eq!(rustix::fs::getxattr(&path, "user.note", &mut buffer[..]), Err(Errno::OPNOTSUPP));
        assert_eq!(rustix::fs::listxattr(&path, &mut buffer[..]), Err(Errno::OPNOTSUPP));
    }
    assert!(off.handle.requests().xattrs <= 2, "the kernel asks once");
    let on = make(true);
    let path = on.version(1).join("f");
    assert_eq!(rustix::fs::getxattr(&path, "user.note", &mut buffer[..]), Ok(3));
    assert_eq!(buffer[..3], *b"abc");
    assert_eq!(rustix::fs::getxattr(&path, "user.note", &mut buffer[..2]), Err(Errno::RANGE));
    assert_eq!(rustix::fs::getxattr(&path, "user.none", &mut buffer[..]), Err(Errno::NODATA));
    assert_eq!(rustix::fs::listxattr(&path, &mut buffer[..]), Ok(10));
    assert_eq!(buffer[..10], *b"user.note\0");
}

#[test]
fn names_of_every_byte_are_listed() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    let mut expected: Vec<Vec<u8>> =
        (1..=255u8).filter(|byte| !matches!(byte, b'/' | b'.')).map(|byte| vec![byte, b'x']).collect();
    expected.push(vec![b'n'; 1000]);
    expected.sort();
    for name in &expected {
        archive.add_raw(child_key(b"/", name), Entry::new(Kind::Fifo));
    }
    let root = archive.finish();
    let mounted = mounted(archive, &[root]);
    let found: Vec<_> =
        fs::read_dir(mounted.version(1)).unwrap().map(|item| item.unwrap().file_name().into_vec()).collect();
    assert_eq!(found, expected);
}
