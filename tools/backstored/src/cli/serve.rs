//! `backstored serve`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;

use backstore_platform::machine::Machine;
use backstore_protocol::wire::PORT;
use tracing_subscriber::EnvFilter;

use super::{CliError, Exit, VaultArgs};
use crate::identity;
use crate::serve::{Ended, ServeOptions, serve};
use crate::service::Service;

/// Serve a vault until SIGTERM or Ctrl-C
///
/// Prints one line `listening on ADDR` when it is ready. The log goes to standard error.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    vault: VaultArgs,
    /// Address and UDP port to listen at; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from(([0u16; 8], PORT)))]
    listen: SocketAddr,
    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    connections_max: usize,
    /// Memory for data on its way between network and vault, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    buffer_mib: usize,
    /// Log as JSON, a line each
    #[arg(long)]
    log_json: bool,
}

pub(super) fn run(args: &ServeArgs, machine: &Arc<dyn Machine>) -> Result<Exit, CliError> {
    start_log(args.log_json);
    let dir = &args.vault.vault;
    let vault = super::open(dir, machine)?;
    let key = identity::load(dir)?;
    // Neither matters enough to stop for.
    let _ = backstore_platform::process::raise_file_limit();
    let _ = backstore_platform::process::forbid_core_dumps();
    let report = vault.report();
    tracing::info!(?report, "vault open");
    let service = Arc::new(Service::new(vault, Arc::clone(machine), args.buffer_mib << 20));
    let options = ServeOptions {
        listen: args.listen,
        connections_max: args.connections_max,
        device_connections_max: 16,
    };
    let served = serve(Arc::clone(&service), dir, &key, &options);
    let _ = std::fs::remove_file(identity::socket_path(dir));
    let ended = served.map_err(|source| CliError::Io { action: format!("serve at {}", args.listen), source });
    // Also if a request still runs: it is told that the vault is closed.
    let closed = service.close();
    if let Ended::GaveUp(reason) = ended? {
        return Err(CliError::GaveUp(reason));
    }
    closed?;
    tracing::info!("stopped");
    Ok(Exit::Ok)
}

fn start_log(json: bool) {
    let filter = EnvFilter::try_from_env("BACKSTORED_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        log.json().init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
