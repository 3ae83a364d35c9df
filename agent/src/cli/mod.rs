//! The command line: one file per command, and how the program ends.

mod backup;
mod changes;
mod choice;
mod completions;
mod destination;
mod diff;
mod dump;
mod entry_line;
mod error;
mod find;
mod init;
mod login;
mod ls;
mod meter;
mod mount;
mod mount_helper;
mod output;
mod progress;
mod restore;
mod set;
mod snapshots;
mod status;
mod tag;
mod text;
mod threads;
mod trial;
mod umount;
mod verify;
mod versions;

use std::sync::Arc;

use backstore_platform::machine::{Machine, System};
use clap::{Parser, Subcommand};

pub use error::{CliError, Exit};

use crate::home::Home;

/// Back up this computer, and open every version of it as an ordinary folder
#[derive(Debug, Parser)]
#[command(name = "backstore", version, after_help = EXIT_CODES, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 complete · 1 failed · 2 wrong usage · 3 finished, but incomplete · 10 no such archive, set or version ·
11 locked by another process · 12 wrong password · 130 interrupted

BACKSTORE_HOME moves configuration, state and cache to one folder. BACKSTORE_PASSWORD is a password.";

#[derive(Debug, Subcommand)]
enum Command {
    Try(trial::TryArgs),
    Init(init::InitArgs),
    Login(login::LoginArgs),
    Destination(destination::DestinationArgs),
    Set(set::SetArgs),
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
    Status(status::StatusArgs),
    Snapshots(snapshots::SnapshotsArgs),
    Tag(tag::TagArgs),
    Ls(ls::LsArgs),
    Find(find::FindArgs),
    Versions(versions::VersionsArgs),
    Dump(dump::DumpArgs),
    Diff(diff::DiffArgs),
    Verify(verify::VerifyArgs),
    Mount(mount::MountArgs),
    Umount(umount::UmountArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

/// What every command has.
pub struct Context {
    /// The agent's files.
    pub home: Home,
    /// Time and randomness.
    pub machine: Arc<dyn Machine>,
}

/// Words of other tools, and what is said here instead.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("create", "to back up, say: backstore backup"),
    ("snapshot", "to back up, say: backstore backup"),
    ("extract", "to get files back, say: backstore restore"),
    ("forget", "old versions are thinned by the destination; there is nothing to forget by hand"),
    ("prune", "space is reclaimed by the destination; there is nothing to prune by hand"),
    ("compact", "space is reclaimed by the destination; there is nothing to compact by hand"),
    ("unlock", "locks end with the process that holds them; there is nothing to unlock"),
    ("check", "to check what is stored, say: backstore verify"),
    ("unmount", "say: backstore umount"),
];

/// Runs the program; its exit code.
pub fn run() -> u8 {
    let arguments: Vec<_> = std::env::args_os().collect();
    let arguments = match mount_helper::translate(&arguments) {
        None => arguments,
        Some(Ok(Some(translated))) => translated,
        Some(Ok(None)) => return Exit::Complete as u8,
        Some(Err(error)) => return error.report() as u8,
    };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let word = std::env::args().nth(1).unwrap_or_default();
            if let Some((_, hint)) = OTHER_WORDS.iter().find(|(other, _)| *other == word) {
                eprintln!("backstore: there is no command {word:?}: {hint}");
                return Exit::Usage as u8;
            }
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage as u8 } else { Exit::Complete as u8 };
        }
    };
    let done = Home::locate().map_err(CliError::from).and_then(|home| {
        let context = Context { home, machine: Arc::new(System) };
        cli.command.run(&context)
    });
    match done {
        Ok(exit) => exit as u8,
        Err(error) => error.report() as u8,
    }
}

impl Command {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self {
            Self::Try(args) => trial::run(&args, context),
            Self::Init(args) => init::run(&args, context),
            Self::Login(args) => login::run(&args, context),
            Self::Destination(args) => destination::run(&args, context),
            Self::Set(args) => set::run(args, context),
            Self::Backup(args) => backup::run(&args, context),
            Self::Restore(args) => restore::run(&args, context),
            Self::Status(args) => status::run(&args, context),
            Self::Snapshots(args) => snapshots::run(&args, context),
            Self::Tag(args) => tag::run(&args, context),
            Self::Ls(args) => ls::run(&args, context),
            Self::Find(args) => find::run(&args, context),
            Self::Versions(args) => versions::run(&args, context),
            Self::Dump(args) => dump::run(&args, context),
            Self::Diff(args) => diff::run(&args, context),
            Self::Verify(args) => verify::run(&args, context),
            Self::Mount(args) => mount::run(&args, context),
            Self::Umount(args) => umount::run(&args, context),
            Self::Completions(args) => completions::completions(&args),
            Self::Man(args) => completions::man(&args),
        }
    }
}
