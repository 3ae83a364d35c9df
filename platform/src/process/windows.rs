//! Windows: what the standard library and `ctrlc` can do.

use std::fs::File;
use std::io;
use std::os::windows::process::CommandExt;
use std::process::Command;

use crate::Unsupported;

/// The shell, and what makes it run one command line.
pub(super) const SHELL: [&str; 2] = ["cmd", "/C"];

pub(super) fn raise_file_limit() -> io::Result<Option<u64>> {
    Ok(None)
}

pub(super) fn forbid_core_dumps() -> io::Result<()> {
    Err(Unsupported { what: "keeping memory out of crash dumps" }.into())
}

pub(super) fn lower_priority() -> io::Result<()> {
    Err(Unsupported { what: "lowering the priority" }.into())
}

pub(super) fn is_privileged() -> Option<bool> {
    None
}

/// The allocator of Windows does so by itself.
pub(super) fn give_memory_back() {}

pub(super) fn user() -> Option<u32> {
    None
}

pub(super) fn umask() -> u16 {
    0
}

/// Calls `interrupted` on a thread of its own for each Ctrl-C and Ctrl-Break.
pub(super) fn on_interrupt(interrupted: impl FnMut() + Send + 'static) -> io::Result<()> {
    ctrlc::set_handler(interrupted).map_err(io::Error::other)
}

/// Starts it without a console and in a group of its own.
pub(super) fn prepare_daemon(command: &mut Command) {
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

/// It was started apart; the log is not written here yet.
pub(super) fn detach(log: Option<File>) -> io::Result<()> {
    match log {
        Some(_) => Err(Unsupported { what: "sending a background process's messages to a log" }.into()),
        None => Ok(()),
    }
}
