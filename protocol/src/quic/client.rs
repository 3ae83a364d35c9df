//! A server as a [`Destination`]: blocking calls from any thread.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::keeper::{ClientOptions, Keeper, Live, Runtime, block_on, runtime_gone};
use super::lists::{lineage_infos, overview, snapshots_question, split_list, stored_snapshots};
use super::session::QuicSession;
use crate::ids::{LineageId, ObjectId};
use crate::limits::LOG_ENTRIES_MAX;
use crate::object::SealedObject;
use crate::store::{
    Destination, LineageInfo, Overview, ReadFailure, Session, SessionRequest, Source, StoreError,
    StoredSnapshot,
};
use crate::wire::{Got, LineageList, Lineages, Log, LogEntries, SnapshotList};

/// A `backstored` server.
pub struct QuicDestination {
    pub(super) keeper: Arc<Keeper>,
    _runtime: Runtime,
}

/// Ids of one request for objects: about 16 MiB of large chunks.
const GET_IDS: usize = 32;
/// Requests for objects on their way at once.
const GETS_MAX: usize = 6;

impl QuicDestination {
    /// A server that will be connected to when it is needed.
    pub fn new(options: ClientOptions) -> Result<Self, StoreError> {
        let runtime = Runtime::start()?;
        let keeper = Keeper::new(options, runtime.handle.clone());
        Ok(Self { keeper: Arc::new(keeper), _runtime: runtime })
    }

    /// Ends the connection, for whoever needs no more of it. Whatever is asked after that makes a new one.
    pub fn goodbye(&self) {
        let keeper = Arc::clone(&self.keeper);
        // Nothing if the thread has ended, and the connection with it.
        let _ = block_on(&self.keeper.handle, async move { keeper.goodbye().await });
    }

    fn block<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        block_on(&self.keeper.handle, future).unwrap_or_else(|| Err(runtime_gone(&self.keeper.server())))
    }
}

impl Source for QuicDestination {
    fn lineages(&self) -> Result<Vec<LineageInfo>, StoreError> {
        let keeper = Arc::clone(&self.keeper);
        self.block(async move {
            let list = keeper
                .retry(async |live: Arc<Live>| {
                    let (list, _): (LineageList, _) =
                        live.control.lock().await.ask(&Lineages {}, &[]).await?;
                    Ok(list)
                })
                .await?;
            Ok(lineage_infos(list))
        })
    }

    fn snapshots(
        &self,
        lineage: LineageId,
        before: u64,
        count: usize,
    ) -> Result<Vec<StoredSnapshot>, StoreError> {
        let keeper = Arc::clone(&self.keeper);
        let question = snapshots_question(lineage, before, count);
        self.block(async move {
            let (list, tail) = keeper
                .retry(async |live: Arc<Live>| {
                    let answer: (SnapshotList, Bytes) = live.control.lock().await.ask(&question, &[]).await?;
                    Ok(answer)
                })
                .await?;
            Ok(stored_snapshots(&list, tail))
        })
    }

    fn read(
        &self,
        ids: &[ObjectId],
        each: &mut dyn FnMut(usize, Result<SealedObject, ReadFailure>),
    ) -> Result<(), StoreError> {
        let (sender, mut receiver) = mpsc::channel(GETS_MAX);
        let groups: Vec<_> = ids.chunks(GET_IDS).map(<[_]>::to_vec).enumerate().collect();
        let keeper = Arc::clone(&self.keeper);
        self.keeper.handle.spawn(async move {
            let allowed = Arc::new(tokio::sync::Semaphore::new(GETS_MAX));
            for (group, ids) in groups {
                let Ok(permit) = Arc::clone(&allowed).acquire_owned().await else { return };
                let (keeper, sender) = (Arc::clone(&keeper), sender.clone());
                tokio::spawn(async move {
                    if let Err(error) = get_group(&keeper, group * GET_IDS, ids, &sender).await {
                        let _ = sender.send(Err(error)).await;
                    }
                    drop(permit);
                });
            }
        });
        let mut left = ids.len();
        while left > 0 {
            let got = receiver.blocking_recv().unwrap_or_else(|| Err(runtime_gone(&self.keeper.server())))?;
            left -= got.len();
            for (index, read) in got {
                each(index, read);
            }
        }
        Ok(())
    }

    fn account_log(&self, from: u64) -> Result<Vec<Bytes>, StoreError> {
        let keeper = Arc::clone(&self.keeper);
        self.block(async move {
            let mut entries = Vec::new();
            loop {
                let question = Log { from: from + entries.len() as u64 };
                let (page, tail) = keeper
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

    fn overview(&self, expected: &[LineageId], count: usize) -> Result<Overview, StoreError> {
        let keeper = Arc::clone(&self.keeper);
        let expected = expected.to_vec();
        let (mut overview, has_more) = self.block(async move {
            keeper.retry(async |live: Arc<Live>| overview(&live, &expected, count).await).await
        })?;
        if has_more {
            let rest = self.account_log(overview.log.len() as u64)?;
            overview.log.extend(rest);
        }
        Ok(overview)
    }

    fn watch(&self, seen: u64, patience: Duration) -> Result<u64, StoreError> {
        let keeper = Arc::clone(&self.keeper);
        self.block(async move {
            let deadline = tokio::time::Instant::now() + patience;
            keeper
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
        let (keeper, request) = (Arc::clone(&self.keeper), request.clone());
        let session = self.block(async move { QuicSession::open(keeper, request).await })?;
        Ok(Box::new(session))
    }
}

/// Reads one group of objects, again from where it stopped if the connection is lost.
async fn get_group(
    keeper: &Arc<Keeper>,
    base: usize,
    ids: Vec<ObjectId>,
    sender: &mpsc::Sender<Result<Vec<Got>, StoreError>>,
) -> Result<(), StoreError> {
    let due: Vec<(usize, ObjectId)> = ids.into_iter().enumerate().map(|(at, id)| (base + at, id)).collect();
    let due = Arc::new(std::sync::Mutex::new(due));
    keeper
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
