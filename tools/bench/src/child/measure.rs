//! The small process that starts a program, waits for it and says what it used.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};
use serde::{Deserialize, Serialize};

use crate::machine::children_of;

/// What a program and all it started have used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// From before it was started until it had ended.
    pub(crate) wall_s: f64,
    pub(crate) user_s: f64,
    pub(crate) sys_s: f64,
    /// Of the largest single process.
    pub(crate) peak_mib: f64,
    /// Exit code, or minus the signal.
    pub(crate) exit: i32,
    /// It was ended because it took too long.
    pub(crate) is_late: bool,
}

/// Processes that the program leaves behind are waited for this long; their work counts, their time does not.
const STRAGGLERS_WAIT: Duration = Duration::from_secs(5);

/// Runs the program, and writes its [`Usage`] into a file.
pub(crate) fn measure(report: &Path, limit: Duration, argv: &[OsString]) -> io::Result<()> {
    let [program, arguments @ ..] = argv else {
        return Err(io::Error::other("no program was named"));
    };
    set_child_subreaper(Some(rustix::process::getpid()))?;
    let started = Instant::now();
    let mut child = Command::new(program).args(arguments).spawn()?;
    let (ended, has_ended) = channel::<()>();
    let watchdog = thread::spawn(move || {
        let is_late = has_ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if is_late {
            end_children(Signal::TERM);
            if has_ended.recv_timeout(Duration::from_secs(3)) == Err(RecvTimeoutError::Timeout) {
                end_children(Signal::KILL);
            }
        }
        is_late
    });
    let status = child.wait()?;
    let wall_s = started.elapsed().as_secs_f64();
    drop(ended);
    let is_late = watchdog.join().unwrap_or(true);
    reap_stragglers();
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let usage = Usage {
        wall_s,
        user_s: used.user_time().num_microseconds() as f64 / 1e6,
        sys_s: used.system_time().num_microseconds() as f64 / 1e6,
        peak_mib: used.max_rss() as f64 / 1024.0,
        exit: exit_of(status),
        is_late,
    };
    std::fs::write(report, serde_json::to_vec(&usage)?)
}

fn exit_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(1))
}

fn end_children(signal: Signal) {
    for child in children_of(std::process::id()) {
        let process = i32::try_from(child).ok().and_then(Pid::from_raw);
        // One that has ended by itself meanwhile needs no signal.
        let _ = process.map(|process| kill_process(process, signal));
    }
}

/// What the program left behind is ours now.
fn reap_stragglers() {
    let until = Instant::now() + STRAGGLERS_WAIT;
    loop {
        match waitpid(None, WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
            Ok(None) => return end_children(Signal::KILL),
            Err(_) => return,
        }
    }
}
