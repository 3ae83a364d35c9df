//! Threads that answer what has to be fetched first, so that the event loops never wait.

use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Something to be answered.
type Job = Box<dyn FnOnce() + Send>;

/// Requests that may wait for a worker. The kernel stops long before; what is too much is answered with EIO by its own drop.
const JOBS_MAX: usize = 4096;

/// A number of threads that answer requests. They end when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Workers {
    jobs: Sender<Job>,
}

impl Workers {
    pub(super) fn new(count: usize) -> io::Result<Self> {
        let (jobs, waiting) = bounded(JOBS_MAX);
        let waiting: Arc<Receiver<Job>> = Arc::new(waiting);
        for _ in 0..count.max(1) {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new()
                .name("answer".into())
                .spawn(move || waiting.iter().for_each(|job| job()))?;
        }
        Ok(Self { jobs })
    }

    /// Has `job` done by one of the threads.
    pub(super) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        if self.jobs.try_send(Box::new(job)).is_err() {
            tracing::warn!("too many requests wait for the destination; one was refused");
        }
    }
}
