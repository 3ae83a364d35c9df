//! Directories that are in no archive: the folder of versions, and what is below its unlisted `.backstore`. SEMANTICS.md section 1.
//!
//! Only the versions' own directories are real. Everything else is a symbolic link to one of them or to a directory here, so whoever
//! walks the folder meets each version once.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::DateTime;

use super::texts::Text;
use super::version::{Day, LATEST, NamedVersion, VersionList};
use crate::moment::{Moment, is_version_name};

/// A made-up directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// A level of `by-time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    Always,
    Year(u16),
    Month(u16, u8),
    Day(Day),
}

/// What a name in a made-up directory stands for.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Version(Arc<NamedVersion>),
    View(View),
    /// A link and, if it leads to a version, that.
    Link(String, Option<Arc<NamedVersion>>),
    Text(Text),
}

/// A line of a made-up directory.
pub(super) struct Line<'a> {
    /// Where it comes in the listing; the same whatever versions come or go.
    pub(super) order: u64,
    pub(super) name: Cow<'a, str>,
    pub(super) item: Item,
}

type Lines<'a> = Box<dyn Iterator<Item = Line<'a>> + 'a>;

const HUB: &str = ".backstore";
const BY_TIME: &str = "by-time";
const IDS: &str = "ids";
const GMT: &str = "gmt";
const README: &str = "README.txt";
/// Names that ask indexers to stay away. They are found and not listed.
const KEEP_OUT: [&str; 2] = [".metadata_never_index", ".trackerignore"];
/// Orders below this are those of fixed names.
const FIXED: u64 = 1 << 10;
/// More than any sequence that is listed.
const SEQUENCE_MAX: u64 = 1 << 60;

impl View {
    /// Where it is, from the folder on.
    pub(super) fn path(self) -> String {
        match self {
            Self::Folder => String::new(),
            Self::Hub => HUB.to_owned(),
            Self::Ids => format!("{HUB}/{IDS}"),
            Self::Gmt => format!("{HUB}/{GMT}"),
            Self::ByTime(Period::Always) => format!("{HUB}/{BY_TIME}"),
            Self::ByTime(Period::Year(year)) => format!("{HUB}/{BY_TIME}/{year:04}"),
            Self::ByTime(Period::Month(year, month)) => {
                format!("{HUB}/{BY_TIME}/{year:04}/{year:04}-{month:02}")
            }
            Self::ByTime(Period::Day(day)) => {
                format!("{}/{day}", Self::ByTime(Period::Month(day.year, day.month)).path())
            }
        }
    }

    /// The directory above.
    pub(super) const fn parent(self) -> Self {
        match self {
            Self::Folder | Self::Hub => Self::Folder,
            Self::Ids | Self::Gmt | Self::ByTime(Period::Always) => Self::Hub,
            Self::ByTime(Period::Year(_)) => Self::ByTime(Period::Always),
            Self::ByTime(Period::Month(year, _)) => Self::ByTime(Period::Year(year)),
            Self::ByTime(Period::Day(day)) => Self::ByTime(Period::Month(day.year, day.month)),
        }
    }

    /// What `name` stands for. `now` is in milliseconds since 1970.
    pub(super) fn find(self, list: &VersionList, name: &[u8], now: i64) -> Option<Item> {
        let name = std::str::from_utf8(name).ok()?;
        match self {
            Self::Folder => self.find_in_folder(list, name, now),
            Self::Hub => fixed_in_hub().find(|(own, _)| *own == name).map(|(_, item)| item),
            Self::ByTime(_) => self.lines(list).find(|line| line.name == name).map(|line| line.item),
            // Beginnings of ids and all kinds of times are found there as well.
            Self::Ids | Self::Gmt => self.link_at(list, name, now),
        }
    }

    fn find_in_folder(self, list: &VersionList, name: &str, now: i64) -> Option<Item> {
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
        let fixed = fixed_in_folder().find(|(own, _)| *own == name).map(|(_, item)| item);
        fixed.or_else(|| self.link_at(list, name, now))
    }

    /// A link to the newest version that a time or the beginning of an id means.
    fn link_at(self, list: &VersionList, name: &str, now: i64) -> Option<Item> {
        // The name of a version that is gone, or never was, must not lead to another.
        if is_version_name(name) && !name.starts_with('@') {
            return None;
        }
        // `latest` has a meaning of its own, and only in the folder.
        let moment = Moment::parse(name, list.zone(), now).ok().filter(|moment| !moment.is_latest())?;
        Some(self.link_to(list.at(&moment)?))
    }

    fn link_to(self, version: &Arc<NamedVersion>) -> Item {
        let depth = self.path().split('/').filter(|part| !part.is_empty()).count();
        Item::Link("../".repeat(depth) + &version.name, Some(Arc::clone(version)))
    }

    /// What is listed, in ascending order.
    pub(super) fn lines(self, list: &VersionList) -> Lines<'_> {
        match self {
            Self::Folder => self.lines_of_folder(list),
            Self::Hub => Box::new(fixed(fixed_in_hub())),
            Self::Ids => Box::new(list.newest_first.iter().map(move |named| Line {
                order: newest_first(named),
                name: Cow::Owned(named.version.id.to_string()),
                item: self.link_to(named),
            })),
            Self::Gmt => Box::new(self.gmt(list)),
            Self::ByTime(period) => self.lines_by_time(period, list),
        }
    }

    fn lines_of_folder(self, list: &VersionList) -> Lines<'_> {
        let latest = list.link(LATEST.as_bytes()).and_then(|name| list.find(name.as_bytes()));
        let latest =
            latest.map(|named| Line { order: 0, name: Cow::Borrowed(LATEST), item: self.link_to(named) });
        let versions = list.listed().iter().map(|named| Line {
            order: newest_first(named),
            name: Cow::Borrowed(&named.name),
            item: Item::Version(Arc::clone(named)),
        });
        Box::new(latest.into_iter().chain(fixed(fixed_in_folder())).chain(versions))
    }

    /// Times of Greenwich, newest first; of versions in the same second the newest.
    fn gmt(self, list: &VersionList) -> impl Iterator<Item = Line<'_>> {
        let mut last = None;
        list.newest_first.iter().filter_map(move |named| {
            let second = named.version.started_at.div_euclid(1000);
            let moment =
                DateTime::from_timestamp(second, 0).filter(|_| last.replace(second) != Some(second))?;
            let name = moment.format("@GMT-%Y.%m.%d-%H.%M.%S").to_string();
            Some(Line { order: newest_first(named), name: Cow::Owned(name), item: self.link_to(named) })
        })
    }

    fn lines_by_time(self, period: Period, list: &VersionList) -> Lines<'_> {
        let below = move |number: u32, name: String, period: Period| Line {
            order: FIXED + u64::from(number),
            name: Cow::Owned(name),
            item: Item::View(Self::ByTime(period)),
        };
        let days = list.by_day().keys().copied();
        match period {
            Period::Always => {
                let mut last = None;
                let years = days.map(|day| day.year).filter(move |year| last.replace(*year) != Some(*year));
                Box::new(years.map(move |year| below(year.into(), format!("{year:04}"), Period::Year(year))))
            }
            Period::Year(year) => {
                let mut last = None;
                let months = days.filter(move |day| day.year == year).map(|day| day.month);
                let months = months.filter(move |month| last.replace(*month) != Some(*month));
                Box::new(months.map(move |month| {
                    below(month.into(), format!("{year:04}-{month:02}"), Period::Month(year, month))
                }))
            }
            Period::Month(year, month) => {
                let days = days.filter(move |day| (day.year, day.month) == (year, month));
                Box::new(days.map(move |day| below(day.day.into(), day.to_string(), Period::Day(day))))
            }
            Period::Day(day) => {
                let versions = list.by_day().get(&day).into_iter().flatten();
                Box::new(versions.filter_map(move |named| {
                    let (_, time) = named.day_and_time()?;
                    let order = FIXED + named.version.sequence.min(SEQUENCE_MAX);
                    Some(Line { order, name: Cow::Borrowed(time), item: self.link_to(named) })
                }))
            }
        }
    }
}

fn fixed_in_folder() -> impl Iterator<Item = (&'static str, Item)> {
    let link = |name: &'static str| (name, Item::Link(format!("{HUB}/{name}"), None));
    [README, BY_TIME].into_iter().map(link)
}

fn fixed_in_hub() -> impl Iterator<Item = (&'static str, Item)> {
    [
        (README, Item::Text(Text::Readme)),
        ("status.json", Item::Text(Text::Status)),
        ("versions.json", Item::Text(Text::Versions)),
        (BY_TIME, Item::View(View::ByTime(Period::Always))),
        (IDS, Item::View(View::Ids)),
        (GMT, Item::View(View::Gmt)),
    ]
    .into_iter()
}

fn fixed<'a>(names: impl Iterator<Item = (&'static str, Item)>) -> impl Iterator<Item = Line<'a>> {
    (1..).zip(names).map(|(order, (name, item))| Line { order, name: Cow::Borrowed(name), item })
}

/// The higher the sequence, the lower the order.
fn newest_first(named: &NamedVersion) -> u64 {
    FIXED + SEQUENCE_MAX.saturating_sub(named.version.sequence)
}
