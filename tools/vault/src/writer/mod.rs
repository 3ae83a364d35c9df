//! The way of a batch into packs: append, sync, hand over to the index. FORMAT.md section 8.
//!
//! [`Writer`] is the state machine and does no waiting; [`threads`] drives it with one thread that appends, one a lane that syncs and one
//! that writes the index. A test drives it step by step on one thread.

pub(crate) mod lane;
pub(crate) mod threads;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::VaultError;
use crate::ids::{PackClass, PackNumber, Sequence};
use crate::index::change::SnapshotPayload;
use crate::index::rows::{PackRow, PackState};
use crate::limits::PACK_RECORDS_MAX;
use crate::pack::control::ControlBatch;
use crate::pack::file::Packs;
use crate::pack::footer::Entry;
use crate::pack::record::{RecordHeader, RecordKind};
use crate::receipt::Ticket;
use crate::recover::seal::Unsealed;
use backstore_platform::machine::Machine;
use lane::{Lane, Placed, SyncJob};

/// When packs are full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackSizes {
    pub(crate) data: u64,
    pub(crate) meta: u64,
    pub(crate) records: usize,
}

impl Default for PackSizes {
    fn default() -> Self {
        Self { data: 256 << 20, meta: 64 << 20, records: PACK_RECORDS_MAX }
    }
}

impl PackSizes {
    pub(crate) fn bytes(&self, class: PackClass) -> u64 {
        match class {
            PackClass::Data => self.data,
            PackClass::Meta | PackClass::Copy => self.meta,
        }
    }
}

/// What the index needs of a record besides its entry.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// Nothing.
    Object,
    /// A snapshot.
    Snapshot(Arc<SnapshotPayload>),
    /// Changes of the control state.
    Control(Arc<ControlBatch>),
}

/// A record to be appended. Its header lacks only how far its pack is durable.
#[derive(Clone)]
pub(crate) struct NewRecord {
    pub(crate) header: RecordHeader,
    pub(crate) references: Bytes,
    pub(crate) content: Bytes,
    pub(crate) payload: Payload,
}

/// Records that are appended together or not at all, and who is told. Without records it waits for those before.
pub(crate) struct Batch {
    pub(crate) records: Vec<NewRecord>,
    /// The highest sequence given when it was received.
    pub(crate) last: Sequence,
    pub(crate) ticket: Arc<Ticket>,
}

impl Batch {
    pub(crate) fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.references.len() + record.content.len()).sum()
    }
}

/// A record that was appended.
#[derive(Debug, Clone)]
pub(crate) struct Appended {
    pub(crate) pack: PackNumber,
    pub(crate) entry: Entry,
    pub(crate) payload: Payload,
}

/// What is durable now and was not before.
pub(crate) struct Durable {
    /// In the order of sequences.
    pub(crate) records: Vec<Appended>,
    pub(crate) packs: Vec<PackRow>,
    pub(crate) tickets: Vec<Arc<Ticket>>,
    /// Everything up to here.
    pub(crate) last: Sequence,
}

/// Why nothing of some batches was appended.
pub(crate) struct Refused {
    pub(crate) batches: Vec<Batch>,
    pub(crate) error: VaultError,
}

/// The append side of an open vault.
pub(crate) struct Writer {
    packs: Arc<Packs>,
    machine: Arc<dyn Machine>,
    sizes: PackSizes,
    /// Data lanes, then meta, then copy.
    lanes: Vec<Lane>,
    next_pack: u32,
    /// Closed packs with room.
    closed: Vec<PackRow>,
    /// Packs that have to be ended first: what is written later says that all before is durable.
    unsealed: Vec<Unsealed>,
    /// All records up to here were appended or refused.
    appended: Sequence,
    durable: Sequence,
    /// As far as it was written down.
    marked: Sequence,
    /// Appended, not durable: in the order of sequences.
    waiting: VecDeque<Appended>,
    tickets: VecDeque<(Sequence, Arc<Ticket>)>,
    /// Packs whose rows in the index still change.
    rows: BTreeMap<PackNumber, PackRow>,
    /// Packs that were completed, with their sizes.
    complete: BTreeMap<PackNumber, (PackState, u64, Sequence)>,
}

/// What a writer starts from.
pub(crate) struct WriterStart {
    pub(crate) packs: Arc<Packs>,
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) sizes: PackSizes,
    pub(crate) data_lanes: usize,
    pub(crate) next_pack: u32,
    pub(crate) closed: Vec<PackRow>,
    /// Packs that a crash left, and for whose footers there was no space.
    pub(crate) unsealed: Vec<Unsealed>,
    /// The highest sequence there is.
    pub(crate) last: Sequence,
}

impl Writer {
    pub(crate) fn new(start: WriterStart) -> Self {
        let classes =
            std::iter::repeat_n(PackClass::Data, start.data_lanes).chain([PackClass::Meta, PackClass::Copy]);
        let lanes = classes.enumerate().map(|(number, class)| Lane::new(number, class)).collect();
        Self {
            packs: start.packs,
            machine: start.machine,
            sizes: start.sizes,
            lanes,
            next_pack: start.next_pack,
            closed: start.closed,
            unsealed: start.unsealed,
            appended: start.last,
            durable: start.last,
            marked: start.last,
            waiting: VecDeque::new(),
            tickets: VecDeque::new(),
            rows: BTreeMap::new(),
            complete: BTreeMap::new(),
        }
    }

    pub(crate) fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    fn lane_of(&self, header: &RecordHeader) -> usize {
        let data_lanes = self.lanes.len() - 2;
        match header.kind {
            _ if header.flags.second_copy => data_lanes + 1,
            RecordKind::Object(backstore_protocol::object::ObjectKind::Data) => {
                (header.account.get() % data_lanes as u64) as usize
            }
            RecordKind::Object(_)
            | RecordKind::Snapshot
            | RecordKind::Control
            | RecordKind::Footer
            | RecordKind::Mark => data_lanes,
        }
    }

    /// Appends batches, all or none of them, and returns where their records are now.
    ///
    /// # Errors
    ///
    /// [`VaultError::Full`] refuses them and nothing else has happened. With any other error the writer must not be used again.
    pub(crate) fn append(&mut self, batches: Vec<Batch>) -> Result<Vec<Appended>, Refused> {
        if let Err(error) = self.seal_left() {
            return Err(Refused { batches, error });
        }
        let mut by_lane: Vec<Vec<&NewRecord>> = vec![Vec::new(); self.lanes.len()];
        for record in batches.iter().flat_map(|batch| &batch.records) {
            by_lane[self.lane_of(&record.header)].push(record);
        }
        let mut placed = Vec::new();
        for (number, records) in by_lane.iter().enumerate().filter(|(_, records)| !records.is_empty()) {
            match self.append_to_lane(number, records) {
                Ok(lane_placed) => placed.push((number, lane_placed)),
                Err(error) => {
                    let undone =
                        placed.iter().try_for_each(|(number, placed)| self.lanes[*number].undo(placed));
                    let error = undone.err().map_or(error, |undo_error| undo_error);
                    drop(by_lane);
                    return Err(Refused { batches, error });
                }
            }
        }
        drop(by_lane);
        let mut records: Vec<Appended> = Vec::new();
        for (number, lane_placed) in placed {
            records.extend(self.lanes[number].keep(lane_placed));
        }
        records.sort_unstable_by_key(|record| record.entry.sequence);
        self.accept(batches, &records);
        Ok(records)
    }

    /// Notes what was appended. Payloads follow their records.
    fn accept(&mut self, batches: Vec<Batch>, records: &[Appended]) {
        self.waiting.extend(records.iter().cloned());
        // Sequences of refused batches count as passed: nobody waits for them.
        self.appended = batches.last().map_or(self.appended, |batch| batch.last);
        self.tickets.extend(batches.into_iter().map(|batch| (batch.last, batch.ticket)));
    }

    /// Ends the packs that opening could not.
    fn seal_left(&mut self) -> Result<(), VaultError> {
        while let Some(left) = self.unsealed.last() {
            // The copies in quarantine are all that says so: opening has reported by now.
            let row = left.seal(&self.packs, &mut Vec::new())?;
            self.unsealed.pop();
            self.rows.insert(row.id.number, row);
            self.complete.insert(row.id.number, (row.state, row.size, Sequence::default()));
        }
        Ok(())
    }

    fn append_to_lane(&mut self, number: usize, records: &[&NewRecord]) -> Result<Placed, VaultError> {
        let bytes: u64 = records.iter().map(|record| record.header.size()).sum();
        let class = self.lanes[number].class;
        let limit = self.sizes.bytes(class);
        if self.lanes[number].is_full(bytes, records.len(), limit, self.sizes.records) {
            self.lanes[number].seal();
        }
        if !self.lanes[number].has_pack() {
            let row = self.open_pack(number, class)?;
            self.rows.insert(row.id.number, row);
        }
        self.lanes[number].write(&self.packs, records, self.durable, limit)
    }

    /// Gives a lane a closed pack with room, or a new one.
    fn open_pack(&mut self, number: usize, class: PackClass) -> Result<PackRow, VaultError> {
        while let Some(at) = self.closed.iter().position(|row| row.id.class == class) {
            let row = self.closed.swap_remove(at);
            if self.packs.claim(row.id.number) && self.lanes[number].continue_pack(&self.packs, &row)? {
                return Ok(PackRow { state: PackState::Open, ..row });
            }
        }
        let mut tag = [0; 8];
        self.machine.random(&mut tag);
        let id = crate::ids::PackId {
            number: PackNumber(self.next_pack),
            tag: crate::ids::PackTag(u64::from_le_bytes(tag)),
            class,
        };
        self.lanes[number].create_pack(&self.packs, id)?;
        self.next_pack += 1;
        self.packs.add(id);
        Ok(PackRow::new(id))
    }

    /// What has to be synced now, because somebody waits for `wanted` or a lane has much that is not.
    pub(crate) fn next_jobs(&mut self, wanted: Sequence) -> Vec<SyncJob> {
        self.lanes.iter_mut().filter_map(|lane| lane.next_job(wanted)).collect()
    }

    /// Takes the result of a sync.
    ///
    /// # Errors
    ///
    /// The sync's failure, which ends writing for good, as does one of the mark behind it.
    pub(crate) fn synced(&mut self, job: &SyncJob, result: io::Result<()>) -> Result<(), VaultError> {
        result.map_err(|error| sync_failure(&self.packs, job, error))?;
        if let Some(state) = job.completes {
            self.complete.insert(job.pack.id.number, (state, job.end, job.last));
        }
        self.lanes[job.lane].synced();
        Ok(())
    }

    /// What has become durable since this was asked last.
    pub(crate) fn take_durable(&mut self) -> Option<Durable> {
        let unsynced = self.lanes.iter().filter_map(Lane::first_unsynced).min();
        let durable = unsynced.map_or(self.appended, |first| Sequence(first.0 - 1));
        let tickets_count = self.tickets.iter().take_while(|(last, _)| *last <= durable).count();
        let indexed = if cfg!(bug_index_before_data) { self.appended } else { durable };
        let count = self.waiting.partition_point(|record| record.entry.sequence <= indexed);
        if tickets_count == 0 && count == 0 {
            return None;
        }
        self.durable = self.durable.max(durable);
        let records: Vec<_> = self.waiting.drain(..count).collect();
        let tickets = self.tickets.drain(..tickets_count).map(|(_, ticket)| ticket).collect();
        let packs = self.indexed_rows(&records);
        Some(Durable { records, packs, tickets, last: self.durable })
    }

    /// The rows of packs after these records, all that are durable, are in the index.
    fn indexed_rows(&mut self, records: &[Appended]) -> Vec<PackRow> {
        let mut changed = BTreeMap::new();
        for record in records {
            if let Some(row) = self.rows.get_mut(&record.pack) {
                row.indexed = row.indexed.max(record.entry.end());
                row.records += 1;
                changed.insert(record.pack, *row);
            }
        }
        let durable = self.durable;
        let complete: Vec<_> = self.complete.extract_if(.., |_, (_, _, last)| *last <= durable).collect();
        for (number, (state, size, _)) in complete {
            if let Some(row) = self.rows.remove(&number) {
                changed.insert(number, PackRow { state, size, indexed: size, ..row });
            }
        }
        changed.into_values().collect()
    }

    /// Writes down how far the vault is durable, for those who read and for whoever opens it after a crash, and ends packs that are full.
    ///
    /// # Errors
    ///
    /// A failed write, which ends writing for good.
    pub(crate) fn note_durable(&mut self) -> Result<(), VaultError> {
        for lane in &mut self.lanes {
            lane.write_footers(&self.packs, self.durable)?;
        }
        if self.marked < self.durable {
            let count = self.lanes.len();
            // One mark is enough; that of the lane of nodes and snapshots is read first.
            for number in (0..count).map(|n| (n + count - 2) % count) {
                if self.lanes[number].mark(self.durable)? {
                    break;
                }
            }
            self.marked = self.durable;
        }
        Ok(())
    }

    /// No more records come: all packs end when their records are durable.
    pub(crate) fn end_packs(&mut self) {
        self.lanes.iter_mut().for_each(Lane::close);
    }

    /// Packs that were completed while no record waited; `None` if nothing could be written because others were never ended.
    pub(crate) fn take_completed(&mut self) -> Option<Durable> {
        if !self.unsealed.is_empty() {
            return None;
        }
        let packs = self.indexed_rows(&[]);
        Some(Durable { records: Vec::new(), packs, tickets: Vec::new(), last: self.durable })
    }

    /// Gives up all who wait.
    pub(crate) fn take_tickets(&mut self) -> Vec<Arc<Ticket>> {
        self.waiting.clear();
        self.tickets.drain(..).map(|(_, ticket)| ticket).collect()
    }
}

fn sync_failure(packs: &Packs, job: &SyncJob, error: io::Error) -> VaultError {
    // Not `VaultError::disk`: after a failed sync even a full disk is no reason to go on.
    VaultError::Disk { action: "sync", path: packs.path(job.pack.id), source: Arc::new(error) }
}
