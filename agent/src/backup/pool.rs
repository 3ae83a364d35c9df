//! The threads that read, hash, compress and seal, and the memory they share.
//!
//! Work travels in batches: a job is a group of small files, a step of a large one, or a bundle. Bundles go first, since they free memory
//! that reading needs.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TryRecvError, select, unbounded};

use backstore_platform::metadata::{PrincipalCache, XattrReader};

/// Something for a worker to do; it sends its result itself.
pub(super) type Job = Box<dyn FnOnce(&mut Workspace) + Send>;

/// What a worker keeps from job to job.
#[derive(Default)]
pub(super) struct Workspace {
    pub(super) principals: PrincipalCache,
    pub(super) xattrs: XattrReader,
    /// Where an object is sealed before it is as long as it will be.
    pub(super) sealed: Vec<u8>,
}

/// How urgent a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Frees memory.
    First,
    /// Takes memory.
    Then,
}

/// The queues to the workers; cheap to clone.
#[derive(Clone)]
pub(super) struct Queues {
    first: Sender<Job>,
    then: Sender<Job>,
}

impl Queues {
    pub(super) fn run(&self, urgency: Urgency, job: impl FnOnce(&mut Workspace) + Send + 'static) {
        let queue = match urgency {
            Urgency::First => &self.first,
            Urgency::Then => &self.then,
        };
        // Fails only when all workers have panicked, which the pool's owner notices by the missing result.
        let _ = queue.send(Box::new(job));
    }
}

/// The worker threads; they end when all queues to them are gone.
pub(super) struct Pool {
    pub(super) queues: Queues,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `workers` threads, of which only the first `readers` do what takes memory, that is, read; at least one of each.
    pub(super) fn start(workers: usize, readers: usize) -> std::io::Result<Self> {
        let (first, first_jobs) = unbounded();
        let (then, then_jobs) = unbounded();
        let threads = (0..workers.max(1))
            .map(|number| {
                let first = first_jobs.clone();
                // A channel without a sender has no job for the others, and has ended from the start.
                let then = if number < readers.max(1) { then_jobs.clone() } else { unbounded().1 };
                std::thread::Builder::new().name(format!("work-{number}")).spawn(move || work(&first, &then))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { queues: Queues { first, then }, threads })
    }

    /// Waits until all jobs are done.
    pub(super) fn finish(self) {
        drop(self.queues);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn work(first: &Receiver<Job>, then: &Receiver<Job>) {
    let mut workspace = Workspace::default();
    loop {
        let job = match first.try_recv() {
            Ok(job) => job,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => select! {
                recv(first) -> job => match job.or_else(|_| then.recv()) {
                    Ok(job) => job,
                    Err(_) => return,
                },
                recv(then) -> job => match job.or_else(|_| first.recv()) {
                    Ok(job) => job,
                    Err(_) => return,
                },
            },
        };
        job(&mut workspace);
    }
}

/// Buffers that are used again: the first touch of fresh memory is dear.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// Buffers kept for use.
const BUFFERS_MAX: usize = 16;
/// Room in a buffer: for a bundle, sealed or not, and what of a large file is read ahead of it, so that none is moved while it grows. Memory
/// is taken only as it is written to.
const BUFFER_BYTES: usize = (2 << 20) + (640 << 10);

impl Buffers {
    /// An empty buffer with room.
    pub(super) fn take(&self) -> Vec<u8> {
        let used = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        used.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// A buffer's bytes, which give it back when nobody has them any more.
    pub(super) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, buffers: self.clone() })
    }

    /// Gives a buffer back.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < BUFFERS_MAX && buffer.capacity() > 0 {
            buffers.push(buffer);
        }
    }
}

struct Lent {
    buffer: Vec<u8>,
    buffers: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.buffers.give(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lent_bytes_give_their_buffer_back_with_the_last_of_them() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"sealed");
        let place = buffer.as_ptr();
        let bytes = buffers.lend(buffer);
        let part = bytes.slice(2..4);
        drop(bytes);
        let another = buffers.take();
        assert_ne!(another.as_ptr(), place, "a part of it is still in use");
        assert_eq!(part, b"al"[..]);
        drop(part);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }
}
