//! Having small files brought from the disk before they are read.
//!
//! Whoever reads one small file after the other has a disk look for one at a time, while most could look for dozens at once. So before a group of
//! files is read, the system is told of the next group, unless that seems to be in its memory already: one question for a group tells.
//! From a cold disk, two threads backed 300,000 small files up in 6.4 s that way instead of 17.5.

use backstore_platform::walk::{has_in_memory, read_ahead};
use backstore_protocol::entry::Kind;

use super::read::Task;

/// Files of a group: so many may be on their way for each thread that reads.
pub(super) const GROUP: usize = 32;

/// Asks for what is to be read soon. What cannot be opened is reported when it is read.
pub(super) fn ask_for(tasks: &[Task]) {
    let mut files = tasks.iter().filter(|task| is_on_disk(task));
    if files.next().is_some_and(|first| ask_for_one(first, true)) {
        files.for_each(|task| {
            ask_for_one(task, false);
        });
    }
}

fn is_on_disk(task: &Task) -> bool {
    task.stat.kind == Kind::File && task.stat.size > 0 && !task.implied
}

/// Whether it was asked for. It is not if it may be in memory already.
fn ask_for_one(task: &Task, unless_in_memory: bool) -> bool {
    let Ok(file) = task.directory.open_file(&task.name) else { return false };
    if unless_in_memory && has_in_memory(&file) {
        return false;
    }
    read_ahead(&file, task.stat.size);
    true
}
