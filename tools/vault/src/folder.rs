//! A vault in a folder as a destination: the same to an agent as a server.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backstore_protocol::ids::{DeviceId, LineageId, ObjectId, SnapshotId};
use backstore_protocol::limits::{BATCH_BYTES_MAX, IDS_MAX};
use backstore_protocol::object::SealedObject;
use backstore_protocol::snapshot::Header;
use backstore_protocol::store::{
    Committed, Destination, LineageInfo, Opened, ReadFailure, Refusal, Session, SessionRequest, Source,
    StoreError, StoredSnapshot,
};
use bytes::Bytes;

use crate::account::{Account, Commit};
use crate::error::VaultError;
use crate::pack::snapshot::SnapshotHead;
use crate::receipt::Receipt;
use crate::vault::Vault;

/// An account of a vault in a folder, used by one device.
#[derive(Clone)]
pub struct FolderDestination {
    pub(crate) vault: Arc<Vault>,
    account: Account,
    device: DeviceId,
}

impl FolderDestination {
    /// The destination that `account` of `vault` is. What `device` puts carries its id.
    pub fn new(vault: Arc<Vault>, account: crate::AccountNumber, device: DeviceId) -> Self {
        Self { account: vault.account(account), vault, device }
    }

    /// The account it stands for.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl Source for FolderDestination {
    fn lineages(&self) -> Result<Vec<LineageInfo>, StoreError> {
        Ok(self.account.lineages()?)
    }

    fn snapshots(
        &self,
        lineage: LineageId,
        before: u64,
        count: usize,
    ) -> Result<Vec<StoredSnapshot>, StoreError> {
        Ok(self.account.snapshots(lineage, before, count)?)
    }

    fn read(
        &self,
        ids: &[ObjectId],
        each: &mut dyn FnMut(usize, Result<SealedObject, ReadFailure>),
    ) -> Result<(), StoreError> {
        Ok(self.account.read(ids, each)?)
    }

    fn account_log(&self, from: u64) -> Result<Vec<Bytes>, StoreError> {
        Ok(self.account.log(from)?)
    }

    fn watch(&self, seen: u64, patience: Duration) -> Result<u64, StoreError> {
        Ok(self.vault.watch(seen, patience)?)
    }
}

impl Destination for FolderDestination {
    fn open_session(&self, request: &SessionRequest) -> Result<Box<dyn Session>, StoreError> {
        let opened = Opened {
            head: self.account.lineage(request.lineage)?.map(|info| info.head),
            fencing: self.account.fencing(request.lineage)?,
            damaged: self.account.damaged()?,
            objects: self.account.usage()?.objects,
        };
        if opened.fencing > request.fencing {
            return Err(StoreError::Fenced);
        }
        Ok(Box::new(FolderSession {
            account: self.account.clone(),
            device: self.device,
            lineage: request.lineage,
            opened,
            uploads: Mutex::default(),
        }))
    }
}

/// Writes to one lineage of a vault in a folder.
struct FolderSession {
    account: Account,
    device: DeviceId,
    lineage: LineageId,
    opened: Opened,
    uploads: Mutex<Uploads>,
}

/// Batches that are not known to be durable.
#[derive(Default)]
struct Uploads {
    batches: VecDeque<(usize, Receipt)>,
    bytes: usize,
    /// Why an earlier batch never will be. Later ones may need it, so nothing more is taken.
    failure: Option<VaultError>,
}

impl FolderSession {
    fn uploads(&self) -> std::sync::MutexGuard<'_, Uploads> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), VaultError> {
        self.uploads().failure.clone().map_or(Ok(()), Err)
    }

    /// Waits for the oldest batches until at most `bytes_max` are on their way.
    fn wait_below(&self, bytes_max: usize) -> Result<(), VaultError> {
        loop {
            let receipt = {
                let mut uploads = self.uploads();
                if let Some(failure) = &uploads.failure {
                    return Err(failure.clone());
                }
                if uploads.bytes <= bytes_max && bytes_max > 0 {
                    return Ok(());
                }
                let Some((bytes, receipt)) = uploads.batches.pop_front() else { return Ok(()) };
                uploads.bytes -= bytes;
                receipt
            };
            if let Err(error) = receipt.wait() {
                self.uploads().failure = Some(error);
            }
        }
    }
}

impl Session for FolderSession {
    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn have(&self, ids: &[ObjectId]) -> Result<Vec<bool>, StoreError> {
        self.check()?;
        if ids.len() > IDS_MAX {
            let detail = format!("{} ids in one request, at most {IDS_MAX} are allowed", ids.len());
            return Err(StoreError::Refused { reason: Refusal::TooLarge, detail });
        }
        Ok(self.account.have(ids)?)
    }

    fn put(&self, batch: Vec<SealedObject>) -> Result<(), StoreError> {
        let bytes: usize = batch.iter().map(SealedObject::size).sum();
        self.wait_below(IN_FLIGHT_BYTES_MAX.saturating_sub(bytes).max(1))?;
        let receipt = self.account.put(self.device, batch)?;
        let mut uploads = self.uploads();
        uploads.bytes += bytes;
        uploads.batches.push_back((bytes, receipt));
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(self.wait_below(0)?)
    }

    fn commit(&self, header: &[u8]) -> Result<Committed, StoreError> {
        let malformed = |detail: String| StoreError::Refused { reason: Refusal::BadObject, detail };
        let parsed = Header::decode(header).map_err(|error| malformed(error.to_string()))?;
        if parsed.lineage != self.lineage || parsed.device != self.device {
            return Err(malformed("the snapshot is of another lineage or device than the session".into()));
        }
        self.sync()?;
        let head = snapshot_head(&parsed, header);
        Ok(self.account.commit(&Commit { device: self.device, head, header })?)
    }

    fn touch(&self, head: SnapshotId) -> Result<Committed, StoreError> {
        self.check()?;
        Ok(self.account.confirm(self.lineage, head)?)
    }
}

/// What a vault has to know of a stored header.
pub fn snapshot_head(header: &Header, stored: &[u8]) -> SnapshotHead {
    SnapshotHead {
        id: Header::id(stored),
        lineage: header.lineage,
        sequence: header.sequence,
        fencing: header.fencing,
        previous: Some(header.previous).filter(|id| *id != SnapshotId::ZERO),
        root: header.root.node,
        body: header.body,
    }
}

/// What may be received and not yet durable.
const IN_FLIGHT_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;
