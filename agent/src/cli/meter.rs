//! A line on the terminal that says how far something has come; nothing where standard error is no terminal.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use backstore_platform::process::{Stream, is_terminal, width};

use super::text;
use crate::reading::IndexProgress;

/// Shows the line until it is dropped.
pub(super) struct Meter {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

const EVERY: Duration = Duration::from_millis(200);
/// Columns of a terminal that does not tell.
const COLUMNS: u16 = 80;

impl Meter {
    /// `line` makes the text, given how long it has been going on.
    pub(super) fn start(line: impl Fn(Duration) -> String + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = is_terminal(Stream::Error).then(|| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let started = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    show(&line(started.elapsed()));
                    std::thread::park_timeout(EVERY);
                }
                show("");
            })
        });
        Self { stop, thread }
    }
}

/// Shows how far the index of what became of files has come, which takes a while the first time.
pub(super) fn while_indexing(progress: &Arc<IndexProgress>) -> Meter {
    let progress = Arc::clone(progress);
    Meter::start(move |_| match progress.versions.load(Ordering::Relaxed) {
        0 => String::new(),
        all => {
            let begun = progress.begun.load(Ordering::Relaxed);
            format!("indexing what became of files: {} of {} versions", text::count(begun), text::count(all))
        }
    })
}

fn show(text: &str) {
    let columns = usize::from(width(Stream::Error).unwrap_or(COLUMNS)).saturating_sub(1);
    let text: String = text.chars().take(columns).collect();
    let mut out = io::stderr().lock();
    // A terminal that is gone needs no line.
    let _ = write!(out, "\r\x1b[K{text}");
    let _ = out.flush();
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
