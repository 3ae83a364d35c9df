//! Whether a directory can be mounted on, and what is mounted there already.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{fs, io, path};

use rustix::io::Errno;

use super::super::MountError;
use super::system;

/// The absolute path of a mount point that can be used. A dead mount of ours is taken away first.
pub(super) fn prepare(point: &Path, allow_nonempty: bool) -> Result<PathBuf, MountError> {
    let resolved = resolve(point)?;
    let unusable = |source| MountError::PointUnusable { path: point.to_owned(), source };
    if is_ours(&resolved).map_err(unusable)? {
        if !is_dead(&resolved) {
            return Err(MountError::AlreadyMounted { path: resolved });
        }
        tracing::info!(path = %resolved.display(), "a dead mount is taken away");
        system::detach(&resolved)?;
    }
    let resolved = fs::canonicalize(&resolved).map_err(|source| missing_or(point, source))?;
    if !resolved.is_dir() {
        return Err(MountError::PointNotDirectory { path: resolved });
    }
    let mut files = fs::read_dir(&resolved).map_err(|source| missing_or(&resolved, source))?;
    if !allow_nonempty && files.next().is_some() {
        return Err(MountError::PointNotEmpty { path: resolved });
    }
    Ok(resolved)
}

/// The path without links of a mount point that an archive is mounted at, dead or alive.
pub(super) fn of_mounted(point: &Path) -> Result<PathBuf, MountError> {
    let resolved = match resolve(point) {
        Err(MountError::PointMissing { path }) => return Err(MountError::NotMounted { path }),
        resolved => resolved?,
    };
    match is_ours(&resolved) {
        Ok(true) => Ok(resolved),
        Ok(false) => Err(MountError::NotMounted { path: resolved }),
        Err(source) => Err(MountError::PointUnusable { path: resolved, source }),
    }
}

/// A mount point's absolute path without links.
fn resolve(point: &Path) -> Result<PathBuf, MountError> {
    let unusable = |source| MountError::PointUnusable { path: point.to_owned(), source };
    let point = path::absolute(point).map_err(unusable)?;
    // The directory above is resolved; the mount point itself may be dead and cannot be. A link to it can be read.
    let point =
        fs::read_link(&point).map(|target| point.parent().unwrap_or(&point).join(target)).unwrap_or(point);
    match (point.parent(), point.file_name()) {
        (Some(parent), Some(name)) => match fs::canonicalize(parent) {
            Ok(parent) => Ok(parent.join(name)),
            Err(source) => Err(missing_or(&point, source)),
        },
        (_, _) => fs::canonicalize(&point).map_err(unusable),
    }
}

fn missing_or(path: &Path, source: io::Error) -> MountError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => MountError::PointMissing { path },
        io::ErrorKind::NotADirectory => MountError::PointNotDirectory { path },
        _ => MountError::PointUnusable { path, source },
    }
}

/// Whether the process that served the mount is gone. Attributes would not tell: the kernel keeps them.
pub(super) fn is_dead(path: &Path) -> bool {
    matches!(rustix::fs::statfs(path), Err(Errno::NOTCONN | Errno::CONNABORTED))
}

/// Whether what is mounted at `path` is a BackStore archive.
fn is_ours(path: &Path) -> io::Result<bool> {
    Ok(mounted(path)?.is_some_and(|mount| mount.is_ours))
}

/// Which user has mounted what is at `path`, if the system tells.
pub(super) fn user_of(path: &Path) -> Option<u32> {
    mounted(path).ok()??.user
}

fn mounted(path: &Path) -> io::Result<Option<Mount>> {
    let table = fs::read("/proc/self/mountinfo")?;
    let mounts = table.split(|byte| *byte == b'\n').filter_map(parse);
    // Of several mounts at one place the last is the one that is seen.
    Ok(mounts.rev().find(|mount| mount.point == path))
}

struct Mount {
    point: PathBuf,
    is_ours: bool,
    user: Option<u32>,
}

/// A line of mountinfo: `id parent major:minor root point options [tags] - type source superoptions`.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = unescape(fields.nth(4)?);
    let mut after = fields.skip_while(|field| field != b"-").skip(1);
    let (kind, source) = (after.next()?, after.next()?);
    let is_ours = kind.starts_with(b"fuse") && OsStr::from_bytes(source) == system::SOURCE;
    let options = after.next().unwrap_or_default().split(|byte| *byte == b',');
    let user = options.filter_map(|option| option.strip_prefix(b"user_id=")).next();
    let user = user.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    Some(Mount { point: PathBuf::from(point), is_ours, user })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code =
            after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_tables_are_read() {
        let line = b"36 35 0:98 / /a\\040b\\134c rw,noatime master:1 - fuse.backstore backstore rw,user_id=1000,group_id=0";
        let mount = parse(line).unwrap();
        assert_eq!((mount.point.as_path(), mount.is_ours), (Path::new("/a b\\c"), true));
        assert_eq!(mount.user, Some(1000));
        assert!(!parse(b"36 35 0:98 / /a rw - ext4 backstore rw").unwrap().is_ours);
        assert!(!parse(b"36 35 0:98 / /a rw shared:1 - fuse.sshfs host: rw").unwrap().is_ours);
        assert!(parse(b"").is_none() && parse(b"36 35 0:98 / /a rw").is_none());
    }
}
