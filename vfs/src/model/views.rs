//! Directories that are in no archive: the folder of versions, and what is below its unlisted `.backstore`. SEMANTICS.md section 1.
//!
//! Only the versions' own directories are real. Everything else is a symbolic link to one of them or to a directory here, so whoever
//! walks the folder meets each version once. What became of files is in `past`.

use std::borrow::Cow;
use std::sync::Arc;

use backstore_protocol::entry::Entry;
use chrono::DateTime;

use super::folder::Folder;
use super::paths::{above, names_of};
use super::sets::Sets;
use super::texts::Text;
use super::version::{Day, LATEST, NamedVersion, VersionList};
use crate::history::Pattern;
use crate::moment::{Moment, is_version_name};

/// A made-up directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum View {
    /// The folder itself.
    Folder,
    /// `.backstore`.
    Hub,
    /// `.backstore/by-time` and what is below it.
    ByTime(Period),
    /// `.backstore/ids`: a link for each snapshot id.
    Ids,
    /// `.backstore/gmt`: links as Samba looks for them.
    Gmt,
    /// `.backstore/history` and what is below it, by the path that keys are made of; of the directory itself, empty.
    History(Arc<[u8]>),
    /// `.backstore/deleted` and what is below it, likewise.
    Deleted(Arc<[u8]>),
    /// `.backstore/changes`.
    Changes,
    /// A version in there, and what is below it, likewise.
    ChangesOf(Arc<NamedVersion>, Arc<[u8]>),
    /// `.backstore/search`.
    Search,
    /// What fits a pattern.
    SearchFor(Arc<[u8]>),
    /// `.backstore/tags`.
    Tags,
    /// Versions with a tag.
    Tag(Arc<str>),
    /// `.backstore/sets`.
    Sets,
    /// The sets of a device.
    Device(Arc<str>),
}

/// A level of `by-time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    Always,
    Year(u16),
    Month(u16, u8),
    Day(Day),
}

/// What views are made from.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) list: &'a VersionList,
    /// All sets, if they are shown.
    pub(super) sets: Option<&'a Sets>,
    /// If there is an index of what became of files, up to which sequence.
    pub(super) history: Option<Option<u64>>,
    /// Milliseconds since 1970.
    pub(super) now: i64,
}

/// What a name in a made-up directory stands for.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Version(Arc<NamedVersion>),
    View(View),
    /// The folder of another set.
    Set(Arc<Folder>),
    /// A link and, if it leads to a version, that.
    Link(Vec<u8>, Option<Arc<NamedVersion>>),
    Text(Text),
    /// A file of a version, perhaps under another name: its key and what it is.
    Archived(Arc<NamedVersion>, Arc<Vec<u8>>, Box<Entry>),
}

/// A line of a made-up directory.
pub(super) struct Line<'a> {
    /// Where it comes in the listing; the same whatever versions come or go.
    pub(super) order: u64,
    pub(super) name: Cow<'a, [u8]>,
    pub(super) item: Item,
}

/// Lines in ascending order.
pub(super) type Lines<'a> = Box<dyn Iterator<Item = Line<'a>> + 'a>;

pub(super) const HUB: &str = ".backstore";
const BY_TIME: &str = "by-time";
const IDS: &str = "ids";
const GMT: &str = "gmt";
pub(super) const HISTORY: &str = "history";
pub(super) const DELETED: &str = "deleted";
const CHANGES: &str = "changes";
const SEARCH: &str = "search";
const TAGS: &str = "tags";
pub(super) const SETS: &str = "sets";
const README: &str = "README.txt";
/// Names that ask indexers to stay away. They are found and not listed.
const KEEP_OUT: [&str; 2] = [".metadata_never_index", ".trackerignore"];
/// Of a pattern. Longer ones take long to read and find nothing.
const PATTERN_BYTES_MAX: usize = 255;
/// Orders below this are those of fixed names.
pub(super) const FIXED: u64 = 1 << 10;
/// More than any sequence that is listed.
pub(super) const SEQUENCE_MAX: u64 = 1 << 60;

impl View {
    /// Where it is, from the folder on.
    pub(super) fn path(&self) -> Vec<u8> {
        self.names().join(&b'/')
    }

    fn names(&self) -> Vec<Vec<u8>> {
        let below = |name: String| {
            let mut names = self.parent().names();
            names.push(name.into_bytes());
            names
        };
        let past = |first: &[&str], path: &[u8]| {
            let first = first.iter().map(|name| name.as_bytes());
            first.chain(names_of(path)).map(<[u8]>::to_vec).collect()
        };
        match self {
            Self::Folder => Vec::new(),
            Self::Hub => below(HUB.to_owned()),
            Self::Ids => below(IDS.to_owned()),
            Self::Gmt => below(GMT.to_owned()),
            Self::ByTime(Period::Always) => below(BY_TIME.to_owned()),
            Self::ByTime(Period::Year(year)) => below(format!("{year:04}")),
            Self::ByTime(Period::Month(year, month)) => below(format!("{year:04}-{month:02}")),
            Self::ByTime(Period::Day(day)) => below(day.to_string()),
            Self::History(path) => past(&[HUB, HISTORY], path),
            Self::Deleted(path) => past(&[HUB, DELETED], path),
            Self::Changes => below(CHANGES.to_owned()),
            Self::ChangesOf(version, path) => past(&[HUB, CHANGES, &version.name], path),
            Self::Search => below(SEARCH.to_owned()),
            Self::SearchFor(pattern) => past(&[HUB, SEARCH], pattern),
            Self::Tags => below(TAGS.to_owned()),
            Self::Tag(tag) => below(tag.to_string()),
            Self::Sets => below(SETS.to_owned()),
            Self::Device(device) => below(device.to_string()),
        }
    }

    /// The directory above.
    pub(super) fn parent(&self) -> Self {
        match self {
            Self::Folder | Self::Hub => Self::Folder,
            Self::Ids
            | Self::Gmt
            | Self::Tags
            | Self::Changes
            | Self::Search
            | Self::Sets
            | Self::ByTime(Period::Always) => Self::Hub,
            Self::Tag(_) => Self::Tags,
            Self::Device(_) => Self::Sets,
            Self::SearchFor(_) => Self::Search,
            Self::ByTime(Period::Year(_)) => Self::ByTime(Period::Always),
            Self::ByTime(Period::Month(year, _)) => Self::ByTime(Period::Year(*year)),
            Self::ByTime(Period::Day(day)) => Self::ByTime(Period::Month(day.year, day.month)),
            Self::History(path) | Self::Deleted(path) if path.is_empty() => Self::Hub,
            Self::History(path) => Self::History(above(path).into()),
            Self::Deleted(path) => Self::Deleted(above(path).into()),
            Self::ChangesOf(_, path) if path.is_empty() => Self::Changes,
            Self::ChangesOf(version, path) => Self::ChangesOf(Arc::clone(version), above(path).into()),
        }
    }

    /// Whether it is made from the index, which is on a disk.
    pub(super) const fn is_on_disk(&self) -> bool {
        matches!(self, Self::History(_) | Self::Deleted(_) | Self::ChangesOf(..) | Self::SearchFor(_))
    }

    /// What `name` stands for.
    pub(super) fn find(&self, around: &Around<'_>, name: &[u8]) -> Option<Item> {
        let text = std::str::from_utf8(name).ok()?;
        match self {
            Self::Folder => self.find_in_folder(around, text),
            Self::Hub => fixed_in_hub(around).find(|(own, _)| *own == text).map(|(_, item)| item),
            Self::ByTime(_) => self.lines(around).find(|line| *line.name == *name).map(|line| line.item),
            // Beginnings of ids and all kinds of times are found there as well.
            Self::Ids | Self::Gmt => self.link_at(around, text),
            Self::Tags => Self::tag(around.list, text),
            Self::Tag(tag) => {
                let named = around.list.find(name).filter(|named| named.version.has_tag(tag))?;
                Some(self.link_to(named))
            }
            Self::Changes => self.change_of(around, around.list.find(name)?),
            Self::Sets => around.sets?.find(text),
            Self::Device(device) => around.sets?.find_on(device, text),
            Self::Search if name.len() <= PATTERN_BYTES_MAX => {
                Pattern::new(name).map(|_| Item::View(Self::SearchFor(name.into())))
            }
            Self::Search | Self::SearchFor(_) | Self::History(_) | Self::Deleted(_) | Self::ChangesOf(..) => {
                None
            }
        }
    }

    fn find_in_folder(&self, around: &Around<'_>, name: &str) -> Option<Item> {
        let list = around.list;
        if let Some(version) = list.find(name.as_bytes()) {
            return Some(Item::Version(Arc::clone(version)));
        }
        if let Some(target) = list.link(name.as_bytes()) {
            return Some(self.link_to(list.find(target.as_bytes())?));
        }
        if name == HUB {
            return Some(Item::View(Self::Hub));
        }
        if KEEP_OUT.contains(&name) {
            return Some(Item::Text(Text::Nothing));
        }
        // Nobody should have to know of the hub.
        let is_in_hub = fixed_in_hub(around).any(|(own, _)| own == name);
        if is_in_hub { Some(link_to_hub(name)) } else { self.link_at(around, name) }
    }

    /// A link to the newest version that a time or the beginning of an id means.
    fn link_at(&self, around: &Around<'_>, name: &str) -> Option<Item> {
        // The name of a version that is gone, or never was, must not lead to another.
        if is_version_name(name) && !name.starts_with('@') {
            return None;
        }
        let moment = Moment::parse(name, around.list.zone(), around.now).ok()?;
        // `latest` has a meaning of its own, and only in the folder.
        if moment.is_latest() { None } else { Some(self.link_to(around.list.at(&moment)?)) }
    }

    /// What a version changed. The oldest one added everything it holds; what the index does not know yet is not there.
    fn change_of(&self, around: &Around<'_>, version: &Arc<NamedVersion>) -> Option<Item> {
        if version.version.is_partial || around.history.flatten()? < version.version.sequence {
            return None;
        }
        match around.list.complete_before(version.version.sequence) {
            None => Some(self.link_to(version)),
            Some(_) => Some(Item::View(Self::ChangesOf(Arc::clone(version), Arc::from([])))),
        }
    }

    /// Names that lead from here to the folder.
    pub(super) fn way_up(&self) -> Vec<u8> {
        "../".repeat(self.names().len()).into_bytes()
    }

    pub(super) fn link_to(&self, version: &Arc<NamedVersion>) -> Item {
        let target = "../".repeat(self.names().len()) + &version.name;
        Item::Link(target.into_bytes(), Some(Arc::clone(version)))
    }

    /// What is listed, in ascending order.
    pub(super) fn lines<'a>(&self, around: &Around<'a>) -> Lines<'a> {
        let (list, view) = (around.list, self.clone());
        match self {
            Self::Folder => self.lines_of_folder(around),
            Self::Hub => Box::new(fixed(fixed_in_hub(around))),
            Self::Ids => Box::new(list.newest_first.iter().map(move |named| Line {
                order: newest_first(named.version.sequence),
                name: Cow::Owned(named.version.id.to_string().into_bytes()),
                item: view.link_to(named),
            })),
            Self::Gmt => Box::new(view.gmt(list)),
            Self::Tags => Self::lines_of_tags(list),
            Self::Tag(tag) => view.lines_of_tag(tag, list),
            Self::ByTime(period) => view.lines_by_time(*period, list),
            Self::Changes => {
                let around = *around;
                let named = list.newest_first.iter();
                Box::new(named.filter_map(move |named| {
                    let (order, name) = (newest_first(named.version.sequence), named.name.as_bytes());
                    Some(Line { order, name: Cow::Borrowed(name), item: view.change_of(&around, named)? })
                }))
            }
            Self::Sets => around.sets.map_or_else(nothing, Sets::devices),
            Self::Device(device) => around.sets.map_or_else(nothing, |sets| sets.on(device)),
            Self::Search | Self::SearchFor(_) | Self::History(_) | Self::Deleted(_) | Self::ChangesOf(..) => {
                nothing()
            }
        }
    }

    fn lines_of_folder<'a>(&self, around: &Around<'a>) -> Lines<'a> {
        let list = around.list;
        let latest = list.link(LATEST.as_bytes()).and_then(|name| list.find(name.as_bytes()));
        let latest = latest.map(|named| Line {
            order: 0,
            name: Cow::Borrowed(LATEST.as_bytes()),
            item: self.link_to(named),
        });
        let versions = list.listed().iter().map(|named| Line {
            order: newest_first(named.version.sequence),
            name: Cow::Borrowed(named.name.as_bytes()),
            item: Item::Version(Arc::clone(named)),
        });
        Box::new(latest.into_iter().chain(fixed(fixed_in_folder(around))).chain(versions))
    }

    /// Times of Greenwich, newest first; of versions in the same second the newest.
    fn gmt(self, list: &VersionList) -> impl Iterator<Item = Line<'_>> {
        let mut last = None;
        list.newest_first.iter().filter_map(move |named| {
            let second = named.version.started_at.div_euclid(1000);
            let moment =
                DateTime::from_timestamp(second, 0).filter(|_| last.replace(second) != Some(second))?;
            Some(Line {
                order: newest_first(named.version.sequence),
                name: Cow::Owned(moment.format("@GMT-%Y.%m.%d-%H.%M.%S").to_string().into_bytes()),
                item: self.link_to(named),
            })
        })
    }
}

fn fixed_in_folder(around: &Around<'_>) -> impl Iterator<Item = (&'static str, Item)> + use<> {
    let past: &[&str] = if around.history.is_some() { &[HISTORY, DELETED, CHANGES, SEARCH] } else { &[] };
    let sets = around.sets.map(|_| SETS);
    let names = [README, BY_TIME].into_iter().chain(sets).chain(past.iter().copied());
    names.map(|name| (name, link_to_hub(name)))
}

fn link_to_hub(name: &str) -> Item {
    Item::Link(format!("{HUB}/{name}").into_bytes(), None)
}

fn fixed_in_hub(around: &Around<'_>) -> impl Iterator<Item = (&'static str, Item)> + use<> {
    let texts = [(README, Text::Readme), ("status.json", Text::Status), ("versions.json", Text::Versions)];
    let views =
        [(BY_TIME, View::ByTime(Period::Always)), (IDS, View::Ids), (GMT, View::Gmt), (TAGS, View::Tags)];
    let past = [
        (HISTORY, View::History(Arc::from([]))),
        (DELETED, View::Deleted(Arc::from([]))),
        (CHANGES, View::Changes),
        (SEARCH, View::Search),
    ];
    let past = past.into_iter().take(if around.history.is_some() { usize::MAX } else { 0 });
    let sets = around.sets.map(|_| (SETS, View::Sets));
    let views = views.into_iter().chain(sets).chain(past).map(|(name, view)| (name, Item::View(view)));
    texts.into_iter().map(|(name, text)| (name, Item::Text(text))).chain(views)
}

fn fixed<'a>(names: impl Iterator<Item = (&'static str, Item)>) -> impl Iterator<Item = Line<'a>> {
    (1..).zip(names).map(|(order, (name, item))| Line { order, name: Cow::Borrowed(name.as_bytes()), item })
}

fn nothing<'a>() -> Lines<'a> {
    Box::new(std::iter::empty())
}

/// The higher the sequence, the lower the order.
pub(super) fn newest_first(sequence: u64) -> u64 {
    FIXED + SEQUENCE_MAX.saturating_sub(sequence)
}
