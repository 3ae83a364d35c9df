//! Keeps a connection to a server, driven by one thread.
//!
//! The connection is made when it is first needed and again when it was lost, with growing pauses, until the caller's patience
//! ends. Whatever was asked is idempotent and simply asked again. While a server is known to be down, calls fail soon: see `outage`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Mutex, oneshot};

use super::connect::Connecting;
use super::link::{QuicLink, QuicStream};
use super::outage::{Advice, Outage};
use crate::store::{Recovery, StoreError};
use crate::wire::{AskError, ClientLink, Control, FEATURES, Hello, MINOR};

/// How a client behaves.
#[derive(Clone)]
pub struct ClientOptions {
    /// Who connects to whom.
    pub connecting: Connecting,
    /// Version of the agent, for the server's log.
    pub agent_version: String,
    /// How long to try when the server cannot be reached. Once that was in vain each call tries once, until there is a connection again.
    pub patience: Duration,
}

/// The thread that drives connections; ends with its owner.
pub(super) struct Runtime {
    pub(super) handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Runtime {
    pub(super) fn start() -> Result<Self, StoreError> {
        let failed = |source| StoreError::Disk {
            action: "start the network thread for",
            path: "backstore".into(),
            source,
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let drive = move || {
            // Ends when the sender is dropped; tasks that are left end with the runtime.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("quic".to_owned()).spawn(drive).map_err(failed)?;
        Ok(Self { handle, _stop: stop })
    }
}

/// Runs `future` on the runtime's thread and waits for it.
pub(super) fn block_on<T: Send + 'static>(
    handle: &Handle,
    future: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    handle.spawn(async move {
        let _ = answer.send(future.await);
    });
    answered.blocking_recv().ok()
}

/// The connection, for all that use it.
pub(super) struct Keeper {
    pub(super) options: ClientOptions,
    pub(super) handle: Handle,
    slot: Mutex<Slot>,
    connections: AtomicU64,
}

/// The connection or why there is none.
#[derive(Default)]
struct Slot {
    live: Option<Arc<Live>>,
    outage: Option<Outage>,
}

/// A connection in use.
pub(super) struct Live {
    /// Distinguishes it from those before.
    pub(super) number: u64,
    pub(super) link: ClientLink<QuicLink>,
    pub(super) control: Mutex<Control<QuicStream>>,
}

/// Turns of other tasks that sending a goodbye takes at most.
const GOODBYE_TURNS: usize = 8;
const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);

impl Keeper {
    pub(super) fn new(options: ClientOptions, handle: Handle) -> Self {
        Self { options, handle, slot: Mutex::default(), connections: AtomicU64::new(0) }
    }

    pub(super) fn server(&self) -> String {
        self.options.connecting.server.to_string()
    }

    /// The connection, made again if it was lost.
    pub(super) async fn live(&self) -> Result<Arc<Live>, StoreError> {
        let asked_at = Instant::now();
        let mut slot = self.slot.lock().await;
        if let Some(live) = slot.live.as_ref().filter(|live| live.link.0.0.close_reason().is_none()) {
            return Ok(Arc::clone(live));
        }
        let patience = match Outage::advice(slot.outage.as_ref(), asked_at, Instant::now()) {
            Advice::Try => self.options.patience,
            Advice::TryOnce => Duration::ZERO,
            Advice::Fail => {
                let detail = slot.outage.as_ref().map_or_else(String::new, |outage| outage.detail.clone());
                return Err(StoreError::Unreachable { server: self.server(), detail });
            }
        };
        let connected = self.connect_within(patience).await;
        match &connected {
            Ok(live) => *slot = Slot { live: Some(Arc::clone(live)), outage: None },
            Err(StoreError::Unreachable { detail, .. }) => {
                slot.outage = Some(Outage { since: Instant::now(), detail: detail.clone() });
            }
            // The server was reached: whatever it said it may say otherwise the next time.
            Err(_) => slot.outage = None,
        }
        connected
    }

    /// Tries until there is a connection or `patience` has ended; once at least.
    async fn connect_within(&self, patience: Duration) -> Result<Arc<Live>, StoreError> {
        let deadline = Instant::now() + patience;
        let mut delay = RETRY_DELAY_MIN;
        loop {
            match self.connect().await {
                Ok(live) => return Ok(Arc::new(live)),
                Err(error) if error.recovery() == Recovery::TryLater && Instant::now() + delay < deadline => {
                    tokio::time::sleep(delay).await;
                    delay = (2 * delay).min(RETRY_DELAY_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn connect(&self) -> Result<Live, StoreError> {
        let link = self.options.connecting.connect().await?;
        // Whether this device is let in is known with the first answer: everything is refused to one that is not.
        let control = Control::begin(&link, &hello(&self.options.agent_version)).await;
        let control = control.map_err(|error| error.into_store_error(&self.server()))?;
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Live { number, link: ClientLink(link), control: Mutex::new(control) })
    }

    /// Ends the connection, if there is one: a server that is not told keeps it until nothing has come for long, and counts it.
    pub(super) async fn goodbye(&self) {
        if let Some(live) = self.slot.lock().await.live.take() {
            goodbye(&live.link.0).await;
        }
    }

    /// Gives a connection up, so that the next caller makes a new one.
    pub(super) fn give_up(live: &Live) {
        live.link.0.close("given up");
    }

    /// Does `ask` on a connection, again on a new one if that was lost, for as long as patience lasts.
    pub(super) async fn retry<T, F>(&self, mut ask: impl FnMut(Arc<Live>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, AskError>>,
    {
        let mut deadline = None;
        let mut delay = RETRY_DELAY_MIN;
        loop {
            let live = self.live().await?;
            let asked_at = Instant::now();
            let error = match ask(Arc::clone(&live)).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if asked_at.elapsed() > self.options.patience {
                // It went well for long: this is a new misfortune, not more of the last.
                (deadline, delay) = (None, RETRY_DELAY_MIN);
            }
            let deadline = *deadline.get_or_insert(Instant::now() + self.options.patience);
            if !error.is_connection_lost() || Instant::now() + delay > deadline {
                return Err(error.into_store_error(&self.server()));
            }
            Self::give_up(&live);
            tokio::time::sleep(delay).await;
            delay = (2 * delay).min(RETRY_DELAY_MAX);
        }
    }
}

/// Ends a connection, so that the server hears of it even if this process ends now.
pub(super) async fn goodbye(link: &QuicLink) {
    link.close("goodbye");
    // What says so is sent by the connection's own task, on this thread.
    for _ in 0..GOODBYE_TURNS {
        tokio::task::yield_now().await;
    }
}

/// What a client says first on a new connection.
pub(super) fn hello(agent_version: &str) -> Hello {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    Hello { minor: MINOR, features: FEATURES, agent_version: agent_version.to_owned(), client_time: now }
}

pub(super) fn runtime_gone(server: &str) -> StoreError {
    StoreError::Unreachable { server: server.to_owned(), detail: "the network thread has ended".to_owned() }
}
