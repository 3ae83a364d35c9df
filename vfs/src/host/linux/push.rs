//! Putting bytes into the kernel's page cache that nobody asked for yet: the rest of a chunk of which a few bytes were read.
//!
//! On a thread of its own: the kernel may lock pages that wait for an answer of ours, so no thread that answers may do it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use fuser::{INodeNo, Notifier};

use super::edges::{Edges, PAGE};
use crate::model::{Ino, Spare};
use crate::requests::RequestCounts;
use crate::sync::lock;

/// Reads whose spare bytes may wait to be pushed; more are dropped.
const WAITING_MAX: usize = 16;

/// Where bytes to be pushed are left.
pub(super) struct Pusher {
    spare: Sender<Vec<Spare>>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Which stretches of files wait, so that none waits twice.
type Waiting = HashSet<(Ino, u64)>;

/// What the thread that pushes works on.
pub(super) struct ToPush {
    spare: Receiver<Vec<Spare>>,
    waiting: Arc<Mutex<Waiting>>,
}

pub(super) fn channel() -> (Pusher, ToPush) {
    let (sender, receiver) = bounded(WAITING_MAX);
    let waiting: Arc<Mutex<Waiting>> = Arc::default();
    let to_push = ToPush { spare: receiver, waiting: Arc::clone(&waiting) };
    (Pusher { spare: sender, waiting }, to_push)
}

impl Pusher {
    /// Has these bytes pushed soon, or not at all.
    pub(super) fn push(&self, mut spare: Vec<Spare>) {
        let mut waiting = lock(&self.waiting);
        spare.retain(|spare| waiting.insert(key(spare)));
        if spare.is_empty() {
            return;
        }
        if let Err(refused) = self.spare.try_send(spare) {
            refused.into_inner().iter().for_each(|spare| {
                waiting.remove(&key(spare));
            });
        }
    }
}

const fn key(spare: &Spare) -> (Ino, u64) {
    (spare.ino, spare.offset)
}

impl ToPush {
    /// Pushes until the filesystem is gone.
    pub(super) fn start(self, pages: Arc<Pages>) -> io::Result<()> {
        thread::Builder::new().name("push".into()).spawn(move || {
            for spare in self.spare.iter().flatten() {
                pages.store(&spare);
                lock(&self.waiting).remove(&key(&spare));
            }
        })?;
        Ok(())
    }
}

/// The kernel's page cache.
pub(super) struct Pages {
    notifier: Notifier,
    edges: Edges,
    requests: Arc<RequestCounts>,
}

impl Pages {
    pub(super) fn new(notifier: Notifier, requests: &Arc<RequestCounts>) -> Self {
        Self { notifier, edges: Edges::new(), requests: Arc::clone(requests) }
    }

    /// Puts spare bytes into it.
    pub(super) fn store(&self, spare: &Spare) {
        let shared = self.edges.add(spare);
        let shared = shared.iter().map(|(offset, bytes)| (*offset, &bytes[..]));
        for (offset, bytes) in whole_pages(spare).into_iter().chain(shared) {
            // The file may have been forgotten by now, and at the end the mount is gone.
            if self.notifier.store(INodeNo(spare.ino.0), offset, bytes).is_ok() {
                self.requests.pushes.one();
            }
        }
    }
}

/// The part that fills whole pages: others would not count as up to date, but for the last one of the file.
fn whole_pages(spare: &Spare) -> Option<(u64, &[u8])> {
    let end = spare.offset + spare.bytes.len() as u64;
    let from = spare.offset.next_multiple_of(PAGE);
    let to = if end == spare.size { end } else { end / PAGE * PAGE };
    let range = from.checked_sub(spare.offset)? as usize..to.checked_sub(spare.offset)? as usize;
    Some((from, spare.bytes.get(range).filter(|bytes| !bytes.is_empty())?))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn only_whole_pages_and_the_end_are_pushed() {
        let pages = |offset, length: usize, size| {
            let spare = Spare { ino: Ino::ROOT, offset, bytes: Bytes::from(vec![7; length]), size };
            whole_pages(&spare).map(|(offset, bytes)| (offset, bytes.len()))
        };
        assert_eq!(pages(0, 8192, 99_999), Some((0, 8192)));
        assert_eq!(pages(100, 10_000, 99_999), Some((4096, 4096)));
        assert_eq!(pages(100, 10_000, 10_100), Some((4096, 6004)));
        assert_eq!(pages(4096, 100, 4196), Some((4096, 100)));
        assert_eq!(pages(100, 200, 99_999), None);
        assert_eq!(pages(100, 5000, 99_999), None);
        assert_eq!(pages(5000, 100, 5100), None);
    }
}
