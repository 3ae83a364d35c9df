//! Views against the trees they were made of.

use backstore_protocol::entry::Kind;
use backstore_protocol::object::ObjectKind;
use backstore_protocol::store::ReadFailure;
use proptest::prelude::*;

use super::*;
use crate::objects::ReaderOptions;
use crate::random_tree::{File, any_tree, build};
use crate::test_archive::TestArchive;
use backstore_protocol::path::child_key;

fn view(archive: &TestArchive, root: Root) -> View {
    View::new(ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap(), root)
}

/// What of an entry the builder takes over as it is.
fn metadata(entry: &Entry) -> Entry {
    Entry { content: backstore_protocol::entry::Content::None, content_hash: None, size: 0, ..entry.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_view_holds_its_tree(mut files in any_tree()) {
        let mut archive = TestArchive::new();
        let root = build(&mut archive, &mut files);
        let view = view(&archive, root);
        let all: Vec<_> = view.walk_all().unwrap().map(|item| item.unwrap().0).collect();
        let expected: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
        prop_assert_eq!(all, expected);
        for file in &files {
            let entry = view.resolve(&file.path).unwrap().unwrap();
            prop_assert_eq!(metadata(&entry), metadata(&file.entry));
            let below: Vec<_> = view.walk(&file.path).unwrap().map(|item| item.unwrap().0).collect();
            let mut expected: Vec<_> = files.iter().map(|other| other.path.clone()).filter(|other| file.path.contains(other)).collect();
            // The path itself comes first although its key may be greater than others below it are not.
            expected.sort_by_key(|path| (*path != file.path, path.key()));
            prop_assert_eq!(below, expected);
            let names: Vec<_> = view.children(&file.path).unwrap().map(|child| child.unwrap().0).collect();
            let children = |other: &&File| other.path.parent().as_ref() == Some(&file.path);
            let expected: Vec<_> = files.iter().filter(children).map(|other| other.path.name().to_vec()).collect();
            prop_assert_eq!(names, expected);
        }
        let absent = ArchivePath::unix_root().join(b"not there").unwrap();
        prop_assert_eq!(view.resolve(&absent).unwrap(), None);
        prop_assert_eq!(view.walk(&absent).unwrap().count(), 0);
    }
}

#[test]
fn roots_are_listed() {
    let mut archive = TestArchive::new();
    for root in [&b"C:"[..], b"D:", b"UNC\\nas\\data"] {
        let root = ArchivePath::root(root).unwrap();
        archive.add(&root, Entry::new(Kind::Directory), &[]);
        archive.add(&root.join(b"x").unwrap(), Entry::new(Kind::File), &[]);
    }
    let root = archive.finish();
    let roots: Vec<_> = view(&archive, root).roots().unwrap().map(|root| root.unwrap().0).collect();
    assert_eq!(roots, [&b"C:"[..], b"D:", b"UNC\\nas\\data"]);
}

#[test]
fn a_walk_goes_on_after_a_leaf_that_is_lost() {
    let mut archive = TestArchive::new();
    for number in 0..3000 {
        let path = ArchivePath::unix_root().join(format!("{number:05}").as_bytes()).unwrap();
        archive.add(&path, Entry::new(Kind::File), &[]);
    }
    let root = archive.finish();
    let whole = view(&archive, root);
    let mut cursor =
        Cursor::seek(whole.nodes(), root, &ArchivePath::unix_root().join(b"01500").unwrap().key()).unwrap();
    cursor.next_entry().unwrap();
    let (leaf, _) = cursor.place();
    let lost = whole.reader().tree_node(&leaf, Wait::UntilDeadline).unwrap().len();
    archive.source().fail(leaf, ReadFailure::Damaged);
    let items: Vec<_> = view(&archive, root).walk_all().unwrap().collect();
    let errors = items.iter().filter(|item| item.is_err()).count();
    assert_eq!((errors, items.len() - errors), (1, 3000 - lost));
    assert!(archive.source().ids(ObjectKind::Tree).len() > 8);
}

#[test]
fn impossible_names_are_errors() {
    for name in [&b".."[..], b".", b"", b"a/b", b"a\0b"] {
        let mut archive = TestArchive::new();
        archive.add(&ArchivePath::unix_root(), Entry::new(Kind::Directory), &[]);
        archive.add_raw(child_key(b"/", name), Entry::new(Kind::Fifo));
        let root = archive.finish();
        let view = view(&archive, root);
        let children: Vec<_> = view.children(&ArchivePath::unix_root()).unwrap().collect();
        assert!(matches!(children[..], [Err(ReadError::Malformed(_))]), "{name:?}: {children:?}");
        assert!(matches!(view.walk_all().unwrap().last(), Some(Err(ReadError::Malformed(_)))), "{name:?}");
    }
}
