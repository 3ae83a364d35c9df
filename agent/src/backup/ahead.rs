//! Having small files brought from the disk before they are read.
//!
//! Whoever reads one small file after the other has a disk look for one at a time, while most could look for dozens at once. So before a group of
//! files is read, the system is told of the next group, unless that seems to be in its memory already: one question for a group tells.
//! From a cold disk, two threads backed 300,000 small files up in 6.4 s that way instead of 17.5.

use backstore_platform::walk::{Directory, has_in_memory, read_ahead};

/// Files of a group: so many may be on their way for each thread that reads.
pub(super) const GROUP: usize = 32;

/// A file, by its directory, name and size.
pub(super) type Place<'a> = (&'a Directory, &'a [u8], u64);

/// Asks for what is to be read soon. What cannot be opened is reported when it is read.
pub(super) fn ask_for<'a>(mut files: impl Iterator<Item = Place<'a>>) {
    if files.next().is_some_and(|first| ask_for_one(first, true)) {
        files.for_each(|file| {
            ask_for_one(file, false);
        });
    }
}

/// Whether it was asked for. It is not if it may be in memory already.
fn ask_for_one((directory, name, size): Place<'_>, unless_in_memory: bool) -> bool {
    let Ok(file) = directory.open_file(name) else { return false };
    if unless_in_memory && has_in_memory(&file) {
        return false;
    }
    read_ahead(&file, size);
    true
}
