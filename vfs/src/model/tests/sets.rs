//! The folders of other sets, and tags.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use backstore_protocol::ids::LineageId;

use super::*;
use crate::sync::lock;

const TOP: LineageId = LineageId::from_bytes([1; 16]);

fn set(number: u8, device: &str, name: &str) -> BackupSet {
    BackupSet {
        lineage: LineageId::from_bytes([number; 16]),
        name: name.to_owned(),
        device: device.to_owned(),
        newest_at: 1000 * i64::from(number),
        ..BackupSet::default()
    }
}

/// A version of the set with this number, with `/x` in it.
fn version_of(archive: &mut TestArchive, number: u8, sequence: u64) -> Version {
    archive.add(&unix("/"), Entry::new(Kind::Directory), &[]);
    archive.add(&unix("/x"), Entry::new(Kind::File), &file(&[number]));
    let root = archive.finish();
    let mut id = [number; 32];
    id[0] = sequence as u8;
    let lineage = LineageId::from_bytes([number; 16]);
    Version { lineage, id: backstore_protocol::ids::SnapshotId::from_bytes(id), ..at(sequence, root) }
}

/// The set that is mounted, and those beside it, whose versions are made known when they are asked for.
struct Sets {
    snapshots: Arc<Snapshots>,
    opened: Arc<Mutex<Vec<LineageId>>>,
    open: OpenSet,
}

fn sets(archive: &TestArchive, top: Vec<Version>, others: Vec<Version>) -> Sets {
    let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
    let set = BackupSet { lineage: TOP, ..set(1, "laptop", "main") };
    let snapshots = Arc::new(Snapshots::new(&reader, FolderOptions { set, ..options_of_folder() }).unwrap());
    snapshots.set_versions(top);
    let opened: Arc<Mutex<Vec<LineageId>>> = Arc::default();
    let (notes, model) = (Arc::clone(&opened), Arc::downgrade(&snapshots));
    let open: OpenSet = Arc::new(move |lineage| {
        lock(&notes).push(lineage);
        let own = others.iter().filter(|version| version.lineage == lineage).cloned().collect();
        model.upgrade().unwrap().set_versions_of(lineage, own);
        Ok(())
    });
    Sets { snapshots, opened, open }
}

#[test]
fn every_set_has_a_folder_like_the_top() {
    let mut archive = TestArchive::new();
    let top = vec![version_of(&mut archive, 1, 1)];
    let others = vec![version_of(&mut archive, 2, 1), version_of(&mut archive, 2, 2)];
    let Sets { snapshots, opened, open } = sets(&archive, top, others);
    assert!(matches!(find(&snapshots, "sets"), Err(Problem::NotFoundYet)), "nobody has told of any");
    let shown = vec![set(1, "laptop", "main"), set(2, "server", "docs"), set(3, "server", "empty")];
    snapshots.set_sets(shown, &open);
    assert_eq!(snapshots.read_link(find(&snapshots, "sets").unwrap().ino, WAIT).unwrap(), b".backstore/sets");
    let at = |path: &str| find(&snapshots, &format!(".backstore/sets{path}")).unwrap();
    assert_eq!(names(&snapshots, at("").ino), ["laptop", "server"]);
    assert_eq!(names(&snapshots, at("/server").ino), ["docs", "empty"]);
    assert_eq!(snapshots.read_link(at("/laptop/main").ino, WAIT).unwrap(), b"../../..");
    // A name that only one device has is found beside the devices.
    assert_eq!(snapshots.read_link(at("/docs").ino, WAIT).unwrap(), b"server/docs");
    assert!(lock(&opened).is_empty(), "nothing is asked for before somebody looks");
    let docs = at("/server/docs");
    assert!(matches!(
        snapshots.list(docs.ino, 0, Wait::Not, &mut |line| line.cookie < 3),
        Err(Problem::NotInMemory)
    ));
    let listed = names(&snapshots, docs.ino);
    assert_eq!(listed, ["latest", "README.txt", "by-time", "1970-01-12_14-47-00", "1970-01-12_14-46-50"]);
    assert_eq!(names(&snapshots, at("/server/empty").ino), ["README.txt", "by-time"]);
    let asked = [2, 3].map(|number| LineageId::from_bytes([number; 16]));
    assert_eq!(*lock(&opened), asked, "once each");
    assert_eq!(content(&snapshots, at("/server/docs/1970-01-12_14-46-50/x").ino).unwrap(), [2]);
    let latest = snapshots.read_link(at("/server/docs/latest").ino, WAIT).unwrap();
    assert_eq!(latest, b"1970-01-12_14-47-00");
    let day = "/server/docs/.backstore/by-time/1970/1970-01/1970-01-12/14-46-50";
    assert_eq!(snapshots.read_link(at(day).ino, WAIT).unwrap(), b"../../../../../1970-01-12_14-46-50");
    assert!(matches!(find(&snapshots, ".backstore/sets/server/docs/sets"), Err(Problem::NotFoundYet)));
}

#[test]
fn folders_of_sets_are_their_own() {
    let mut archive = TestArchive::new();
    let top = vec![version_of(&mut archive, 1, 1)];
    let others = vec![version_of(&mut archive, 2, 1)];
    let Sets { snapshots, open, .. } = sets(&archive, top, others);
    snapshots.set_sets(vec![set(2, "server", "docs")], &open);
    let path = ".backstore/sets/server/docs";
    let docs = find(&snapshots, path).unwrap().ino;
    let version = find(&snapshots, &format!("{path}/1970-01-12_14-46-50")).unwrap().ino;
    assert_ne!(version, find(&snapshots, "1970-01-12_14-46-50").unwrap().ino);
    let hub = find(&snapshots, &format!("{path}/.backstore")).unwrap().ino;
    assert_ne!(hub, find(&snapshots, ".backstore").unwrap().ino);
    let up = |ino| {
        let mut parent = None;
        snapshots
            .list(ino, 0, WAIT, &mut |line| {
                parent = parent.or((line.name == b"..").then_some(line.attributes.ino));
                true
            })
            .unwrap();
        parent.unwrap()
    };
    let device = find(&snapshots, ".backstore/sets/server").unwrap().ino;
    assert_eq!([up(version), up(hub), up(docs)], [docs, docs, device]);
    assert_eq!(up(find(&snapshots, "1970-01-12_14-46-50").unwrap().ino), Ino::ROOT);
    // What changes there is told of there.
    let mut archive_two = TestArchive::new();
    let newer = version_of(&mut archive_two, 2, 3);
    let changed = snapshots.set_versions_of(LineageId::from_bytes([2; 16]), vec![newer]);
    assert!(changed.directories.contains(&docs));
    let mut gone: Vec<_> = changed.names.into_iter().map(|(place, name)| (place == docs, name)).collect();
    gone.sort();
    assert_eq!(gone, [(true, "1970-01-12_14-46-50".to_owned()), (true, "latest".to_owned())]);
    assert_eq!(versions_listed(&snapshots), ["latest", "1970-01-12_14-46-50"], "the top is as it was");
    assert_eq!(snapshots.set_versions_of(LineageId::from_bytes([9; 16]), Vec::new()), Changed::default());
}

#[test]
fn sets_that_share_a_name_are_told_apart() {
    let archive = TestArchive::new();
    let Sets { snapshots, open, .. } = sets(&archive, Vec::new(), Vec::new());
    snapshots.set_sets(vec![set(2, "a/b", "docs")], &open);
    let at = |path: &str| find(&snapshots, &format!(".backstore/sets/{path}")).unwrap().ino;
    let before = at("a_b/docs");
    snapshots.set_sets(vec![set(3, "a/b", "docs"), set(4, "..", ""), set(2, "a/b", "docs")], &open);
    assert_eq!(names(&snapshots, at("a_b")), ["docs (02020202)", "docs (03030303)"]);
    assert_eq!(at("a_b/docs (02020202)"), before, "it is the same directory");
    assert_eq!(snapshots.read_link(at("a_b/docs"), WAIT).unwrap(), b"docs (03030303)", "backed up last");
    assert_eq!(names(&snapshots, at("_..")), ["_"]);
    let name = "ä".repeat(300);
    snapshots.set_sets(vec![set(5, &name, &name)], &open);
    let listed = names(&snapshots, find(&snapshots, ".backstore/sets").unwrap().ino);
    assert!(listed.len() == 3 && listed[2].len() < 255 && name.starts_with(&listed[2]), "{listed:?}");
}

#[test]
fn a_set_that_cannot_be_listed_is_tried_again() {
    let archive = TestArchive::new();
    let Sets { snapshots, .. } = sets(&archive, Vec::new(), Vec::new());
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let open: OpenSet = Arc::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Err(Arc::new(io::Error::other("the server is gone"))),
        _ => Ok(()),
    });
    snapshots.set_sets(vec![set(2, "server", "docs")], &open);
    assert!(matches!(find(&snapshots, ".backstore/sets/server/docs/latest"), Err(Problem::SetUnreadable(_))));
    for _ in 0..2 {
        assert!(matches!(find(&snapshots, ".backstore/sets/server/docs/latest"), Err(Problem::NotFoundYet)));
    }
    assert_eq!(tries.load(Ordering::Relaxed), 2);
}

#[test]
fn tags_lead_to_the_versions_that_have_them() {
    let mut archive = TestArchive::new();
    let tagged = |archive: &mut TestArchive, sequence, tags: &[&str]| Version {
        tags: tags.iter().map(|tag| Box::from(*tag)).collect(),
        ..version_of(archive, 1, sequence)
    };
    let all: [&[&str]; 4] = [&["release"], &[], &["release", "v2"], &["a/b", ".."]];
    let versions = all.iter().zip(1..).map(|(tags, sequence)| tagged(&mut archive, sequence, tags)).collect();
    let snapshots = snapshots(&archive, versions);
    let at = |path: &str| find(&snapshots, &format!(".backstore/tags{path}"));
    let mut tags = names(&snapshots, at("").unwrap().ino);
    tags.sort();
    assert_eq!(tags, ["release", "v2"]);
    let release = names(&snapshots, at("/release").unwrap().ino);
    assert_eq!(release, ["1970-01-12_14-47-10", "1970-01-12_14-46-50"]);
    let link = at("/release/1970-01-12_14-46-50").unwrap();
    assert_eq!(snapshots.read_link(link.ino, WAIT).unwrap(), b"../../../1970-01-12_14-46-50");
    for missing in ["/release/1970-01-12_14-47-00", "/other", "/release/latest"] {
        assert!(matches!(at(missing), Err(Problem::NotFoundYet)), "{missing}");
    }
}
