//! One client, from hello until its connection ends.
//!
//! Generic over streams, so that tests run it over pipes in memory.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use backstore_protocol::ids::{InviteToken, LineageId, SigningPublicKey};
use backstore_protocol::wire::{
    Account as WireAccount, Commit as CommitMessage, Damaged, Enrol, ErrorCode, ErrorMessage, FEATURES,
    Frame, FrameError, Frames, Get, Have, Hello, Invite, Lineages, LinkError, Log, MINOR, Message,
    OpenSession, Prove, Put, Register, Snapshots, Stream, Touch, Watch, Welcome, WireLimits,
};
use backstore_vault::registry::DeviceInfo;
use backstore_vault::{Account, AccountNumber};
use bytes::Bytes;

use crate::operations::{control, enrolment, transfer};
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

/// Serves one stream of a client; the first is control.
pub async fn serve_stream<S: Stream>(service: Arc<Service>, client: Arc<Client>, stream: S) {
    let mut frames = Frames::new(stream);
    let served = match frames.receive().await {
        Ok(Some(first)) => serve_frames(&service, &client, &mut frames, first).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    match served {
        Ok(()) => {
            let _ = frames.finish();
        }
        Err(LinkError::Frame(error)) => {
            tracing::warn!(client = %client.address, %error, "a client broke the protocol");
            let code = match error {
                FrameError::TooLarge { .. } => ErrorCode::TooLarge,
                FrameError::Malformed { .. } | FrameError::Unexpected { .. } => ErrorCode::BadFrame,
            };
            let _ = refuse(&mut frames, &Refused::because(code, error.to_string())).await;
            let _ = frames.finish();
        }
        // The client has gone, or given this up.
        Err(LinkError::Lost(_) | LinkError::StreamEnded) => {}
    }
}

async fn serve_frames<S: Stream>(
    service: &Arc<Service>,
    client: &Arc<Client>,
    frames: &mut Frames<S>,
    first: Frame,
) -> Result<(), LinkError> {
    match first.kind {
        Hello::KIND => {
            greet(service, client, frames, &first).await?;
            while let Some(frame) = frames.receive().await? {
                serve_control(service, client, frames, &frame).await?;
            }
            Ok(())
        }
        Have::KIND => transfer::have(service, client, frames, &first).await,
        Put::KIND => transfer::put(service, client, frames, first).await,
        Get::KIND => transfer::get(service, client, frames, &first).await,
        Watch::KIND => transfer::watch(service, client, frames, &first).await,
        _ => refuse(frames, &Refused::new(ErrorCode::Unsupported)).await,
    }
}

async fn greet<S: Stream>(
    service: &Arc<Service>,
    client: &Arc<Client>,
    frames: &mut Frames<S>,
    frame: &Frame,
) -> Result<(), LinkError> {
    let hello: Hello = frame.message()?;
    let device = client.state().device;
    tracing::info!(client = %client.address, version = %hello.agent_version, device = ?device.map(|d| d.device), "hello");
    if device.is_some_and(|device| device.is_revoked) {
        return refuse(frames, &Refused::new(ErrorCode::Revoked)).await;
    }
    let objects = match client.account(service).map(|account| account.usage()) {
        Ok(Ok(usage)) => usage.objects,
        Ok(Err(_)) | Err(_) => 0,
    };
    let welcome = Welcome {
        minor: MINOR.min(hello.minor),
        features: FEATURES & hello.features,
        limits: WireLimits::default(),
        server_time: service.machine.now_ms(),
        vault: service.vault().id(),
        account: device.map(|device| WireAccount { account: device.account, device: device.device }),
        objects,
    };
    frames.send(&welcome, &[]).await
}

async fn serve_control<S: Stream>(
    service: &Arc<Service>,
    client: &Arc<Client>,
    frames: &mut Frames<S>,
    frame: &Frame,
) -> Result<(), LinkError> {
    macro_rules! answer {
        ($question:ty, $handler:path) => {{
            let question: $question = frame.message()?;
            let (service, client, tail) = (Arc::clone(service), Arc::clone(client), frame.tail.clone());
            match blocking(move || $handler(&service, &client, question, &tail)).await {
                Ok((message, tail)) => frames.send(&message, &[tail]).await,
                Err(refused) => refuse(frames, &refused).await,
            }
        }};
    }
    match frame.kind {
        Invite::KIND => answer!(Invite, enrolment::invite),
        Register::KIND => answer!(Register, enrolment::register),
        Prove::KIND => answer!(Prove, enrolment::prove),
        Enrol::KIND => answer!(Enrol, enrolment::enrol),
        OpenSession::KIND => answer!(OpenSession, control::open_session),
        Damaged::KIND => answer!(Damaged, control::damaged),
        CommitMessage::KIND => answer!(CommitMessage, control::commit),
        Touch::KIND => answer!(Touch, control::touch),
        Lineages::KIND => answer!(Lineages, control::lineages),
        Snapshots::KIND => answer!(Snapshots, control::snapshots),
        Log::KIND => answer!(Log, control::log),
        _ => refuse(frames, &Refused::new(ErrorCode::Unsupported)).await,
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
