//! This process among others: its limits and rights, interrupts, the background, the terminal.

mod daemon;
mod interrupts;
mod terminal;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as host;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as host;

use std::io;

pub use daemon::{Readiness, StartError, Started, start_daemon};
pub use interrupts::Interrupts;
pub use terminal::{Stream, is_terminal, read_password, width};

/// Allows as many open files as the system lets this user have, and returns how many; nothing where there is no such limit.
pub fn raise_file_limit() -> io::Result<Option<u64>> {
    host::raise_file_limit()
}

/// Keeps memory, and with it keys, out of core dumps and from other processes of the same user. Call it first.
///
/// [`io::ErrorKind::Unsupported`] where dumps are up to the system's settings.
pub fn forbid_core_dumps() -> io::Result<()> {
    host::forbid_core_dumps()
}

/// Lets other programs go first: lower CPU priority, from which Linux also derives that of disk access.
///
/// On Linux it holds for the calling thread and those it starts afterwards, so call it before any is started.
/// [`io::ErrorKind::Unsupported`] where it cannot be done yet.
pub fn lower_priority() -> io::Result<()> {
    host::lower_priority()
}

/// Gives memory back to the system that was freed and that the allocator keeps: after work that needed much more than what comes next.
pub fn give_memory_back() {
    host::give_memory_back();
}

/// A command line as the user's shell would run it.
pub fn shell(command: &str) -> std::process::Command {
    let [shell, flag] = host::SHELL;
    let mut shell = std::process::Command::new(shell);
    shell.args([flag, command]);
    shell
}

/// Whether it runs as root or, where that is known, as administrator; nothing where it is not known.
pub fn is_privileged() -> Option<bool> {
    host::is_privileged()
}

/// The user this process acts as, where users have numbers.
pub fn user() -> Option<u32> {
    host::user()
}

/// The permission bits that new files of this user do not get; none on systems without them. Call it before there are other threads that make
/// files.
pub fn umask() -> u16 {
    host::umask()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::testing::{ChildTest, is_root};

    /// In a process of its own, since limits stay for good.
    #[test]
    fn limits_of_a_process() {
        if ChildTest::argument().is_none() {
            let mut child = ChildTest::start("process::tests::limits_of_a_process", "x".as_ref());
            assert_eq!(child.next_word(), "done");
            return;
        }
        let raised = raise_file_limit().unwrap().expect("Unix has a limit");
        assert!(raised >= 256, "{raised}");
        assert_eq!(raise_file_limit().unwrap(), Some(raised), "the second time changes nothing");
        lower_priority().unwrap();
        assert!(rustix::process::getpriority_process(None).unwrap() >= 10);
        lower_priority().unwrap();
        forbid_core_dumps().unwrap();
        assert_eq!(rustix::process::getrlimit(rustix::process::Resource::Core).current, Some(0));
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{DumpableBehavior, dumpable_behavior};
            assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
            // What reads attributes of links goes through this, and must go on doing so.
            assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() > 0);
        }
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
        assert_eq!((umask(), umask()), (0o027, 0o027), "asking changes nothing");
        ChildTest::say("done");
    }

    #[test]
    fn root_is_privileged() {
        assert_eq!(is_privileged(), Some(is_root()));
        assert_eq!(user(), Some(rustix::process::geteuid().as_raw()));
    }
}
