//! `backstore init`.

use std::path::PathBuf;

use backstore_vault::Vault;

use super::output::say;
use super::{CliError, Context, Exit};

/// Make a vault in a folder, on a USB disk or a NAS
///
/// The folder has to be empty or not there. `backstore login FOLDER` then makes it the destination of this computer.
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// The folder
    folder: PathBuf,
}

pub(super) fn run(args: &InitArgs, context: &Context) -> Result<Exit, CliError> {
    let id = Vault::create(&args.folder, &*context.machine)?;
    say!("vault {id} in {}", args.folder.display());
    say!("next:  backstore login {}", args.folder.display());
    Ok(Exit::Complete)
}
