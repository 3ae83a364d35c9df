//! Administration: what commands ask of a running server through its socket, or do themselves when none runs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use backstore_platform::local_socket::{Listener, Stream};
use backstore_platform::machine::Machine;
use backstore_protocol::base32;
use backstore_protocol::ids::InviteToken;
use backstore_vault::registry::{INVITATION_MS, Registry, RegistryError};
use backstore_vault::{Recovery, Vault, VaultError};
use serde::{Deserialize, Serialize};

use crate::checking::{self, CheckLine, Step};
use crate::service::Service;

/// What an administrator asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// An invitation for an account, which is made if it is not there.
    Invite {
        /// The account's name.
        name: String,
        /// How long it is good for, in milliseconds.
        valid_ms: Option<i64>,
    },
    /// All accounts.
    Accounts,
    /// Reads everything and reports what is damaged.
    Check {
        /// Mends what can be mended.
        repair: bool,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Response {
    /// The invitation, in Base32.
    Invited {
        /// The secret.
        token: String,
    },
    /// All accounts.
    Accounts {
        /// One each.
        accounts: Vec<AccountLine>,
    },
    /// How far a check is. More follows.
    Progress {
        /// How far.
        step: Step,
    },
    /// What a check found.
    Checked {
        /// The report.
        report: CheckLine,
    },
    /// It was not done.
    Failed {
        /// Why.
        message: String,
    },
}

/// An account, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLine {
    /// Its name.
    pub name: String,
    /// Its id, once a device has enrolled.
    pub id: Option<String>,
    /// Enrolled devices.
    pub devices: Vec<String>,
    /// Invitations that can still be used.
    pub invitations: u64,
    /// Objects it has.
    pub objects: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Lineages it has.
    pub lineages: u64,
    /// Objects that are damaged or lost.
    pub damaged: u64,
}

/// A request or answer has at most so many bytes.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Requests that are worked on at once.
const REQUESTS_MAX: usize = 8;

/// Does what is asked; `progress` may break a check.
pub fn answer(
    vault: &Vault,
    machine: &dyn Machine,
    request: Request,
    progress: impl FnMut(Step) -> ControlFlow<()>,
) -> Response {
    let registry = Registry::new(vault);
    let done = match request {
        Request::Invite { name, valid_ms } => {
            invite(&registry, machine, &name, valid_ms.unwrap_or(INVITATION_MS))
        }
        Request::Accounts => accounts(vault, &registry, machine),
        Request::Check { repair } => checking::check(vault, machine.now_ms(), repair, progress)
            .map(|report| Response::Checked { report })
            .map_err(RegistryError::Vault),
    };
    done.unwrap_or_else(|error| {
        let hint = match &error {
            RegistryError::Vault(VaultError::Index { .. } | VaultError::Closed) => {
                "; a running server makes it anew by itself: try again in a while"
            }
            RegistryError::Vault(error) if error.recovery() == Recovery::Reopen => {
                "; restart the server, and it reads everything anew"
            }
            _ => "",
        };
        Response::Failed { message: format!("{error}{hint}") }
    })
}

fn invite(
    registry: &Registry,
    machine: &dyn Machine,
    name: &str,
    valid_ms: i64,
) -> Result<Response, RegistryError> {
    let now = machine.now_ms();
    registry.create_account(name, now)?;
    let mut token = [0; InviteToken::SIZE];
    machine.random(&mut token);
    registry.invite(name, InviteToken::from_bytes(token), now.saturating_add(valid_ms))?;
    Ok(Response::Invited { token: base32::encode(&token) })
}

fn accounts(vault: &Vault, registry: &Registry, machine: &dyn Machine) -> Result<Response, RegistryError> {
    let mut lines = Vec::new();
    for info in registry.accounts(machine.now_ms())? {
        let account = vault.account(info.number);
        let usage = account.usage()?;
        let state = registry.state(info.number)?;
        lines.push(AccountLine {
            name: info.name,
            id: info.account.map(|id| id.to_string()),
            devices: state.devices.into_iter().map(|device| device.name).collect(),
            invitations: info.invitations,
            objects: usage.objects,
            bytes: usage.bytes,
            lineages: account.lineages()?.len() as u64,
            damaged: account.damaged()?.len() as u64,
        });
    }
    Ok(Response::Accounts { accounts: lines })
}

/// Answers requests at `path` on a thread of its own. Where that cannot be, commands have to wait until the server is stopped.
pub fn listen(service: &Arc<Service>, path: &Path) -> io::Result<()> {
    let listener = Listener::bind(path).inspect_err(|error| {
        tracing::warn!(%error, socket = %path.display(), "commands cannot reach this server while it runs");
    })?;
    let service = Arc::downgrade(service);
    let running = Arc::new(());
    std::thread::Builder::new().name("local".into()).spawn(move || {
        while let Ok(stream) = listener.accept() {
            let Some(service) = service.upgrade() else { return };
            let one = Arc::clone(&running);
            // A check takes long; other requests do not wait for it.
            if Arc::strong_count(&running) <= REQUESTS_MAX + 1 {
                let started = std::thread::Builder::new().name("local request".into()).spawn(move || {
                    answer_logged(&service, stream);
                    drop(one);
                });
                if let Err(error) = started {
                    tracing::warn!(%error, "no thread for a local request");
                }
            } else {
                answer_logged(&service, stream);
            }
        }
    })?;
    Ok(())
}

fn answer_logged(service: &Service, mut stream: Stream) {
    if let Err(error) = answer_one(service, &mut stream) {
        tracing::warn!(%error, "a local request failed");
    }
}

fn answer_one(service: &Service, stream: &mut Stream) -> io::Result<()> {
    let request: Request = receive(&mut BufReader::new(&mut *stream))?;
    tracing::info!(?request, "local request");
    let response = answer(&service.vault(), &*service.machine, request, |step| {
        // Nobody reads on for a command that is gone.
        match send(stream, &Response::Progress { step }) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    send(stream, &response)
}

/// Asks a running server, and hands over how far it is; nothing if none listens at `path`.
pub fn ask(path: &Path, request: &Request, mut progress: impl FnMut(Step)) -> io::Result<Option<Response>> {
    let Ok(mut stream) = Stream::connect(path) else { return Ok(None) };
    send(&mut stream, request)?;
    let mut answers = BufReader::new(stream);
    loop {
        match receive(&mut answers)? {
            Response::Progress { step } => progress(step),
            response @ (Response::Invited { .. }
            | Response::Accounts { .. }
            | Response::Checked { .. }
            | Response::Failed { .. }) => return Ok(Some(response)),
        }
    }
}

fn send<T: Serialize>(stream: &mut Stream, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    stream.flush()
}

fn receive<T: serde::de::DeserializeOwned>(stream: &mut impl BufRead) -> io::Result<T> {
    let mut line = Vec::new();
    stream.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    serde_json::from_slice(&line).map_err(io::Error::other)
}
