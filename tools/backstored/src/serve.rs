//! Listening until told to stop.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backstore_protocol::ids::SigningPublicKey;
use backstore_protocol::quic::{Incoming, Listener, ListenerOptions};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;

use crate::client::{Client, blocking};
use crate::connection::serve_stream;
use crate::healing::{self, GaveUp};
use crate::identity;
use crate::local;
use crate::service::Service;

/// How a server runs.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections of one device at once.
    pub device_connections_max: usize,
}

/// Streams of a client that is not enrolled which are served at once.
const STRANGER_STREAMS_MAX: usize = 1;
/// How long requests may go on once the server is to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// How serving ended.
#[derive(Debug)]
pub enum Ended {
    /// Somebody wanted it.
    Stopped,
    /// The server cannot go on.
    GaveUp(GaveUp),
}

/// Serves until SIGTERM or Ctrl-C. Prints `listening on ADDR` when it is ready.
///
/// # Errors
///
/// When the network, a thread or the terminal cannot be had.
pub fn serve(
    service: Arc<Service>,
    dir: &Path,
    key: &backstore_protocol::quic::Identity,
    options: &ServeOptions,
) -> io::Result<Ended> {
    // Packets are taken in and sealed on one thread; requests run on others, so that neither waits for the other.
    let runtime =
        Builder::new_multi_thread().worker_threads(2).max_blocking_threads(64).enable_all().build()?;
    let stopped = Arc::new(tokio::sync::Notify::new());
    let on_interrupt = Arc::clone(&stopped);
    let _interrupts = backstore_platform::process::Interrupts::watch(move |_| on_interrupt.notify_one())?;
    let gave_up = Arc::new(Mutex::new(None));
    let (reason, on_failure) = (Arc::clone(&gave_up), Arc::clone(&stopped));
    healing::start(&service, move |why| {
        *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        on_failure.notify_one();
    })?;
    runtime.block_on(async {
        let listener = Listener::bind(options.listen, key, ListenerOptions {
            connections_max: options.connections_max,
            ..ListenerOptions::default()
        })?;
        let _local = local::listen(&service, &identity::socket_path(dir));
        let mut out = io::stdout();
        writeln!(out, "listening on {}", listener.local_address()?)?;
        out.flush()?;
        tracing::info!(address = %listener.local_address()?, vault = %service.vault().id(), "listening");
        let devices = Arc::new(Devices::default());
        loop {
            tokio::select! {
                incoming = listener.accept() => match incoming {
                    Some(incoming) => {
                        let (service, devices, limit) = (Arc::clone(&service), Arc::clone(&devices), options.device_connections_max);
                        tokio::spawn(async move { connect(service, incoming, devices, limit).await });
                    }
                    None => break,
                },
                () = stopped.notified() => break,
            }
        }
        tracing::info!("stopping");
        listener.close().await;
        Ok::<(), io::Error>(())
    })?;
    runtime.shutdown_timeout(DRAIN);
    let gave_up = gave_up.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(gave_up.map_or(Ended::Stopped, Ended::GaveUp))
}

/// Connections by key.
#[derive(Default)]
struct Devices(Mutex<std::collections::HashMap<SigningPublicKey, usize>>);

impl Devices {
    fn lock(&self) -> MutexGuard<'_, std::collections::HashMap<SigningPublicKey, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, key: SigningPublicKey, limit: usize) -> Option<Connected> {
        let mut devices = self.lock();
        let count = devices.entry(key).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Connected { devices: Arc::clone(self), key })
    }
}

/// A connection that counts while it lasts.
struct Connected {
    devices: Arc<Devices>,
    key: SigningPublicKey,
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut devices = self.devices.lock();
        if let Some(count) = devices.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                devices.remove(&self.key);
            }
        }
    }
}

/// Serves one connection to its end.
async fn connect(service: Arc<Service>, incoming: Incoming, devices: Arc<Devices>, limit: usize) {
    let accepted = match incoming.handshake().await {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::debug!(%error, "handshake failed");
            return;
        }
    };
    let link = accepted.link;
    let Some(_connected) = devices.enter(accepted.client, limit) else {
        link.close("too many connections of this device");
        return;
    };
    let binding = link.channel_binding();
    let (shared, key, ip) = (Arc::clone(&service), accepted.client, accepted.address.ip());
    let client = blocking(move || Client::new(&shared, key, ip, binding)).await;
    let client = match client {
        Ok(client) => Arc::new(client),
        Err(_) => {
            link.close("the server's storage fails");
            return;
        }
    };
    // Whoever is not enrolled is served one stream after another, in their order: enough to log in, and little to hold. What
    // waits is not read.
    let strangers = Arc::new(Semaphore::new(STRANGER_STREAMS_MAX));
    while let Some(stream) = link.accept().await {
        let is_stranger = client.state().device.is_none();
        let turn = if is_stranger { Arc::clone(&strangers).acquire_owned().await.ok() } else { None };
        let (service, client) = (Arc::clone(&service), Arc::clone(&client));
        tokio::spawn(async move {
            serve_stream(service, client, stream).await;
            drop(turn);
        });
    }
    tracing::debug!(client = %accepted.address, "goodbye");
}
