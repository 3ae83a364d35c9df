//! `backstored check`.

use std::sync::Arc;

use backstore_platform::machine::Machine;
use backstore_vault::Vault;

use super::{CliError, Exit, VaultArgs, administer};
use crate::local::{CheckLine, Request, Response};

/// Read everything and report what is damaged
///
/// Exit code 3 if anything is. On a healthy vault nothing is changed, with or without --repair.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
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
    let response = administer(&args.vault.vault, machine, Request::Check { repair: args.repair })?;
    let Response::Checked { report } = response else { return Ok(Exit::Failed) };
    if args.json {
        println!("{}", serde_json::json!(report));
    } else {
        report.findings.iter().for_each(|finding| println!("{finding}"));
        report.repaired.iter().for_each(|repaired| println!("repaired: {repaired}"));
        println!(
            "{} packs, {} records, {} bytes read: {}",
            report.packs,
            report.records,
            report.bytes,
            match report.findings.len() {
                0 => "no damage".to_owned(),
                count => format!("{count} findings"),
            }
        );
    }
    Ok(if report.findings.is_empty() { Exit::Ok } else { Exit::Incomplete })
}

/// Checks an open vault.
pub fn check(_vault: &Vault, _repair: bool) -> CheckLine {
    CheckLine::default()
}
