//! Making the index say what the packs say, whatever happened since: FORMAT.md section 9.
//!
//! [`recover`] compares the folder with the index, takes over what is new, seals what a crash left open, and notes what is lost. It is the
//! longest story of this crate; read it before changing anything that is written.

pub(crate) mod closure;
pub(crate) mod contents;
pub(crate) mod lost;
pub(crate) mod seal;
pub(crate) mod take;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;

use crate::disk::Folder;
use crate::error::VaultError;
use crate::ids::{AccountNumber, PackClass, PackId, PackNumber, Sequence};
use crate::index::rows::{self, PackRow, PackState, VAULT_KEY, VaultRow};
use crate::index::{Index, IndexHome, MetaFault};
use crate::limits::CATCH_UP_ENTRIES_MAX;
use crate::options::Access;
use crate::pack::file::Packs;
use contents::{Contents, Judged};
use seal::{Quarantined, Unsealed};
use take::Last;

/// What opening found and did besides opening.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Why the index was made anew, if it was.
    pub index_rebuilt: Option<String>,
    /// Records that were taken over into the index.
    pub records: u64,
    /// Bytes that are no records.
    pub quarantined: Vec<Quarantined>,
    /// Nodes that were never acknowledged and whose references are absent.
    pub dropped: u64,
    /// Packs whose files are gone.
    pub lost_packs: Vec<PackNumber>,
    /// Objects that are damaged or absent since.
    pub damaged_objects: u64,
    /// Files among the packs that are none of this vault's.
    pub ignored: Vec<String>,
    /// There was no space to end so many packs that a crash left open. As long as there is none, nothing else is written.
    pub unsealed: u64,
    /// This system cannot make names of files durable.
    pub names_not_synced: bool,
}

/// What a vault goes on from.
pub(crate) struct Recovered {
    pub(crate) report: OpenReport,
    pub(crate) next_pack: u32,
    /// Closed packs with room.
    pub(crate) closed: Vec<PackRow>,
    /// The highest sequence there is.
    pub(crate) last: Sequence,
    pub(crate) damaged: HashSet<AccountNumber>,
    /// Packs without footers, for want of space.
    pub(crate) unsealed: Vec<Unsealed>,
    /// Snapshots that were taken over, both copies of each.
    pub(crate) snapshots: u64,
}

/// Why an index cannot be brought up to date.
pub(crate) enum Obstacle {
    /// It has to be made anew.
    Rebuild(String),
    /// Something else.
    Error(VaultError),
}

impl From<VaultError> for Obstacle {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Index { detail, .. } => Self::Rebuild(detail),
            other => Self::Error(other),
        }
    }
}

/// Opens the index and brings it up to date, or makes it anew if that is not possible.
pub(crate) fn open_index(
    packs: &Packs,
    home: &dyn IndexHome,
    access: Access,
) -> Result<(Index, Recovered), VaultError> {
    match try_index(packs, home, access) {
        Ok(opened) => Ok(opened),
        Err(Obstacle::Error(error)) => Err(error),
        Err(Obstacle::Rebuild(reason)) => rebuild_index(packs, home, access, reason),
    }
}

/// Drops the index and makes it anew from the packs.
pub(crate) fn rebuild_index(
    packs: &Packs,
    home: &dyn IndexHome,
    access: Access,
    reason: String,
) -> Result<(Index, Recovered), VaultError> {
    home.clear()?;
    match try_index(packs, home, access) {
        Ok((index, mut recovered)) => {
            recovered.report.index_rebuilt = Some(reason);
            Ok((index, recovered))
        }
        Err(Obstacle::Error(error)) => Err(error),
        Err(Obstacle::Rebuild(detail)) => Err(VaultError::Index { path: home.folder().to_owned(), detail }),
    }
}

/// Takes over what came since into the index of one who reads, while it is used.
pub(crate) fn catch_up(packs: &Packs, index: &Index) -> Result<Recovered, Obstacle> {
    recover(packs, index, Access::Read, false)
}

fn try_index(packs: &Packs, home: &dyn IndexHome, access: Access) -> Result<(Index, Recovered), Obstacle> {
    let store = home.open().map_err(|fault| match fault {
        MetaFault::Full => Obstacle::Error(VaultError::Full),
        MetaFault::Locked => Obstacle::Error(VaultError::Locked { path: home.folder().to_owned() }),
        MetaFault::Damaged(detail) => Obstacle::Rebuild(detail),
    })?;
    let index = Index::new(store, home.folder());
    let is_new = index.get(VAULT_KEY)?.is_none();
    let recovered = recover(packs, &index, access, is_new)?;
    Ok((index, recovered))
}

/// Brings the index up to date with the packs. `is_new` says that it is empty.
fn recover(packs: &Packs, index: &Index, access: Access, is_new: bool) -> Result<Recovered, Obstacle> {
    let mut report = OpenReport::default();
    let listed = list(packs, &mut report)?;
    let known = pack_rows(index)?;
    let vault_row = index.read(VAULT_KEY, VaultRow::decode)?;
    check_owner(packs, vault_row.as_ref(), &known)?;
    let changed = changed_packs(&listed, &known)?;
    let lost: Vec<_> = known
        .values()
        .filter(|row| !listed.contains_key(&row.id.number) && row.state != PackState::Lost)
        .copied()
        .collect();
    let mut reach = vault_row.map_or_else(Reach::default, |row| Reach::of(&row));
    lost::lose_packs(index, &lost, &mut report)?;
    let mut last = Last::default();
    let TakenOver { has_damage, unsealed } =
        take_changed(packs, index, access, changed, &mut reach, &mut last, &mut report)?;
    let snapshots = last.show(packs, index)?;
    // Once every pack has its end, all that was found and counts is durable.
    if access == Access::Write && unsealed.is_empty() {
        reach.durable = reach.last;
    }
    let Reach { last, durable } = reach;
    let row = VaultRow { vault: packs.vault(), version: rows::INDEX_VERSION, last, durable };
    if vault_row != Some(row) {
        index.change(|change| {
            change.put_vault(&row);
            Ok(())
        })?;
    }
    if is_new || has_damage {
        closure::note_absent(packs, index, &mut report)?;
    }
    let after = pack_rows(index)?;
    let highest = after.keys().chain(listed.keys()).max().map_or(0, |number| number.0);
    Ok(Recovered {
        next_pack: highest + 1,
        closed: after.into_values().filter(|row| row.state == PackState::Closed).collect(),
        last: reach.last,
        unsealed,
        damaged: damaged_accounts(index)?,
        snapshots,
        report,
    })
}

/// The packs in the folder, with the sizes of their files.
fn list(packs: &Packs, report: &mut OpenReport) -> Result<BTreeMap<PackNumber, (PackId, u64)>, VaultError> {
    let files = packs.disk().list(Folder::Packs);
    let path = packs.disk().path(Folder::Packs, "");
    let files: BTreeSet<_> =
        files.map_err(|error| VaultError::disk("list", path, error))?.into_iter().collect();
    let mut listed = BTreeMap::new();
    for (name, size) in files {
        match PackId::parse(&name) {
            Some(id) if !listed.contains_key(&id.number) => {
                packs.add(id);
                listed.insert(id.number, (id, size));
            }
            Some(_) | None => report.ignored.push(name),
        }
    }
    Ok(listed)
}

/// What the index knows of all packs.
pub(crate) fn pack_rows(index: &Index) -> Result<BTreeMap<PackNumber, PackRow>, VaultError> {
    let mut rows = BTreeMap::new();
    index.scan_rows(rows::PACKS, &[], PackRow::decode, |row| {
        rows.insert(row.id.number, row);
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn check_owner(
    packs: &Packs,
    row: Option<&VaultRow>,
    known: &BTreeMap<PackNumber, PackRow>,
) -> Result<(), Obstacle> {
    match row {
        Some(row) if row.vault != packs.vault() => {
            Err(Obstacle::Rebuild(format!("it is the index of {}", row.vault)))
        }
        Some(row) if row.version != rows::INDEX_VERSION => {
            Err(Obstacle::Rebuild(format!("its version is {}", row.version)))
        }
        None if !known.is_empty() => Err(Obstacle::Rebuild("it does not say whose it is".into())),
        Some(_) | None => Ok(()),
    }
}

/// Packs that hold more than the index knows.
fn changed_packs(
    listed: &BTreeMap<PackNumber, (PackId, u64)>,
    known: &BTreeMap<PackNumber, PackRow>,
) -> Result<Vec<PackRow>, Obstacle> {
    let mut changed = Vec::new();
    for (number, (id, size)) in listed {
        let Some(row) = known.get(number) else {
            changed.push(PackRow::new(*id));
            continue;
        };
        let problem = match row.state {
            _ if row.id != *id => Some("has another name"),
            PackState::Lost => Some("is there again"),
            _ if *size < row.indexed && row.records > 0 => Some("is shorter than what the index knows of it"),
            PackState::Closed | PackState::Sealed if row.size == *size => continue,
            PackState::Open | PackState::Closed | PackState::Sealed => None,
        };
        match problem {
            Some(problem) => return Err(Obstacle::Rebuild(format!("pack {id} {problem}"))),
            None => changed.push(*row),
        }
    }
    Ok(changed)
}

/// How far the sequences of a vault go.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    /// None above this was seen or is stated anywhere: no sequence is given twice, or records that nobody was told of could pass for durable.
    last: Sequence,
    /// Up to here everything was durable once.
    durable: Sequence,
}

impl Reach {
    fn of(row: &VaultRow) -> Self {
        Self { last: row.last, durable: row.durable }
    }

    fn see(&mut self, last: Sequence, durable: Sequence) {
        self.durable = self.durable.max(durable);
        self.last = self.last.max(last).max(durable);
    }
}

/// What taking over leaves to be done.
#[derive(Default)]
struct TakenOver {
    /// Some of what is there was records once.
    has_damage: bool,
    /// Packs without footers, for want of space.
    unsealed: Vec<Unsealed>,
}

/// Takes over what packs hold beyond what the index knows. Packs with footers go in groups of bounded
/// size. Those without go last and together, because records of one refer to those of another.
fn take_changed(
    packs: &Packs,
    index: &Index,
    access: Access,
    mut changed: Vec<PackRow>,
    reach: &mut Reach,
    last: &mut Last,
    report: &mut OpenReport,
) -> Result<TakenOver, VaultError> {
    // Who only reads looks at snapshots first, so that what they need is surely there when it looks at that.
    changed.sort_by_key(|row| (row.id.class == PackClass::Data, row.id.number));
    let (mut group, mut open) = (Vec::new(), Vec::new());
    let (mut entries, mut after) = (0, TakenOver::default());
    for row in changed {
        // A pack that vanished since it was listed is lost; the next opening says so.
        let Some(pack) = packs.get(row.id.number)? else { continue };
        match contents::read(packs, pack, row, access)? {
            Contents::Open(scanned) => {
                reach.see(scanned.durable, scanned.durable);
                open.push(scanned);
            }
            Contents::Finished(finished) => {
                reach.see(finished.last, finished.durable);
                after.has_damage |= finished.is_damaged;
                entries += finished.entries.len();
                let highest = finished.entries.iter().map(|entry| entry.sequence).max();
                reach.see(highest.unwrap_or_default(), Sequence::default());
                group.push(finished);
            }
        }
        if entries >= CATCH_UP_ENTRIES_MAX {
            take::take_finished(packs, index, access, &std::mem::take(&mut group), last, report)?;
            entries = 0;
        }
    }
    if !group.is_empty() {
        take::take_finished(packs, index, access, &group, last, report)?;
    }
    if open.is_empty() {
        return Ok(after);
    }
    if access == Access::Read {
        // Everything up to `durable` is in its file by now, although it may not have been there as a whole when that was read.
        let open: Vec<_> =
            open.into_iter().map(|scanned| scanned.read_again(packs)).collect::<Result<_, _>>()?;
        take::take_durable(packs, index, &open, reach.durable, last, report)?;
        return Ok(after);
    }
    // What may continue a lineage is compared with what is known of it.
    std::mem::take(last).show(packs, index)?;
    let judged: Vec<_> =
        open.into_iter().map(|scanned| scanned.judge(packs, reach.durable)).collect::<Result<_, _>>()?;
    after.has_damage |= judged.iter().any(Judged::is_damaged);
    let highest = judged.iter().map(|judged| judged.last).max().unwrap_or_default();
    reach.see(highest, Sequence::default());
    after.unsealed = take::take_broken(packs, index, judged, reach.durable, last, report)?;
    Ok(after)
}

/// Accounts with damaged objects.
fn damaged_accounts(index: &Index) -> Result<HashSet<AccountNumber>, VaultError> {
    let mut accounts = HashSet::new();
    let mut from = vec![rows::DAMAGE];
    loop {
        let mut found = None;
        index.scan(&[rows::DAMAGE], &from, &mut |key, _| {
            found = rows::split_account_key(key).map(|(account, _)| account);
            ControlFlow::Break(())
        })?;
        let Some(account) = found else { return Ok(accounts) };
        accounts.insert(account);
        let Some(next) = account.get().checked_add(1) else { return Ok(accounts) };
        from = rows::account_prefix(rows::DAMAGE, AccountNumber::stored(next));
    }
}
