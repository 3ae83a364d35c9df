//! The writer's work done on the calling thread, for tests that need every step in one order.

use std::sync::PoisonError;

use super::{Core, Work};
use crate::error::VaultError;
use crate::ids::Sequence;
use crate::writer::Writer;

impl Core {
    /// From now on the calling thread does the writer's work.
    pub(crate) fn drive_inline(&self, writer: Writer) {
        *self.inline.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    }

    pub(super) fn is_inline(&self) -> bool {
        self.inline.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Does the writer's work on this thread, if no thread of its own does.
    pub(super) fn pump(&self) {
        let mut inline = self.inline.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = inline.as_mut() else { return };
        loop {
            let work = self.state().take_work(Sequence(0));
            match work {
                Some(Work::Append(batches)) => self.append(writer, batches),
                Some(Work::Synced(_) | Work::Sync | Work::Close | Work::Failed) | None => {
                    if !self.sync_inline(writer) {
                        return;
                    }
                }
            }
        }
    }

    /// Runs the syncs that are due. Returns whether there were any.
    fn sync_inline(&self, writer: &mut Writer) -> bool {
        let wanted = self.wanted();
        let synced = if self.has_failed() { Ok(false) } else { self.sync_once(writer, wanted) };
        if let Err(error) = &synced {
            self.fail(error.clone());
        }
        if self.has_failed() {
            self.give_up(writer.take_tickets());
        }
        synced.unwrap_or(false)
    }

    fn sync_once(&self, writer: &mut Writer, wanted: Sequence) -> Result<bool, VaultError> {
        if let Some(durable) = writer.take_durable() {
            self.take_over(durable)?;
        }
        writer.note_durable()?;
        let jobs = writer.next_jobs(wanted);
        let has_jobs = !jobs.is_empty();
        for job in jobs {
            let result = job.run(&self.packs);
            writer.synced(&job, result)?;
        }
        Ok(has_jobs)
    }

    /// Ends a writer that is driven on the calling thread.
    pub(crate) fn end_inline(&self) {
        self.pump();
        let writer = self.inline.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut writer) = writer.filter(|_| !self.has_failed()) else { return };
        if let Err(error) = self.end_packs_inline(&mut writer) {
            self.fail(error);
            self.give_up(writer.take_tickets());
        }
    }

    fn end_packs_inline(&self, writer: &mut Writer) -> Result<(), VaultError> {
        writer.end_packs();
        while self.sync_once(writer, Sequence(u64::MAX))? {}
        writer.take_completed().map_or(Ok(()), |durable| self.take_over(durable))
    }
}
