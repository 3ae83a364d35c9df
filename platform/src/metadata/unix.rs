//! Unix: extended attributes, by handle where there is one.

use backstore_protocol::limits::{OBJECT_PLAIN_MAX, XATTR_NAME_BYTES_MAX, XATTRS_MAX};
use rustix::io::Errno;

use super::{RawXattr, Subject, XATTR_VALUES_BYTES_MAX, XattrProblem, Xattrs, host};

/// Reads extended attributes; keeps its memory from file to file.
#[derive(Debug)]
pub struct XattrReader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Default for XattrReader {
    fn default() -> Self {
        Self { names: vec![0; BUFFER_BYTES], value: vec![0; BUFFER_BYTES] }
    }
}

impl XattrReader {
    /// All extended attributes of a file. One system call if it has none.
    pub fn read(&mut self, subject: Subject<'_>) -> Xattrs {
        let mut xattrs = Xattrs::default();
        let listed = host::access(subject).and_then(|access| {
            let length = or_large(&mut self.names, |buffer| access.list(buffer))?;
            Ok((access, length))
        });
        let (access, length) = match listed {
            Ok((_, 0)) => return xattrs,
            Ok(listed) => listed,
            // The two are one number on Linux and two elsewhere.
            Err(error) if error == Errno::OPNOTSUPP || error == Errno::NOTSUP => return xattrs,
            Err(error) => {
                xattrs.problems.push(XattrProblem::List { source: error.into() });
                return xattrs;
            }
        };
        let mut names: Vec<&[u8]> =
            self.names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > XATTRS_MAX {
            xattrs.problems.push(XattrProblem::TooMany { count: names.len() });
            names.truncate(XATTRS_MAX);
        }
        let mut bytes_left = XATTR_VALUES_BYTES_MAX;
        for name in names {
            match read_one(&access, name, &mut self.value, bytes_left) {
                Ok(Some(value)) => {
                    bytes_left -= value.len();
                    xattrs.found.push(RawXattr { name: name.into(), value });
                }
                Ok(None) => {}
                Err(problem) => xattrs.problems.push(problem),
            }
        }
        xattrs
    }
}

/// One value; nothing if the attribute has just been removed.
fn read_one(
    access: &host::Access<'_>,
    name: &[u8],
    buffer: &mut [u8],
    bytes_left: usize,
) -> Result<Option<Box<[u8]>>, XattrProblem> {
    let too_large = |bytes: usize| XattrProblem::TooLarge { name: name.into(), bytes: bytes as u64 };
    if name.len() > XATTR_NAME_BYTES_MAX {
        return Err(too_large(name.len()));
    }
    let allowed = bytes_left.min(OBJECT_PLAIN_MAX);
    let value = match or_large(buffer, |buffer| access.get(name, buffer)) {
        Ok(length) if length > allowed => return Err(too_large(length)),
        Ok(length) => Ok(buffer[..length].into()),
        Err(Errno::RANGE) => read_large(access, name, allowed).map_err(|(error, bytes)| (error, Some(bytes))),
        Err(error) => Err((error, None)),
    };
    match value {
        Ok(value) => Ok(Some(value)),
        Err((error, _)) if error == host::NO_SUCH_XATTR => Ok(None),
        Err((Errno::FBIG, Some(bytes))) => Err(too_large(bytes)),
        Err((error, _)) => Err(XattrProblem::Read { name: name.into(), source: error.into() }),
    }
}

/// A value larger than the buffer, up to `allowed` bytes; beyond that `FBIG` and its size.
fn read_large(access: &host::Access<'_>, name: &[u8], allowed: usize) -> Result<Box<[u8]>, (Errno, usize)> {
    let size = access.size(name).map_err(|error| (error, 0))?;
    if size > allowed {
        return Err((Errno::FBIG, size));
    }
    let mut value = vec![0; size];
    let length = access.get(name, &mut value).map_err(|error| (error, size))?;
    value.truncate(length);
    Ok(value.into())
}

/// Fills a part of the buffer, or all of it if the part is too small: Linux makes as much memory ready as it is offered.
fn or_large(
    buffer: &mut [u8],
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    match fill(&mut buffer[..SMALL_BYTES]) {
        Err(Errno::RANGE) => fill(buffer),
        filled => filled,
    }
}

/// As much as Linux ever lists, and as large as its values ever are.
const BUFFER_BYTES: usize = 64 * 1024;
/// As much as nearly all files have.
const SMALL_BYTES: usize = 512;
