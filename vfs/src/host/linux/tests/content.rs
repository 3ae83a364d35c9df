//! What a mount shows is what was backed up, and stays so.

use super::*;

#[test]
fn a_mount_equals_its_source() {
    if obstacle().is_some() {
        return;
    }
    let folder = TempDir::new().unwrap();
    ugly_folder(folder.path());
    let mut archive = TestArchive::new();
    add_folder(&mut archive, folder.path()).unwrap();
    let root = archive.finish();
    let mounted = mounted(archive, &[root]);
    let mut expected = describe(folder.path());
    let mut found = describe(&mounted.version(1));
    // A version's own directory belongs to whoever mounts.
    expected.remove(Path::new(""));
    found.remove(Path::new(""));
    assert!(expected.len() > 320);
    for (path, line) in &expected {
        assert_eq!(found.get(path), Some(line), "{path:?}");
    }
    assert_eq!(found.len(), expected.len());
    let sparse = mounted.version(1).join("sparse");
    assert!(fs::metadata(&sparse).unwrap().blocks() * 512 < 100_000);
    let sparse = File::open(sparse).unwrap();
    let data = seek(&sparse, SeekFrom::Data(0)).unwrap();
    assert!(
        (900_000..=1_000_000).contains(&data) && seek(&sparse, SeekFrom::Hole(data)).unwrap() >= 1_009_000
    );
    assert_eq!(seek(&sparse, SeekFrom::Data(2_000_000)), Err(Errno::NXIO));
    assert_eq!(errno(fs::metadata(mounted.version(1).join("loop"))), Some(Errno::LOOP));
    assert_eq!(errno(fs::metadata(mounted.version(1).join("not there"))), Some(Errno::NOENT));
    assert_eq!(fs::read_dir(mounted.version(1).join("inside")).unwrap().count(), 2);
}

#[test]
fn every_change_is_refused() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/f", vec![1; 2000]);
    directory(&mut archive, "/d");
    let root = archive.finish();
    let options = MountOptions { xattrs: true, ..MountOptions::default() };
    let mounted = mount_with(archive, &[root], &options, &ReaderOptions::default());
    let top = mounted.version(1);
    let (f, d, new) = (top.join("f"), top.join("d"), top.join("new"));
    let open = |options: &mut fs::OpenOptions, path: &Path| options.open(path).map(drop);
    let rustix = |result: rustix::io::Result<()>| result.map_err(io::Error::from);
    let time = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let attempts: Vec<(&str, io::Result<()>)> = vec![
        ("write", open(fs::OpenOptions::new().write(true), &f)),
        ("read and write", open(fs::OpenOptions::new().read(true).write(true), &f)),
        ("append", open(fs::OpenOptions::new().append(true), &f)),
        ("truncate", open(fs::OpenOptions::new().write(true).truncate(true), &f)),
        ("truncate by path", rustix(rustix::fs::open(&f, rustix::fs::OFlags::RDWR, Mode::empty()).map(drop))),
        ("create", open(fs::OpenOptions::new().write(true).create_new(true), &new)),
        ("create in the folder", File::create(mounted.point.path().join("new")).map(drop)),
        ("mkdir", fs::create_dir(&new)),
        ("mkdir in the folder", fs::create_dir(mounted.point.path().join("new"))),
        ("mknod", rustix(mknodat(CWD, &new, FileType::Fifo, Mode::RWXU, 0))),
        ("symlink", symlink("x", &new)),
        ("link", fs::hard_link(&f, &new)),
        ("unlink", fs::remove_file(&f)),
        ("rmdir", fs::remove_dir(&d)),
        ("rmdir of a version", fs::remove_dir(&top)),
        ("rename", fs::rename(&f, &new)),
        ("rename of a version", fs::rename(&top, mounted.point.path().join("new"))),
        ("chmod", fs::set_permissions(&f, fs::Permissions::from_mode(0o777))),
        ("chown", std::os::unix::fs::chown(&f, Some(1), None)),
        ("utimens", rustix(rustix::fs::utimensat(CWD, &f, &times, rustix::fs::AtFlags::empty()))),
        ("setxattr", rustix(rustix::fs::setxattr(&f, "user.x", b"y", XattrFlags::empty()))),
        ("removexattr", rustix(rustix::fs::removexattr(&f, "user.x"))),
        ("access for writing", rustix(rustix::fs::access(&f, rustix::fs::Access::WRITE_OK))),
    ];
    for (name, result) in attempts {
        assert_eq!(errno(result), Some(Errno::ROFS), "{name}");
    }
    assert_eq!(fs::read(&f).unwrap(), [1; 2000]);
}

#[test]
fn new_versions_appear_in_a_mount() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/f", noise(2_000_000, 1));
    let first = archive.finish();
    file(&mut archive, "/f", noise(2_000_000, 2));
    let second = archive.finish();
    let mounted = mounted(archive, &[first]);
    let names = || {
        let mut names: Vec<_> = fs::read_dir(mounted.point.path())
            .unwrap()
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["README.txt", "by-time"].contains(&name.as_str()))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["2001-09-09_01-46-41", "latest"]);
    assert_eq!(names(), ["2001-09-09_01-46-41", "latest"]);
    assert_eq!(errno(fs::metadata(mounted.version(2))), Some(Errno::NOENT));
    let open = File::open(mounted.version(1).join("f")).unwrap();
    assert_eq!(fs::read(mounted.point.path().join("latest/f")).unwrap(), noise(2_000_000, 1));
    let months = mounted.point.path().join("by-time/2001/2001-09/2001-09-09");
    let times = || fs::read_dir(&months).unwrap().count();
    assert_eq!((times(), times()), (1, 1));
    mounted.handle.set_versions(vec![version(1, first), version(2, second)]);
    assert_eq!(times(), 2, "a listing that the kernel kept");
    assert_eq!(fs::read(months.join("01-46-42/f")).unwrap(), noise(2_000_000, 2));
    assert_eq!(names(), ["2001-09-09_01-46-41", "2001-09-09_01-46-42", "latest"]);
    assert_eq!(fs::read(mounted.point.path().join("latest/f")).unwrap(), noise(2_000_000, 2));
    mounted.handle.set_versions(vec![version(2, second)]);
    assert_eq!(names(), ["2001-09-09_01-46-42", "latest"]);
    assert_eq!(errno(fs::metadata(mounted.version(1))), Some(Errno::NOENT));
    let mut bytes = vec![0; 2_000_000];
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, noise(2_000_000, 1), "what is open stays");
    mounted.handle.set_versions(Vec::new());
    assert!(names().is_empty());
}

#[test]
fn mapped_reads_equal_pread() {
    if obstacle().is_some() {
        return;
    }
    let mut bytes = noise(6_000_000, 1);
    bytes[2_000_000..3_500_000].fill(0);
    let mut archive = TestArchive::new();
    let parts = [
        Part::Data(bytes[..2_000_000].to_vec()),
        Part::Hole(1_500_000),
        Part::Data(bytes[3_500_000..].to_vec()),
    ];
    archive.add(&unix("/f"), Entry { mode: 0o644, ..Entry::new(Kind::File) }, &parts);
    let root = archive.finish();
    let mounted = mounted(archive, &[root]);
    let path = mounted.version(1).join("f");
    let open = File::open(&path).unwrap();
    let check = |range: std::ops::Range<usize>| {
        let mut buffer = vec![9; range.len()];
        open.read_exact_at(&mut buffer, range.start as u64).unwrap();
        assert_eq!(buffer, bytes[range]);
    };
    thread::scope(|scope| {
        for reader in 0..4usize {
            let check = &check;
            scope.spawn(move || {
                for step in 0..300usize {
                    let at = (step * 7_654_321 + reader * 1_234_567) % 5_990_000;
                    check(at..at + 1 + (step * 31) % 9000);
                }
            });
        }
    });
    // `cp` and `cmp` map, seek holes and read in their own ways.
    let copy = TempDir::new().unwrap();
    let copied = copy.path().join("f");
    for program in [["cp", "--sparse=always"], ["cp", "--reflink=never"]] {
        let status = Command::new(program[0]).arg(program[1]).arg(&path).arg(&copied).status().unwrap();
        assert!(status.success());
        assert_eq!(blake3::hash(&fs::read(&copied).unwrap()), blake3::hash(&bytes));
    }
    let mut direct = vec![0; 6_000_001];
    assert_eq!(open.read_at(&mut direct, 0).unwrap_or_default().min(6_000_000), 6_000_000);
    assert_eq!(direct[..6_000_000], bytes[..]);
}
