//! `backstored check`.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use backstore_platform::machine::Machine;
use backstore_vault::{Vault, VaultError};

use super::{CliError, Exit, VaultArgs};
use crate::checking::{CheckLine, Step, check};
use crate::local::{self, Request, Response};

/// Read everything and report what is damaged
///
/// Exit code 3 if anything is, also after a repair. On a healthy vault nothing is changed, with or without --repair.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    vault: VaultArgs,
    /// Mend what can be mended: second copies, the index; what is lost is marked, so that the next backups send it again
    #[arg(long)]
    repair: bool,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CheckArgs, machine: &Arc<dyn Machine>) -> Result<Exit, CliError> {
    let dir = &args.vault.vault;
    let mut progress = ProgressLine::default();
    let checked = match ask_server(dir, args.repair, &mut progress)? {
        Some(report) => report,
        None => check_here(dir, machine, args.repair, &mut progress)?,
    };
    progress.clear();
    if args.json {
        println!("{}", serde_json::json!(checked));
    } else {
        print!("{checked}");
    }
    Ok(if checked.is_healthy() { Exit::Ok } else { Exit::Incomplete })
}

/// Has a running server check; nothing if none runs.
fn ask_server(dir: &Path, repair: bool, progress: &mut ProgressLine) -> Result<Option<CheckLine>, CliError> {
    let socket = crate::identity::socket_path(dir);
    let failed =
        |source| CliError::Io { action: format!("talk to the server through {}", socket.display()), source };
    let asked =
        local::ask(&socket, &Request::Check { repair }, |step| progress.show(step)).map_err(failed)?;
    match asked {
        None => Ok(None),
        Some(Response::Checked { report }) => Ok(Some(report)),
        Some(Response::Failed { message }) => Err(CliError::Server(message)),
        Some(Response::Invited { .. } | Response::Accounts { .. } | Response::Progress { .. }) => {
            Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it answers another question")))
        }
    }
}

/// Opens the vault and checks it. An index that turns out to be damaged is made anew by opening once more.
fn check_here(
    dir: &Path,
    machine: &Arc<dyn Machine>,
    repair: bool,
    progress: &mut ProgressLine,
) -> Result<CheckLine, CliError> {
    let mut check_once = || {
        let vault = super::open(dir, machine)?;
        let checked = check(&vault, machine.now_ms(), repair, |step| {
            progress.show(step);
            ControlFlow::Continue(())
        })?;
        close(vault)?;
        Ok(checked)
    };
    match check_once() {
        Err(CliError::Vault(VaultError::Index { .. })) => check_once(),
        result => result,
    }
}

fn close(vault: Vault) -> Result<(), CliError> {
    Ok(vault.close()?)
}

/// A line on a terminal that says how far a check is.
#[derive(Default)]
struct ProgressLine {
    is_shown: bool,
}

impl ProgressLine {
    fn show(&mut self, step: Step) {
        let mut terminal = io::stderr();
        if terminal.is_terminal() {
            // Whether it can be seen changes nothing about the check.
            let _ = write!(terminal, "\r\x1b[K{step}").and_then(|()| terminal.flush());
            self.is_shown = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}
