//! Sources that are slow, dead or damaged.

use super::*;

#[test]
fn a_blocked_read_does_not_block_others() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    let ids: Vec<_> = (0..40u64)
        .inspect(|number| {
            file(&mut archive, &format!("/{number:02}"), noise(300_000, *number));
        })
        .collect();
    file(&mut archive, "/small", vec![5; 100]);
    let root = archive.finish();
    let options = MountOptions { workers: 4, event_loops: 2, ..MountOptions::default() };
    let mounted = mount_with(archive, &[root], &options, &ReaderOptions::default());
    let top = mounted.version(1);
    assert_eq!(fs::read_dir(&top).unwrap().count(), 41);
    mounted.source().stick();
    let barrier = Barrier::new(9);
    thread::scope(|scope| {
        let readers: Vec<_> = ids[..8]
            .iter()
            .map(|number| {
                let (top, barrier) = (&top, &barrier);
                scope.spawn(move || {
                    let mut open = File::open(top.join(format!("{number:02}"))).unwrap();
                    barrier.wait();
                    let mut bytes = Vec::new();
                    open.read_to_end(&mut bytes).map(|_| bytes)
                })
            })
            .collect();
        barrier.wait();
        // More readers wait than there are workers; what is in memory is answered all the same.
        for _ in 0..50 {
            assert_eq!(fs::read(top.join("small")).unwrap(), [5; 100]);
            assert_eq!(fs::read_dir(&top).unwrap().count(), 41);
            assert_eq!(errno(fs::metadata(top.join("nothing"))), Some(Errno::NOENT));
        }
        mounted.source().heal();
        for (reader, number) in readers.into_iter().zip(&ids) {
            assert_eq!(reader.join().unwrap().unwrap(), noise(300_000, *number));
        }
    });
}

#[test]
fn a_dead_source_is_an_error_in_time() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/f", noise(300_000, 1));
    let root = archive.finish();
    let reading = ReaderOptions { deadline: Duration::from_millis(50), ..ReaderOptions::default() };
    let mounted = mount_with(archive, &[root], &MountOptions::default(), &reading);
    mounted.source().stick();
    assert_eq!(
        errno(fs::read_dir(mounted.version(1)).and_then(|mut items| items.next().unwrap())),
        Some(Errno::IO)
    );
    assert_eq!(errno(fs::metadata(mounted.version(1).join("f"))), Some(Errno::IO));
    mounted.source().heal();
    while fs::metadata(mounted.version(1).join("f")).is_err() {}
    mounted.source().die();
    assert_eq!(errno(fs::read(mounted.version(1).join("f"))), Some(Errno::IO));
    mounted.source().heal();
    assert_eq!(fs::read(mounted.version(1).join("f")).unwrap(), noise(300_000, 1));
    // And with a reader that hangs, the folder can still be taken away.
    mounted.source().stick();
    assert_eq!(mounted.handle.unmount().unwrap(), Unmounted::Clean);
}

#[test]
fn damage_is_an_error_of_its_file() {
    if obstacle().is_some() {
        return;
    }
    let mut archive = TestArchive::new();
    file(&mut archive, "/good", noise(300_000, 1));
    let good = archive.source().ids(ObjectKind::Data);
    file(&mut archive, "/bad", noise(300_000, 2));
    let bad: Vec<ObjectId> =
        archive.source().ids(ObjectKind::Data).into_iter().filter(|id| !good.contains(id)).collect();
    let root = archive.finish();
    bad.iter().for_each(|id| archive.source().fail(*id, ReadFailure::Damaged));
    let mounted = mounted(archive, &[root]);
    assert_eq!(errno(fs::read(mounted.version(1).join("bad"))), Some(Errno::IO));
    assert_eq!(fs::read(mounted.version(1).join("good")).unwrap(), noise(300_000, 1));
    assert_eq!(fs::metadata(mounted.version(1).join("bad")).unwrap().len(), 300_000);
}
