//! `backstored rebuild-index`.

use std::sync::Arc;

use backstore_platform::machine::Machine;

use super::{CliError, Exit, VaultArgs};

/// Make the index anew from the packs; the server has to be stopped
///
/// The server does this by itself when the index is missing or damaged.
#[derive(Debug, clap::Args)]
pub(super) struct RebuildArgs {
    #[command(flatten)]
    vault: VaultArgs,
}

pub(super) fn run(args: &RebuildArgs, machine: &Arc<dyn Machine>) -> Result<Exit, CliError> {
    let vault = super::open(&args.vault.vault, machine)?;
    vault.close()?;
    Ok(Exit::Ok)
}
