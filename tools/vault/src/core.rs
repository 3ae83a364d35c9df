//! What all handles of an open vault share, and the rules of handing work from one thread to the next.
//!
//! [`State`] holds what was received and is not yet in the index. Its one lock orders everything: sequences are given, batches queued and
//! refused under it, so that a node whose references are pending is queued behind them or refused with them.

mod inline;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use backstore_protocol::ids::{LineageId, ObjectId};
use backstore_protocol::object::{ObjectKind, SealedObject};

use crate::error::VaultError;
use crate::ids::{AccountNumber, Place, Sequence};
use crate::index::Index;
use crate::index::change::{Change, SnapshotPayload};
use crate::index::rows::VaultRow;
use crate::limits::{GROUP_BYTES_MAX, PENDING_OBJECTS_MAX, QUEUE_BYTES_MAX};
use crate::options::Access;
use crate::pack::file::Packs;
use crate::pack::record::RecordKind;
use crate::receipt::{Receipt, Ticket};
use crate::watch::Watch;
use crate::writer::lane::SyncJob;
use crate::writer::{Appended, Batch, Durable, NewRecord, Payload, Refused, Writer};
use backstore_platform::machine::Machine;

/// An open vault.
pub(crate) struct Core {
    pub(crate) packs: Arc<Packs>,
    pub(crate) index: Index,
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) access: Access,
    /// Rows the index may keep in memory.
    pub(crate) memtable_bytes: usize,
    pub(crate) quotas: RwLock<HashMap<AccountNumber, u64>>,
    /// Accounts that may have damaged objects; all others have none.
    pub(crate) damaged: RwLock<HashSet<AccountNumber>>,
    pub(crate) watch: Watch,
    state: Mutex<State>,
    /// There is something for the writer.
    work: Condvar,
    /// There may be room for more.
    room: Condvar,
    failure: OnceLock<VaultError>,
    /// Snapshots are checked and queued one after the other.
    commits: Mutex<()>,
    /// Held by each check: one that repairs must have ended before the vault is opened again.
    pub(crate) checking: RwLock<()>,
    /// Drives the writer step by step on the calling thread, if no threads do.
    inline: Mutex<Option<Writer>>,
}

/// What was received and is not yet in the index.
#[derive(Default)]
pub(crate) struct State {
    objects: HashMap<(AccountNumber, ObjectId), PendingObject>,
    heads: HashMap<(AccountNumber, LineageId), (Sequence, Arc<SnapshotPayload>)>,
    bytes: HashMap<AccountNumber, u64>,
    last: Sequence,
    queue: VecDeque<Batch>,
    queued_bytes: usize,
    synced: VecDeque<(SyncJob, io::Result<()>)>,
    wanted: Sequence,
    /// How often batches were refused: what was pending before may be no more.
    refusals: u64,
    /// How many records of the control state were received.
    control_changes: u64,
    is_closing: bool,
}

/// An object that was received.
#[derive(Debug, Clone)]
pub(crate) struct PendingObject {
    sequence: Sequence,
    pub(crate) kind: ObjectKind,
    pub(crate) bytes: PendingBytes,
}

/// Where the bytes of a received object are.
#[derive(Debug, Clone)]
pub(crate) enum PendingBytes {
    /// In memory.
    Queued(SealedObject),
    /// In a pack.
    Written(Place),
}

impl State {
    pub(crate) fn object(&self, account: AccountNumber, id: &ObjectId) -> Option<&PendingObject> {
        self.objects.get(&(account, *id))
    }

    /// The newest snapshot of a lineage that is on its way.
    pub(crate) fn head(&self, account: AccountNumber, lineage: LineageId) -> Option<&Arc<SnapshotPayload>> {
        self.heads.get(&(account, lineage)).map(|(_, payload)| payload)
    }

    /// Bytes of an account that are on their way.
    pub(crate) fn bytes(&self, account: AccountNumber) -> u64 {
        self.bytes.get(&account).copied().unwrap_or_default()
    }

    /// A number that changes with every change of the control state.
    pub(crate) fn control_changes(&self) -> u64 {
        self.control_changes
    }

    /// A number that changes when something that was received is refused.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals
    }

    /// The last sequence that was given.
    pub(crate) fn last(&self) -> Sequence {
        self.last
    }

    fn add(&mut self, record: &NewRecord) {
        let header = &record.header;
        *self.bytes.entry(header.account).or_default() += header.size();
        match (&record.payload, header.kind) {
            (Payload::Object, RecordKind::Object(kind)) if !header.flags.second_copy => {
                let object = SealedObject {
                    id: header.id,
                    kind,
                    level: header.level,
                    references: record.references.clone(),
                    sealed: record.content.clone(),
                };
                let pending =
                    PendingObject { sequence: header.sequence, kind, bytes: PendingBytes::Queued(object) };
                self.objects.insert((header.account, header.id), pending);
            }
            (Payload::Snapshot(payload), _) if !header.flags.second_copy => {
                let key = (header.account, payload.head.lineage);
                self.heads.insert(key, (header.sequence, Arc::clone(payload)));
            }
            (Payload::Control(_), _) => self.control_changes += 1,
            (Payload::Object | Payload::Snapshot(_), _) => {}
        }
    }

    /// A record is in the index, or will never be.
    fn remove(
        &mut self,
        account: AccountNumber,
        id: &ObjectId,
        sequence: Sequence,
        size: u64,
        payload: &Payload,
    ) {
        if let Some(bytes) = self.bytes.get_mut(&account) {
            *bytes = bytes.saturating_sub(size);
        }
        if self.objects.get(&(account, *id)).is_some_and(|pending| pending.sequence == sequence) {
            self.objects.remove(&(account, *id));
        }
        if let Payload::Snapshot(payload) = payload {
            let key = (account, payload.head.lineage);
            if self.heads.get(&key).is_some_and(|(pending, _)| *pending == sequence) {
                self.heads.remove(&key);
            }
        }
    }

    fn remove_batch(&mut self, batch: &Batch) {
        for record in &batch.records {
            let header = &record.header;
            self.remove(header.account, &header.id, header.sequence, header.size(), &record.payload);
        }
    }

    fn place(&mut self, records: &[Appended]) {
        for record in records {
            let entry = &record.entry;
            let pending = self.objects.get_mut(&(entry.account, entry.id));
            if let Some(pending) = pending.filter(|pending| pending.sequence == entry.sequence) {
                pending.bytes = PendingBytes::Written(entry.place(record.pack));
            }
        }
    }

    fn is_full(&self) -> bool {
        self.queued_bytes > QUEUE_BYTES_MAX || self.objects.len() > PENDING_OBJECTS_MAX
    }
}

/// What a writer thread is to do next.
pub(crate) enum Work {
    /// Append these.
    Append(Vec<Batch>),
    /// Take these results.
    Synced(Vec<(SyncJob, io::Result<()>)>),
    /// Somebody waits for more than before.
    Sync,
    /// End: nothing is left to be done.
    Close,
    /// Writing has ended for good.
    Failed,
}

/// What a core is made of.
pub(crate) struct CoreParts {
    pub(crate) packs: Arc<Packs>,
    pub(crate) index: Index,
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) access: Access,
    pub(crate) memtable_bytes: usize,
    pub(crate) damaged: HashSet<AccountNumber>,
    /// The highest sequence there is.
    pub(crate) last: Sequence,
}

impl Core {
    pub(crate) fn new(parts: CoreParts) -> Self {
        Self {
            packs: parts.packs,
            index: parts.index,
            machine: parts.machine,
            access: parts.access,
            memtable_bytes: parts.memtable_bytes,
            quotas: RwLock::default(),
            damaged: RwLock::new(parts.damaged),
            watch: Watch::default(),
            state: Mutex::new(State { last: parts.last, ..State::default() }),
            work: Condvar::new(),
            room: Condvar::new(),
            failure: OnceLock::new(),
            commits: Mutex::new(()),
            checking: RwLock::new(()),
            inline: Mutex::new(None),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a snapshot is checked against its lineage and queued.
    pub(crate) fn lock_commits(&self) -> MutexGuard<'_, ()> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `Ok` if the vault can be written to.
    pub(crate) fn check_writable(&self) -> Result<(), VaultError> {
        if self.access == Access::Read {
            return Err(VaultError::ReadOnly);
        }
        if let Some(failure) = self.failure.get() {
            return Err(VaultError::Failed { source: Arc::new(failure.clone()) });
        }
        if self.state().is_closing { Err(VaultError::Closed) } else { Ok(()) }
    }

    /// Gives sequences and queues records for the writer, unless something was refused since `refusals` was read.
    pub(crate) fn enqueue(
        self: &Arc<Self>,
        records: Vec<NewRecord>,
        refusals: u64,
    ) -> Result<Option<Receipt>, VaultError> {
        self.enqueue_if(records, refusals, |_| true)
    }

    /// As [`Core::enqueue`], if `is_due` is still true.
    pub(crate) fn enqueue_if(
        self: &Arc<Self>,
        mut records: Vec<NewRecord>,
        refusals: u64,
        is_due: impl FnOnce(&State) -> bool,
    ) -> Result<Option<Receipt>, VaultError> {
        self.check_writable()?;
        let ticket = Arc::new(Ticket::default());
        let receipt = {
            let mut state = self.wait_for_room();
            if state.is_closing {
                return Err(VaultError::Closed);
            }
            // Asked under the lock: whoever sets it empties the queue afterwards.
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if state.refusals != refusals || !is_due(&state) {
                return Ok(None);
            }
            // Another thread may have put the same object meanwhile; it counts then.
            records.retain(|record| {
                let is_first = matches!(record.payload, Payload::Object) && !record.header.flags.second_copy;
                !is_first || !state.objects.contains_key(&(record.header.account, record.header.id))
            });
            for record in &mut records {
                state.last.0 += 1;
                record.header.sequence = state.last;
                state.add(record);
            }
            let batch = Batch { records, last: state.last(), ticket: Arc::clone(&ticket) };
            state.queued_bytes += batch.bytes();
            let last = batch.last;
            state.queue.push_back(batch);
            Receipt { core: Arc::clone(self), ticket, last }
        };
        self.work.notify_one();
        self.pump();
        Ok(Some(receipt))
    }

    fn wait_for_room(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while state.is_full() && self.failure.get().is_none() && !state.is_closing {
            state.wanted = state.last();
            self.work.notify_one();
            if self.is_inline() {
                drop(state);
                self.pump();
                state = self.state();
            } else {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state
    }

    /// Waits until everything received before is durable.
    pub(crate) fn sync(self: &Arc<Self>) -> Result<(), VaultError> {
        loop {
            let refusals = self.state().refusals();
            if let Some(receipt) = self.enqueue(Vec::new(), refusals)? {
                return receipt.wait();
            }
        }
    }

    /// Asks that everything up to `sequence` be made durable.
    pub(crate) fn want(&self, sequence: Sequence) {
        {
            let mut state = self.state();
            if state.wanted >= sequence {
                return;
            }
            state.wanted = sequence;
        }
        self.work.notify_one();
        self.pump();
    }

    pub(crate) fn wanted(&self) -> Sequence {
        self.state().wanted
    }

    /// Hands the result of a sync to the writer.
    pub(crate) fn report_synced(&self, job: SyncJob, result: io::Result<()>) {
        self.state().synced.push_back((job, result));
        self.work.notify_one();
    }

    /// Asks the writer to end.
    pub(crate) fn close(&self) {
        self.state().is_closing = true;
        self.work.notify_one();
        self.room.notify_all();
    }

    /// The writer's next work. Waits for some; `seen` is what it knows that somebody waits for.
    pub(crate) fn next_work(&self, seen: Sequence) -> Work {
        let mut state = self.state();
        loop {
            if let Some(work) = state.take_work(seen) {
                return work;
            }
            if self.has_failed() {
                return Work::Failed;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for results of syncs, and for nothing else.
    pub(crate) fn wait_synced(&self) -> Vec<(SyncJob, io::Result<()>)> {
        let mut state = self.state();
        while state.synced.is_empty() {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut state.synced).into()
    }

    /// Waits until the vault is closed.
    pub(crate) fn wait_closing(&self) {
        let mut state = self.state();
        while !state.is_closing {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Appends batches and lets all know where their objects are now, or that they were refused.
    pub(crate) fn append(&self, writer: &mut Writer, batches: Vec<Batch>) {
        if let Some(failure) = self.failure.get() {
            let failed = VaultError::Failed { source: Arc::new(failure.clone()) };
            batches.iter().for_each(|batch| batch.ticket.settle(Err(failed.clone())));
            return;
        }
        match writer.append(batches) {
            Ok(records) => self.state().place(&records),
            Err(refused) => self.refuse(refused),
        }
        self.room.notify_all();
    }

    /// Refuses batches and all behind them, which may depend on them.
    fn refuse(&self, refused: Refused) {
        if !matches!(refused.error, VaultError::Full) {
            let failed = VaultError::Failed { source: Arc::new(refused.error.clone()) };
            self.fail(refused.error);
            refused.batches.iter().for_each(|batch| batch.ticket.settle(Err(failed.clone())));
            return;
        }
        let mut batches = refused.batches;
        {
            let mut state = self.state();
            batches.extend(std::mem::take(&mut state.queue));
            state.queued_bytes = 0;
            state.refusals += 1;
            batches.iter().for_each(|batch| state.remove_batch(batch));
        }
        batches.iter().for_each(|batch| batch.ticket.settle(Err(VaultError::Full)));
    }

    /// Ends writing for good: nothing that is not durable ever will be. The writer tells those whose batches it has.
    pub(crate) fn fail(&self, error: VaultError) {
        let failure = self.failure.get_or_init(|| error).clone();
        let batches = {
            let mut state = self.state();
            state.refusals += 1;
            state.objects.clear();
            state.heads.clear();
            state.bytes.clear();
            state.queued_bytes = 0;
            std::mem::take(&mut state.queue)
        };
        let failed = VaultError::Failed { source: Arc::new(failure) };
        batches.iter().for_each(|batch| batch.ticket.settle(Err(failed.clone())));
        self.room.notify_all();
        self.work.notify_all();
    }

    /// Tells those whose batches a writer has, if writing has ended.
    pub(crate) fn give_up(&self, tickets: Vec<Arc<Ticket>>) {
        let Some(failure) = self.failure.get() else { return };
        let failed = VaultError::Failed { source: Arc::new(failure.clone()) };
        tickets.iter().for_each(|ticket| ticket.settle(Err(failed.clone())));
    }

    /// The failure that ended writing, if one did.
    pub(crate) fn failure(&self) -> Option<VaultError> {
        self.failure.get().map(|failure| VaultError::Failed { source: Arc::new(failure.clone()) })
    }

    /// An account has damaged objects from now on.
    pub(crate) fn note_damage(&self, account: AccountNumber) {
        self.damaged.write().unwrap_or_else(PoisonError::into_inner).insert(account);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Takes what is durable into the index, and tells who waits. Returns the error that ends writing.
    pub(crate) fn take_over(&self, durable: Durable) -> Result<(), VaultError> {
        let result = self.index_durable(&durable);
        {
            let mut state = self.state();
            for Appended { entry, payload, .. } in &durable.records {
                let size = entry.end() - u64::from(entry.offset);
                state.remove(entry.account, &entry.id, entry.sequence, size, payload);
            }
        }
        self.room.notify_all();
        let has_snapshot = durable.records.iter().any(|record| record.entry.kind == RecordKind::Snapshot);
        if has_snapshot && result.is_ok() {
            self.watch.changed();
        }
        durable.tickets.iter().for_each(|ticket| ticket.settle(result.clone()));
        result?;
        if self.index.unflushed_bytes() > self.memtable_bytes {
            // A full disk leaves the rows where they are; they count against the next batches until there is space.
            match self.index.flush() {
                Ok(()) | Err(VaultError::Full) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn index_durable(&self, durable: &Durable) -> Result<(), VaultError> {
        self.index.change(|change| {
            for Appended { pack, entry, payload } in &durable.records {
                match payload {
                    Payload::Object => {
                        if let Some(kind) = Change::object_kind(entry) {
                            change.add_object(*pack, entry, kind)?;
                        }
                    }
                    Payload::Snapshot(payload) => change.add_snapshot(entry.account, payload)?,
                    Payload::Control(batch) => change.add_control(entry.sequence, batch)?,
                }
            }
            durable.packs.iter().for_each(|row| change.put_pack(row));
            change.put_vault(&VaultRow {
                vault: self.packs.vault(),
                version: crate::index::rows::INDEX_VERSION,
                last: durable.last,
                durable: durable.last,
            });
            Ok(())
        })
    }
}

impl State {
    fn take_work(&mut self, seen: Sequence) -> Option<Work> {
        if !self.synced.is_empty() {
            return Some(Work::Synced(std::mem::take(&mut self.synced).into()));
        }
        if !self.queue.is_empty() {
            let mut batches = Vec::new();
            let mut bytes = 0;
            while let Some(batch) = self.queue.pop_front() {
                bytes += batch.bytes();
                batches.push(batch);
                if bytes >= GROUP_BYTES_MAX {
                    break;
                }
            }
            self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
            return Some(Work::Append(batches));
        }
        if self.wanted > seen {
            return Some(Work::Sync);
        }
        self.is_closing.then_some(Work::Close)
    }
}
