//! `backstored rebuild-index`.

use std::sync::Arc;

use backstore_platform::machine::Machine;
use backstore_vault::{OpenOptions, Vault};

use super::{CliError, Exit, VaultArgs};
use crate::checking::{affected, write_affected};

/// Make the index anew from the packs; the server has to be stopped
///
/// The server does this by itself when the index is missing or damaged. Exit code 3 if something that is needed is not in the packs; the next
/// backups send again what the devices still have.
#[derive(Debug, clap::Args)]
pub(super) struct RebuildArgs {
    #[command(flatten)]
    vault: VaultArgs,
}

pub(super) fn run(args: &RebuildArgs, machine: &Arc<dyn Machine>) -> Result<Exit, CliError> {
    let options = OpenOptions::server(args.vault.vault.clone(), Arc::clone(machine));
    let vault = Vault::open_with_new_index(options)?;
    let report = vault.report().clone();
    let affected = affected(&vault, machine.now_ms())?;
    vault.close()?;
    println!("The index was made anew: {} records.", report.records);
    for bytes in &report.quarantined {
        let (pack, offset, length) = (&bytes.pack, bytes.offset, bytes.length);
        println!(
            "packs/{pack} at byte {offset}: {length} bytes are no records, copied to {}",
            bytes.path.display()
        );
    }
    if report.damaged_objects == 0 && affected.is_empty() {
        return Ok(Exit::Ok);
    }
    println!("{} objects that are needed are damaged or lost.", report.damaged_objects);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_affected(&mut text, &affected, affected.len() as u64);
    print!("{text}");
    Ok(Exit::Incomplete)
}
