//! Who reads: thumbnailers and indexers would fetch a whole archive unasked, so they are told apart by the names of their processes, or of their threads.
//!
//! A read is refused, not an open: the kernel need not ask for opens at all, and most programs that look at many files never get that far.

use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::super::Thumbnails;
use crate::cache::Cache;
use crate::sync::lock;

/// Programs that make thumbnails, as the kernel names them: 15 bytes at most.
const THUMBNAILERS: [&str; 9] = [
    "evince-thumbnai",
    "ffmpegthumbnail",
    "gdk-pixbuf-thum",
    "gnome-desktop-t",
    "gst-thumbnailer",
    "kio_thumbnail",
    "thumbnail.so",
    "totem-video-thu",
    "tumblerd",
];
/// Threads that make thumbnails in programs that also read for other ends: the program, and what it calls such a thread.
const THUMBNAIL_THREADS: [(&str, &str); 1] = [("pcmanfm", "loader")];
/// Programs that read files to find words in them.
const INDEXERS: [&str; 8] = [
    "baloo_file",
    "baloo_file_extr",
    "localsearch-3",
    "localsearch-ext",
    "recollindex",
    "tracker-extract",
    "tracker-miner-f",
    "tracker-store",
];
/// A small file has no more bytes than this.
const SMALL_BYTES_MAX: u64 = 1 << 20;
/// Processes that are remembered, and for how long: their numbers are used again.
const PROCESSES_MAX: usize = 64;
const REMEMBERED: Duration = Duration::from_secs(2);

/// Tells who may read what.
pub(super) struct Readers {
    policy: Thumbnails,
    known: Mutex<Cache<u32, (Instant, u64)>>,
}

impl Readers {
    pub(super) fn new(policy: Thumbnails) -> Self {
        Self { policy, known: Mutex::new(Cache::new(PROCESSES_MAX)) }
    }

    /// Bytes of the largest file that a process may read.
    pub(super) fn largest_for(&self, pid: u32) -> u64 {
        // A process of another namespace has no number here.
        if self.policy == Thumbnails::All || pid == 0 {
            return u64::MAX;
        }
        let mut known = lock(&self.known);
        if let Some((since, largest)) = known.get(&pid)
            && since.elapsed() < REMEMBERED
        {
            return largest;
        }
        let largest = names(pid).map_or(u64::MAX, |(process, thread)| self.largest_by(&process, &thread));
        known.insert(pid, (Instant::now(), largest), 1);
        largest
    }

    fn largest_by(&self, process: &str, thread: &str) -> u64 {
        let makes_thumbnails =
            THUMBNAILERS.contains(&process) || THUMBNAIL_THREADS.contains(&(process, thread));
        match self.policy {
            Thumbnails::Small if makes_thumbnails => SMALL_BYTES_MAX,
            Thumbnails::Small | Thumbnails::None if makes_thumbnails || INDEXERS.contains(&process) => 0,
            Thumbnails::All | Thumbnails::Small | Thumbnails::None => u64::MAX,
        }
    }
}

/// What the process of a thread is called, and the thread. The kernel says which thread reads, and threads have names of their own: tumblerd's are
/// `pool-tumblerd`.
fn names(thread: u32) -> Option<(String, String)> {
    let name = |id: &str| {
        let name = fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
        Some(name.trim_end().to_owned())
    };
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim();
    Some((name(process)?, name(&thread.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thumbnailer that reads by threads with names of their own was given everything.
    #[test]
    fn a_thread_is_known_by_its_process() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        let thread = std::thread::Builder::new().name("pool-tumblerd".to_owned());
        let seen = thread.spawn(|| {
            let own = fs::read_link("/proc/thread-self").unwrap();
            names(own.file_name()?.to_str()?.parse().ok()?)
        });
        let (process, thread) = seen.unwrap().join().unwrap().unwrap();
        assert_eq!((&*process, &*thread), (own.trim_end(), "pool-tumblerd"));
        assert_eq!(names(0), None);
    }

    #[test]
    fn only_those_who_look_at_everything_are_held_back() {
        let largest = |policy, name| Readers::new(policy).largest_by(name, name);
        for name in ["cp", "nautilus", "bash", "", "tumblerd2"] {
            for policy in [Thumbnails::All, Thumbnails::Small, Thumbnails::None] {
                assert_eq!(largest(policy, name), u64::MAX, "{name}");
            }
        }
        assert_eq!(largest(Thumbnails::Small, "tumblerd"), SMALL_BYTES_MAX);
        assert_eq!(largest(Thumbnails::Small, "tracker-extract"), 0);
        assert_eq!(largest(Thumbnails::None, "tumblerd"), 0);
        assert_eq!(largest(Thumbnails::All, "baloo_file"), u64::MAX);
        let of_pcmanfm = |thread| Readers::new(Thumbnails::Small).largest_by("pcmanfm", thread);
        assert_eq!((of_pcmanfm("loader"), of_pcmanfm("pool-pcmanfm")), (SMALL_BYTES_MAX, u64::MAX));
        assert!(
            THUMBNAILERS.iter().chain(&INDEXERS).all(|name| name.len() <= 15),
            "the kernel cuts longer ones"
        );
        let readers = Readers::new(Thumbnails::Small);
        assert_eq!(readers.largest_for(std::process::id()), u64::MAX);
        assert_eq!(readers.largest_for(0), u64::MAX);
    }
}
