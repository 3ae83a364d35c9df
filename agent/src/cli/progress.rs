//! How a backup or restore goes, while it goes.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use backstore_platform::paths::Printable;
use backstore_platform::process::{Stream, is_terminal, width};

use super::text;
use crate::backup::{Monitor, Progress};
use crate::restore;

/// Problems and notes on standard error, without breaking the line of progress.
#[derive(Clone)]
pub(super) struct Console {
    line: Arc<Mutex<bool>>,
}

impl Console {
    pub(super) fn new() -> Self {
        Self { line: Arc::default() }
    }

    fn print(&self, text: &str) {
        let mut has_line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = if std::mem::take(&mut *has_line) { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{text}");
    }

    fn show(&self, text: &str) {
        let mut has_line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let columns = usize::from(width(Stream::Error).unwrap_or(80)).saturating_sub(1);
        let text: String = text.chars().take(columns).collect();
        *has_line = true;
        let mut out = io::stderr().lock();
        let _ = write!(out, "\r\x1b[K{text}");
        let _ = out.flush();
    }

    fn clear(&self) {
        let mut has_line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *has_line) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Monitor for Console {
    fn problem(&self, path: &str, what: &str) {
        self.print(&format!("backstore: {}: {what}", Printable(path.as_bytes())));
    }

    fn note(&self, text: &str) {
        self.print(&format!("backstore: {text}"));
    }
}

impl restore::Monitor for Console {
    fn problem(&self, path: &str, what: &str) {
        Monitor::problem(self, path, what);
    }

    fn note(&self, text: &str) {
        Monitor::note(self, text);
    }
}

/// A line that is kept up to date on a terminal; nothing elsewhere.
pub(super) struct ProgressLine {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    console: Console,
}

const EVERY: Duration = Duration::from_millis(200);

impl ProgressLine {
    /// Shows `progress` until it is dropped. `expected_bytes` is what is likely to be looked at in all, if that is known.
    pub(super) fn start(console: &Console, progress: Arc<Progress>, expected_bytes: Option<u64>) -> Self {
        Self::show(console, move |elapsed| line(&progress, expected_bytes, elapsed))
    }

    /// The same for a restore.
    pub(super) fn start_restore(
        console: &Console,
        progress: Arc<restore::Progress>,
        expected_bytes: Option<u64>,
    ) -> Self {
        Self::show(console, move |elapsed| restore_line(&progress, expected_bytes, elapsed))
    }

    fn show(console: &Console, line: impl Fn(Duration) -> String + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = is_terminal(Stream::Error).then(|| {
            let (stop, console) = (Arc::clone(&stop), console.clone());
            std::thread::spawn(move || {
                let started = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    console.show(&line(started.elapsed()));
                    std::thread::park_timeout(EVERY);
                }
            })
        });
        Self { stop, thread, console: console.clone() }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        self.console.clear();
    }
}

fn line(progress: &Progress, expected_bytes: Option<u64>, elapsed: Duration) -> String {
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (files, bytes, read, stored) =
        (get(&progress.files), get(&progress.bytes), get(&progress.bytes_read), get(&progress.bytes_stored));
    let seconds = elapsed.as_secs_f64().max(0.001);
    let mut line = format!(
        "{} files, {}; {} read ({}/s), {} sent",
        text::count(files),
        text::size(bytes),
        text::size(read),
        text::size((read as f64 / seconds) as u64),
        text::size(stored),
    );
    push_rest(&mut line, bytes, expected_bytes, seconds, get(&progress.errors));
    line
}

fn restore_line(progress: &restore::Progress, expected_bytes: Option<u64>, elapsed: Duration) -> String {
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (files, bytes) = (get(&progress.files), get(&progress.bytes));
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = text::size((bytes as f64 / seconds) as u64);
    let mut line = format!("{} files, {} restored ({rate}/s)", text::count(files), text::size(bytes));
    push_rest(&mut line, bytes, expected_bytes, seconds, get(&progress.errors));
    line
}

/// Adds how long it will take, and how much went wrong.
fn push_rest(line: &mut String, bytes: u64, expected_bytes: Option<u64>, seconds: f64, errors: u64) {
    if let Some(expected) = expected_bytes.filter(|expected| *expected > bytes && bytes > 0 && seconds > 2.0)
    {
        let left = seconds * (expected - bytes) as f64 / bytes as f64;
        line.push_str(&format!(", {} left", text::duration((left * 1000.0) as u64)));
    }
    if errors > 0 {
        line.push_str(&format!(", {}", text::plural(errors, "problem", "problems")));
    }
}
