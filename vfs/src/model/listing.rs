//! Listing directories: the folder of versions, and directories in versions.
//!
//! Cookies are 0 at the start, 1 after `.`, 2 after `..`, and from there count entries.

use std::sync::{Arc, Mutex};

use super::directory::{Directory, Entries, Marks, name_of};
use super::handles::Handle;
use super::inode::{Identity, Ino};
use super::version::{LATEST, VersionList};
use super::{Attributes, Problem, Snapshots, Validity};
use crate::objects::Wait;
use crate::sync::lock;

/// A line of a listing.
#[derive(Debug)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a [u8],
    /// What to continue with after it.
    pub cookie: u64,
    /// What it is. Of `.` and `..` only inode and kind mean something, and no reference is counted.
    pub attributes: Attributes,
    /// How long name and attributes hold.
    pub validity: Validity,
}

/// A directory that is open for listing.
pub(super) enum OpenListing {
    /// The folder, as it was when it was opened.
    Folder(Arc<VersionList>),
    /// A directory of a version.
    Directory { directory: Directory, ino: Ino, marks: Mutex<Marks> },
}

/// Cookie after `.` and `..`.
const FIRST: u64 = 2;

impl Snapshots {
    /// Opens a directory for listing.
    pub fn open_directory(&self, ino: Ino) -> Result<Handle, Problem> {
        self.listings.add(if ino == Ino::ROOT {
            OpenListing::Folder(self.current())
        } else {
            OpenListing::Directory { directory: self.directory(ino)?, ino, marks: Mutex::default() }
        })
    }

    /// Closes a directory.
    pub fn close_directory(&self, handle: Handle) {
        self.listings.remove(handle);
    }

    /// Hands over what comes after `cookie`, line by line, until `add` has no room (and gives false) or all is listed. Each line but
    /// `.` and `..` that `add` took counts one reference to its inode. After [`Problem::NotInMemory`] the listing goes on with the
    /// cookie of the last line taken.
    pub fn list(
        &self,
        handle: Handle,
        cookie: u64,
        wait: Wait,
        add: &mut dyn FnMut(&Listed<'_>) -> bool,
    ) -> Result<(), Problem> {
        let listing = self.listings.get(handle)?;
        let (ino, parent) = match &*listing {
            OpenListing::Folder(_) => (Ino::ROOT, Ino::ROOT),
            OpenListing::Directory { directory, ino, .. } => (*ino, parent_of(directory)),
        };
        for (name, number, ino) in [(&b"."[..], 0, ino), (b"..", 1, parent)] {
            let attributes = Attributes::made_up_directory(ino, self.owner, self.folder().mtime);
            let line = Listed { name, cookie: number + 1, attributes, validity: Validity::Briefly };
            if cookie <= number && !add(&line) {
                return Ok(());
            }
        }
        let from = cookie.max(FIRST);
        match &*listing {
            OpenListing::Folder(list) => self.list_folder(list, from, add),
            OpenListing::Directory { directory, marks, .. } => {
                self.list_directory(directory, marks, from, wait, add)
            }
        }
    }

    fn list_folder(
        &self,
        list: &VersionList,
        cookie: u64,
        add: &mut dyn FnMut(&Listed<'_>) -> bool,
    ) -> Result<(), Problem> {
        let latest = list.link(LATEST.as_bytes()).map(|_| LATEST);
        let names = latest.into_iter().chain(list.listed().iter().map(|named| named.name.as_str()));
        for (name, number) in names.zip(FIRST..).skip((cookie - FIRST) as usize) {
            let found = self.lookup_in_folder(list, name.as_bytes())?;
            let line = Listed {
                name: name.as_bytes(),
                cookie: number + 1,
                attributes: found.attributes,
                validity: found.validity,
            };
            if !add(&line) {
                self.forget(found.attributes.ino, 1);
                break;
            }
        }
        Ok(())
    }

    fn list_directory(
        &self,
        directory: &Directory,
        marks: &Mutex<Marks>,
        cookie: u64,
        wait: Wait,
        add: &mut dyn FnMut(&Listed<'_>) -> bool,
    ) -> Result<(), Problem> {
        let wanted = cookie - FIRST;
        let (mut count, after) = {
            let marks = lock(marks);
            let (count, after) = marks.before(wanted);
            (count, after.map(<[u8]>::to_vec))
        };
        let mut entries = Entries::open(&self.reader, directory, after.as_deref(), wait)?;
        let mut last = None;
        let mut result = Ok(());
        loop {
            let found = match entries.next() {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(problem) => {
                    result = Err(problem);
                    break;
                }
            };
            if count >= wanted {
                let attributes = self.remember(directory, &found);
                let name = name_of(&found.key);
                let line =
                    Listed { name, cookie: FIRST + count + 1, attributes, validity: Validity::UntilChanged };
                if !add(&line) {
                    self.forget(attributes.ino, 1);
                    break;
                }
            }
            count += 1;
            last = Some(found.key);
        }
        if let Some(key) = last {
            lock(marks).note(count, &key);
        }
        result
    }
}

/// The number of the directory above.
fn parent_of(directory: &Directory) -> Ino {
    if directory.path.is_empty() {
        Ino::ROOT
    } else {
        Identity::directory(&directory.version.version.id, directory.parent_path()).ino()
    }
}
