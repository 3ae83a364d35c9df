//! One client, from hello until its connection ends.
//!
//! Generic over streams, so that tests run it over pipes in memory.

use std::sync::Arc;

use backstore_protocol::wire::{
    Account as WireAccount, Commit as CommitMessage, Damaged, Enrol, ErrorCode, FEATURES, Frame, FrameError,
    Frames, Get, Have, Hello, Invite, Lineages, LinkError, Log, MINOR, Message, OpenSession, Prove, Put,
    Register, Snapshots, Stream, Touch, Watch, Welcome, WireLimits,
};

use crate::client::{Client, blocking, refuse};
use crate::operations::{control, enrolment, transfer};
use crate::service::{Refused, Service};

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
