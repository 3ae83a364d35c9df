//! Reading small files and everything that is not a regular file, many to a job.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use backstore_platform::metadata::{
    RawXattr, Subject, XattrProblem, attributes, entry_from, implied_directory_from,
};
use backstore_platform::walk::{Directory, FullStat, Stat, append, full_stat_file};
use backstore_protocol::bundle::is_compressible;
use backstore_protocol::content_hash::content_hash;
use backstore_protocol::entry::{Content, Entry, Kind};
use backstore_protocol::ids::ContentHash;
use backstore_protocol::keys::IdKeys;
use backstore_protocol::limits::{BUNDLE_FILE_BYTES_MAX, INLINE_BYTES_MAX, SYMLINK_BYTES_MAX};

use super::ahead::{GROUP, Place, ask_for};
use super::pool::Workspace;

/// A file to be read.
pub(super) struct Task {
    /// Its place in the queue of results.
    pub(super) place: u64,
    /// The directory it is in; for the top of an archive path itself.
    pub(super) directory: Arc<Directory>,
    /// Its name; empty for the directory itself.
    pub(super) name: Box<[u8]>,
    /// What it was when it was listed.
    pub(super) stat: Stat,
    /// Ordinal of its mount.
    pub(super) mount: u32,
    /// It leads to a root.
    pub(super) implied: bool,
}

/// What a job read.
pub(super) struct Batch {
    /// The contents of its files, one after the other.
    pub(super) bytes: Vec<u8>,
    pub(super) files: Vec<(Task, Outcome)>,
    /// Bytes that were expected.
    pub(super) planned: u64,
}

/// What became of a file.
pub(super) enum Outcome {
    /// It was read.
    Read(Box<FileRead>),
    /// It is no longer there.
    Vanished,
    /// It has become too large to be read here: it is to be read as a large file.
    Grown,
    /// It could not be read.
    Failed(io::Error),
}

/// A file that was read.
pub(super) struct FileRead {
    /// All but content in bundles and xattrs.
    pub(super) entry: Entry,
    /// Where its content is in the batch, unless it is in the entry.
    pub(super) range: Range<usize>,
    pub(super) hash: Option<ContentHash>,
    pub(super) is_compressible: bool,
    pub(super) xattrs: Vec<RawXattr>,
    pub(super) problems: Vec<XattrProblem>,
}

/// How often a file is read again because it changed meanwhile.
const READS_MAX: usize = 3;

/// Reads all files of a job.
pub(super) fn read_batch(
    tasks: Vec<Task>,
    mut bytes: Vec<u8>,
    ids: &IdKeys,
    workspace: &mut Workspace,
) -> Batch {
    bytes.clear();
    let planned = tasks.iter().filter(|task| task.stat.kind == Kind::File).map(|task| task.stat.size).sum();
    let mut outcomes = Vec::with_capacity(tasks.len());
    for (at, task) in tasks.iter().enumerate() {
        if at == 0 {
            ask_for(on_disk(&tasks[..tasks.len().min(GROUP)]));
        }
        if at % GROUP == 0 {
            let next = (at + GROUP).min(tasks.len());
            ask_for(on_disk(&tasks[next..(next + GROUP).min(tasks.len())]));
        }
        let outcome = read_one(task, &mut bytes, ids, workspace);
        outcomes.push(outcome.unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Outcome::Vanished,
            _ => Outcome::Failed(error),
        }));
    }
    let files = tasks.into_iter().zip(outcomes).collect();
    Batch { bytes, files, planned }
}

/// Files with content, where the system keeps it.
fn on_disk(tasks: &[Task]) -> impl Iterator<Item = Place<'_>> {
    let files =
        tasks.iter().filter(|task| task.stat.kind == Kind::File && task.stat.size > 0 && !task.implied);
    files.map(|task| (&*task.directory, &*task.name, task.stat.size))
}

fn read_one(
    task: &Task,
    bytes: &mut Vec<u8>,
    ids: &IdKeys,
    workspace: &mut Workspace,
) -> io::Result<Outcome> {
    if task.implied {
        let entry = implied_directory_from(&task.stat, &mut workspace.principals);
        return Ok(Outcome::Read(Box::new(FileRead::without_content(entry))));
    }
    match task.stat.kind {
        Kind::File => read_file(task, bytes, ids, workspace),
        Kind::Directory | Kind::ImpliedDirectory => read_directory(task, workspace),
        Kind::Symlink => read_link(task, workspace),
        Kind::Fifo | Kind::Socket | Kind::CharacterDevice | Kind::BlockDevice => {
            let stat = task.directory.full_stat(&task.name)?;
            let entry = entry_from(&stat, task.mount, &mut workspace.principals);
            Ok(with_xattrs(entry, Subject::Named(&task.directory, &task.name), &stat, workspace))
        }
    }
}

fn read_file(
    task: &Task,
    bytes: &mut Vec<u8>,
    ids: &IdKeys,
    workspace: &mut Workspace,
) -> io::Result<Outcome> {
    let mut file = task.directory.open_file(&task.name)?;
    let start = bytes.len();
    let mut before = task.stat;
    let mut attempt = 1;
    let (stat, changing) = loop {
        bytes.truncate(start);
        read_whole(&file, before.size, bytes)?;
        let after = full_stat_file(&file)?;
        let whole = (bytes.len() - start) as u64 == after.basic.size;
        if after.basic.kind != Kind::File {
            return Err(io::Error::other("it is no longer a regular file"));
        }
        if after.basic.size >= BUNDLE_FILE_BYTES_MAX {
            bytes.truncate(start);
            return Ok(Outcome::Grown);
        }
        if whole && after.basic.is_unchanged_since(&before) {
            break (after, false);
        }
        if attempt == READS_MAX {
            break (after, true);
        }
        attempt += 1;
        before = after.basic;
        io::Seek::rewind(&mut file)?;
    };
    Ok(finish_file(task, &file, &stat, changing, start, bytes, ids, workspace))
}

#[expect(clippy::too_many_arguments, reason = "the state of one file, in one place")]
fn finish_file(
    task: &Task,
    file: &File,
    stat: &FullStat,
    changing: bool,
    start: usize,
    bytes: &mut Vec<u8>,
    ids: &IdKeys,
    workspace: &mut Workspace,
) -> Outcome {
    let mut entry = entry_from(stat, task.mount, &mut workspace.principals);
    entry.changing = changing;
    entry.size = (bytes.len() - start) as u64;
    let Outcome::Read(mut read) = with_xattrs(entry, Subject::File(file), stat, workspace) else {
        unreachable!("what was read is told as read")
    };
    let content = &bytes[start..];
    if content.len() <= INLINE_BYTES_MAX {
        read.entry.content = Content::Inline(content.into());
        bytes.truncate(start);
    } else {
        read.hash = Some(content_hash(ids, content));
        read.is_compressible = is_compressible(content);
        read.range = start..bytes.len();
    }
    Outcome::Read(read)
}

/// Bytes read at once of what a file is longer than it was when it was listed.
const GROWN_BYTES: usize = 64 << 10;

/// Appends the file's bytes, up to where it is too large to belong here.
fn read_whole(file: &File, expected: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let start = bytes.len();
    let expected = expected.min(BUNDLE_FILE_BYTES_MAX) as usize;
    loop {
        // Room for one byte more than expected, so that the end is seen without another call.
        let read = bytes.len() - start;
        let room = expected.saturating_sub(read).max(GROWN_BYTES) + 1;
        match append(file, bytes, room) {
            Ok(0) => return Ok(()),
            Ok(count) if count < room && read + count == expected => return Ok(()),
            Ok(count) if (read + count) as u64 > BUNDLE_FILE_BYTES_MAX => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                bytes.truncate(start);
                return Err(error);
            }
        }
    }
}

fn read_directory(task: &Task, workspace: &mut Workspace) -> io::Result<Outcome> {
    let opened;
    let directory = if task.name.is_empty() {
        &*task.directory
    } else {
        match task.directory.open_child(&task.name) {
            Ok(child) => {
                opened = child;
                &opened
            }
            // What it is can be told even if what is in it cannot.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let stat = task.directory.full_stat(&task.name)?;
                let entry = entry_from(&stat, task.mount, &mut workspace.principals);
                return Ok(with_xattrs(entry, Subject::Named(&task.directory, &task.name), &stat, workspace));
            }
            Err(error) => return Err(error),
        }
    };
    let stat = directory.full_stat_self()?;
    let entry = entry_from(&stat, task.mount, &mut workspace.principals);
    Ok(with_xattrs(entry, Subject::Directory(directory), &stat, workspace))
}

fn read_link(task: &Task, workspace: &mut Workspace) -> io::Result<Outcome> {
    let stat = task.directory.full_stat(&task.name)?;
    let target = task.directory.read_link(&task.name)?;
    if target.len() > SYMLINK_BYTES_MAX {
        return Err(io::Error::other(format!("its target has {} bytes", target.len())));
    }
    let mut entry = entry_from(&stat, task.mount, &mut workspace.principals);
    entry.size = target.len() as u64;
    entry.content = Content::Inline(target.into());
    Ok(with_xattrs(entry, Subject::Named(&task.directory, &task.name), &stat, workspace))
}

fn with_xattrs(
    mut entry: Entry,
    subject: Subject<'_>,
    stat: &FullStat,
    workspace: &mut Workspace,
) -> Outcome {
    entry.attributes = attributes(subject, &stat.basic);
    let xattrs = workspace.xattrs.read(subject);
    let mut read = FileRead::without_content(entry);
    read.xattrs = xattrs.found;
    read.problems = xattrs.problems;
    Outcome::Read(Box::new(read))
}

impl FileRead {
    pub(super) fn without_content(entry: Entry) -> Self {
        Self {
            entry,
            range: 0..0,
            hash: None,
            is_compressible: false,
            xattrs: Vec::new(),
            problems: Vec::new(),
        }
    }
}
