//! A client, and what every answer to it needs.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use backstore_protocol::ids::{InviteToken, LineageId, SigningPublicKey};
use backstore_protocol::wire::{ErrorCode, ErrorMessage, Frames, LinkError, Stream};
use backstore_vault::registry::DeviceInfo;
use backstore_vault::{Account, AccountNumber};
use bytes::Bytes;

use crate::service::{Refused, Service};

/// A client as far as the server knows it.
pub struct Client {
    /// The key it showed and holds.
    pub key: SigningPublicKey,
    /// Where it comes from.
    pub address: IpAddr,
    /// A secret of this connection alone.
    pub channel_binding: [u8; 32],
    /// What it may do.
    pub state: Mutex<ClientState>,
}

/// What a client may do.
#[derive(Debug, Clone, Default)]
pub struct ClientState {
    /// The device it is, once that is known.
    pub device: Option<DeviceInfo>,
    /// The invitation it showed.
    pub invitation: Option<(String, InviteToken, AccountNumber)>,
    /// The account whose password it proved.
    pub proven: Option<AccountNumber>,
    /// The lineage it writes to, and the fencing number it knows.
    pub session: Option<(LineageId, u64)>,
}

impl Client {
    /// A client whose handshake is complete; which device it is is looked up now.
    pub fn new(
        service: &Service,
        key: SigningPublicKey,
        address: IpAddr,
        channel_binding: [u8; 32],
    ) -> Result<Self, Refused> {
        let device = service.registry().device(&key)?;
        let state = ClientState { device, ..ClientState::default() };
        Ok(Self { key, address, channel_binding, state: Mutex::new(state) })
    }

    /// A copy of what it may do.
    pub fn state(&self) -> ClientState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what it may do.
    pub fn update(&self, change: impl FnOnce(&mut ClientState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The device, if it may work with its account.
    pub fn device(&self) -> Result<DeviceInfo, Refused> {
        match self.state().device {
            Some(device) if device.is_revoked => Err(Refused::new(ErrorCode::Revoked)),
            Some(device) => Ok(device),
            None => Err(Refused::new(ErrorCode::UnknownDevice)),
        }
    }

    /// Its account in the vault: the only objects it can reach.
    pub fn account(&self, service: &Service) -> Result<Account, Refused> {
        Ok(service.vault().account(self.device()?.number))
    }
}

/// Runs what blocks on a thread where it may.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a request failed inside the server");
            Err(Refused::new(ErrorCode::StorageFailed))
        }
    }
}

/// Tells a client why not.
pub async fn refuse<S: Stream>(frames: &mut Frames<S>, refused: &Refused) -> Result<(), LinkError> {
    let mut detail = refused.detail.clone();
    while detail.len() > 1024 {
        detail.pop();
    }
    let message = ErrorMessage { code: refused.code as u16, detail };
    let ids = refused.ids.iter().take(backstore_protocol::limits::IDS_MAX);
    let tail: Vec<u8> = ids.flat_map(|id| *id.as_bytes()).collect();
    frames.send(&message, &[tail.into()]).await
}

/// What a control message is answered with.
pub type Answer<M> = Result<(M, Bytes), Refused>;
