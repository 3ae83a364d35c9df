//! A vault: making, opening and closing one.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};

use backstore_platform::lock::Lock;
use backstore_protocol::ids::VaultId;

use crate::account::Account;
use crate::check::{self, AffectedSnapshot, CheckProgress, CheckReport};
use crate::control::Control;
use crate::core::{Core, CoreParts};
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use crate::error::VaultError;
use crate::ids::AccountNumber;
use crate::index::{Index, IndexHome};
use crate::options::{Access, OpenOptions};
use crate::pack::file::Packs;
use crate::pack::header::Superblock;
use crate::recover::{OpenReport, Recovered, open_index, rebuild_index};
use crate::slot::{Slot, lock};
use crate::superblock;
use crate::writer::threads::Threads;
use crate::writer::{PackSizes, Writer, WriterStart};
use backstore_platform::machine::Machine;

/// An open vault. Dropping it closes it; [`Vault::close`] also says whether that went well.
pub struct Vault {
    core: Arc<Core>,
    report: OpenReport,
    options: OpenOptions,
    threads: Mutex<Option<Threads>>,
    /// Only one takes over what is new.
    pub(crate) catching_up: Mutex<()>,
    /// Until the vault is closed, or what it is opened again as.
    pub(crate) held: Option<Arc<Held>>,
}

/// What an open vault keeps from others.
pub(crate) struct Held {
    pub(crate) slot: Slot,
    /// Of one who writes.
    _lock: Option<Lock>,
}

impl Vault {
    /// Makes a vault in `dir`, which may be there; only the last part of its path is made.
    ///
    /// # Errors
    ///
    /// [`VaultError::AlreadyAVault`] if there is one or parts of one; [`VaultError::FolderNotEmpty`] if anything else is there;
    /// [`VaultError::FolderMissing`] if the folder to hold `dir` is not
    /// there; or a failed system call.
    pub fn create(dir: &Path, machine: &dyn Machine) -> Result<VaultId, VaultError> {
        let failed = |error| VaultError::disk("make", dir.to_owned(), error);
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VaultError::FolderMissing { path: dir.parent().unwrap_or(dir).to_owned() });
            }
            result => result.map_err(failed)?,
        }
        let parts = [superblock::NAME, "packs"].map(|name| dir.join(name));
        if parts.iter().any(|part| part.exists()) {
            return Err(VaultError::AlreadyAVault { path: dir.to_owned() });
        }
        let mut found = fs::read_dir(dir).map_err(failed)?;
        // The one thing that an empty disk holds.
        if found.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lost+found")) {
            return Err(VaultError::FolderNotEmpty { path: dir.to_owned() });
        }
        for name in ["packs", "quarantine"] {
            fs::create_dir_all(dir.join(name)).map_err(failed)?;
        }
        File::create(dir.join(LOCK_NAME)).map_err(failed)?;
        let mut id = [0; VaultId::SIZE];
        machine.random(&mut id);
        let vault = VaultId::from_bytes(id);
        superblock::create(&RealDisk::new(dir), &Superblock { vault, created: machine.now_ms() })?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let _ = backstore_platform::durable::sync_folder(parent).map_err(failed)?;
        }
        Ok(vault)
    }

    /// Opens a vault, and brings its index up to date with its packs: [`Vault::report`] says what that took.
    ///
    /// # Errors
    ///
    /// [`VaultError::FolderMissing`] or [`VaultError::NotAVault`], and nothing was made; [`VaultError::Locked`] if another process writes to
    /// it; [`VaultError::Newer`] if newer software did; or a failed system call.
    pub fn open(options: OpenOptions) -> Result<Self, VaultError> {
        Self::open_by(options, open_index)
    }

    /// Opens a vault after dropping its index and making it anew from the packs: every footer is read, and every reference of every node is looked up.
    /// What is referred to and nowhere counts as damaged from then on, see [`Vault::affected`].
    ///
    /// # Errors
    ///
    /// As [`Vault::open`].
    pub fn open_with_new_index(options: OpenOptions) -> Result<Self, VaultError> {
        Self::open_by(options, |packs, home, access| rebuild_index(packs, home, access, "asked for".into()))
    }

    fn open_by(options: OpenOptions, open: OpenIndex) -> Result<Self, VaultError> {
        if !options.dir.is_dir() {
            return Err(VaultError::FolderMissing { path: options.dir });
        }
        let disk = Arc::new(RealDisk::new(&options.dir));
        let found = superblock::read(&*disk)?;
        let lock = match options.access {
            Access::Read => None,
            Access::Write => Some(
                lock(&options.dir.join(LOCK_NAME))?
                    .ok_or(VaultError::Locked { path: options.dir.clone() })?,
            ),
        };
        let slot = Slot::take(&options, found.vault)?;
        Self::open_held(options, Arc::new(Held { slot, _lock: lock }), open)
    }

    /// Opens what is locked.
    fn open_held(
        options: OpenOptions,
        held: Arc<Held>,
        open: impl FnOnce(&Packs, &dyn IndexHome, Access) -> Result<(Index, Recovered), VaultError>,
    ) -> Result<Self, VaultError> {
        let disk = Arc::new(RealDisk::new(&options.dir));
        let found = superblock::read(&*disk)?;
        let packs = Arc::new(Packs::new(Arc::clone(&disk) as Arc<dyn Disk>, found.vault));
        let (index, mut recovered) = open(&packs, &held.slot, options.access)?;
        recovered.report.names_not_synced = disk.names_not_synced();
        let parts = Parts { packs, index, recovered, sizes: PackSizes::default() };
        let mut vault = Self::assemble(parts, &options, Drive::Threads)?;
        vault.held = Some(held);
        Ok(vault)
    }

    /// Ends this vault, makes its index anew from the packs and opens it again, without giving it free in between. What is durable is in the new
    /// one; whoever waits for something that is not is told so, and handles of the old one return [`VaultError::Closed`]. Waits for requests that
    /// are being answered, and for a check.
    ///
    /// # Errors
    ///
    /// As [`Vault::open`]; this vault is closed in any case.
    pub fn open_again(&self) -> Result<Self, VaultError> {
        let held = self.held.clone().ok_or(VaultError::Closed)?;
        let reason = self.core.index.damage().unwrap_or_else(|| "asked for".into());
        // What did not go well was told to whom it concerns.
        let _ = self.end_with(Index::close_and_wait);
        let _checked = self.core.checking.write().unwrap_or_else(PoisonError::into_inner);
        let again = Self::open_held(self.options.clone(), held, |packs, home, access| {
            rebuild_index(packs, home, access, reason)
        })?;
        let quotas = self.core.quotas.read().unwrap_or_else(PoisonError::into_inner).clone();
        *again.core.quotas.write().unwrap_or_else(PoisonError::into_inner) = quotas;
        Ok(again)
    }

    /// Waits until the index is found damaged, and says what was found; nothing if the vault is closed first. Until it is opened again, such a vault
    /// answers what it can.
    pub fn wait_for_damage(&self) -> Option<String> {
        self.core.index.wait_for_damage()
    }

    /// Puts the parts of a vault together.
    pub(crate) fn assemble(parts: Parts, options: &OpenOptions, drive: Drive) -> Result<Self, VaultError> {
        let Recovered { report, next_pack, closed, last, unsealed, damaged, snapshots: _ } = parts.recovered;
        let core = Arc::new(Core::new(CoreParts {
            packs: Arc::clone(&parts.packs),
            index: parts.index,
            machine: Arc::clone(&options.machine),
            access: options.access,
            memtable_bytes: options.memtable_bytes,
            damaged,
            last,
        }));
        let writer = || {
            Writer::new(WriterStart {
                packs: parts.packs,
                machine: Arc::clone(&options.machine),
                sizes: parts.sizes,
                data_lanes: options.lanes_within_limits(),
                next_pack,
                closed,
                unsealed,
                last,
            })
        };
        let threads = match (options.access, drive) {
            (Access::Read, _) => None,
            (Access::Write, Drive::Threads) => {
                let path = options.dir.clone();
                let started = Threads::start(&core, writer());
                Some(started.map_err(|error| VaultError::disk("start threads for", path, error))?)
            }
            (Access::Write, Drive::Inline) => {
                core.drive_inline(writer());
                None
            }
        };
        Ok(Self {
            core,
            report,
            options: options.clone(),
            threads: Mutex::new(threads),
            catching_up: Mutex::new(()),
            held: None,
        })
    }

    /// Its id.
    pub fn id(&self) -> VaultId {
        self.core.packs.vault()
    }

    /// What opening found.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// One account of it: the only way to objects, so that none sees another's.
    pub fn account(&self, number: AccountNumber) -> Account {
        Account::new(Arc::clone(&self.core), number)
    }

    /// The control state.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.core))
    }

    /// A number that changes when a snapshot is committed, in any account. Waits, for `patience` at most, until it is not `seen`. A vault that is
    /// only read shows what other processes wrote since it was opened after this has looked; see [`Vault::catch_up`].
    ///
    /// # Errors
    ///
    /// In a vault that is only read, what looking for new snapshots runs into.
    pub fn watch(&self, seen: u64, patience: Duration) -> Result<u64, VaultError> {
        match self.core.access {
            Access::Write => Ok(self.core.watch.wait(seen, patience)),
            Access::Read => self.watch_packs(seen, patience),
        }
    }

    /// Reads every pack again and compares it with what is known of it. With `repair`, damage is noted so that [`Account::have`] says no and the
    /// next backup heals it, second copies are made again, damaged bytes are copied to quarantine, and rows of the index that are
    /// wrong are made right. A healthy vault is not changed.
    ///
    /// # Errors
    ///
    /// A failed system call, [`VaultError::Index`], [`VaultError::Interrupted`] if `progress` breaks, or, with `repair`, what writing returns.
    /// What is damaged is no error.
    pub fn check(
        &self,
        mut progress: impl FnMut(CheckProgress) -> ControlFlow<()>,
        repair: bool,
    ) -> Result<CheckReport, VaultError> {
        check::run(&self.core, &mut progress, repair)
    }

    /// Snapshots that need something that is known to be damaged or lost and was not healed.
    ///
    /// # Errors
    ///
    /// A failed system call, or [`VaultError::Index`].
    pub fn affected(&self) -> Result<Vec<AffectedSnapshot>, VaultError> {
        check::affected(&self.core)
    }

    /// Makes everything received durable, ends its packs and gives the vault free. Handles that are left over return
    /// [`VaultError::Closed`].
    ///
    /// # Errors
    ///
    /// The failure that ended writing, now or before. Nothing that was acknowledged is lost by it.
    pub fn close(self) -> Result<(), VaultError> {
        self.shut()
    }

    /// As [`Vault::close`], for a vault that others have as well.
    ///
    /// # Errors
    ///
    /// As [`Vault::close`].
    pub fn shut(&self) -> Result<(), VaultError> {
        self.end_with(Index::close)
    }

    fn end_with(&self, close: impl FnOnce(&Index)) -> Result<(), VaultError> {
        let ended = match self.core.access {
            Access::Read => Ok(()),
            Access::Write => self.end_writing(),
        };
        // Few rows are cheaper to take from the packs again than to write a table for.
        let is_well = ended.is_ok() && self.core.index.damage().is_none();
        let has_many = self.core.index.unflushed_bytes() >= CLOSE_FLUSH_BYTES;
        let flushed = if is_well && has_many { self.core.index.flush() } else { Ok(()) };
        close(&self.core.index);
        ended.and(flushed)
    }

    fn end_writing(&self) -> Result<(), VaultError> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.core.close();
        match threads {
            Some(threads) => threads.join(),
            None => self.core.end_inline(),
        }
        self.core.failure().map_or(Ok(()), Err)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        // Who wants to know calls `close`. What was acknowledged is durable either way.
        let _ = self.shut();
    }
}

/// What a vault is put together from.
pub(crate) struct Parts {
    pub(crate) packs: Arc<Packs>,
    pub(crate) index: Index,
    pub(crate) recovered: Recovered,
    pub(crate) sizes: PackSizes,
}

/// Opens an index one way or another.
type OpenIndex = fn(&Packs, &dyn IndexHome, Access) -> Result<(Index, Recovered), VaultError>;

/// Who does the writer's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drive {
    /// Threads of its own.
    Threads,
    /// Whoever calls.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests step through a vault on one thread"))]
    Inline,
}

/// Whoever writes to a vault has this file locked.
const LOCK_NAME: &str = "lock";
/// Below this closing leaves new rows of the index to the next opening.
const CLOSE_FLUSH_BYTES: usize = 512 * 1024;
