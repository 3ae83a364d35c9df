//! `backstored init`.

use std::path::PathBuf;
use std::sync::Arc;

use backstore_platform::machine::Machine;
use backstore_protocol::quic::{fingerprint, fingerprint_text};
use backstore_vault::Vault;

use super::{CliError, Exit};
use crate::identity;

/// Make a vault and the server's key in a folder that is empty or not there
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// The folder
    dir: PathBuf,
}

pub(super) fn run(args: &InitArgs, machine: &Arc<dyn Machine>) -> Result<Exit, CliError> {
    let id = Vault::create(&args.dir, &**machine)?;
    let identity = identity::create(&args.dir, &**machine)?;
    println!("vault {id} in {}", args.dir.display());
    println!("server fingerprint {}", fingerprint_text(&fingerprint(&identity.public_key())));
    println!();
    println!("next:  backstored serve --vault {}", args.dir.display());
    println!("       backstored account invite NAME --vault {}", args.dir.display());
    Ok(Exit::Ok)
}
