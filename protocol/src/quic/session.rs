//! Uploading: batches on their way, each on a stream of its own, until they are durable.
//!
//! A batch keeps its objects until the server calls it durable. If the connection is lost before that, it asks which of them are
//! there and sends the others again. A batch with nodes waits until everything before it was received *on the same connection*, since
//! what a lost server had received but not synced may be gone.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};

use super::keeper::{Keeper, Live, block_on, runtime_gone};
use crate::ids::{ObjectId, SnapshotId};
use crate::limits::IDS_MAX;
use crate::object::SealedObject;
use crate::store::{Committed, Opened, Session, SessionRequest, StoreError};
use crate::wire::{AskError, Commit, CommitDone, Damaged, Ids, OpenSession, SessionOpened, Touch};

/// Bytes sent but not durable, at most; one batch may be larger.
const UNACKNOWLEDGED_MAX: usize = 12 << 20;
/// Batches on their way at once.
const PUTS_MAX: usize = 8;
/// Damaged objects a session learns of; an archive with more needs repair first.
const DAMAGED_MAX: usize = 1 << 20;

/// A session with a server.
pub(super) struct QuicSession {
    keeper: Arc<Keeper>,
    request: SessionRequest,
    opened: Opened,
    upload: Arc<Upload>,
}

/// What all batches of a session share.
struct Upload {
    keeper: Arc<Keeper>,
    request: SessionRequest,
    /// Number of the connection the session was opened on last.
    opened_on: tokio::sync::Mutex<u64>,
    state: Mutex<State>,
    /// Signalled when bytes became durable or the upload failed.
    progress: Condvar,
    /// Signalled when a batch was received or a connection lost.
    received: Notify,
    puts: Semaphore,
}

#[derive(Default)]
struct State {
    next_sequence: u64,
    /// Batches that are not durable.
    batches: BTreeMap<u64, Batch>,
    bytes: usize,
    failed: Option<Arc<StoreError>>,
}

struct Batch {
    size: usize,
    /// The connection that received it, if one has.
    received_on: Option<u64>,
}

impl QuicSession {
    pub(super) async fn open(keeper: Arc<Keeper>, request: SessionRequest) -> Result<Self, StoreError> {
        let question = open_question(&request);
        let (opened, number) = keeper
            .retry(async |live: Arc<Live>| {
                let (opened, _): (SessionOpened, _) = live.control.lock().await.ask(&question, &[]).await?;
                Ok((opened, live.number))
            })
            .await?;
        let damaged = if opened.damaged == 0 { Vec::new() } else { list_damaged(&keeper).await? };
        let upload = Upload {
            keeper: Arc::clone(&keeper),
            request: request.clone(),
            opened_on: tokio::sync::Mutex::new(number),
            state: Mutex::default(),
            progress: Condvar::new(),
            received: Notify::new(),
            puts: Semaphore::new(PUTS_MAX),
        };
        let opened = Opened { head: opened.head, fencing: opened.fencing, damaged, objects: opened.objects };
        Ok(Self { keeper, request, opened, upload: Arc::new(upload) })
    }

    fn block<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        block_on(&self.keeper.handle, future).unwrap_or_else(|| Err(runtime_gone(&self.keeper.server())))
    }

    /// Asks something that needs the session to be open on the connection.
    fn ask_in_session<Q>(&self, question: Q, tail: Bytes) -> Result<Committed, StoreError>
    where
        Q: crate::wire::Message + Clone + Send + Sync + 'static,
    {
        let (keeper, upload) = (Arc::clone(&self.keeper), Arc::clone(&self.upload));
        self.block(async move {
            let done = keeper
                .retry(async |live: Arc<Live>| {
                    upload.open_on(&live).await?;
                    let (done, _): (CommitDone, _) =
                        live.control.lock().await.ask(&question, std::slice::from_ref(&tail)).await?;
                    Ok(done)
                })
                .await?;
            Ok(Committed { id: done.snapshot, received_at: done.received_at })
        })
    }
}

fn open_question(request: &SessionRequest) -> OpenSession {
    OpenSession { lineage: request.lineage, basis: request.basis, fencing: request.fencing }
}

async fn list_damaged(keeper: &Keeper) -> Result<Vec<ObjectId>, StoreError> {
    let mut damaged: Vec<ObjectId> = Vec::new();
    loop {
        let question = Damaged { after: damaged.last().copied() };
        let (page, tail) = keeper
            .retry(async |live: Arc<Live>| {
                let answer: (Ids, Bytes) = live.control.lock().await.ask(&question, &[]).await?;
                Ok(answer)
            })
            .await?;
        let before = damaged.len();
        damaged.extend(crate::object::reference_ids(&tail));
        if !damaged.is_sorted_by(|a, b| a < b) || damaged.len() > DAMAGED_MAX {
            return Err(StoreError::Protocol {
                detail: "the list of damaged objects is out of order or does not end".to_owned(),
            });
        }
        if !page.more || damaged.len() == before {
            return Ok(damaged);
        }
    }
}

impl Session for QuicSession {
    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn have(&self, ids: &[ObjectId]) -> Result<Vec<bool>, StoreError> {
        let mut held = Vec::with_capacity(ids.len());
        for page in ids.chunks(IDS_MAX) {
            let (keeper, page) = (Arc::clone(&self.keeper), Arc::<[ObjectId]>::from(page));
            held.extend(self.block(async move {
                keeper.retry(async |live: Arc<Live>| live.link.have(&page).await).await
            })?);
        }
        Ok(held)
    }

    fn put(&self, batch: Vec<SealedObject>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return self.upload.check();
        }
        let size = batch.iter().map(SealedObject::size).sum();
        let sequence = self.upload.enter(size)?;
        let upload = Arc::clone(&self.upload);
        self.keeper.handle.spawn(async move {
            if let Err(error) = upload.send(sequence, batch).await {
                upload.fail(error);
            }
        });
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.upload.wait_until(|state| state.batches.is_empty())
    }

    fn commit(&self, header: &[u8]) -> Result<Committed, StoreError> {
        self.sync()?;
        self.ask_in_session(Commit {}, Bytes::copy_from_slice(header))
    }

    fn touch(&self, head: SnapshotId) -> Result<Committed, StoreError> {
        debug_assert!(self.request.basis.is_none_or(|basis| basis == head), "only the head can be confirmed");
        self.ask_in_session(Touch { head }, Bytes::new())
    }
}

impl Upload {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.wait_until(|_| true)
    }

    /// Waits until `done` or the upload has failed.
    fn wait_until(&self, done: impl Fn(&State) -> bool) -> Result<(), StoreError> {
        let mut state = self.lock();
        loop {
            if let Some(failed) = &state.failed {
                return Err(again(failed));
            }
            if done(&state) {
                return Ok(());
            }
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for room, then takes a batch in and numbers it.
    fn enter(&self, size: usize) -> Result<u64, StoreError> {
        self.wait_until(|state| state.bytes == 0 || state.bytes + size <= UNACKNOWLEDGED_MAX)?;
        let mut state = self.lock();
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        state.bytes += size;
        state.batches.insert(sequence, Batch { size, received_on: None });
        Ok(sequence)
    }

    fn fail(&self, error: StoreError) {
        self.lock().failed.get_or_insert(Arc::new(error));
        self.progress.notify_all();
        self.received.notify_waiters();
    }

    fn set_received(&self, sequence: u64, on: Option<u64>) {
        if let Some(batch) = self.lock().batches.get_mut(&sequence) {
            batch.received_on = on;
        }
        self.received.notify_waiters();
    }

    fn set_durable(&self, sequence: u64) {
        let mut state = self.lock();
        if let Some(batch) = state.batches.remove(&sequence) {
            state.bytes -= batch.size;
        }
        drop(state);
        self.progress.notify_all();
        self.received.notify_waiters();
    }

    /// Opens the session on a connection where it is not open yet.
    async fn open_on(&self, live: &Live) -> Result<(), AskError> {
        let mut opened_on = self.opened_on.lock().await;
        if *opened_on != live.number {
            let _: (SessionOpened, _) =
                live.control.lock().await.ask(&open_question(&self.request), &[]).await?;
            *opened_on = live.number;
        }
        Ok(())
    }

    /// Brings a batch to the server until it is durable there.
    async fn send(&self, sequence: u64, batch: Vec<SealedObject>) -> Result<(), StoreError> {
        let first = std::sync::atomic::AtomicBool::new(true);
        self.keeper
            .retry(async |live: Arc<Live>| {
                let is_first = first.swap(false, std::sync::atomic::Ordering::Relaxed);
                let sent = self.send_on(&live, sequence, &batch, is_first).await;
                if sent.is_err() {
                    self.set_received(sequence, None);
                }
                sent
            })
            .await?;
        self.set_durable(sequence);
        Ok(())
    }

    async fn send_on(
        &self,
        live: &Arc<Live>,
        sequence: u64,
        batch: &[SealedObject],
        is_first: bool,
    ) -> Result<(), AskError> {
        self.open_on(live).await?;
        if batch.iter().any(|object| object.kind.is_node()) {
            self.wait_for_earlier(live, sequence).await?;
        }
        let absent: Vec<SealedObject>;
        let objects = if is_first {
            batch
        } else {
            let ids: Vec<_> = batch.iter().map(|object| object.id).collect();
            let held = live.link.have(&ids).await?;
            absent =
                batch.iter().zip(held).filter(|(_, held)| !held).map(|(object, _)| object.clone()).collect();
            &absent
        };
        // An empty batch still asks for the acknowledgement that what is held is durable.
        let permit = self.puts.acquire().await;
        let mut put = live.link.put(sequence, objects).await?;
        put.received().await?;
        drop(permit);
        self.set_received(sequence, Some(live.number));
        put.durable().await
    }

    /// Waits until every earlier batch was received on this connection or is durable.
    async fn wait_for_earlier(&self, live: &Live, sequence: u64) -> Result<(), AskError> {
        loop {
            let notified = self.received.notified();
            {
                let state = self.lock();
                let earlier =
                    state.batches.range(..sequence).all(|(_, batch)| batch.received_on == Some(live.number));
                if earlier || state.failed.is_some() {
                    return Ok(());
                }
            }
            // A connection that is lost without news of any batch wakes nobody: look again now and then.
            let _ = tokio::time::timeout(Duration::from_millis(500), notified).await;
            if let Some(reason) = live.link.0.0.close_reason() {
                return Err(crate::wire::LinkError::Lost(reason.to_string()).into());
            }
        }
    }
}

/// The same error for another caller: the first failure of an upload is reported by every later call.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Missing { ids } => StoreError::Missing { ids: ids.clone() },
        StoreError::Conflict { head } => StoreError::Conflict { head: *head },
        StoreError::Fenced => StoreError::Fenced,
        StoreError::NotFound { what } => StoreError::NotFound { what },
        StoreError::Damaged { id } => StoreError::Damaged { id: *id },
        StoreError::Full => StoreError::Full,
        StoreError::Quota => StoreError::Quota,
        StoreError::Locked { path } => StoreError::Locked { path: path.clone() },
        StoreError::Unreachable { server, detail } => {
            StoreError::Unreachable { server: server.clone(), detail: detail.clone() }
        }
        StoreError::WrongFingerprint { server, expected, found } => StoreError::WrongFingerprint {
            server: server.clone(),
            expected: expected.clone(),
            found: found.clone(),
        },
        StoreError::Refused { reason, detail } => {
            StoreError::Refused { reason: *reason, detail: detail.clone() }
        }
        StoreError::Protocol { detail } => StoreError::Protocol { detail: detail.clone() },
        StoreError::Folder { path, problem } => {
            StoreError::Folder { path: path.clone(), problem: problem.clone() }
        }
        StoreError::Disk { action, path, source } => StoreError::Disk {
            action,
            path: path.clone(),
            source: std::io::Error::new(source.kind(), source.to_string()),
        },
    }
}
