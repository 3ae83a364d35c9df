//! `sets`: a folder for each backup set of each device.
//!
//! Sets are never taken out of it while a mount lasts, so that listings can be continued. What is gone from the archive is empty.

use std::borrow::Cow;
use std::sync::Arc;

use backstore_protocol::ids::LineageId;

use super::BackupSet;
use super::folder::{Folder, OpenSet};
use super::views::{FIXED, HUB, Item, Line, Lines, SETS, View};

/// All sets but what they hold.
#[derive(Default)]
pub(super) struct Sets {
    /// In the order in which they became known.
    all: Vec<Place>,
}

/// A set and its folder.
struct Place {
    /// What its device's directory is called.
    device: Arc<str>,
    /// What it is called in there.
    name: String,
    /// Its name alone; another one if several sets of the device have it.
    plain: String,
    folder: Arc<Folder>,
}

/// Longest name of a directory.
const NAME_BYTES_MAX: usize = 255;
/// Digits of a lineage's id that tell sets of one name apart.
const ID_DIGITS: usize = 8;

impl Sets {
    /// These sets and those of them that were known before; the one of the `top` folder is shown as a link to that.
    pub(super) fn with(&self, sets: Vec<BackupSet>, top: &Arc<Folder>, open: &OpenSet) -> Self {
        let mut names: Vec<_> =
            self.all.iter().map(|place| (place.device.clone(), place.plain.clone())).collect();
        let is_new = |set: &BackupSet| self.folder(set.lineage).is_none();
        let new: Vec<_> = sets.into_iter().filter(is_new).collect();
        names.extend(new.iter().map(|set| (file_name(&set.device).into(), file_name(&set.name))));
        let known = self.all.iter().map(|place| Arc::clone(&place.folder));
        let mut all = Vec::with_capacity(names.len());
        let folders = known.map(Ok).chain(new.into_iter().map(Err));
        for ((device, plain), folder) in names.iter().zip(folders) {
            let is_shared =
                names.iter().filter(|other| *other == &(device.clone(), plain.clone())).count() > 1;
            let lineage = folder.as_ref().map_or_else(|set| set.lineage, |folder| folder.set.lineage);
            let name = if is_shared { told_apart(plain, lineage) } else { plain.clone() };
            let folder = folder.unwrap_or_else(|set| {
                if set.lineage == top.set.lineage {
                    return Arc::clone(top);
                }
                // That of a lineage never changes, whatever else there is.
                let path = format!("{HUB}/{SETS}/{device}/{}", told_apart(plain, lineage));
                Folder::new(path.into_bytes(), set, Some(Arc::clone(open)))
            });
            all.push(Place { device: Arc::clone(device), name, plain: plain.clone(), folder });
        }
        Self { all }
    }

    /// The folder of a set.
    pub(super) fn folder(&self, lineage: LineageId) -> Option<&Arc<Folder>> {
        self.all.iter().map(|place| &place.folder).find(|folder| folder.set.lineage == lineage)
    }

    /// The directory that a set's folder is in.
    pub(super) fn above(&self, lineage: LineageId) -> Option<View> {
        let place = self.all.iter().find(|place| place.folder.set.lineage == lineage)?;
        Some(View::Device(Arc::clone(&place.device)))
    }

    /// A device, or a set whose name only one device has.
    pub(super) fn find(&self, name: &str) -> Option<Item> {
        if let Some(place) = self.all.iter().find(|place| *place.device == *name) {
            return Some(Item::View(View::Device(Arc::clone(&place.device))));
        }
        let mut fitting = self.all.iter().filter(|place| place.plain == name);
        let place = fitting.next().filter(|_| fitting.next().is_none())?;
        Some(Item::Link(format!("{}/{}", place.device, place.name).into_bytes(), None))
    }

    /// A set of a device: by the name that is listed or, if several share one, by that: the one that was backed up last.
    pub(super) fn find_on(&self, device: &str, name: &str) -> Option<Item> {
        let on_device = || self.all.iter().filter(|place| *place.device == *device);
        if let Some(place) = on_device().find(|place| place.name == name) {
            return Some(place.item());
        }
        let sharing = on_device().filter(|place| place.plain == name);
        let newest = sharing.max_by_key(|place| place.folder.set.newest_at)?;
        Some(Item::Link(newest.name.clone().into_bytes(), None))
    }

    /// The devices.
    pub(super) fn devices(&self) -> Lines<'_> {
        let first = |device: &str| self.all.iter().position(|place| *place.device == *device);
        let devices = self.all.iter().zip(0..).filter(move |(place, at)| first(&place.device) == Some(*at));
        Box::new(devices.map(|(place, at)| Line {
            order: FIXED + at as u64,
            name: Cow::Borrowed(place.device.as_bytes()),
            item: Item::View(View::Device(Arc::clone(&place.device))),
        }))
    }

    /// The sets of a device.
    pub(super) fn on<'a>(&'a self, device: &str) -> Lines<'a> {
        let device = device.to_owned();
        let places = self.all.iter().zip(0..).filter(move |(place, _)| *place.device == *device);
        Box::new(places.map(|(place, at)| Line {
            order: FIXED + at,
            name: Cow::Borrowed(place.name.as_bytes()),
            item: place.item(),
        }))
    }
}

impl Place {
    fn item(&self) -> Item {
        if self.folder.is_top() {
            return Item::Link(b"../../..".to_vec(), None);
        }
        Item::Set(Arc::clone(&self.folder))
    }
}

fn told_apart(plain: &str, lineage: LineageId) -> String {
    let id = lineage.to_string();
    format!("{plain} ({})", &id[..ID_DIGITS.min(id.len())])
}

/// A name that a directory can have.
fn file_name(text: &str) -> String {
    let mut name: String = text.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    let room = NAME_BYTES_MAX - " ()".len() - ID_DIGITS;
    name.truncate((0..=room.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0));
    if name.is_empty() || name == "." || name == ".." { format!("_{name}") } else { name }
}
