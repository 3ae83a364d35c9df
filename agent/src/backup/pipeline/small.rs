//! Small files and everything that is no file: read in jobs, bundled in the order of the queue.

use std::io;

use backstore_platform::metadata::{RawXattr, entry_from};
use backstore_platform::walk::FullStat;
use backstore_protocol::compression::Contents;
use backstore_protocol::entry::{Content, Entry, Kind, Principal, PrincipalId, Xattr};
use backstore_protocol::limits::{BUNDLE_BYTES_MAX, INLINE_BYTES_MAX, XATTR_INLINE_BYTES_MAX};

use super::{Pipeline, has_content};
use crate::backup::BackupError;
use crate::backup::bundling::SmallFile;
use crate::backup::objects::Part;
use crate::backup::queue::{Need, State};
use crate::backup::read::{Batch, FileRead, Outcome, Task};
use crate::backup::report::Progress;

impl Pipeline<'_> {
    pub(super) fn take_batch(&mut self, batch: Batch) -> Result<(), BackupError> {
        let Batch { bytes, files, planned } = batch;
        self.plain -= planned as usize;
        let mut complete = Vec::new();
        for (task, outcome) in files {
            match outcome {
                Outcome::Read(read) => {
                    if read.entry.kind == Kind::File {
                        Progress::add(&self.events.progress().bytes_read, read.entry.size);
                    }
                    self.take_small(task.place, *read, &bytes, &mut complete);
                }
                Outcome::Vanished => self.set_state(task.place, State::Absent),
                Outcome::Grown => self.add_large(task.place, task),
                Outcome::Failed(error) => self.take_failure(&task, &error),
            }
        }
        self.cutting.buffers.give(bytes);
        self.pass_on(complete, Contents::Files);
        Ok(())
    }

    pub(super) fn take_small(
        &mut self,
        place: u64,
        read: FileRead,
        bytes: &[u8],
        complete: &mut Vec<(u64, Vec<u8>)>,
    ) {
        let FileRead { mut entry, range, hash, is_compressible, xattrs, problems } = read;
        let mut needs = self.store_xattrs(&mut entry, xattrs);
        let Some(item) = self.queue.get_mut(place) else { return };
        for problem in problems {
            self.events.problem(&item.key, &problem.to_string());
        }
        if entry.changing {
            self.events.problem(&item.key, "it changed while it was read, and is stored as it was read last");
        }
        if let Some(hash) = hash {
            entry.content_hash = Some(hash);
            match item.basis.as_ref().filter(|basis| has_content(basis, entry.size, hash)) {
                Some(basis) => entry.content = basis.content.clone(),
                None => {
                    let owner = (principal_number(&entry.owner), principal_number(&entry.group));
                    let file = SmallFile { owner, hash, bytes: &bytes[range], is_compressible };
                    let part = self.bundling.add(&file, place, &mut self.objects, complete);
                    self.objects.add_use(part.object);
                    needs.push(Need { xattr: None, parts: vec![part] });
                }
            }
        }
        item.state = State::Known(Box::new(entry), needs);
    }

    pub(super) fn take_failure(&mut self, task: &Task, error: &io::Error) {
        let Some(item) = self.queue.get_mut(task.place) else { return };
        let kept = if item.basis.is_some() { "; what the snapshot before has is kept" } else { "" };
        self.events.problem(&item.key, &format!("cannot be read: {error}{kept}"));
        item.state = match (item.basis.clone(), task.stat.kind) {
            (Some(mut basis), Kind::File) => {
                basis.stale = true;
                State::Known(basis, Vec::new())
            }
            (Some(_), _) => State::Keep,
            (None, Kind::File) => {
                let stat = FullStat { basic: task.stat, btime: None, mount: None, is_mount_root: false };
                let mut entry = entry_from(&stat, task.mount, &mut self.principals);
                entry.content = Content::Unread;
                State::Known(Box::new(entry), Vec::new())
            }
            (None, _) => State::Absent,
        };
    }

    pub(super) fn set_state(&mut self, place: u64, state: State) {
        if let Some(item) = self.queue.get_mut(place) {
            item.state = state;
        }
    }

    /// Puts small xattr values into the entry and large ones into objects.
    pub(super) fn store_xattrs(&mut self, entry: &mut Entry, xattrs: Vec<RawXattr>) -> Vec<Need> {
        let mut inline = 0;
        let mut needs = Vec::new();
        for (position, RawXattr { name, value }) in xattrs.into_iter().enumerate() {
            let size = value.len() as u64;
            let fits = value.len() <= INLINE_BYTES_MAX && inline + value.len() <= XATTR_INLINE_BYTES_MAX;
            let value = if fits {
                inline += value.len();
                Content::Inline(value)
            } else {
                let parts = value.chunks(BUNDLE_BYTES_MAX).map(|bytes| self.store_value(bytes)).collect();
                needs.push(Need { xattr: Some(position), parts });
                Content::None
            };
            entry.xattrs.push(Xattr { name, size, value });
        }
        needs
    }

    pub(super) fn store_value(&mut self, bytes: &[u8]) -> Part {
        let number = self.objects.begin();
        self.objects.add_use(number);
        self.objects.close(number);
        let mut plain = self.cutting.buffers.take();
        plain.extend_from_slice(bytes);
        self.pass_on(vec![(number, plain)], Contents::Files);
        Part { object: number, offset: 0, length: bytes.len() as u32 }
    }
}

/// A number that is equal for equal owners.
fn principal_number(principal: &Principal) -> u64 {
    match &principal.id {
        PrincipalId::None => u64::MAX,
        PrincipalId::Unix(id) => u64::from(*id),
        PrincipalId::Sid(sid) => {
            sid.iter().fold(1 << 32, |number, byte| number.rotate_left(7) ^ u64::from(*byte))
        }
    }
}
