//! A server as a [`Destination`]: blocking calls from any thread, one runtime thread that drives the connection.
//!
//! The connection is made when it is first needed and again when it was lost, with growing pauses, until the caller's patience
//! ends. Whatever was asked is idempotent and simply asked again. While a server is known to be down, calls fail soon: see `outage`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::connect::Connecting;
use super::link::{QuicLink, QuicStream};
use super::outage::{Advice, Outage};
use super::session::QuicSession;
use crate::ids::{LineageId, ObjectId, SnapshotId};
use crate::limits::{LOG_ENTRIES_MAX, SNAPSHOTS_PAGE_MAX};
use crate::object::SealedObject;
use crate::store::{
    Destination, LineageInfo, ReadFailure, Refusal, Session, SessionRequest, Source, StoreError,
    StoredSnapshot,
};
use crate::wire::{
    AskError, ClientLink, Control, FEATURES, Got, Hello, LineageList, Lineages, Log, LogEntries, MINOR,
    SnapshotList, Snapshots, Welcome,
};

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

/// A `backstored` server.
pub struct QuicDestination {
    pub(super) inner: Arc<Inner>,
    _runtime: Runtime,
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

pub(super) struct Inner {
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

const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// Ids of one request for objects: about 16 MiB of large chunks.
const GET_IDS: usize = 32;
/// Requests for objects on their way at once.
const GETS_MAX: usize = 6;

impl Inner {
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
                Err(error)
                    if error.recovery() == crate::store::Recovery::TryLater
                        && Instant::now() + delay < deadline =>
                {
                    tokio::time::sleep(delay).await;
                    delay = (2 * delay).min(RETRY_DELAY_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn connect(&self) -> Result<Live, StoreError> {
        let link = self.options.connecting.connect().await?;
        let (control, welcome) = hello(&link, &self.options.agent_version)
            .await
            .map_err(|error| error.into_store_error(&self.server()))?;
        if welcome.account.is_none() {
            return Err(StoreError::Refused { reason: Refusal::UnknownDevice, detail: String::new() });
        }
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Live { number, link: ClientLink(link), control: Mutex::new(control) })
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

/// Says hello on a new connection.
pub(super) async fn hello(
    link: &QuicLink,
    agent_version: &str,
) -> Result<(Control<QuicStream>, Welcome), AskError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let hello =
        Hello { minor: MINOR, features: FEATURES, agent_version: agent_version.to_owned(), client_time: now };
    Control::open(link, &hello).await
}

impl QuicDestination {
    /// A server that will be connected to when it is needed.
    pub fn new(options: ClientOptions) -> Result<Self, StoreError> {
        let runtime = Runtime::start()?;
        let inner = Inner {
            options,
            handle: runtime.handle.clone(),
            slot: Mutex::default(),
            connections: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner), _runtime: runtime })
    }

    /// Connects now, to know whether the server can be reached and lets this device in.
    pub fn connect(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.block(async move { inner.live().await.map(|_| ()) })
    }

    fn block<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        block_on(&self.inner.handle, future).unwrap_or_else(|| Err(runtime_gone(&self.inner.server())))
    }
}

pub(super) fn runtime_gone(server: &str) -> StoreError {
    StoreError::Unreachable { server: server.to_owned(), detail: "the network thread has ended".to_owned() }
}

impl Source for QuicDestination {
    fn lineages(&self) -> Result<Vec<LineageInfo>, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.block(async move {
            let list = inner
                .retry(async |live: Arc<Live>| {
                    let (list, _): (LineageList, _) =
                        live.control.lock().await.ask(&Lineages {}, &[]).await?;
                    Ok(list.lineages)
                })
                .await?;
            Ok(list
                .into_iter()
                .map(|item| LineageInfo {
                    lineage: item.lineage,
                    device: item.device,
                    head: item.head,
                    sequence: item.sequence,
                    received_at: item.received_at,
                    confirmed_at: item.confirmed_at,
                    snapshots: item.snapshots,
                })
                .collect())
        })
    }

    fn snapshots(
        &self,
        lineage: LineageId,
        before: u64,
        count: usize,
    ) -> Result<Vec<StoredSnapshot>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let question = Snapshots { lineage, before, count: count.min(SNAPSHOTS_PAGE_MAX) as u32 };
        self.block(async move {
            let (list, tail) = inner
                .retry(async |live: Arc<Live>| {
                    let answer: (SnapshotList, Bytes) = live.control.lock().await.ask(&question, &[]).await?;
                    Ok(answer)
                })
                .await?;
            let headers = split_list(tail);
            Ok(list
                .snapshots
                .iter()
                .zip(headers)
                .map(|(item, header)| StoredSnapshot {
                    id: SnapshotId::from_bytes(*blake3::hash(&header).as_bytes()),
                    header,
                    received_at: item.received_at,
                    is_damaged: item.is_damaged,
                })
                .collect())
        })
    }

    fn read(
        &self,
        ids: &[ObjectId],
        each: &mut dyn FnMut(usize, Result<SealedObject, ReadFailure>),
    ) -> Result<(), StoreError> {
        let (sender, mut receiver) = mpsc::channel(GETS_MAX);
        let groups: Vec<_> = ids.chunks(GET_IDS).map(<[_]>::to_vec).enumerate().collect();
        let inner = Arc::clone(&self.inner);
        self.inner.handle.spawn(async move {
            let allowed = Arc::new(tokio::sync::Semaphore::new(GETS_MAX));
            for (group, ids) in groups {
                let Ok(permit) = Arc::clone(&allowed).acquire_owned().await else { return };
                let (inner, sender) = (Arc::clone(&inner), sender.clone());
                tokio::spawn(async move {
                    if let Err(error) = get_group(&inner, group * GET_IDS, ids, &sender).await {
                        let _ = sender.send(Err(error)).await;
                    }
                    drop(permit);
                });
            }
        });
        let mut left = ids.len();
        while left > 0 {
            let got = receiver.blocking_recv().unwrap_or_else(|| Err(runtime_gone(&self.inner.server())))?;
            left -= got.len();
            for (index, read) in got {
                each(index, read);
            }
        }
        Ok(())
    }

    fn account_log(&self, from: u64) -> Result<Vec<Bytes>, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.block(async move {
            let mut entries = Vec::new();
            loop {
                let question = Log { from: from + entries.len() as u64 };
                let (page, tail) = inner
                    .retry(async |live: Arc<Live>| {
                        let answer: (LogEntries, Bytes) =
                            live.control.lock().await.ask(&question, &[]).await?;
                        Ok(answer)
                    })
                    .await?;
                entries.extend(split_list(tail));
                if !page.more || page.entries == 0 {
                    return Ok(entries);
                }
                if entries.len() > LOG_ENTRIES_MAX {
                    return Err(StoreError::Protocol { detail: "the account log does not end".to_owned() });
                }
            }
        })
    }

    fn watch(&self, seen: u64, patience: Duration) -> Result<u64, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.block(async move {
            let deadline = tokio::time::Instant::now() + patience;
            inner
                .retry(async |live: Arc<Live>| {
                    // A restarted server counts anew, so the connection's number is part of what is seen.
                    let epoch = live.number << 40;
                    let mut watch = live.link.watch().await?;
                    loop {
                        match tokio::time::timeout_at(deadline, watch.changed()).await {
                            Ok(count) => {
                                let now = epoch | count? & ((1 << 40) - 1);
                                if now != seen {
                                    return Ok(now);
                                }
                            }
                            Err(_) => return Ok(seen),
                        }
                    }
                })
                .await
        })
    }
}

impl Destination for QuicDestination {
    fn open_session(&self, request: &SessionRequest) -> Result<Box<dyn Session>, StoreError> {
        let (inner, request) = (Arc::clone(&self.inner), request.clone());
        let session = self.block(async move { QuicSession::open(inner, request).await })?;
        Ok(Box::new(session))
    }
}

/// Reads one group of objects, again from where it stopped if the connection is lost.
async fn get_group(
    inner: &Arc<Inner>,
    base: usize,
    ids: Vec<ObjectId>,
    sender: &mpsc::Sender<Result<Vec<Got>, StoreError>>,
) -> Result<(), StoreError> {
    let due: Vec<(usize, ObjectId)> = ids.into_iter().enumerate().map(|(at, id)| (base + at, id)).collect();
    let due = Arc::new(std::sync::Mutex::new(due));
    inner
        .retry(|live| {
            let (due, sender) = (Arc::clone(&due), sender.clone());
            async move {
                let asked = due.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
                let ids: Vec<_> = asked.iter().map(|(_, id)| *id).collect();
                let mut stream = live.link.get(&ids).await?;
                while let Some(got) = stream.next().await? {
                    let got: Vec<Got> = got.into_iter().map(|(at, read)| (asked[at].0, read)).collect();
                    due.lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .retain(|(place, _)| !got.iter().any(|(came, _)| came == place));
                    // Nobody waits any more: what is left need not come.
                    if sender.send(Ok(got)).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(())
            }
        })
        .await
}

/// Splits a tail of u32 lengths and bytes, whose form was checked with the message.
pub(super) fn split_list(mut tail: Bytes) -> Vec<Bytes> {
    let mut list = Vec::new();
    while tail.remaining() >= 4 {
        let length = tail.get_u32_le() as usize;
        list.push(tail.split_to(length.min(tail.len())));
    }
    list
}
