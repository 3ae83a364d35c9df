//! Mount points, from mounting to what is left of a dead mount.

use super::*;

#[test]
fn mounting_reads_nothing() {
    if obstacle().is_some() {
        return;
    }
    let (archive, root) = wide(1000);
    let roots: Vec<_> = (0..100).map(|_| root).collect();
    let mounted = mounted(archive, &roots);
    assert_eq!(fs::read_dir(mounted.point.path()).unwrap().count(), 103);
    assert_eq!(mounted.source().take_calls().len(), 0);
    assert_eq!(mounted.reader.counters(), crate::objects::ReaderCounters::default());
    let space = rustix::fs::statvfs(mounted.point.path()).unwrap();
    assert_eq!((space.f_blocks * space.f_frsize / 4096, space.f_bfree), (123_456_789u64.div_ceil(4096), 0));
}

#[test]
fn the_mount_table_names_us() {
    if obstacle().is_some() {
        return;
    }
    let (archive, root) = wide(1);
    let mounted = mounted(archive, &[root]);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = mounted.handle.mount_point().to_str().unwrap();
    let line = table.lines().find(|line| line.contains(path)).unwrap();
    assert!(line.contains(" - fuse.backstore backstore "), "{line}");
    for option in ["ro", "nosuid", "nodev", "noatime"] {
        assert!(line.split(' ').nth(5).unwrap().split(',').any(|given| given == option), "{option}: {line}");
    }
}

#[test]
fn bad_mount_points_are_refused() {
    if obstacle().is_some() {
        return;
    }
    let (archive, root) = wide(1);
    let mounted = mounted(archive, &[root]);
    let model = Arc::clone(&mounted.handle.model);
    let folder = TempDir::new().unwrap();
    let attempt = |path: &Path, options: &MountOptions| mount(Arc::clone(&model), path, options);
    let options = MountOptions::default();
    assert!(matches!(attempt(mounted.point.path(), &options), Err(MountError::AlreadyMounted { .. })));
    assert!(matches!(attempt(&folder.path().join("none"), &options), Err(MountError::PointMissing { .. })));
    assert!(matches!(
        attempt(&folder.path().join("none/below"), &options),
        Err(MountError::PointMissing { .. })
    ));
    fs::write(folder.path().join("file"), b"x").unwrap();
    assert!(matches!(
        attempt(&folder.path().join("file"), &options),
        Err(MountError::PointNotDirectory { .. })
    ));
    assert!(matches!(
        attempt(&folder.path().join("file/below"), &options),
        Err(MountError::PointNotDirectory { .. })
    ));
    assert!(matches!(attempt(folder.path(), &options), Err(MountError::PointNotEmpty { .. })));
    let over = attempt(folder.path(), &MountOptions { allow_nonempty: true, ..options }).unwrap();
    assert!(fs::metadata(folder.path().join("latest")).is_ok());
    assert_eq!(over.unmount().unwrap(), Unmounted::Clean);
    assert_eq!(over.unmount().unwrap(), Unmounted::Clean, "twice does no harm");
    assert!(fs::metadata(folder.path().join("file")).is_ok());
}

/// Set for the process that mounts and is killed.
const VICTIM: &str = "BACKSTORE_TEST_VICTIM_MOUNT";

/// Not a test of its own: run by [`a_dead_mount_is_replaced`] in another process, it mounts and waits to be killed.
#[test]
fn victim_of_a_dead_mount_is_replaced() {
    let Some(point) = std::env::var_os(VICTIM) else { return };
    let (archive, root) = wide(1);
    let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
    let model = Arc::new(Snapshots::new(&reader, FolderOptions::default()).unwrap());
    model.set_versions(vec![version(1, root)]);
    let handle = mount(model, Path::new(&point), &MountOptions::default()).unwrap();
    println!("mounted");
    handle.wait();
}

#[test]
fn a_dead_mount_is_replaced() {
    if obstacle().is_some() {
        return;
    }
    let point = TempDir::new().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "host::linux::tests::point::victim_of_a_dead_mount_is_replaced", "--nocapture"])
        .env(VICTIM, point.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = Vec::new();
    let mut output = victim.stdout.take().unwrap();
    while !String::from_utf8_lossy(&told).contains("mounted") {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&told));
        told.push(byte[0]);
    }
    assert!(fs::metadata(point.path().join("latest")).is_ok());
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(rustix::fs::statfs(point.path()).unwrap_err(), Errno::NOTCONN);
    let (archive, root) = wide(3);
    let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
    let model = Arc::new(Snapshots::new(&reader, FolderOptions::default()).unwrap());
    model.set_versions(vec![version(1, root)]);
    let handle = mount(model, point.path(), &MountOptions::default()).unwrap();
    assert_eq!(fs::read_dir(point.path().join("latest/d")).unwrap().count(), 3);
    drop(handle);
    assert_eq!(fs::read_dir(point.path()).unwrap().count(), 0);
}

#[test]
fn a_busy_mount_is_detached() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/f", noise(3_000_000, 1));
    let root = archive.finish();
    let mounted = mounted(archive, &[root]);
    let mut open = File::open(mounted.version(1).join("f")).unwrap();
    assert_eq!(mounted.handle.unmount().unwrap(), Unmounted::Detached);
    assert_eq!(fs::read_dir(mounted.point.path()).unwrap().count(), 0);
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, noise(3_000_000, 1), "whoever has it open goes on reading");
    drop(open);
    mounted.handle.wait();
    assert_eq!(mounted.handle.unmount().unwrap(), Unmounted::Clean);
}

#[test]
fn an_unmount_from_outside_ends_the_mount() {
    if obstacle().is_some() {
        return;
    }
    let (archive, root) = wide(1);
    let mounted = mounted(archive, &[root]);
    assert!(Command::new("umount").arg(mounted.point.path()).status().unwrap().success());
    mounted.handle.wait();
    assert_eq!(mounted.handle.unmount().unwrap(), Unmounted::Clean);
    let (archive, root) = wide(1);
    let dropped = self::mounted(archive, &[root]);
    let point = dropped.point.path().to_owned();
    let Mounted { handle, point: folder, .. } = dropped;
    drop(handle);
    assert_eq!(fs::read_dir(&point).unwrap().count(), 0, "dropping the handle unmounts");
    folder.close().unwrap();
}

#[test]
fn other_users_are_kept_out() {
    if obstacle().is_some() {
        return;
    }
    let make = |allow_other| {
        let mut archive = TestArchive::new();
        file(&mut archive, "/open", b"open".to_vec());
        let secret = Entry { mode: 0o600, owner: root_owner(), ..Entry::new(Kind::File) };
        archive.add(&unix("/secret"), secret, &[Part::Data(b"secret".to_vec())]);
        let root = archive.finish();
        mount_with(
            archive,
            &[root],
            &MountOptions { allow_other, ..MountOptions::default() },
            &ReaderOptions::default(),
        )
    };
    // Nobody's shell has to be able to reach the mount point.
    let as_nobody = |mounted: &Mounted, name: &str| {
        fs::set_permissions(mounted.point.path().parent().unwrap(), fs::Permissions::from_mode(0o1777))
            .unwrap_or_default();
        let path = mounted.version(1).join(name);
        let mut command = Command::new("cat");
        std::os::unix::process::CommandExt::uid(
            command.arg(path).stdout(Stdio::null()).stderr(Stdio::null()),
            65_534,
        );
        command.status().unwrap().success()
    };
    let closed = make(false);
    assert!(!as_nobody(&closed, "open") && fs::read(closed.version(1).join("open")).is_ok());
    let shared = make(true);
    assert!(as_nobody(&shared, "open") && !as_nobody(&shared, "secret"));
    assert_eq!(fs::read(shared.version(1).join("secret")).unwrap(), b"secret");
}
