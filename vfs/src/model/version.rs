//! Versions and their names: SEMANTICS.md section 1.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use backstore_protocol::entry::Time;
use backstore_protocol::ids::{LineageId, SnapshotId};
use backstore_protocol::tree::Root;
use bytes::Bytes;
use chrono::{DateTime, LocalResult, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use crate::moment::Moment;

/// A version of a backup set, as far as the filesystem needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The snapshot.
    pub id: SnapshotId,
    /// The history it belongs to.
    pub lineage: LineageId,
    /// Its number in that history.
    pub sequence: u64,
    /// When its backup began, by the device's clock: milliseconds since 1970.
    pub started_at: i64,
    /// When it arrived, by the destination's clock, likewise.
    pub received_at: i64,
    /// The set's time zone by its IANA name; one that is not known counts as UTC.
    pub zone: Box<str>,
    /// Its tree.
    pub root: Root,
    /// It was made before the first backup was complete.
    pub is_partial: bool,
    /// Entries of its tree.
    pub entries: u64,
    /// Sizes of all its files.
    pub bytes: u64,
    /// Words it was given.
    pub tags: Box<[Box<str>]>,
}

impl Version {
    /// When its backup began.
    pub(super) const fn time(&self) -> Time {
        time_of(self.started_at)
    }

    /// Whether it was given a word.
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| **own == *tag)
    }
}

/// A moment in milliseconds since 1970.
pub(super) const fn time_of(milliseconds: i64) -> Time {
    let nanoseconds = milliseconds.rem_euclid(1000) as u32 * 1_000_000;
    Time { seconds: milliseconds.div_euclid(1000), nanoseconds }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Versions that the folder lists; older ones are found by name.
pub const LISTED_MAX: usize = 200;
/// The link to the newest version.
pub(super) const LATEST: &str = "latest";
const PARTIAL_MARK: &str = "_partial";

/// A version and the name it is listed by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedVersion {
    pub(super) version: Version,
    pub(super) name: String,
}

impl NamedVersion {
    /// The day and the rest of its name; nothing for a time that no calendar holds.
    pub(super) fn day_and_time(&self) -> Option<(Day, &str)> {
        let (day, time) = self.name.split_once('_')?;
        let mut parts = day.split('-');
        let year = parts.next()?.parse().ok()?;
        let mut small = || parts.next()?.parse().ok();
        Some((Day { year, month: small()?, day: small()? }, time))
    }
}

/// A day in the calendar of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day {
    pub(super) year: u16,
    pub(super) month: u8,
    pub(super) day: u8,
}

/// What the folder holds at one time.
#[derive(Debug, Default)]
pub(super) struct VersionList {
    /// Newest first.
    pub(super) newest_first: Vec<Arc<NamedVersion>>,
    by_name: HashMap<String, Arc<NamedVersion>>,
    by_day: BTreeMap<Day, Vec<Arc<NamedVersion>>>,
    by_tag: BTreeMap<Box<str>, Vec<Arc<NamedVersion>>>,
    /// Names that are found but not listed, and the names they lead to.
    links: HashMap<String, String>,
    /// `versions.json`, once somebody has asked for it.
    text: OnceLock<Bytes>,
}

impl VersionList {
    /// Names `versions`, which may be in any order, by the time in their own zone or, if `is_utc`, in UTC.
    pub(super) fn new(mut versions: Vec<Version>, is_utc: bool) -> Self {
        versions.sort_by_key(|version| version.sequence);
        let mut list = Self::default();
        let mut seconds: HashMap<String, u32> = HashMap::new();
        for version in versions {
            let second = if is_utc {
                format!("{}Z", time_name(version.started_at, "UTC"))
            } else {
                time_name(version.started_at, &version.zone)
            };
            let count = seconds.entry(second.clone()).and_modify(|count| *count += 1).or_insert(1);
            let plain = if *count == 1 { second } else { format!("{second}_{count}") };
            let name = if version.is_partial { format!("{plain}{PARTIAL_MARK}") } else { plain.clone() };
            if version.is_partial {
                list.links.insert(plain, name.clone());
            }
            let named = Arc::new(NamedVersion { version, name: name.clone() });
            if let Some((day, _)) = named.day_and_time() {
                list.by_day.entry(day).or_default().push(Arc::clone(&named));
            }
            for tag in &named.version.tags {
                list.by_tag.entry(tag.clone()).or_default().push(Arc::clone(&named));
            }
            list.newest_first.push(Arc::clone(&named));
            list.by_name.insert(name, named);
        }
        list.newest_first.reverse();
        let complete = list.newest_first.iter().find(|named| !named.version.is_partial);
        if let Some(latest) = complete.or(list.newest_first.first()) {
            list.links.insert(LATEST.to_owned(), latest.name.clone());
        }
        list
    }

    /// The version with this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<&Arc<NamedVersion>> {
        self.by_name.get(std::str::from_utf8(name).ok()?)
    }

    /// Where the link with this name leads.
    pub(super) fn link(&self, name: &[u8]) -> Option<&str> {
        self.links.get(std::str::from_utf8(name).ok()?).map(String::as_str)
    }

    /// The newest version that `moment` means.
    pub(super) fn at(&self, moment: &Moment) -> Option<&Arc<NamedVersion>> {
        self.newest_first.iter().find(|named| {
            let version = &named.version;
            moment.fits(&version.id, version.started_at, version.received_at)
        })
    }

    /// A text about all of them, which is made once.
    pub(super) fn text_of_all(&self, make: impl FnOnce() -> Bytes) -> Bytes {
        self.text.get_or_init(make).clone()
    }

    /// The oldest complete version of those with these sequences, the second one excluded.
    pub(super) fn oldest_within(&self, from: u64, to: u64) -> Option<&Arc<NamedVersion>> {
        let end = self.newest_first.partition_point(|named| named.version.sequence >= from);
        let within = self.newest_first[..end].iter().rev().take_while(|named| named.version.sequence < to);
        within.into_iter().find(|named| !named.version.is_partial)
    }

    /// The newest complete version of those with these sequences, the second one excluded.
    pub(super) fn newest_within(&self, from: u64, to: u64) -> Option<&Arc<NamedVersion>> {
        self.complete_before(to).filter(|named| named.version.sequence >= from)
    }

    /// The newest complete version of those before a sequence.
    pub(super) fn complete_before(&self, sequence: u64) -> Option<&Arc<NamedVersion>> {
        let start = self.newest_first.partition_point(|named| named.version.sequence >= sequence);
        self.newest_first[start..].iter().find(|named| !named.version.is_partial)
    }

    /// The time zone of the newest version.
    pub(super) fn zone(&self) -> Tz {
        self.newest_first.first().and_then(|newest| newest.version.zone.parse().ok()).unwrap_or(Tz::UTC)
    }

    /// Days with versions, each with its versions in the order of their sequences.
    pub(super) const fn by_day(&self) -> &BTreeMap<Day, Vec<Arc<NamedVersion>>> {
        &self.by_day
    }

    /// Tags, each with the versions that have it in the order of their sequences.
    pub(super) const fn by_tag(&self) -> &BTreeMap<Box<str>, Vec<Arc<NamedVersion>>> {
        &self.by_tag
    }

    /// The versions that are listed, newest first.
    pub(super) fn listed(&self) -> &[Arc<NamedVersion>] {
        &self.newest_first[..self.newest_first.len().min(LISTED_MAX)]
    }

    /// Names that meant something here and mean something else, or nothing, in `newer`.
    pub(super) fn names_changed_in(&self, newer: &Self) -> Vec<String> {
        let gone = self.by_name.iter().filter(|(name, old)| newer.by_name.get(*name) != Some(*old));
        let relinked = self.links.iter().filter(|(name, old)| newer.links.get(*name) != Some(*old));
        gone.map(|(name, _)| name.clone()).chain(relinked.map(|(name, _)| name.clone())).collect()
    }
}

/// The name of a moment in a time zone. In the hour that a change of clocks repeats, the hour tells which pass it is.
fn time_name(milliseconds: i64, zone: &str) -> String {
    let zone: Tz = zone.parse().unwrap_or(Tz::UTC);
    let seconds = milliseconds.div_euclid(1000);
    let in_calendar = |moment: &DateTime<Utc>| (0..10_000).contains(&chrono::Datelike::year(moment));
    let Some(moment) = DateTime::from_timestamp(seconds, 0).filter(in_calendar) else {
        return format!("@{seconds}");
    };
    let local = moment.with_timezone(&zone);
    let pass = match zone.from_local_datetime(&local.naive_local()) {
        LocalResult::Ambiguous(first, _) if first.offset().fix() == local.offset().fix() => "A",
        LocalResult::Ambiguous(_, _) => "B",
        LocalResult::Single(_) | LocalResult::None => "",
    };
    format!("{}_{:02}{pass}-{}", local.format("%Y-%m-%d"), local.hour(), local.format("%M-%S"))
}

#[cfg(test)]
pub(super) mod tests {
    use backstore_protocol::ids::ObjectId;
    use proptest::prelude::*;

    use super::*;

    /// A version at this second, with an empty tree.
    pub(crate) fn version(sequence: u64, second: i64) -> Version {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&sequence.to_le_bytes());
        Version {
            id: SnapshotId::from_bytes(id),
            lineage: LineageId::from_bytes([5; 16]),
            sequence,
            started_at: second * 1000 + 250,
            received_at: second * 1000 + 900,
            zone: "Europe/Berlin".into(),
            root: Root { node: ObjectId::ZERO, level: 0 },
            is_partial: false,
            entries: 0,
            bytes: 0,
            tags: Box::default(),
        }
    }

    fn names(versions: Vec<Version>) -> Vec<String> {
        VersionList::new(versions, false).newest_first.iter().rev().map(|named| named.name.clone()).collect()
    }

    #[test]
    fn the_repeated_hour_is_told_apart() {
        // Clocks went from 03:00 back to 02:00 at 2026-10-25 01:00 UTC.
        let start = 1_792_886_400; // 00:00 UTC
        let at = |minutes: i64| time_name((start + minutes * 60) * 1000, "Europe/Berlin");
        assert_eq!(at(-1), "2026-10-25_01-59-00");
        assert_eq!(at(0), "2026-10-25_02A-00-00");
        assert_eq!(at(30), "2026-10-25_02A-30-00");
        assert_eq!(at(60), "2026-10-25_02B-00-00");
        assert_eq!(at(119), "2026-10-25_02B-59-00");
        assert_eq!(at(120), "2026-10-25_03-00-00");
        assert_eq!(time_name(start * 1000, "UTC"), "2026-10-25_00-00-00");
        assert_eq!(time_name(start * 1000, "Asia/Tokyo"), "2026-10-25_09-00-00");
        assert_eq!(time_name(start * 1000, "Mars/Olympus"), "2026-10-25_00-00-00");
    }

    #[test]
    fn one_second_has_several_versions() {
        let names = names(vec![version(3, 1000), version(1, 1000), version(2, 1000), version(4, 1001)]);
        let expected =
            ["1970-01-01_01-16-40", "1970-01-01_01-16-40_2", "1970-01-01_01-16-40_3", "1970-01-01_01-16-41"];
        assert_eq!(names, expected);
    }

    #[test]
    fn absurd_times_have_names() {
        for (milliseconds, name) in [
            (i64::MIN, "@-9223372036854776"),
            (i64::MAX, "@9223372036854775"),
            (253_402_300_800_000, "@253402300800"),
        ] {
            assert_eq!(time_name(milliseconds, "Europe/Berlin"), name);
        }
        assert_eq!(time_name(-1, "UTC"), "1969-12-31_23-59-59");
    }

    #[test]
    fn links_lead_to_listed_names() {
        let partial = |sequence| Version { is_partial: true, ..version(sequence, 2000 + sequence as i64) };
        assert!(VersionList::new(Vec::new(), false).link(b"latest").is_none());
        let list = VersionList::new(vec![partial(1), partial(2)], false);
        assert_eq!(list.link(b"latest"), Some("1970-01-01_01-33-22_partial"));
        assert_eq!(list.link(b"1970-01-01_01-33-21"), Some("1970-01-01_01-33-21_partial"));
        assert!(
            list.find(b"1970-01-01_01-33-21").is_none()
                && list.find(b"1970-01-01_01-33-21_partial").is_some()
        );
        let newer = VersionList::new(vec![partial(2), version(3, 1)], false);
        assert_eq!(newer.link(b"latest"), Some("1970-01-01_01-00-01"));
        let mut changed = list.names_changed_in(&newer);
        changed.sort();
        assert_eq!(changed, ["1970-01-01_01-33-21", "1970-01-01_01-33-21_partial", "latest"]);
    }

    proptest! {
        #[test]
        fn names_are_local_times_and_sort(mut seconds in prop::collection::vec(0..4_000_000_000i64, 2..20), near in 1_792_880_000..1_792_900_000i64) {
            seconds.extend([near, near + 3600]);
            seconds.sort_unstable();
            seconds.dedup();
            let versions = seconds.iter().zip(1..).map(|(second, sequence)| version(sequence, *second)).collect();
            let names = names(versions);
            prop_assert!(names.is_sorted(), "{:?}", names);
            for (name, second) in names.iter().zip(&seconds) {
                let local = DateTime::from_timestamp(*second, 0).unwrap().with_timezone(&Tz::Europe__Berlin);
                prop_assert_eq!(name.replace(['A', 'B'], ""), local.format("%Y-%m-%d_%H-%M-%S").to_string());
            }
        }
    }
}
