//! Reading everything again: is each record what it was, does the index say what the packs say, is everything there twice that should be?
//!
//! [`run`] finds and, if asked, repairs. What was repaired in packs is written behind what is there; nothing is changed in place but the
//! first block of a pack and the superblock, whose bytes are known. A healthy vault is not changed at all.

mod affected;
mod copies;
mod marks;
mod packs;
mod rows;

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use backstore_protocol::ids::{LineageId, ObjectId, SnapshotId};

use crate::core::Core;
use crate::disk::Folder;
use crate::error::VaultError;
use crate::ids::{AccountNumber, PackNumber, Place, Sequence};
use crate::index::rows::{ObjectRow, PackRow, PackState};
use crate::limits::FINDINGS_MAX;
use crate::recover::pack_rows;
use crate::recover::seal::Quarantined;
use crate::superblock;
use marks::{Marks, object_mark, place_mark};

pub(crate) use packs::CheckedPack;

/// What a check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Packs that were read.
    pub packs: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is not as it should be, at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// All findings.
    pub findings_count: u64,
    /// Objects of which no good record is left, until they are backed up again. Of more than 4 million (`CHECK_MARKS_MAX`) some may be counted
    /// twice, and some that are whole as well.
    pub damaged_objects: u64,
    /// Snapshots that need something that is damaged or lost, at most [`FINDINGS_MAX`]. If more than 4 million objects and nodes are concerned, all
    /// snapshots.
    pub affected: Vec<AffectedSnapshot>,
    /// All of them.
    pub affected_count: u64,
    /// Bytes that were copied to quarantine, at most [`FINDINGS_MAX`].
    pub quarantined: Vec<Quarantined>,
    /// Packs whose files are gone.
    pub lost_packs: Vec<PackNumber>,
}

impl CheckReport {
    /// Everything is as it should be.
    pub fn is_healthy(&self) -> bool {
        self.findings_count == 0
    }

    fn add(&mut self, finding: Finding) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// File name of the pack, if one is concerned.
    pub pack: Option<String>,
    /// Where in it.
    pub offset: Option<u64>,
    /// Whose.
    pub account: Option<AccountNumber>,
    /// Which object or snapshot.
    pub object: Option<ObjectId>,
    /// What is wrong.
    pub problem: Problem,
    /// It was repaired as far as that is possible here; what is damaged heals when it is backed up again.
    pub is_repaired: bool,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// A copy of the superblock.
    #[error("a copy of the superblock is damaged")]
    Superblock,
    /// A pack's file is not there.
    #[error("the pack is gone")]
    PackLost,
    /// The first block of a pack.
    #[error("the pack's header is damaged")]
    PackHeader,
    /// The table of a pack's records.
    #[error("the pack's footer is damaged")]
    Footer,
    /// A record is not what it was.
    #[error("the record is damaged")]
    Record,
    /// Bytes between records.
    #[error("there are bytes that are no record")]
    NoRecord,
    /// No good record is left of an object.
    #[error("the object is damaged or lost and was not backed up again yet")]
    Object,
    /// Of two copies one is left.
    #[error("only one of two copies is left")]
    Copy,
    /// The index does not have what a pack has.
    #[error("the index does not know the record")]
    RowMissing,
    /// The index has what no pack has.
    #[error("the index names a record that is not there")]
    RowWrong,
}

/// A snapshot that needs something that is damaged or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AffectedSnapshot {
    /// Whose.
    pub account: AccountNumber,
    /// In which lineage.
    pub lineage: LineageId,
    /// Its place there.
    pub sequence: u64,
    /// Its id.
    pub id: SnapshotId,
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckProgress {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes to be read in all.
    pub bytes_total: u64,
}

/// Told how far a check is; a break ends it with [`VaultError::Interrupted`].
pub(crate) type Progress<'a> = dyn FnMut(CheckProgress) -> ControlFlow<()> + 'a;

/// A check that is going on.
struct Check<'a> {
    core: &'a Arc<Core>,
    repair: bool,
    progress: &'a mut Progress<'a>,
    /// Bytes to be read, bytes of packs that were read, and of which was told last.
    bytes_total: u64,
    bytes_told: u64,
    report: CheckReport,
    /// The last record when the check began; what came since is checked next time.
    last: Sequence,
    /// Files among the packs.
    listed: HashSet<String>,
    /// Packs as the index knew them when the check began.
    rows: BTreeMap<PackNumber, PackRow>,
    checked: BTreeMap<PackNumber, CheckedPack>,
    /// Objects without a good record, and later nodes that need one of them.
    damaged: Marks,
    /// Where records are no more what they were. What is repaired does not depend on it: the index says what it knows.
    bad: Marks,
    copies: copies::Copies,
}

/// Checks a vault that is open; see [`crate::Vault::check`].
pub(crate) fn run<'a>(
    core: &'a Arc<Core>,
    progress: &'a mut Progress<'a>,
    repair: bool,
) -> Result<CheckReport, VaultError> {
    let _checking = core.checking.read().unwrap_or_else(PoisonError::into_inner);
    if repair {
        core.check_writable()?;
    }
    let mut check = Check::new(core, progress, repair);
    check.begin()?;
    check.superblock()?;
    check.packs()?;
    check.index_rows()?;
    check.copies()?;
    check.affected()?;
    if repair {
        core.sync()?;
        core.index.flush()?;
    }
    Ok(check.report)
}

/// Snapshots that need something that is known to be damaged; see [`crate::Vault::affected`].
pub(crate) fn affected(core: &Arc<Core>) -> Result<Vec<AffectedSnapshot>, VaultError> {
    let mut progress = |_| ControlFlow::Continue(());
    let mut check = Check::new(core, &mut progress, false);
    check.known_damage()?;
    check.affected()?;
    Ok(check.report.affected)
}

impl<'a> Check<'a> {
    fn new(core: &'a Arc<Core>, progress: &'a mut Progress<'a>, repair: bool) -> Self {
        Self {
            core,
            repair,
            progress,
            bytes_total: 0,
            bytes_told: 0,
            report: CheckReport::default(),
            last: core.state().last(),
            listed: HashSet::new(),
            rows: BTreeMap::new(),
            checked: BTreeMap::new(),
            damaged: Marks::default(),
            bad: Marks::default(),
            copies: copies::Copies::default(),
        }
    }
}

impl Check<'_> {
    /// Fixes what is checked, while others go on writing: everything up to `last` is in the index and in packs, second copies included.
    fn begin(&mut self) -> Result<(), VaultError> {
        self.expect_snapshots()?;
        match self.core.sync() {
            Ok(()) => {}
            // What cannot be written can be read.
            Err(_) if !self.repair => {}
            Err(error) => return Err(error),
        }
        self.rows = pack_rows(&self.core.index)?;
        let disk = self.core.packs.disk();
        let listed = disk.list(Folder::Packs);
        let listed = listed.map_err(|error| VaultError::disk("list", disk.path(Folder::Packs, ""), error))?;
        self.listed = listed.into_iter().map(|(name, _)| name).collect();
        Ok(())
    }

    fn superblock(&mut self) -> Result<(), VaultError> {
        let disk = &**self.core.packs.disk();
        let found = superblock::read(disk)?;
        for is_whole in found.whole {
            if !is_whole {
                self.report.add(Finding {
                    pack: None,
                    offset: None,
                    account: None,
                    object: None,
                    problem: Problem::Superblock,
                    is_repaired: self.repair,
                });
            }
        }
        if self.repair && found.whole != [true, true] { superblock::repair(disk, &found) } else { Ok(()) }
    }

    fn packs(&mut self) -> Result<(), VaultError> {
        let rows: Vec<_> = self.rows.values().copied().collect();
        self.bytes_total = rows.iter().map(end_to_check).sum();
        self.tell(0)?;
        for row in &rows {
            if row.state == PackState::Lost {
                self.report.lost_packs.push(row.id.number);
                continue;
            }
            self.pack(row)?;
            self.report.packs += 1;
            self.tell(self.report.bytes)?;
        }
        Ok(())
    }

    /// So many bytes were read.
    fn tell(&mut self, bytes: u64) -> Result<(), VaultError> {
        self.bytes_told = bytes;
        match (self.progress)(CheckProgress { bytes, bytes_total: self.bytes_total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(VaultError::Interrupted),
        }
    }

    /// The record that a row names is not what it should be: a finding, and the index has to know.
    fn lose(
        &mut self,
        account: AccountNumber,
        id: &ObjectId,
        row: &ObjectRow,
        problem: Problem,
    ) -> Result<(), VaultError> {
        if !self.bad.insert(place_mark(row.place.pack, row.place.offset)) {
            return Ok(());
        }
        let is_bad = |row: &ObjectRow| self.bad.may_contain(place_mark(row.place.pack, row.place.offset));
        if !self.object_rows(account, id)?.iter().any(|row| !row.is_damaged && !is_bad(row)) {
            self.add_damaged(account, id);
        }
        self.report.add(self.finding(&row.place, account, *id, problem));
        if self.repair && self.core.index.change(|change| change.lose_place(account, id, row))? {
            self.core.note_damage(account);
        }
        Ok(())
    }

    /// No good record of an object is left. False if that is known.
    fn add_damaged(&mut self, account: AccountNumber, id: &ObjectId) -> bool {
        let is_new = self.damaged.insert(object_mark(account, id));
        self.report.damaged_objects += u64::from(is_new);
        is_new
    }

    fn pack_name(&self, number: PackNumber) -> Option<String> {
        self.rows.get(&number).map(|row| row.id.to_string())
    }

    fn finding(&self, place: &Place, account: AccountNumber, object: ObjectId, problem: Problem) -> Finding {
        Finding {
            pack: self.pack_name(place.pack),
            offset: Some(u64::from(place.offset)),
            account: Some(account),
            object: Some(object),
            problem,
            is_repaired: self.repair,
        }
    }
}

/// Bytes between two reports of progress.
const TELL_BYTES: u64 = 16 * 1024 * 1024;

/// Up to where a pack is checked: what is being written now comes next time.
fn end_to_check(row: &PackRow) -> u64 {
    match row.state {
        PackState::Open => row.indexed,
        PackState::Closed | PackState::Sealed => row.size,
        PackState::Lost => 0,
    }
}
