//! The command line of `backstored`.

mod account;
mod check;
mod init;
mod rebuild;
mod serve;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstore_platform::machine::{Machine, System};
use backstore_platform::private_file::PrivateFileError;
use backstore_vault::registry::RegistryError;
use backstore_vault::{OpenOptions, Vault, VaultError};
use clap::{Parser, Subcommand};

use crate::healing::GaveUp;
use crate::local::{self, Request, Response};

/// The BackStore server: keeps the archives of many accounts without being able to read them
#[derive(Debug, Parser)]
#[command(name = "backstored", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done, but something is damaged, 10 no such vault, 11 in use by another process, 12 a server's index was damaged again and again";

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    Serve(serve::ServeArgs),
    Account(account::AccountArgs),
    Check(check::CheckArgs),
    RebuildIndex(rebuild::RebuildArgs),
}

/// Where the vault is.
#[derive(Debug, Clone, clap::Args)]
pub struct VaultArgs {
    /// The vault's folder
    #[arg(long, value_name = "DIR", env = "BACKSTORED_VAULT")]
    vault: PathBuf,
}

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Not done.
    Failed = 1,
    /// Done, but something is damaged.
    Incomplete = 3,
    /// No such vault.
    NotFound = 10,
    /// In use by another process.
    Locked = 11,
    /// The index was damaged again and again.
    GaveUp = 12,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The server's key.
    #[error(transparent)]
    Key(#[from] PrivateFileError),
    /// The network or the terminal.
    #[error("cannot {action}")]
    Io {
        /// What was to be done.
        action: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A running server said no.
    #[error("{0}")]
    Server(String),
    /// The server ended by itself.
    #[error(transparent)]
    GaveUp(#[from] GaveUp),
}

impl CliError {
    fn exit(&self) -> Exit {
        match self {
            Self::Vault(VaultError::FolderMissing { .. } | VaultError::NotAVault { .. })
            | Self::Registry(RegistryError::NoAccount { .. }) => Exit::NotFound,
            Self::Vault(VaultError::Locked { .. }) => Exit::Locked,
            Self::GaveUp(_) => Exit::GaveUp,
            Self::Vault(_) | Self::Registry(_) | Self::Key(_) | Self::Io { .. } | Self::Server(_) => {
                Exit::Failed
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Vault(VaultError::NotAVault { path } | VaultError::FolderMissing { path }) => {
                Some(format!("make one with: backstored init {}", path.display()))
            }
            Self::Vault(VaultError::Locked { .. }) => {
                Some("stop the server that runs on it first".to_owned())
            }
            Self::GaveUp(_) => {
                Some("nothing that was acknowledged is lost; the next start makes the index anew".to_owned())
            }
            Self::Vault(_) | Self::Registry(_) | Self::Key(_) | Self::Io { .. } | Self::Server(_) => None,
        }
    }
}

/// Runs the program; its exit code.
pub fn run() -> u8 {
    let cli = Cli::parse();
    let machine: Arc<dyn Machine> = Arc::new(System);
    match run_command(cli.command, &machine) {
        Ok(exit) => exit as u8,
        Err(error) => {
            eprintln!("backstored: {}", chain(&error));
            if let Some(hint) = error.hint() {
                eprintln!("  {hint}");
            }
            error.exit() as u8
        }
    }
}

fn run_command(command: Command, machine: &Arc<dyn Machine>) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::run(&args, machine),
        Command::Serve(args) => serve::run(&args, machine),
        Command::Account(args) => account::run(args, machine),
        Command::Check(args) => check::run(&args, machine),
        Command::RebuildIndex(args) => rebuild::run(&args, machine),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Opens a vault for a command of its own.
fn open(dir: &Path, machine: &Arc<dyn Machine>) -> Result<Vault, CliError> {
    Ok(Vault::open(OpenOptions::server(dir.to_owned(), Arc::clone(machine)))?)
}

/// Has a running server do it, or does it.
fn administer(dir: &Path, machine: &Arc<dyn Machine>, request: Request) -> Result<Response, CliError> {
    let socket = crate::identity::socket_path(dir);
    let asked = local::ask(&socket, &request, |_| {}).map_err(|source| CliError::Io {
        action: format!("talk to the server through {}", socket.display()),
        source,
    })?;
    let response = match asked {
        Some(response) => response,
        None => {
            let vault = open(dir, machine)?;
            let response = local::answer(&vault, &**machine, request, |_| ControlFlow::Continue(()));
            vault.close()?;
            response
        }
    };
    match response {
        Response::Failed { message } => Err(CliError::Server(message)),
        response => Ok(response),
    }
}
