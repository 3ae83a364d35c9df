use backstore_protocol::entry::{Content, Entry, Kind};
use backstore_protocol::path::ArchivePath;
use proptest::prelude::*;

use super::own::{Own, decode, encode};
use super::*;

fn id(number: u8) -> SnapshotId {
    SnapshotId::from_bytes([number; SnapshotId::SIZE])
}

/// Snapshot, tag, when and whether it is given.
fn sayings() -> impl Strategy<Value = Vec<(u8, u8, i64, bool)>> {
    prop::collection::vec((0..3_u8, 0..3_u8, 0..5_i64, any::<bool>()), 0..40)
}

proptest! {
    #[test]
    fn what_was_said_last_holds_in_whatever_order_it_is_read(said in sayings(), own in 0..4_u8) {
        let word = |tag: u8| format!("tag{tag}");
        let mut tags = Tags::default();
        for (snapshot, tag, seconds, is_given) in &said {
            let at = Time { seconds: *seconds, nanoseconds: 0 };
            tags.add((id(*snapshot), word(*tag)), Said { at, is_given: *is_given });
        }
        for snapshot in 0..3 {
            let expected: Vec<_> = (0..4_u8).filter(|tag| {
                let of_it = said.iter().filter(|(its, word, ..)| (its, word) == (&snapshot, tag));
                let last = of_it.max_by_key(|(.., seconds, is_given)| (*seconds, *is_given));
                last.map_or(*tag == own, |(.., is_given)| *is_given)
            }).map(word).collect();
            prop_assert_eq!(tags.of(id(snapshot), [&*word(own)]), expected);
        }
    }

    #[test]
    fn what_is_stored_is_read_again(number in any::<u8>(), tag in "[^/\\x00-\\x1f\\x7f-\\x9f]{1,60}", seconds in any::<i64>(), is_given in any::<bool>()) {
        prop_assume!(check_tag(&tag).is_ok());
        let key = (id(number), tag);
        let said = Said { at: Time { seconds, nanoseconds: 7 }, is_given };
        let (path, entry) = encode(&key, said).unwrap();
        prop_assert_eq!(decode(&ArchivePath::from_key(&path).unwrap(), &entry), Some((key, said)));
    }
}

#[test]
fn what_is_no_saying_is_passed_over() {
    let (path, entry) =
        encode(&(id(1), "a".to_owned()), Said { at: Time::default(), is_given: true }).unwrap();
    let path = ArchivePath::from_key(&path).unwrap();
    let snapshot = id(1).to_string();
    for names in [vec![], vec!["a"], vec![&*snapshot], vec!["a", "b"], vec![&*snapshot, "a", "b"]] {
        let other =
            names.iter().fold(ArchivePath::unix_root(), |path, name| path.join(name.as_bytes()).unwrap());
        assert_eq!(decode(&other, &entry), None, "{names:?}");
    }
    let other = Entry { content: Content::Inline(b"?"[..].into()), ..entry.clone() };
    assert_eq!(decode(&path, &other), None);
    assert_eq!(decode(&path, &Entry::new(Kind::Directory)), None);
    let unnameable = path.parent().unwrap().join(b"\x1b[2J").unwrap();
    assert_eq!(decode(&unnameable, &entry), None);
}

#[test]
fn words_that_can_be_tags() {
    for tag in ["a", "release 1.0", "ü", "...", &"x".repeat(255)] {
        assert_eq!(check_tag(tag), Ok(()), "{tag}");
    }
    for tag in ["", ".", "..", "a/b", "a\nb", "\u{9b}", &"x".repeat(256)] {
        assert!(check_tag(tag).is_err(), "{tag}");
    }
}

#[test]
fn a_moment_later() {
    let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
    assert_eq!(just_after(time(5, 7)), time(5, 8));
    assert_eq!(just_after(time(5, 999_999_999)), time(6, 0));
    assert!(just_after(time(i64::MAX, 999_999_999)) < time(i64::MAX, 1));
}

#[test]
fn a_device_says_no_more_than_there_is_room_for() {
    let said = Said { at: Time::default(), is_given: true };
    let mut own = Own::default();
    for number in 0..SAID_MAX {
        own.say(&(id(1), format!("tag{number}")), said).unwrap();
    }
    assert!(matches!(own.say(&(id(2), "tag".to_owned()), said), Err(TagError::TooMany)));
}

#[test]
fn a_device_can_take_back_what_it_said_when_there_is_no_room() {
    let given = Said { at: Time::default(), is_given: true };
    let mut own = Own::default();
    for number in 0..SAID_MAX {
        own.say(&(id(1), format!("tag{number}")), given).unwrap();
    }
    own.say(&(id(1), "tag7".to_owned()), Said { is_given: false, ..given }).unwrap();
    assert_eq!(own.said().filter(|(_, said)| !said.is_given).count(), 1);
}
