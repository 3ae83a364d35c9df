//! Large files: cut by workers in steps, mapped in the order of their chunks.

use std::sync::Arc;

use backstore_protocol::compression::Contents;
use backstore_protocol::entry::Content;

use super::{CUTTING_MAX, Done, Large, PLAIN_MAX, Pipeline, QUEUE_MAX, has_content};
use crate::backup::BackupError;
use crate::backup::chunks::{BasisChunks, KnownChunks};
use crate::backup::large::{Cut, LargeEnd, LargeFile, STEP_BYTES};
use crate::backup::mapping::Mapping;
use crate::backup::pool::Urgency;
use crate::backup::queue::State;
use crate::backup::read::{FileRead, Task};
use crate::backup::report::Progress;

impl Pipeline<'_> {
    pub(super) fn add_large(&mut self, place: u64, task: Task) {
        let basis = self.queue.get_mut(place).and_then(|item| match item.basis.as_ref()?.content {
            Content::Map(map) => Some(map),
            Content::None | Content::Inline(_) | Content::Extents(_) | Content::Unread => None,
        });
        let basis = basis
            .map(|map| BasisChunks::new(Arc::clone(&self.basis.reader), Arc::clone(&self.basis.lost), map));
        let file = LargeFile::new(task, Arc::clone(&self.cutting), KnownChunks::new(basis));
        let mapping = Mapping::new(&self.keys.ids);
        self.larges.insert(place, Large { file: Some(Box::new(file)), mapping, end: None });
    }

    /// Has the first large files cut on.
    pub(super) fn cut_on(&mut self) {
        let busy = self.larges.values().any(|large| large.file.is_none());
        let mut may_begin = !busy || self.plain + STEP_BYTES <= PLAIN_MAX;
        for (place, large) in
            self.larges.iter_mut().filter(|(_, large)| large.end.is_none()).take(CUTTING_MAX)
        {
            if !may_begin || large.mapping.waiting() > QUEUE_MAX {
                continue;
            }
            let Some(mut file) = large.file.take() else { continue };
            self.plain += STEP_BYTES;
            may_begin = self.plain + STEP_BYTES <= PLAIN_MAX;
            let (place, tell) = (*place, self.tell_done.clone());
            self.pool.queues.run(Urgency::Then, move |workspace| {
                file.step(workspace);
                let _ = tell.send(Done::Cut(place, file));
            });
        }
    }

    pub(super) fn take_cut(&mut self, place: u64, mut file: Box<LargeFile>) -> Result<(), BackupError> {
        self.plain -= STEP_BYTES;
        let Some(large) = self.larges.get_mut(&place) else { return Ok(()) };
        let mut complete = Vec::new();
        let mut failure = None;
        for cut in file.cut.drain(..) {
            match cut {
                Cut::Restart => large.mapping.restart(),
                Cut::Hole(length) => large.mapping.hole(length),
                Cut::Chunk(hash, known) => {
                    Progress::add(&self.events.progress().bytes_read, u64::from(known.length));
                    large.mapping.chunk(hash, known);
                }
                Cut::Bundle(bundle, bytes) => {
                    let number = self.objects.begin();
                    self.objects.close(number);
                    self.large_bundles.insert(number, (place, bundle));
                    complete.push((number, bytes));
                }
                Cut::End(end) => large.end = Some(end),
                Cut::Vanished => failure = Some(None),
                Cut::Failed(error) => failure = Some(Some(error)),
            }
        }
        match failure {
            None => {
                large.file = Some(file);
                self.pass_on(complete, Contents::Chunks);
                self.advance_large(place);
            }
            Some(error) => {
                self.pass_on(complete, Contents::Chunks);
                self.larges.remove(&place);
                match error {
                    Some(error) => self.take_failure(&file.task, &error),
                    None => self.set_state(place, State::Absent),
                }
            }
        }
        Ok(())
    }

    /// Takes what can be into a large file's map; with the last of it the entry is known.
    pub(super) fn advance_large(&mut self, place: u64) {
        let Some(large) = self.larges.get_mut(&place) else { return };
        large.mapping.advance(large.end.is_some());
        let after = self.objects.next();
        self.nodes.extend(large.mapping.take_built().into_iter().map(|built| (after, built)));
        if large.end.is_none() || large.mapping.waiting() > 0 {
            return;
        }
        let Some(mut large) = self.larges.remove(&place) else { return };
        let Some(end) = large.end.take() else { return };
        let LargeEnd { read, hash } = *end;
        let (content, hash) = large.mapping.finish(read.entry.size, hash);
        let built = large.mapping.take_built();
        let basis = self.queue.get_mut(place).and_then(|item| item.basis.as_ref());
        let same = basis.filter(|basis| hash.is_some_and(|hash| has_content(basis, read.entry.size, hash)));
        let same = same.map(|basis| basis.content.clone());
        let mut read = read;
        read.entry.content_hash = hash;
        if same.is_none() {
            self.nodes.extend(built.into_iter().map(|built| (after, built)));
        }
        // Equal content keeps its map, whose nodes are there.
        read.entry.content = same.unwrap_or(content);
        self.take_small(place, FileRead { hash: None, ..read }, &[], &mut Vec::new());
    }
}
