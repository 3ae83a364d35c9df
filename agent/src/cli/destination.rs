//! `backstore destination`.

use clap::Subcommand;

use super::output::say;
use super::{CliError, Context, Exit};
use crate::home::{AccountFile, HomeError};

/// Where this computer's archives go
#[derive(Debug, clap::Args)]
pub(super) struct DestinationArgs {
    #[command(subcommand)]
    command: DestinationCommand,
}

#[derive(Debug, Subcommand)]
enum DestinationCommand {
    /// Show the destination
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Leave the destination; its archives stay, and backup sets stay configured
    Remove,
}

pub(super) fn run(args: &DestinationArgs, context: &Context) -> Result<Exit, CliError> {
    let file = AccountFile::load(&context.home)?;
    match args.command {
        DestinationCommand::List { json } => {
            if json {
                let list: Vec<_> = file
                    .iter()
                    .map(|file| {
                        serde_json::json!({ "destination": file.destination.to_string(), "account": file.name, "account_id": file.account })
                    })
                    .collect();
                say!("{}", serde_json::json!({ "destinations": list }));
            } else if let Some(file) = file {
                say!("{}  account {}", file.destination, file.name);
            } else {
                return Err(HomeError::NotEnrolled.into());
            }
        }
        DestinationCommand::Remove => {
            let file = file.ok_or(HomeError::NotEnrolled)?;
            AccountFile::remove(&context.home)?;
            say!("This computer no longer backs up to {}. What is there stays there.", file.destination);
        }
    }
    Ok(Exit::Complete)
}
