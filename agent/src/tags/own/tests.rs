//! What devices said, stored in real archives that are damaged in one place or do not answer.

use backstore_protocol::entry::Time;
use backstore_protocol::ids::ObjectId;

use super::*;
use crate::tags::{Tags, say};
use crate::testing::Computer;
use crate::testing::faulty::{Fault, open, open_faulty};

/// A snapshot that is spoken of; nobody asks whether it is there.
const SPOKEN_OF: SnapshotId = SnapshotId::from_bytes([7; 32]);

fn give(computer: &Computer, archive: &Archive, tags: &[&str]) {
    tags.iter().for_each(|tag| say(archive, &*computer.machine, &[SPOKEN_OF], tag, true).unwrap());
}

/// Its tags, and whether older sayings are shown for those that cannot be read.
fn read(archive: &Archive) -> (Vec<String>, Vec<bool>) {
    let (tags, unread) = Tags::read(archive, &archive.source.lineages().unwrap()).unwrap();
    (tags.of(SPOKEN_OF, []), unread.iter().map(|unread| unread.has_older).collect())
}

/// The roots of the newest `count` snapshots of the computer's tag lineage.
fn newest_roots(archive: &Archive, count: usize) -> Vec<ObjectId> {
    let lineage = archive.keys.ids.tag_lineage(archive.device);
    let stored = archive.source.snapshots(lineage, u64::MAX, count).unwrap();
    stored.iter().map(|stored| archive.verify(stored).unwrap().root.node).collect()
}

#[test]
fn where_the_newest_is_damaged_what_was_said_before_holds_and_is_built_upon() {
    let computer = Computer::new();
    let archive = open(&computer);
    give(&computer, &archive, &["a", "b", "c"]);
    let damaged = newest_roots(&archive, 2);
    archive.close().unwrap();
    let faulty = open_faulty(&computer, Fault::Damaged(damaged));
    assert_eq!(read(&faulty), (vec!["a".to_owned()], vec![true]));
    give(&computer, &faulty, &["d"]);
    assert_eq!(read(&faulty), (vec!["a".to_owned(), "d".to_owned()], vec![]));
}

#[test]
fn where_all_is_damaged_nothing_is_shown_and_nothing_is_written_over_it() {
    let computer = Computer::new();
    let archive = open(&computer);
    give(&computer, &archive, &["a", "b"]);
    let damaged = newest_roots(&archive, 2);
    archive.close().unwrap();
    let faulty = open_faulty(&computer, Fault::Damaged(damaged));
    assert_eq!(read(&faulty), (vec![], vec![false]));
    let said = say(&faulty, &*computer.machine, &[SPOKEN_OF], "c", true);
    assert!(matches!(said, Err(TagError::Archive(ArchiveError::Read(_)))), "{said:?}");
    faulty.close().unwrap();
    assert_eq!(read(&open(&computer)), (vec!["a".to_owned(), "b".to_owned()], vec![]));
}

/// Otherwise a version would be said to have no tag when its tags were only out of reach.
#[test]
fn a_destination_that_does_not_answer_is_no_archive_without_tags() {
    let computer = Computer::new();
    let archive = open(&computer);
    give(&computer, &archive, &["a"]);
    archive.close().unwrap();
    let faulty = open_faulty(&computer, Fault::Unreachable);
    let lineages = faulty.source.lineages().unwrap();
    assert!(matches!(Tags::read(&faulty, &lineages), Err(ArchiveError::Read(_))));
}

#[test]
fn what_a_later_version_says_is_kept() {
    let computer = Computer::new();
    let archive = open(&computer);
    let mut own = Own::read(&archive, archive.device).unwrap();
    let unknown = ArchivePath::unix_root().join(b"something new").unwrap().key();
    own.entries.insert(unknown.clone(), Entry::new(Kind::Directory));
    own.commit(&archive, &*computer.machine).unwrap();
    give(&computer, &archive, &["a"]);
    let own = Own::read(&archive, archive.device).unwrap();
    assert!(own.entries.contains_key(&unknown));
    assert_eq!(own.said().count(), 1);
}

#[test]
fn what_is_said_holds_whatever_the_clock_shows() {
    let computer = Computer::new();
    let archive = open(&computer);
    let key = (SPOKEN_OF, "a".to_owned());
    let at = Time { seconds: 1 << 40, nanoseconds: 999_999_999 };
    let mut own = Own::default();
    own.say(&key, Said { at, is_given: true }).unwrap();
    own.commit(&archive, &*computer.machine).unwrap();
    assert_eq!(read(&archive).0, ["a"]);
    say(&archive, &*computer.machine, &[SPOKEN_OF], "a", false).unwrap();
    assert_eq!(read(&archive).0, Vec::<String>::new());
}
