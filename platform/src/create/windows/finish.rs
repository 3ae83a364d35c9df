//! Windows: times, and the attribute of files that must not be changed. The rest is left out, and said so.

use std::fs::{File, FileTimes, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use backstore_protocol::entry::{Kind, Time};

use super::super::{LeftOut, Modes, Owners, Part, Policy, Reason, Wanted};
use super::{BACKUP_SEMANTICS, OPEN_REPARSE_POINT, SHARE_ALL, TargetDirectory};
use crate::metadata::PrincipalIds;

/// Does nothing: there is nothing that can be set only early.
pub fn prepare_file(_file: &File, _wanted: &Wanted<'_>, _policy: &Policy) {}

/// Gives a file, whose content is complete, its metadata; returns what it did not get.
pub fn finish_file(
    file: &File,
    wanted: &Wanted<'_>,
    policy: &Policy,
    _ids: &mut PrincipalIds,
) -> Vec<LeftOut> {
    finish(Ok(file), wanted, policy)
}

/// Gives a directory, in which nothing more will be made, its metadata; returns what it did not get.
pub fn finish_directory(
    directory: &TargetDirectory,
    wanted: &Wanted<'_>,
    policy: &Policy,
    _ids: &mut PrincipalIds,
) -> Vec<LeftOut> {
    finish(open(directory.directory.path()).as_ref(), wanted, policy)
}

impl TargetDirectory {
    /// Gives a link its metadata; returns what it did not get.
    pub fn finish_named(
        &self,
        name: &[u8],
        wanted: &Wanted<'_>,
        policy: &Policy,
        _ids: &mut PrincipalIds,
    ) -> io::Result<Vec<LeftOut>> {
        Ok(finish(Ok(&open(&self.directory.child(name)?)?), wanted, policy))
    }
}

/// Opens what is at a path, a link itself, for setting its metadata.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.access_mode(READ_ATTRIBUTES | WRITE_ATTRIBUTES | SYNCHRONIZE).share_mode(SHARE_ALL);
    options.custom_flags(BACKUP_SEMANTICS | OPEN_REPARSE_POINT).open(path)
}

fn finish(file: Result<&File, &io::Error>, wanted: &Wanted<'_>, policy: &Policy) -> Vec<LeftOut> {
    let entry = wanted.entry;
    if entry.kind == Kind::ImpliedDirectory {
        return Vec::new();
    }
    let mut left_out = Vec::new();
    let mut leave_out = |part, name: Option<&[u8]>, reason| {
        left_out.push(LeftOut { part, name: name.map(Into::into), reason });
    };
    // Entries of Windows have none of these.
    if policy.owners != Owners::Current && entry.mode != 0 {
        leave_out(Part::Owner, None, Reason::NotSupported);
    }
    if policy.modes == Modes::Archived && entry.mode != 0 {
        leave_out(Part::Mode, None, Reason::NotSupported);
    }
    for (name, _) in wanted.xattrs {
        let reason = if policy.xattrs { Reason::NotSupported } else { Reason::NotAsked };
        leave_out(Part::Xattr, Some(name), reason);
    }
    if policy.times
        && let Err(error) = set_time(file, entry.mtime)
    {
        leave_out(Part::Times, None, Reason::Failed(error));
    }
    // Last, since it forbids changes.
    if policy.attributes && entry.attributes & READ_ONLY != 0 && entry.kind == Kind::File {
        if let Err(error) = set_read_only(file) {
            leave_out(Part::Attributes, None, Reason::Failed(error));
        }
    }
    if policy.attributes && entry.attributes & (HIDDEN | SYSTEM) != 0 {
        leave_out(Part::Attributes, None, Reason::NotSupported);
    }
    left_out
}

fn opened<'a>(file: Result<&'a File, &io::Error>) -> io::Result<&'a File> {
    file.map_err(|error| error.kind().into())
}

fn set_time(file: Result<&File, &io::Error>, time: Time) -> io::Result<()> {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    let time = whole.and_then(|whole| whole.checked_add(Duration::from_nanos(time.nanoseconds.into())));
    let time = time.ok_or(io::ErrorKind::InvalidInput)?;
    opened(file)?.set_times(FileTimes::new().set_modified(time))
}

fn set_read_only(file: Result<&File, &io::Error>) -> io::Result<()> {
    let file = opened(file)?;
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(true);
    file.set_permissions(permissions)
}

const READ_ATTRIBUTES: u32 = 0x80;
const WRITE_ATTRIBUTES: u32 = 0x100;
const SYNCHRONIZE: u32 = 0x10_0000;
pub(super) const READ_ONLY: u32 = 1;
const HIDDEN: u32 = 2;
const SYSTEM: u32 = 4;
