//! Made-up directories as operations of the filesystem: what a name in one stands for, and what is listed.
//!
//! `views` makes those that follow from the list of versions, `past` and `found` those from the index of what became of files.

use std::sync::Arc;

use backstore_protocol::ids::LineageId;

use super::folder::{Folder, OpenSet};
use super::found::list_found;
use super::inode::{Identity, Node, Place};
use super::listing::FIRST;
use super::past::Past;
use super::sets::Sets;
use super::texts::Work;
use super::version::VersionList;
use super::views::{Around, Item, Line, View};
use super::{AddLine, Attributes, BackupSet, Ino, Listed, Lookup, Problem, Snapshots, Validity};
use crate::history::History;
use crate::objects::Wait;
use crate::sync::{read, write};

impl Snapshots {
    /// Shows what became of files from now on, as far as `history` knows.
    pub fn set_history(&self, history: Arc<History>) {
        self.top.set_history(history);
    }

    /// The same for another set, where there is one of that lineage.
    pub fn set_history_of(&self, lineage: LineageId, history: Arc<History>) {
        if let Some(folder) = self.folder(lineage) {
            folder.set_history(history);
        }
    }

    /// Shows `sets` with these, and those that were there before. `open` is called when somebody looks into one first.
    pub fn set_sets(&self, sets: Vec<BackupSet>, open: &OpenSet) {
        let mut shown = write(&self.sets);
        let before = shown.take().unwrap_or_default();
        *shown = Some(Arc::new(before.with(sets, &self.top, open)));
    }

    /// Made-up directories that the system knows: what they list has changed when the history knows more.
    pub fn made_up_directories(&self) -> Vec<Ino> {
        let mut directories = self.inodes.views();
        directories.push(Ino::ROOT);
        directories
    }

    /// The number of a made-up directory.
    pub(super) fn ino_of(&self, folder: &Folder, view: &View) -> Ino {
        if folder.is_top() && *view == View::Folder {
            return Ino::ROOT;
        }
        Identity::view(&folder.path_of(view)).ino()
    }

    /// The number of the directory above a set's folder.
    pub(super) fn ino_above(&self, folder: &Folder) -> Ino {
        let above = self.sets().and_then(|sets| sets.above(folder.set.lineage));
        above.filter(|_| !folder.is_top()).map_or(Ino::ROOT, |view| self.ino_of(&self.top, &view))
    }

    fn sets(&self) -> Option<Arc<Sets>> {
        read(&self.sets).clone()
    }

    fn around<'a>(&self, folder: &Folder, list: &'a VersionList, sets: Option<&'a Sets>) -> Around<'a> {
        let history = folder.history().map(|history| history.indexed_to());
        Around { list, sets: sets.filter(|_| folder.is_top()), history, now: (self.options.now)() }
    }

    /// What a name in a made-up directory stands for.
    pub(super) fn find_in_view(
        &self,
        folder: &Folder,
        view: &View,
        name: &[u8],
        wait: Wait,
    ) -> Result<Option<Item>, Problem> {
        folder.open(wait)?;
        let (list, history) = (folder.versions(), folder.history());
        match (view, history, wait) {
            (view, Some(_), Wait::Not) if view.is_on_disk() => Err(Problem::NotInMemory),
            (View::SearchFor(pattern), Some(history), _) => {
                let (found, mut item) = (folder.searches.find(&history, pattern)?, None);
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
            (_, _, _) => Ok(view.find(&self.around(folder, &list, self.sets().as_deref()), name)),
        }
    }

    /// Gives what was found in a made-up directory its inode.
    pub(super) fn remember_item(
        &self,
        folder: &Arc<Folder>,
        view: &View,
        name: &[u8],
        item: &Item,
    ) -> Lookup {
        let owner = self.options.owner;
        match item {
            Item::Version(version) => {
                let identity = Identity::directory(&version.version.id, &[]);
                let ino = self.inodes.remember(&identity, Node::Version(Arc::clone(version)));
                let attributes = Attributes::made_up_directory(ino, owner, version.version.time());
                Lookup { attributes, validity: Validity::UntilChanged }
            }
            Item::View(view) => self.remember_view(folder, view),
            Item::Set(folder) => self.remember_view(folder, &View::Folder),
            Item::Link(target, version) => {
                let time = version.as_ref().map_or_else(|| folder.time(), |named| named.version.time());
                let node = Node::Link { target: target.clone().into(), time };
                let ino = self.inodes.remember(&Identity::link(&folder.path_of(view), name, target), node);
                let attributes = Attributes::made_up_link(ino, owner, time, target.len() as u64);
                Lookup { attributes, validity: Validity::Briefly }
            }
            Item::Text(text) => {
                let bytes = text.bytes(folder, &self.options, &self.work());
                let (identity, size) =
                    (Identity::text(&folder.path_of(view), name, &bytes), bytes.len() as u64);
                let time = folder.time();
                let ino = self.inodes.remember(&identity, Node::Text { bytes, time });
                let attributes = Attributes::made_up_file(ino, owner, time, size);
                Lookup { attributes, validity: Validity::Briefly }
            }
            Item::Archived(version, key, entry) => {
                let place = Place::Key(Arc::clone(key));
                // A link that leads somewhere else in its version is another one there.
                let identity = match folder.set.links.target(key, entry) {
                    Some(_) => Identity::link(&folder.path_of(view), key, version.version.id.as_bytes()),
                    None => Identity::file(version, key, entry),
                };
                let node = Node::File { version: Arc::clone(version), place: place.clone() };
                let ino = self.inodes.remember(&identity, node);
                let attributes = self.attributes_of(ino, version, &place, key, entry);
                Lookup { attributes, validity: Validity::Briefly }
            }
        }
    }

    fn work(&self) -> Work {
        let requests = self.requests.get().map(|counts| counts.get());
        Work { requests: requests.unwrap_or_default(), objects: self.reader.counters() }
    }

    fn remember_view(&self, folder: &Arc<Folder>, view: &View) -> Lookup {
        let identity = Identity::view(&folder.path_of(view));
        let ino = self.inodes.remember(&identity, Node::View(Arc::clone(folder), view.clone()));
        let attributes = Attributes::made_up_directory(ino, self.options.owner, folder.time());
        Lookup { attributes, validity: Validity::Briefly }
    }

    /// Lists a made-up directory from a cookie on.
    pub(super) fn list_view(
        &self,
        folder: &Arc<Folder>,
        view: &View,
        cookie: u64,
        wait: Wait,
        add: &mut AddLine<'_>,
    ) -> Result<(), Problem> {
        folder.open(wait)?;
        let (list, history) = (folder.versions(), folder.history());
        let from = cookie.saturating_sub(FIRST);
        let mut each = |line: Line<'_>| {
            let cookie = FIRST + 1 + line.order;
            let Lookup { attributes, validity } = self.remember_item(folder, view, &line.name, &line.item);
            let fits = add(&Listed { name: &line.name, cookie, attributes, validity });
            if !fits {
                self.forget(attributes.ino, 1);
            }
            fits
        };
        match (view, history, wait) {
            (view, Some(_), Wait::Not) if view.is_on_disk() => Err(Problem::NotInMemory),
            (View::SearchFor(pattern), Some(history), _) => {
                let found = folder.searches.find(&history, pattern)?;
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
                let sets = self.sets();
                let around = self.around(folder, &list, sets.as_deref());
                let mut lines = view.lines(&around).filter(|line| line.order >= from);
                lines.try_for_each(|line| each(line).then_some(()));
                Ok(())
            }
        }
    }
}
