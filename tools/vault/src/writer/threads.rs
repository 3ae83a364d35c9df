//! The threads of an open vault: one appends, one a lane syncs, one writes the index.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::{Durable, Writer};
use crate::core::{Core, Work};
use crate::error::VaultError;
use crate::ids::Sequence;
use crate::writer::lane::SyncJob;

/// The running threads of a vault.
pub(crate) struct Threads {
    writer: JoinHandle<()>,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// When the system gives no more threads.
    pub(crate) fn start(core: &Arc<Core>, writer: Writer) -> io::Result<Self> {
        let mut lanes = Vec::new();
        let mut joins = Vec::new();
        for number in 0..writer.lane_count() {
            let (jobs, queue) = channel();
            let core = Arc::clone(core);
            joins.push(
                Builder::new()
                    .name(format!("vault sync {number}"))
                    .spawn(move || sync_lane(&core, &queue))?,
            );
            lanes.push(jobs);
        }
        let (durable, queue) = sync_channel(INDEX_QUEUE);
        let index_core = Arc::clone(core);
        joins
            .push(Builder::new().name("vault index".into()).spawn(move || write_index(&index_core, &queue))?);
        let core = Arc::clone(core);
        let append = Append { core, writer, lanes, durable, seen: Sequence(0), running: 0 };
        let writer = Builder::new().name("vault append".into()).spawn(move || {
            append.run();
            for join in joins {
                // A thread that panicked has said so; there is nothing to add.
                let _ = join.join();
            }
        })?;
        Ok(Self { writer })
    }

    /// Waits until all have ended, which they do when the core is closed.
    pub(crate) fn join(self) {
        let _ = self.writer.join();
    }
}

struct Append {
    core: Arc<Core>,
    writer: Writer,
    lanes: Vec<Sender<SyncJob>>,
    durable: SyncSender<Durable>,
    seen: Sequence,
    running: usize,
}

impl Append {
    fn run(mut self) {
        let _guard = FailOnPanic(Arc::clone(&self.core));
        loop {
            match self.core.next_work(self.seen) {
                Work::Append(batches) => self.core.append(&mut self.writer, batches),
                Work::Synced(results) => self.take_results(results),
                Work::Sync => {}
                Work::Close => break,
                Work::Failed => {
                    self.core.give_up(self.writer.take_tickets());
                    self.core.wait_closing();
                    break;
                }
            }
            self.go_on();
        }
        self.end();
    }

    /// Starts what is due and hands over what is durable.
    fn go_on(&mut self) {
        self.seen = self.core.wanted();
        self.step(self.seen);
    }

    fn step(&mut self, wanted: Sequence) {
        if self.core.has_failed() {
            self.core.give_up(self.writer.take_tickets());
            return;
        }
        if let Some(durable) = self.writer.take_durable() {
            let _ = self.durable.send(durable);
        }
        if let Err(error) = self.writer.note_durable() {
            self.core.fail(error);
            return;
        }
        for job in self.writer.next_jobs(wanted) {
            self.running += 1;
            // A sync thread ends only after this one.
            let _ = self.lanes[job.lane].send(job);
        }
    }

    fn take_results(&mut self, results: Vec<(SyncJob, io::Result<()>)>) {
        for (job, result) in results {
            self.running -= 1;
            if let Err(error) = self.writer.synced(&job, result) {
                self.core.fail(error);
            }
        }
    }

    /// Ends all packs, once everything is durable.
    fn end(&mut self) {
        self.writer.end_packs();
        loop {
            self.step(Sequence(u64::MAX));
            if self.running == 0 {
                break;
            }
            let results = self.core.wait_synced();
            self.take_results(results);
        }
        if let Some(durable) = self.writer.take_completed().filter(|_| !self.core.has_failed()) {
            let _ = self.durable.send(durable);
        }
    }
}

fn sync_lane(core: &Core, jobs: &Receiver<SyncJob>) {
    for job in jobs {
        let result = job.run(&core.packs);
        core.report_synced(job, result);
    }
}

fn write_index(core: &Arc<Core>, queue: &Receiver<Durable>) {
    let _guard = FailOnPanic(Arc::clone(core));
    for durable in queue {
        if core.has_failed() {
            core.give_up(durable.tickets);
        } else if let Err(error) = core.take_over(durable) {
            core.fail(error);
        }
    }
}

/// A thread that panics must not leave others waiting.
struct FailOnPanic(Arc<Core>);

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(VaultError::Closed);
        }
    }
}

/// What is durable and waits for the index, in groups.
const INDEX_QUEUE: usize = 4;
