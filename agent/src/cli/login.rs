//! `backstore login`.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use backstore_platform::paths::absolute;
use backstore_platform::process::{Stream, is_terminal};
use backstore_protocol::ids::Fingerprint;
use backstore_protocol::quic::{Connecting, Enrolment, Identity, ServerAddress};
use backstore_protocol::store::StoreError;

use super::output::say;
use super::{CliError, Context, Exit};
use crate::enrol::{Invitation, Login, PasswordSource};
use crate::home::device_name;

/// Enrol this computer with a server, or with the vault in a folder
///
/// An invitation is a secret: without an argument it is asked for. The first device of an account chooses the account's password; every later one
/// needs it. After that no backup needs a password.
#[derive(Debug, clap::Args)]
pub(super) struct LoginArgs {
    /// An invitation (backstore://…) or a folder with a vault
    #[arg(value_name = "URL|FOLDER", conflicts_with_all = ["server", "account"])]
    destination: Option<String>,
    /// Without an invitation at hand: the server; its fingerprint is shown and has to be confirmed
    #[arg(long, value_name = "HOST[:PORT]", requires = "account")]
    server: Option<String>,
    /// The account's name there
    #[arg(long, value_name = "NAME", requires = "server")]
    account: Option<String>,
    /// The name of this computer in the account
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[command(flatten)]
    password: PasswordSource,
}

pub(super) fn run(args: &LoginArgs, context: &Context) -> Result<Exit, CliError> {
    let device_name = match &args.device {
        Some(name) if name.is_empty() || name.len() > 255 => {
            return Err(CliError::Usage("a device's name has 1 to 255 bytes".to_owned()));
        }
        Some(name) => name.clone(),
        None => device_name(),
    };
    let login = Login {
        home: &context.home,
        machine: Arc::clone(&context.machine),
        password: &args.password,
        device_name,
    };
    login.check_free()?;
    let text = match (&args.destination, &args.server, &args.account) {
        (Some(text), _, _) => text.clone(),
        (None, Some(server), Some(account)) => confirm(server, account, context)?,
        (None, _, _) => ask("Invitation (backstore://…) or folder with a vault: ")?,
    };
    let (is_new, place) = if text.starts_with("backstore:") {
        let invitation = Invitation::parse(&text).map_err(|problem| CliError::Usage(problem.to_owned()))?;
        (login.at_server(&invitation)?, invitation.server.to_string())
    } else {
        let folder = absolute(Path::new(&text))
            .map_err(|source| CliError::Io { action: format!("find {text}"), source })?;
        let is_new = login.in_folder(&folder)?;
        say!("A folder cannot keep this computer from deleting what it has backed up, as a server does.");
        (is_new, folder.display().to_string())
    };
    if is_new {
        say!(
            "The account was made. Without its password, or another enrolled computer, nobody can read its archives: keep it well."
        );
    }
    say!("This computer is enrolled with {place}.");
    say!("next:  backstore set add NAME FOLDER…");
    say!("       backstore backup");
    Ok(Exit::Complete)
}

/// Shows a server's fingerprint, and makes an invitation of what is asked then.
fn confirm(server: &str, account: &str, context: &Context) -> Result<String, CliError> {
    let address = ServerAddress::parse(server).ok_or_else(|| {
        CliError::Usage(format!("{server:?} is not HOST, HOST:PORT, [IPV6] or [IPV6]:PORT"))
    })?;
    let mut seed = [0; 32];
    context.machine.random(&mut seed);
    // No key has this fingerprint: the server is asked for its own and let go.
    let connecting = Connecting {
        server: address.clone(),
        fingerprint: Fingerprint::ZERO,
        identity: Identity::from_seed(&seed),
    };
    let found = match Enrolment::connect(connecting, env!("CARGO_PKG_VERSION")) {
        Err(StoreError::WrongFingerprint { found, .. }) => found,
        Err(error) => return Err(crate::enrol::EnrolError::from(error).into()),
        Ok(_) => return Err(CliError::Usage("the server has no key".to_owned())),
    };
    say!("{address} has the fingerprint");
    say!("  {found}");
    say!("Compare it with what whoever runs the server tells you: `backstored init` printed it.");
    if !matches!(&*ask("Is it the same? (yes/no) ")?, "yes" | "y") {
        return Err(CliError::Usage("not confirmed: nothing was sent".to_owned()));
    }
    let token = ask("Invitation (its secret part): ")?;
    Ok(format!("backstore://{address}/{account}/{token}#{found}"))
}

fn ask(question: &str) -> Result<String, CliError> {
    if !is_terminal(Stream::Input) {
        return Err(CliError::Usage(
            "name an invitation or a folder: there is no terminal to ask".to_owned(),
        ));
    }
    let failed = |source| CliError::Io { action: "read from the terminal".to_owned(), source };
    eprint!("{question}");
    io::stderr().flush().map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line.trim().to_owned())
}
