//! `backstored account`.

use std::sync::Arc;

use backstore_platform::machine::Machine;
use backstore_protocol::quic::{ServerAddress, fingerprint, fingerprint_text};
use clap::Subcommand;

use super::{CliError, Exit, VaultArgs, administer};
use crate::identity;
use crate::local::{AccountLine, Request, Response};

/// Manage accounts, also while the server runs
#[derive(Debug, clap::Args)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    command: AccountCommand,
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Invite one device to an account, which is made if it is not there
    ///
    /// The last line printed is the invitation: a secret, good for one device and one week. It is given to `backstore login`.
    Invite {
        /// The account's name
        name: String,
        /// Where devices reach this server
        #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_server)]
        host: Option<ServerAddress>,
        /// How many hours the invitation is good for
        #[arg(long, value_name = "HOURS", default_value_t = 168, value_parser = clap::value_parser!(u32).range(1..=87_600))]
        valid_hours: u32,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// List all accounts
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        vault: VaultArgs,
    },
}

fn parse_server(text: &str) -> Result<ServerAddress, String> {
    ServerAddress::parse(text).ok_or_else(|| "expected HOST, HOST:PORT, [IPV6] or [IPV6]:PORT".to_owned())
}

pub(super) fn run(args: AccountArgs, machine: &Arc<dyn Machine>) -> Result<Exit, CliError> {
    match args.command {
        AccountCommand::Invite { name, host, valid_hours, vault } => {
            let valid_ms = Some(i64::from(valid_hours) * 3_600_000);
            let request = Request::Invite { name: name.clone(), valid_ms };
            let response = administer(&vault.vault, machine, request)?;
            if let Response::Invited { token } = response {
                let key = identity::load(&vault.vault)?;
                let server = host.unwrap_or_else(this_host);
                println!(
                    "An invitation for one device of {name}, good for {valid_hours} hours. On that device:"
                );
                println!("  backstore login");
                println!("and enter:");
                println!(
                    "backstore://{server}/{name}/{token}#{}",
                    fingerprint_text(&fingerprint(&key.public_key()))
                );
            }
        }
        AccountCommand::List { json, vault } => {
            if let Response::Accounts { accounts } = administer(&vault.vault, machine, Request::Accounts)? {
                if json {
                    println!("{}", serde_json::json!({ "accounts": accounts }));
                } else {
                    accounts.iter().for_each(print_account);
                }
            }
        }
    }
    Ok(Exit::Ok)
}

fn this_host() -> ServerAddress {
    let host = backstore_platform::system::host_name();
    ServerAddress::parse(&host).unwrap_or_else(|| ServerAddress {
        host: "localhost".to_owned(),
        port: backstore_protocol::wire::PORT,
    })
}

fn print_account(account: &AccountLine) {
    let devices =
        if account.devices.is_empty() { "no device yet".to_owned() } else { account.devices.join(", ") };
    println!("{}", account.name);
    println!("  devices: {devices}");
    println!("  {} objects, {} bytes, {} backup sets", account.objects, account.bytes, account.lineages);
    if account.invitations > 0 {
        println!("  {} open invitations", account.invitations);
    }
    if account.damaged > 0 {
        println!("  {} objects are damaged: the next backups heal what they still have", account.damaged);
    }
}
