//! A disk in memory that can stop, fill up, fail, and show what a power cut would leave of it.
//!
//! It keeps FORMAT.md section 11 and promises nothing more: unsynced blocks are there, are not, or hold garbage, each by itself; what was cut
//! off and not synced may be there again; unsynced names may be gone; after a failed sync the bytes that were to be written never will be, although a second sync succeeds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Folder, Mode};
use crate::limits::BLOCK;
use crate::testing::pseudo_random;

type Name = (Folder, String);

/// A disk in memory.
#[derive(Clone, Default)]
pub(crate) struct FaultDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone, Default)]
struct Inner {
    files: Vec<FileBytes>,
    names: BTreeMap<Name, usize>,
    durable_names: BTreeMap<Name, usize>,
    steps: u64,
    fault: Option<Fault>,
    is_dead: bool,
    /// Reads past the system's cache give other bytes.
    bulk_lies: bool,
    /// Bytes all files may have together.
    capacity: Option<u64>,
}

#[derive(Clone, Default)]
struct FileBytes {
    live: Vec<u8>,
    synced: Vec<u8>,
    /// Blocks that were written since the last sync.
    dirty: BTreeSet<u64>,
    /// What ended the file before it was cut since the last sync, and where.
    cut_off: Option<(usize, Vec<u8>)>,
}

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// From this step on nothing works; the step itself may have reached the system or not.
    Stop { step: u64, is_applied: bool },
    /// This step fails as on a full disk, with a part of a write done, unless it is a sync.
    Full { step: u64 },
    /// This step fails.
    Fail { step: u64 },
}

/// What of the unsynced is there after a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Image {
    /// Nothing.
    Synced,
    /// Everything.
    All,
    /// A part that follows from a seed.
    Some(u64),
    /// A part, and garbage in place of others.
    Garbage(u64),
}

impl FaultDisk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Steps that were taken: everything that changes something.
    pub(crate) fn steps(&self) -> u64 {
        self.inner().steps
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.inner().fault = fault;
    }

    pub(crate) fn set_bulk_lies(&self) {
        self.inner().bulk_lies = true;
    }

    pub(crate) fn set_capacity(&self, capacity: Option<u64>) {
        self.inner().capacity = capacity;
    }

    /// Bytes all files have together.
    pub(crate) fn bytes(&self) -> u64 {
        self.inner().used()
    }

    /// What the disk holds after a power cut.
    pub(crate) fn image(&self, image: Image) -> Self {
        let inner = self.inner();
        let mut dice = Dice::new(image);
        let mut names = inner.durable_names.clone();
        for (name, file) in &inner.names {
            if dice.keeps() {
                names.insert(name.clone(), *file);
            }
        }
        let files = inner.files.iter().map(|file| file.after_power_cut(&mut dice)).collect();
        let after = Inner { files, names: names.clone(), durable_names: names, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(after)) }
    }

    /// What another process finds after this one was killed: everything, still unsynced.
    pub(crate) fn after_kill(&self) -> Self {
        let inner = self.inner();
        let after = Inner { steps: 0, fault: None, is_dead: false, ..inner.clone() };
        Self { inner: Arc::new(Mutex::new(after)) }
    }

    /// Names of the files in a folder.
    pub(crate) fn names(&self, folder: Folder) -> Vec<String> {
        self.inner().names.keys().filter(|(of, _)| *of == folder).map(|(_, name)| name.clone()).collect()
    }

    /// The bytes of a file.
    pub(crate) fn content(&self, folder: Folder, name: &str) -> Vec<u8> {
        let inner = self.inner();
        inner.files[inner.names[&(folder, name.to_owned())]].live.clone()
    }

    /// Changes the bytes of a file behind the vault's back.
    pub(crate) fn tamper(&self, folder: Folder, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.inner();
        let file = inner.names[&(folder, name.to_owned())];
        change(&mut inner.files[file].live);
        let live = inner.files[file].live.clone();
        inner.files[file].synced = live;
    }

    /// Removes a file behind the vault's back.
    pub(crate) fn delete(&self, folder: Folder, name: &str) {
        let mut inner = self.inner();
        inner.names.remove(&(folder, name.to_owned()));
        inner.durable_names.remove(&(folder, name.to_owned()));
    }
}

impl Inner {
    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].live.len() as u64).sum()
    }

    /// Counts a step. `Ok(true)` means that it is to be done and to fail.
    fn step(&mut self) -> io::Result<StepFault> {
        if self.is_dead {
            return Err(io::Error::other("the disk has stopped"));
        }
        self.steps += 1;
        match self.fault {
            Some(Fault::Stop { step, is_applied }) if self.steps > step => {
                self.is_dead = true;
                if is_applied {
                    Ok(StepFault::DoneAndFailed)
                } else {
                    Err(io::Error::other("the disk stops"))
                }
            }
            Some(Fault::Full { step }) if self.steps == step + 1 => Ok(StepFault::Full),
            Some(Fault::Fail { step }) if self.steps == step + 1 => Ok(StepFault::Failed),
            Some(_) | None => Ok(StepFault::None),
        }
    }
}

#[derive(PartialEq, Eq)]
enum StepFault {
    None,
    DoneAndFailed,
    Full,
    Failed,
}

impl StepFault {
    fn result(&self) -> io::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::DoneAndFailed => Err(io::Error::other("the disk stops")),
            Self::Full => Err(io::ErrorKind::StorageFull.into()),
            Self::Failed => Err(io::Error::other("an injected failure")),
        }
    }

    fn of_sync(self) -> Self {
        if self == Self::Full { Self::None } else { self }
    }

    fn is_applied(&self) -> bool {
        matches!(self, Self::None | Self::DoneAndFailed)
    }
}

impl FileBytes {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
        let blocks = offset as u64 / BLOCK..(end as u64).div_ceil(BLOCK);
        self.dirty.extend(blocks);
    }

    fn sync(&mut self) {
        self.cut_off = None;
        self.synced.resize(self.live.len(), 0);
        for block in std::mem::take(&mut self.dirty) {
            let (from, to) = block_range(block, self.live.len());
            self.synced[from..to].copy_from_slice(&self.live[from..to]);
        }
    }

    /// The bytes that a failed sync did not write never will be: they count as clean.
    fn fail_sync(&mut self) {
        self.dirty.clear();
    }

    fn after_power_cut(&self, dice: &mut Dice) -> Self {
        if let Some((at, bytes)) =
            self.cut_off.as_ref().filter(|(at, _)| self.live.len() <= *at && dice.keeps())
        {
            let mut uncut = Self { cut_off: None, ..self.clone() };
            uncut.live.resize(*at, 0);
            uncut.live.extend(bytes);
            return uncut.after_power_cut(dice);
        }
        let size = if dice.keeps() { self.live.len() } else { self.synced.len() };
        let mut bytes = self.synced.clone();
        bytes.resize(size, 0);
        for block in &self.dirty {
            let (from, to) = block_range(*block, size);
            if dice.keeps() {
                let live = &self.live[from.min(self.live.len())..to.min(self.live.len())];
                bytes[from..from + live.len()].copy_from_slice(live);
            } else {
                dice.spoil(&mut bytes[from..to]);
            }
        }
        Self { live: bytes.clone(), synced: bytes, ..Self::default() }
    }
}

/// Where a block lies in a file of a size.
fn block_range(block: u64, size: usize) -> (usize, usize) {
    let at = |block: u64| ((block * BLOCK) as usize).min(size);
    (at(block), at(block + 1))
}

/// Decides what a power cut leaves.
struct Dice {
    image: Image,
    draws: u64,
}

impl Dice {
    fn new(image: Image) -> Self {
        Self { image, draws: 0 }
    }

    fn roll(&mut self, seed: u64) -> u8 {
        self.draws += 1;
        let mut byte = [0];
        pseudo_random(seed, self.draws, &mut byte);
        byte[0]
    }

    fn keeps(&mut self) -> bool {
        match self.image {
            Image::Synced => false,
            Image::All => true,
            Image::Some(seed) | Image::Garbage(seed) => self.roll(seed) & 1 == 0,
        }
    }

    fn spoil(&mut self, bytes: &mut [u8]) {
        if let Image::Garbage(seed) = self.image
            && self.roll(seed) & 1 == 0
        {
            pseudo_random(seed ^ 0xbad, self.draws, bytes);
        }
    }
}

impl Disk for FaultDisk {
    fn path(&self, folder: Folder, name: &str) -> PathBuf {
        PathBuf::from(format!("{folder:?}/{name}"))
    }

    fn list(&self, folder: Folder) -> io::Result<Vec<(String, u64)>> {
        let inner = self.inner();
        if inner.is_dead {
            return Err(io::Error::other("the disk has stopped"));
        }
        let of_folder = inner.names.iter().filter(|((of, _), _)| *of == folder);
        Ok(of_folder.map(|((_, name), file)| (name.clone(), inner.files[*file].live.len() as u64)).collect())
    }

    fn open(&self, folder: Folder, name: &str, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner();
        if inner.is_dead {
            return Err(io::Error::other("the disk has stopped"));
        }
        let key = (folder, name.to_owned());
        let found = inner.names.get(&key).copied();
        let file = match (mode, found) {
            (Mode::Read | Mode::Write, Some(file)) => file,
            (Mode::Read | Mode::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (Mode::Create, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Mode::Create, None) => {
                let fault = inner.step()?;
                if fault.is_applied() {
                    inner.files.push(FileBytes::default());
                    let file = inner.files.len() - 1;
                    inner.names.insert(key, file);
                }
                fault.result()?;
                inner.files.len() - 1
            }
        };
        Ok(Arc::new(FaultFile { disk: self.clone(), file, may_write: mode != Mode::Read }))
    }

    fn sync_names(&self, folder: Folder) -> io::Result<()> {
        let mut inner = self.inner();
        let fault = inner.step()?.of_sync();
        if fault.is_applied() {
            let names: Vec<_> = inner
                .names
                .iter()
                .filter(|((of, _), _)| *of == folder)
                .map(|(name, file)| (name.clone(), *file))
                .collect();
            inner.durable_names.retain(|(of, _), _| *of != folder);
            inner.durable_names.extend(names);
        }
        fault.result()
    }
}

struct FaultFile {
    disk: FaultDisk,
    file: usize,
    may_write: bool,
}

impl FaultFile {
    fn step(&self) -> io::Result<(MutexGuard<'_, Inner>, StepFault)> {
        assert!(self.may_write, "a file opened to be read is changed");
        let mut inner = self.disk.inner();
        let fault = inner.step()?;
        Ok((inner, fault))
    }
}

impl DiskFile for FaultFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.inner().files[self.file].live.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.disk.inner();
        if inner.is_dead {
            return Err(io::Error::other("the disk has stopped"));
        }
        let live = &inner.files[self.file].live;
        let from = (offset as usize).min(live.len());
        let count = buffer.len().min(live.len() - from);
        buffer[..count].copy_from_slice(&live[from..from + count]);
        Ok(count)
    }

    fn read_bulk_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.read_at(buffer, offset)?;
        if self.disk.inner().bulk_lies {
            buffer.iter_mut().for_each(|byte| *byte ^= 0x10);
        }
        Ok(read)
    }

    fn write_at(&self, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
        let (mut inner, fault) = self.step()?;
        let size = inner.files[self.file].live.len() as u64;
        let growth = (offset + bytes.len() as u64).saturating_sub(size);
        let is_full = inner.capacity.is_some_and(|capacity| inner.used() + growth > capacity);
        let fault = if is_full && fault == StepFault::None { StepFault::Full } else { fault };
        let count = if fault.is_applied() { bytes.len() } else { bytes.len() / 2 };
        inner.files[self.file].write(offset as usize, &bytes[..count]);
        fault.result()
    }

    fn reserve(&self, offset: u64, length: u64) -> io::Result<()> {
        let (mut inner, fault) = self.step()?;
        let size = inner.files[self.file].live.len() as u64;
        let growth = (offset + length).saturating_sub(size);
        let is_full = inner.capacity.is_some_and(|capacity| inner.used() + growth > capacity);
        let fault = if is_full && fault == StepFault::None { StepFault::Full } else { fault };
        if fault.is_applied() {
            let file = &mut inner.files[self.file];
            let to = file.live.len().max((offset + length) as usize);
            file.live.resize(to, 0);
        }
        fault.result()
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        let (mut inner, fault) = self.step()?;
        if fault.is_applied() {
            let file = &mut inner.files[self.file];
            let last = file.live.len() as u64;
            if last > size && file.cut_off.is_none() {
                file.cut_off = Some((size as usize, file.live[size as usize..].to_vec()));
            }
            file.live.resize(size as usize, 0);
            // What was cut off is written: nobody knows what is there if the file grows again.
            file.dirty.extend(size / BLOCK..last.div_ceil(BLOCK));
        }
        fault.result()
    }

    fn sync(&self) -> io::Result<()> {
        let (mut inner, fault) = self.step()?;
        let fault = fault.of_sync();
        if fault.is_applied() {
            inner.files[self.file].sync();
        } else {
            inner.files[self.file].fail_sync();
        }
        fault.result()
    }
}
