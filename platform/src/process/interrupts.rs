//! Ctrl-C and requests to end, counted: the first asks to finish soon, the second to end at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::host;

/// How often this process has been interrupted since it began to watch.
#[derive(Debug, Clone)]
pub struct Interrupts(Arc<AtomicU32>);

impl Interrupts {
    /// Watches from now on; once in a process. `interrupted` is called with the count, on a thread that does nothing else, so it may end the
    /// process where the rest of it hangs.
    ///
    /// On Unix SIGINT and SIGTERM count, on Windows Ctrl-C and Ctrl-Break. Two that come at the same moment may count as one.
    pub fn watch(mut interrupted: impl FnMut(u32) + Send + 'static) -> io::Result<Self> {
        let watched = Self::none();
        let count = Arc::clone(&watched.0);
        host::on_interrupt(move || interrupted(count.fetch_add(1, Ordering::Relaxed).saturating_add(1)))?;
        Ok(watched)
    }

    /// For what must not be interrupted, and for tests: never any.
    pub fn none() -> Self {
        Self(Arc::default())
    }

    /// How often so far.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::testing::ChildTest;

    #[test]
    fn each_interrupt_counts() {
        let mut child = ChildTest::start("process::interrupts::tests::child_that_counts", "x".as_ref());
        assert_eq!(child.next_word(), "watching");
        let pid = Pid::from_raw(child.pid() as i32).unwrap();
        for (signal, expected) in [(Signal::INT, "1"), (Signal::TERM, "2"), (Signal::INT, "3")] {
            kill_process(pid, signal).unwrap();
            assert_eq!(child.next_word(), expected);
        }
    }

    /// The other process of the test above; on its own it does nothing.
    #[test]
    fn child_that_counts() {
        if ChildTest::argument().is_none() {
            assert_eq!(Interrupts::none().count(), 0);
            return;
        }
        let (told, counts) = std::sync::mpsc::channel();
        let interrupts = Interrupts::watch(move |count| told.send(count).unwrap()).unwrap();
        ChildTest::say("watching");
        for count in counts {
            assert!(interrupts.count() >= count);
            ChildTest::say(&count.to_string());
        }
    }
}
