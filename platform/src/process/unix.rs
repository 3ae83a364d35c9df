//! Unix: resource limits, niceness, signals, sessions.

use std::fs::File;
use std::io;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The shell, and what makes it run one command line.
pub(super) const SHELL: [&str; 2] = ["sh", "-c"];

pub(super) fn raise_file_limit() -> io::Result<Option<u64>> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(OPEN_FILES_WITHOUT_MAXIMUM).min(OPEN_FILES_WITHOUT_MAXIMUM);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(Some(current.unwrap_or(wanted)));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })?;
    Ok(Some(wanted))
}

/// What is asked for where the system names no maximum, or one beyond reason: macOS refuses more than this, Linux programs may be handed
/// a billion, and nothing here needs that many.
const OPEN_FILES_WITHOUT_MAXIMUM: u64 = if cfg!(target_os = "macos") { 10_240 } else { 1 << 20 };

pub(super) fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A program that is handed the dumps, as systemd's, gets them whatever the limit says; this is what stops it.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

pub(super) fn lower_priority() -> io::Result<()> {
    if rustix::process::getpriority_process(None)? < BACKGROUND_NICENESS {
        rustix::process::setpriority_process(None, BACKGROUND_NICENESS)?;
    }
    Ok(())
}

/// Half way to the lowest: a tenth of the time of a busy program at the usual priority.
const BACKGROUND_NICENESS: i32 = 10;

/// The allocator of glibc keeps what was freed below something that is still in use; others give it back by themselves.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no safe function asks the allocator for it")]
pub(super) fn give_memory_back() {
    // SAFETY: it takes the allocator's own locks, and touches nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn give_memory_back() {}

pub(super) fn is_privileged() -> Option<bool> {
    Some(rustix::process::geteuid().is_root())
}

pub(super) fn user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

pub(super) fn umask() -> u16 {
    // There is no call that only asks. While it is set, other threads would make files that are too private, never too open.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o777));
    rustix::process::umask(before);
    (before.bits() & 0o777) as u16
}

/// Calls `interrupted` on a thread of its own for each Ctrl-C and SIGTERM.
pub(super) fn on_interrupt(mut interrupted: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("interrupts".to_owned())
        .spawn(move || signals.forever().for_each(|_| interrupted()))?;
    Ok(())
}

/// Nothing to prepare: the child leaves the terminal by itself.
pub(super) fn prepare_daemon(_command: &mut Command) {}

/// Leaves the terminal and its session; standard input and output become nothing, standard error the log or nothing.
pub(super) fn detach(log: Option<File>) -> io::Result<()> {
    // Fails only for the leader of a group, which has left already.
    let _ = rustix::process::setsid();
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(log.as_ref().unwrap_or(&nothing))?;
    Ok(())
}
