//! Requests of the kernel as calls of the model.
//!
//! A handler asks the model without patience. What is in memory is answered at once; the rest is asked again, with patience, by a
//! worker that takes the reply along.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use backstore_protocol::limits::NAME_BYTES_MAX;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::super::MountOptions;
use super::alert::Alert;
use super::answers::{attributes, errno, lifetime, nothing};
use super::page::{ListReply, Page};
use super::push::Pusher;
use super::readers::Readers;
use super::workers::Workers;
use crate::content::Run;
use crate::model::{FileReading, Ino, Lookup, Problem, Snapshots, Validity};
use crate::objects::Wait;
use crate::requests::RequestCounts;

/// The model as FUSE sees it.
pub(super) struct FuseFilesystem {
    model: Arc<Snapshots>,
    workers: Workers,
    alert: Alert,
    pusher: Arc<Pusher>,
    requests: Arc<RequestCounts>,
    readers: Readers,
    has_xattrs: bool,
    can_skip_open: bool,
    can_skip_opendir: bool,
}

const GENERATION: Generation = Generation(0);
/// Requests for pages ahead of readers that the kernel may have under way.
const BACKGROUND_MAX: u16 = 64;
const BLOCK: u32 = 4096;

impl FuseFilesystem {
    pub(super) fn new(
        model: &Arc<Snapshots>,
        options: &MountOptions,
        requests: &Arc<RequestCounts>,
        pusher: Pusher,
    ) -> io::Result<Self> {
        Ok(Self {
            model: Arc::clone(model),
            workers: Workers::new(options.workers)?,
            alert: Alert::new()?,
            pusher: Arc::new(pusher),
            requests: Arc::clone(requests),
            readers: Readers::new(options.thumbnails),
            has_xattrs: options.xattrs,
            can_skip_open: false,
            can_skip_opendir: false,
        })
    }

    /// Answers at once if `ask` can, else from a worker.
    fn answer<T, R: Send + 'static>(
        &self,
        reply: R,
        ask: impl Fn(&Snapshots, Wait) -> Result<T, Problem> + Send + 'static,
        give: impl FnOnce(Result<T, Problem>, R) + Send + 'static,
    ) {
        self.alert.request();
        match ask(&self.model, Wait::Not) {
            Err(Problem::NotInMemory) => {
                self.requests.waited.one();
                let model = Arc::clone(&self.model);
                self.workers.submit(move || give(ask(&model, Wait::UntilDeadline), reply));
            }
            result => give(result, reply),
        }
    }
}

impl FuseFilesystem {
    fn list<R: ListReply>(&self, mut page: Page<R>) {
        self.alert.request();
        let started = page.cookie;
        match page.fill(&self.model, Wait::Not) {
            Err(Problem::NotInMemory) => {
                self.requests.waited.one();
                let model = Arc::clone(&self.model);
                self.workers.submit(move || {
                    let result = page.fill(&model, Wait::UntilDeadline);
                    page.finish(started, result);
                });
            }
            result => page.finish(started, result),
        }
    }
}

impl Filesystem for FuseFilesystem {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A kernel that lacks one of them is slower, that is all.
        for capability in
            [InitFlags::FUSE_DO_READDIRPLUS, InitFlags::FUSE_PARALLEL_DIROPS, InitFlags::FUSE_CACHE_SYMLINKS]
        {
            let _ = config.add_capabilities(capability);
        }
        self.can_skip_open = config.capabilities().contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        self.can_skip_opendir = config.capabilities().contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        let _ = config.set_max_background(BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.requests.lookups.one();
        let (parent, name) = (Ino(parent.0), name.to_owned());
        let ask = move |model: &Snapshots, wait| model.lookup(parent, name.as_bytes(), wait);
        self.answer(reply, ask, give_entry);
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        self.model.forget(Ino(ino.0), lookups);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.requests.attributes.one();
        let validity = if ino == INodeNo::ROOT { Validity::Briefly } else { Validity::UntilChanged };
        let ask = move |model: &Snapshots, wait| model.attributes(Ino(ino.0), wait);
        self.answer(reply, ask, move |result, reply: ReplyAttr| match result {
            Ok(found) => reply.attr(&lifetime(validity), &attributes(&found)),
            Err(problem) => reply.error(errno(&problem)),
        });
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.requests.links_read.one();
        let ask = move |model: &Snapshots, wait| model.read_link(Ino(ino.0), wait);
        self.answer(reply, ask, |result, reply: ReplyData| match result {
            Ok(target) => reply.data(&target),
            Err(problem) => reply.error(errno(&problem)),
        });
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.requests.files_opened.one();
        if self.can_skip_open {
            // Reading needs no state, so the kernel need not ask or tell again when files are opened and closed.
            reply.error(Errno::ENOSYS);
        } else {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH);
        }
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.requests.reads.one();
        let largest = self.readers.largest_for(request.pid());
        let ask = move |model: &Snapshots, wait| {
            if largest < u64::MAX && model.attributes(Ino(ino.0), wait)?.size > largest {
                return Err(Problem::NotForThem);
            }
            model.read(Ino(ino.0), offset, u64::from(size), wait)
        };
        let (pusher, requests) = (Arc::clone(&self.pusher), Arc::clone(&self.requests));
        self.answer(reply, ask, move |result, reply| match result {
            Ok(reading) => {
                requests.bytes_read.add(give_data(&reading, reply));
                pusher.push(reading.spare);
            }
            Err(problem) => reply.error(errno(&problem)),
        });
    }

    fn lseek(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let (Ok(from), SEEK_DATA | SEEK_HOLE) = (u64::try_from(offset), whence) else {
            return reply.error(Errno::EINVAL);
        };
        let model = Arc::clone(&self.model);
        self.workers.submit(move || {
            let ino = Ino(ino.0);
            let found =
                if whence == SEEK_DATA { model.seek_data(ino, from) } else { model.seek_hole(ino, from) };
            match found {
                Ok(offset) => reply.offset(offset as i64),
                Err(problem) => reply.error(errno(&problem)),
            }
        });
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.requests.directories_opened.one();
        if self.can_skip_opendir {
            // Listings have no state, so the kernel need not ask again, and it keeps what was listed.
            reply.error(Errno::ENOSYS);
        } else {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR);
        }
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.requests.listings.one();
        self.list(Page { ino: Ino(ino.0), cookie: offset, reply });
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        self.requests.listings.one();
        self.list(Page { ino: Ino(ino.0), cookie: offset, reply });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let statistics = self.model.statistics();
        let blocks = statistics.bytes.div_ceil(u64::from(BLOCK));
        reply.statfs(blocks, 0, 0, statistics.entries, 0, BLOCK, NAME_BYTES_MAX as u32, BLOCK);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.requests.xattrs.one();
        if !self.has_xattrs {
            // The kernel does not ask again.
            return reply.error(Errno::ENOSYS);
        }
        let name = name.to_owned();
        let ask = move |model: &Snapshots, wait| model.xattr(Ino(ino.0), name.as_bytes(), wait);
        self.answer(reply, ask, move |result, reply| give_xattr(result, size, reply));
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.requests.xattrs.one();
        if !self.has_xattrs {
            return reply.error(Errno::ENOSYS);
        }
        let ask = move |model: &Snapshots, wait| {
            let names = model.xattr_names(Ino(ino.0), wait)?;
            Ok(names.iter().flat_map(|name| name.iter().copied().chain([0])).collect())
        };
        self.answer(reply, ask, move |result, reply| give_xattr(result, size, reply));
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        // Who may look is decided by the mount; the kernel does not ask again.
        reply.error(Errno::ENOSYS);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // The kernel does not ask again.
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    // What follows would change something. The kernel refuses it before it asks, since the mount is read-only.

    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: INodeNo,
        _: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }
}

fn give_entry(result: Result<Lookup, Problem>, reply: ReplyEntry) {
    match result {
        Ok(found) => reply.entry(&lifetime(found.validity), &attributes(&found.attributes), GENERATION),
        // In a version nothing will ever be there.
        Err(Problem::NotFound) => {
            reply.entry(&lifetime(Validity::UntilChanged), &nothing(), GENERATION);
        }
        Err(problem) => reply.error(errno(&problem)),
    }
}

thread_local! {
    /// Where bytes of several runs are put together.
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Replies with what was read and gives its length.
fn give_data(reading: &FileReading, reply: ReplyData) -> u64 {
    match &reading.runs[..] {
        [] => reply.data(&[]),
        [Run::Data(bytes)] => reply.data(bytes),
        runs => JOINED.with_borrow_mut(|joined| {
            joined.clear();
            for run in runs {
                match run {
                    Run::Data(bytes) => joined.extend_from_slice(bytes),
                    Run::Hole(length) => joined.resize(joined.len() + *length as usize, 0),
                }
            }
            reply.data(joined);
        }),
    }
    reading.runs.iter().map(Run::length).sum()
}

/// Replies with a value, or with its size if that is what is asked for.
fn give_xattr(result: Result<Vec<u8>, Problem>, size: u32, reply: ReplyXattr) {
    match result {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(problem) => reply.error(errno(&problem)),
    }
}
