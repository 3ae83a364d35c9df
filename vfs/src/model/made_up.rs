//! Made-up directories as operations of the filesystem: what a name in one stands for, and what is listed.
//!
//! `views` makes those that follow from the list of versions, `past` and `found` those from the index of what became of files.

use std::sync::Arc;

use backstore_protocol::entry::Time;

use super::found::list_found;
use super::inode::{Identity, Node, Place};
use super::listing::FIRST;
use super::past::Past;
use super::version::VersionList;
use super::views::{Around, Item, Line, View};
use super::{AddLine, Attributes, Ino, Listed, Lookup, Problem, Snapshots, Validity};
use crate::history::History;
use crate::objects::Wait;
use crate::sync::{read, write};

impl Snapshots {
    /// Shows what became of files from now on, as far as `history` knows.
    pub fn set_history(&self, history: Arc<History>) {
        *write(&self.history) = Some(history);
    }

    /// Made-up directories that the system knows: what they list has changed when the history knows more.
    pub fn made_up_directories(&self) -> Vec<Ino> {
        let mut directories = self.inodes.views();
        directories.push(Ino::ROOT);
        directories
    }

    pub(super) fn folder(&self) -> Attributes {
        Attributes::made_up_directory(Ino::ROOT, self.options.owner, self.time())
    }

    /// When what is made up changed last.
    pub(super) fn time(&self) -> Time {
        self.current().newest_first.first().map_or_else(Time::default, |newest| newest.version.time())
    }

    pub(super) fn history(&self) -> Option<Arc<History>> {
        read(&self.history).clone()
    }

    fn around<'a>(&self, list: &'a VersionList) -> Around<'a> {
        let history = self.history().map(|history| history.indexed_to());
        Around { list, history, now: (self.options.now)() }
    }

    /// What a name in a made-up directory stands for.
    pub(super) fn find_in_view(&self, view: &View, name: &[u8], wait: Wait) -> Result<Option<Item>, Problem> {
        let (list, history) = (self.current(), self.history());
        match (view, history, wait) {
            (view, Some(_), Wait::Not) if view.is_on_disk() => Err(Problem::NotInMemory),
            (View::SearchFor(pattern), Some(history), _) => {
                let (found, mut item) = (self.searches.find(&history, pattern)?, None);
                list_found(&list, view, &found, 0, &mut |line| {
                    if *line.name == *name {
                        item = Some(line.item);
                    }
                    item.is_none()
                });
                Ok(item)
            }
            (View::ChangesOf(version, path), Some(history), _) => {
                Past { history: &history, list: &list }.find_change(version, path, name)
            }
            (View::History(path), Some(history), _) => {
                Past { history: &history, list: &list }.find_version(path, name)
            }
            (View::Deleted(path), Some(history), _) => {
                Past { history: &history, list: &list }.find_deleted(path, name)
            }
            (_, _, _) => Ok(view.find(&self.around(&list), name)),
        }
    }

    /// Gives what was found in a made-up directory its inode.
    pub(super) fn remember_item(&self, view: &View, name: &[u8], item: &Item) -> Lookup {
        let owner = self.options.owner;
        match item {
            Item::Version(version) => {
                let identity = Identity::directory(&version.version.id, &[]);
                let ino = self.inodes.remember(&identity, Node::Version(Arc::clone(version)));
                let attributes = Attributes::made_up_directory(ino, owner, version.version.time());
                Lookup { attributes, validity: Validity::UntilChanged }
            }
            Item::View(view) => {
                let ino = self.inodes.remember(&Identity::view(view), Node::View(view.clone()));
                let attributes = Attributes::made_up_directory(ino, owner, self.time());
                Lookup { attributes, validity: Validity::Briefly }
            }
            Item::Link(target, version) => {
                let time = version.as_ref().map_or_else(|| self.time(), |named| named.version.time());
                let node = Node::Link { target: target.clone().into(), time };
                let ino = self.inodes.remember(&Identity::link(&view.path(), name, target), node);
                let attributes = Attributes::made_up_link(ino, owner, time, target.len() as u64);
                Lookup { attributes, validity: Validity::Briefly }
            }
            Item::Text(text) => {
                let bytes = text.bytes(&self.current(), &self.options, self.history().as_deref());
                let (identity, size) = (Identity::text(view, name, &bytes), bytes.len() as u64);
                let time = self.time();
                let ino = self.inodes.remember(&identity, Node::Text { bytes, time });
                let attributes = Attributes::made_up_file(ino, owner, time, size);
                Lookup { attributes, validity: Validity::Briefly }
            }
            Item::Archived(version, key, entry) => {
                let place = Place::Key(Arc::clone(key));
                // A link that leads somewhere else in its version is another one there.
                let identity = match self.options.links.target(key, entry) {
                    Some(_) => Identity::link(&view.path(), key, version.version.id.as_bytes()),
                    None => Identity::file(version, key, entry),
                };
                let node = Node::File { version: Arc::clone(version), place: place.clone() };
                let ino = self.inodes.remember(&identity, node);
                let attributes = self.attributes_of(ino, version, &place, key, entry);
                Lookup { attributes, validity: Validity::Briefly }
            }
        }
    }

    /// Lists a made-up directory from a cookie on.
    pub(super) fn list_view(
        &self,
        view: &View,
        cookie: u64,
        wait: Wait,
        add: &mut AddLine<'_>,
    ) -> Result<(), Problem> {
        let (list, history) = (self.current(), self.history());
        let from = cookie.saturating_sub(FIRST);
        let mut each = |line: Line<'_>| {
            let cookie = FIRST + 1 + line.order;
            let Lookup { attributes, validity } = self.remember_item(view, &line.name, &line.item);
            let fits = add(&Listed { name: &line.name, cookie, attributes, validity });
            if !fits {
                self.forget(attributes.ino, 1);
            }
            fits
        };
        match (view, history, wait) {
            (view, Some(_), Wait::Not) if view.is_on_disk() => Err(Problem::NotInMemory),
            (View::SearchFor(pattern), Some(history), _) => {
                let found = self.searches.find(&history, pattern)?;
                list_found(&list, view, &found, from, &mut each);
                Ok(())
            }
            (View::ChangesOf(version, path), Some(history), _) => {
                Past { history: &history, list: &list }.list_changes(version, path, from, &mut each)
            }
            (View::History(path), Some(history), _) => {
                Past { history: &history, list: &list }.list_versions(path, from, &mut each)
            }
            (View::Deleted(path), Some(history), _) => {
                Past { history: &history, list: &list }.list_deleted(path, from, &mut each)
            }
            (_, _, _) => {
                let mut lines = view.lines(&self.around(&list)).filter(|line| line.order >= from);
                lines.try_for_each(|line| each(line).then_some(()));
                Ok(())
            }
        }
    }
}
