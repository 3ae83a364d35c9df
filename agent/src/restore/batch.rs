//! Contents as they come, made into batches for the threads that write.
//!
//! Making a file costs far more than handing it over, and neighbours are made in the same directory: so files go to a thread in batches. A large
//! file goes to one thread, which gets its parts as they come, while the others go on with what follows.

use backstore_vfs::objects::ReadError;
use backstore_vfs::stream::{ContentStream, Event, WINDOW_BYTES};
use crossbeam_channel::{Sender, bounded};

use super::RestoreError;
use super::content::Run as Part;
use super::planner::{FileTask, Planner, Task};
use super::run::Run;
use super::writer::{Batch, Job, Writer};

/// Files above this size are written part by part.
const WHOLE_BYTES_MAX: u64 = 1 << 20;
/// Parts of a file that is written whole.
const WHOLE_PARTS_MAX: usize = 1024;
/// A batch is full with so many files, directories, or bytes.
const JOBS_MAX: usize = 192;
const DIRECTORIES_MAX: usize = 32;
const BYTES_MAX: u64 = 1 << 20;
/// Batches that wait for each thread, and parts of a large file.
const WAITING_MAX: usize = 2;
const PARTS_WAITING_MAX: usize = 4;

/// Restores everything that `planner` finds.
pub(super) fn write_all<'a>(run: &'a Run<'a>, planner: Planner<'a>) -> Result<(), RestoreError> {
    let writers = run.plan.writers.max(1);
    let (sender, receiver) = bounded::<Batch<'a>>(WAITING_MAX * writers);
    std::thread::scope(|scope| {
        for number in 0..writers {
            let receiver = receiver.clone();
            std::thread::Builder::new()
                .name(format!("write {number}"))
                .spawn_scoped(scope, move || {
                    let mut writer = Writer::new(run);
                    receiver.iter().for_each(|batch| writer.write(batch));
                })
                .map_err(RestoreError::Threads)?;
        }
        drop(receiver);
        Batcher { run, sender, batch: Batch::default(), bytes: 0, directories: 0, current: None }
            .send_all(planner);
        Ok(())
    })
}

struct Batcher<'a> {
    run: &'a Run<'a>,
    sender: Sender<Batch<'a>>,
    batch: Batch<'a>,
    bytes: u64,
    directories: usize,
    current: Option<Current<'a>>,
}

/// The file whose parts are coming.
enum Current<'a> {
    Whole { task: Box<FileTask<'a>>, from: usize },
    Large { sender: Sender<Vec<Part>>, parts: Vec<Part>, bytes: u64 },
}

impl<'a> Batcher<'a> {
    fn send_all(mut self, planner: Planner<'a>) {
        let run = self.run;
        for event in ContentStream::new(run.plan.view.reader(), planner, WINDOW_BYTES) {
            if run.is_ending() {
                // What was not handed over is not begun; a large file under way ends without its end.
                return;
            }
            match event {
                Event::Start(task) => {
                    self.end_file();
                    self.begin(task);
                }
                Event::Data(bytes) => self.part(Part::Data(bytes)),
                Event::Hole(length) => self.part(Part::Hole(length)),
                Event::Failed { length, error } => self.failed(length, error),
            }
        }
        self.end_file();
        self.flush();
    }

    fn begin(&mut self, task: Task<'a>) {
        match task {
            Task::Directory(directory) => {
                self.batch.jobs.push(Job::Directory(directory));
                self.directories += 1;
                self.flush_if_full();
            }
            Task::File(task) if task.entry.size > WHOLE_BYTES_MAX && task.further_of.is_none() => {
                self.begin_large(task);
            }
            Task::File(task) => {
                self.current = Some(Current::Whole { task, from: self.batch.parts.len() });
            }
        }
    }

    /// Hands a large file over; its parts follow.
    fn begin_large(&mut self, task: Box<FileTask<'a>>) {
        let (sender, receiver) = bounded(PARTS_WAITING_MAX);
        self.batch.jobs.push(Job::Large(task, receiver));
        self.flush();
        self.current = Some(Current::Large { sender, parts: Vec::new(), bytes: 0 });
    }

    fn part(&mut self, part: Part) {
        let length = match &part {
            Part::Data(bytes) => bytes.len() as u64,
            Part::Hole(_) | Part::Failed(..) => 0,
        };
        match &mut self.current {
            None => {}
            Some(Current::Whole { from, .. }) => {
                self.batch.parts.push(part);
                self.bytes += length;
                if self.batch.parts.len() - *from > WHOLE_PARTS_MAX {
                    self.make_large();
                }
            }
            Some(Current::Large { sender, parts, bytes }) => {
                parts.push(part);
                *bytes += length;
                if *bytes >= BYTES_MAX || parts.len() > WHOLE_PARTS_MAX {
                    *bytes = 0;
                    // Nobody receives if the file could not be made, which has been told.
                    let _ = sender.send(std::mem::take(parts));
                }
            }
        }
    }

    /// A small file in so many parts that it is not kept together.
    fn make_large(&mut self) {
        if let Some(Current::Whole { task, from }) = self.current.take() {
            let parts = self.batch.parts.split_off(from);
            self.begin_large(task);
            parts.into_iter().for_each(|part| self.part(part));
        }
    }

    fn failed(&mut self, length: u64, error: ReadError) {
        self.part(Part::Failed(length, error));
    }

    fn end_file(&mut self) {
        match self.current.take() {
            None => {}
            Some(Current::Whole { task, from }) => {
                let parts = self.batch.parts.len() - from;
                self.batch.jobs.push(Job::Whole(task, parts));
                self.flush_if_full();
            }
            Some(Current::Large { sender, parts, .. }) => {
                if !parts.is_empty() {
                    let _ = sender.send(parts);
                }
                // An empty message is the end.
                let _ = sender.send(Vec::new());
            }
        }
    }

    fn flush_if_full(&mut self) {
        if self.batch.jobs.len() >= JOBS_MAX || self.directories >= DIRECTORIES_MAX || self.bytes >= BYTES_MAX
        {
            self.flush();
        }
    }

    fn flush(&mut self) {
        (self.bytes, self.directories) = (0, 0);
        let batch = std::mem::take(&mut self.batch);
        if !batch.jobs.is_empty() {
            // All writers are gone only if they have panicked, which ends the restore.
            let _ = self.sender.send(batch);
        }
    }
}
