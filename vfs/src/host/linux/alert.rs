//! Keeping the processors awake while requests come one right after the other.
//!
//! Who walks a tree and who answers take turns, mostly on two processors. One that has nothing to do meanwhile falls asleep, and takes
//! longer to wake up than the answer takes: in a virtual machine that is most of the time of a `find`. Root may ask the kernel not
//! to let them sleep; that costs power, so it is asked for only during such a burst. Who is not root goes without.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// Requests are counted for this long.
const PERIOD: Duration = Duration::from_millis(5);
/// So many in a period are a burst.
const BURST_MIN: u32 = 10;
/// Periods without a burst after which it is over.
const CALM_MAX: u32 = 4;
/// While it is open, no processor sleeps deeper than the microseconds that were written to it.
const LATENCY: &str = "/dev/cpu_dma_latency";

/// Notices bursts of requests.
pub(super) struct Alert {
    shared: Arc<Shared>,
    wake: Sender<()>,
}

#[derive(Default)]
struct Shared {
    requests: AtomicU32,
    is_counting: AtomicBool,
}

impl Alert {
    /// Starts the thread that counts; it ends when this is dropped, and sleeps while there is nothing to count.
    pub(super) fn new() -> io::Result<Self> {
        let shared: Arc<Shared> = Arc::default();
        let (wake, woken) = bounded(1);
        let counting = Arc::clone(&shared);
        thread::Builder::new().name("alert".into()).spawn(move || counting.count(&woken))?;
        Ok(Self { shared, wake })
    }

    /// A request has come.
    pub(super) fn request(&self) {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        if !self.shared.is_counting.load(Ordering::Relaxed)
            && !self.shared.is_counting.swap(true, Ordering::AcqRel)
        {
            // Full means that it is being woken.
            let _ = self.wake.try_send(());
        }
    }
}

impl Shared {
    /// The life of the thread.
    fn count(&self, woken: &Receiver<()>) {
        while woken.recv().is_ok() {
            let (mut burst, mut awake) = (Burst::default(), None);
            loop {
                if woken.recv_timeout(PERIOD) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                if burst.note(self.requests.swap(0, Ordering::Relaxed)) {
                    awake = awake.or_else(stay_awake);
                } else if burst.calm > CALM_MAX {
                    break;
                }
            }
            self.is_counting.store(false, Ordering::Release);
        }
    }
}

/// Whether requests come in a burst.
#[derive(Debug, Default)]
struct Burst {
    /// Periods since the last one that was busy.
    calm: u32,
}

impl Burst {
    /// So many requests came in a period; true if those are a burst.
    fn note(&mut self, requests: u32) -> bool {
        let is_burst = requests >= BURST_MIN;
        self.calm = if is_burst { 0 } else { self.calm + 1 };
        is_burst
    }
}

/// Keeps the processors awake until what it gives is dropped, if this process may.
fn stay_awake() -> Option<File> {
    let mut file = OpenOptions::new().write(true).open(LATENCY).ok()?;
    file.write_all(&[0; 4]).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_over_after_some_calm() {
        let mut burst = Burst::default();
        assert!(!burst.note(BURST_MIN - 1));
        assert!(burst.note(BURST_MIN));
        for _ in 0..CALM_MAX {
            assert!(!burst.note(1) && burst.calm <= CALM_MAX);
        }
        assert!(burst.note(99) && burst.calm == 0, "it goes on");
        (0..=CALM_MAX).for_each(|_| assert!(!burst.note(0)));
        assert!(burst.calm > CALM_MAX);
    }

    #[test]
    fn every_burst_wakes_the_thread_again() {
        let shared: Arc<Shared> = Arc::default();
        let (wake, woken) = bounded(1);
        let alert = Alert { shared: Arc::clone(&shared), wake };
        for _ in 0..3 {
            (0..100).for_each(|_| alert.request());
            assert_eq!(woken.try_iter().count(), 1, "once for each burst");
            shared.is_counting.store(false, Ordering::Release);
        }
    }
}
