//! `tags`: the versions that were given a word.

use std::borrow::Cow;
use std::sync::Arc;

use backstore_protocol::path::check_name;

use super::version::VersionList;
use super::views::{FIXED, Item, Line, Lines, SEQUENCE_MAX, View, newest_first};

impl View {
    /// All tags that a directory can be named by.
    pub(super) fn lines_of_tags(list: &VersionList) -> Lines<'_> {
        let tags = list.by_tag().keys().filter(|tag| check_name(tag.as_bytes()).is_ok());
        let mut lines: Vec<_> = tags
            .map(|tag| Line {
                order: place_of(tag),
                name: Cow::Borrowed(tag.as_bytes()),
                item: Item::View(Self::Tag(tag.as_ref().into())),
            })
            .collect();
        lines.sort_by_key(|line| line.order);
        Box::new(lines.into_iter())
    }

    /// The versions with a tag, newest first.
    pub(super) fn lines_of_tag<'a>(self, tag: &str, list: &'a VersionList) -> Lines<'a> {
        let tagged = list.by_tag().get(tag).into_iter().flatten().rev();
        Box::new(tagged.map(move |named| Line {
            order: newest_first(named.version.sequence),
            name: Cow::Borrowed(named.name.as_bytes()),
            item: self.link_to(named),
        }))
    }

    /// A tag that some version has.
    pub(super) fn tag(list: &VersionList, name: &str) -> Option<Item> {
        let tag = list.by_tag().get_key_value(name).filter(|_| check_name(name.as_bytes()).is_ok());
        tag.map(|(tag, _)| Item::View(Self::Tag(Arc::from(&**tag))))
    }
}

/// Where a tag comes in the listing, whatever other tags there are.
fn place_of(tag: &str) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&blake3::hash(tag.as_bytes()).as_bytes()[..8]);
    FIXED + u64::from_le_bytes(number) % SEQUENCE_MAX
}
