//! Small files that are in no archive: what the folder says about itself, for people and for programs.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::FolderOptions;
use super::folder::Folder;
use super::version::{NamedVersion, VersionList};
use crate::objects::ReaderCounters;
use crate::requests::Requests;

/// A made-up file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// How to get files back.
    Readme,
    /// What is shown, for programs.
    Status,
    /// All versions, for programs.
    Versions,
    /// Nothing: it is its name that counts.
    Nothing,
}

/// What a mount has done so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    /// For the system.
    pub(super) requests: Requests,
    /// With the destination, or the copies of what it gave.
    pub(super) objects: ReaderCounters,
}

/// Of `status.json` and `versions.json`.
const FORMAT: u32 = 1;

impl Text {
    /// What is in it.
    pub(super) fn bytes(self, folder: &Folder, options: &FolderOptions, work: &Work) -> Bytes {
        let list = folder.versions();
        match self {
            Self::Readme => Bytes::from_static(README.as_bytes()),
            Self::Status => lines(&status(folder, &list, options, work)),
            Self::Versions => list.text_of_all(|| lines(&versions(&list))),
            Self::Nothing => Bytes::new(),
        }
    }
}

fn lines(value: &Value) -> Bytes {
    Bytes::from(format!("{value:#}\n"))
}

fn status(folder: &Folder, list: &VersionList, options: &FolderOptions, work: &Work) -> Value {
    let newest = |named: Option<&Arc<NamedVersion>>| named.map(|named| version(named));
    let complete = list.newest_first.iter().find(|named| !named.version.is_partial);
    json!({
        "format": FORMAT,
        "set": folder.set.name,
        "device": folder.set.device,
        "destination": options.place,
        "zone": list.zone().name(),
        "versions": list.newest_first.len(),
        "newest": newest(list.newest_first.first()),
        "newest_complete": newest(complete),
        "history_up_to_sequence": folder.history().and_then(|history| history.indexed_to()),
        "requests": work.requests,
        "objects": work.objects,
    })
}

fn versions(list: &VersionList) -> Value {
    let all: Vec<_> = list.newest_first.iter().map(|named| version(named)).collect();
    json!({ "format": FORMAT, "versions": all })
}

fn version(named: &NamedVersion) -> Value {
    let version = &named.version;
    json!({
        "name": named.name,
        "snapshot": version.id.to_string(),
        "sequence": version.sequence,
        "started_at": rfc3339(version.started_at),
        "received_at": rfc3339(version.received_at),
        "partial": version.is_partial,
        "entries": version.entries,
        "bytes": version.bytes,
        "tags": version.tags,
    })
}

/// Nothing for a time that no calendar holds.
fn rfc3339(milliseconds: i64) -> Option<String> {
    DateTime::from_timestamp_millis(milliseconds)
        .map(|moment| moment.to_rfc3339_opts(SecondsFormat::Millis, true))
}

const README: &str = "\
This folder holds every version of what was backed up here, as ordinary files that can be read and
copied and never changed.

  2026-11-22_14-30-05/   everything as it was then, under its full path
  latest                 the newest complete version
  by-time/               all versions by year, month and day; only the newest are listed above
  history/               every version of a file, as history/home/you/report.odt/
  deleted/               the last version of each file that is gone
  changes/               what each version added or changed
  sets/                  all backup sets of all your computers, each as a folder like this one
  search/*.odt/          links to all files of that name, in the newest version that has each

To get something back, copy it: in a file manager by drag and drop, in a terminal by

  cp -a latest/home/you/report.odt ~/

Owners, times and permissions come along where the program that copies keeps them; extended attributes
and ACLs only in a mount made with --xattrs. `backstore restore` keeps everything.

Names that are not listed work as well, for the newest version at or before that moment:
2026-11-22, 2026-11, 2026-11-22T14:30:05Z, @1795000000, yesterday, 3d, 2w.

In every folder of a version, .versions and .deleted (not listed either) lead to the history of that
folder and to what was deleted from it.

More is in .backstore: tags/ with the versions that `backup --tag` or `backstore tag` gave a word; for
programs ids/, gmt/, status.json, versions.json.
";
