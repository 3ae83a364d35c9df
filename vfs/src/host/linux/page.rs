//! A piece of a listing, as large as the kernel has room for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{Errno, Generation, ReplyDirectory, ReplyDirectoryPlus};

use super::answers::{attributes, errno, lifetime};
use crate::model::{Ino, Listed, Problem, Snapshots};
use crate::objects::Wait;

/// A piece of a listing that is being filled.
pub(super) struct Page<R> {
    pub(super) ino: Ino,
    pub(super) cookie: u64,
    pub(super) reply: R,
}

/// The two replies that listings go into.
pub(super) trait ListReply: Send + 'static {
    /// Whether the kernel counts a reference for every line.
    const COUNTS: bool;
    /// Whether there was room for the line.
    fn put(&mut self, line: &Listed<'_>) -> bool;
    /// Sends it.
    fn done(self, result: Result<(), Errno>);
}

impl<R: ListReply> Page<R> {
    /// Lists as much as there is room for, or as is in memory.
    pub(super) fn fill(&mut self, model: &Snapshots, wait: Wait) -> Result<(), Problem> {
        let (reply, cookie) = (&mut self.reply, &mut self.cookie);
        model.list(self.ino, *cookie, wait, &mut |line| {
            let fits = reply.put(line);
            if fits {
                *cookie = line.cookie;
                let is_dot = matches!(line.name, b"." | b"..");
                if !R::COUNTS && !is_dot {
                    model.forget(line.attributes.ino, 1);
                }
            }
            fits
        })
    }

    /// What was listed before an error is given; the next piece begins with the error.
    pub(super) fn finish(self, started: u64, result: Result<(), Problem>) {
        let has_lines = self.cookie > started;
        self.reply.done(if has_lines { Ok(()) } else { result.map_err(|problem| errno(&problem)) });
    }
}

impl ListReply for ReplyDirectoryPlus {
    const COUNTS: bool = true;

    fn put(&mut self, line: &Listed<'_>) -> bool {
        let attributes = attributes(&line.attributes);
        let name = OsStr::from_bytes(line.name);
        !self.add(attributes.ino, line.cookie, name, &lifetime(line.validity), &attributes, Generation(0))
    }

    fn done(self, result: Result<(), Errno>) {
        match result {
            Ok(()) => self.ok(),
            Err(errno) => self.error(errno),
        }
    }
}

impl ListReply for ReplyDirectory {
    const COUNTS: bool = false;

    fn put(&mut self, line: &Listed<'_>) -> bool {
        let attributes = attributes(&line.attributes);
        !self.add(attributes.ino, line.cookie, attributes.kind, OsStr::from_bytes(line.name))
    }

    fn done(self, result: Result<(), Errno>) {
        match result {
            Ok(()) => self.ok(),
            Err(errno) => self.error(errno),
        }
    }
}
