//! A vault's folder on a real file system.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use backstore_platform::durable::{self, Durability, Reservation};

use super::{Disk, DiskFile, Folder, Mode};
use crate::ids::PackClass;

/// A vault's folder.
pub(crate) struct RealDisk {
    root: PathBuf,
    names_not_synced: AtomicBool,
}

impl RealDisk {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), names_not_synced: AtomicBool::new(false) }
    }

    /// The system or file system could not make names of files durable.
    pub(crate) fn names_not_synced(&self) -> bool {
        self.names_not_synced.load(Ordering::Relaxed)
    }

    fn folder(&self, folder: Folder) -> PathBuf {
        match folder {
            Folder::Root => self.root.clone(),
            Folder::Packs => self.root.join("packs"),
            Folder::Quarantine => self.root.join("quarantine"),
        }
    }
}

impl Disk for RealDisk {
    fn path(&self, folder: Folder, name: &str) -> PathBuf {
        self.folder(folder).join(name)
    }

    fn list(&self, folder: Folder) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.folder(folder))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => files.push((name, metadata.len())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn open(&self, folder: Folder, name: &str, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = File::options();
        match mode {
            Mode::Read => options.read(true),
            Mode::Write => options.read(true).write(true),
            Mode::Create => options.read(true).write(true).create_new(true),
        };
        let path = self.path(folder, name);
        let is_bulk = name.ends_with(PackClass::Data.ending());
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && mode == Mode::Create => {
                // Somebody has tidied up an empty folder of the vault.
                fs::create_dir(self.folder(folder))?;
                self.sync_names(Folder::Root)?;
                Ok(Arc::new(RealFile::new(options.open(&path)?, path, is_bulk)))
            }
            Err(error) => Err(error),
            Ok(file) => Ok(Arc::new(RealFile::new(file, path, is_bulk))),
        }
    }

    fn sync_names(&self, folder: Folder) -> io::Result<()> {
        if durable::sync_folder(&self.folder(folder))? == Durability::NameNotSynced {
            self.names_not_synced.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

struct RealFile {
    file: File,
    /// It holds much that is seldom read: what is durable makes room for what comes. On virtual machines memory that was used a moment ago is also several
    /// times faster to write to than what was long free.
    is_bulk: bool,
    path: PathBuf,
    /// The same file past the system's cache, once it was needed; nothing where that is not supported.
    direct: OnceLock<Option<File>>,
}

impl RealFile {
    const fn new(file: File, path: PathBuf, is_bulk: bool) -> Self {
        Self { file, is_bulk, path, direct: OnceLock::new() }
    }
}

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        durable::read_at(&self.file, buffer, offset)
    }

    fn read_bulk_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // Asking the system's cache first, without waiting, makes Linux read ahead into it: everything would be read twice.
        let direct = self.direct.get_or_init(|| durable::open_direct(&self.path));
        let read = direct.as_ref().and_then(|file| durable::read_at(file, buffer, offset).ok());
        // Whatever is wrong, the usual way says it.
        read.map_or_else(|| self.read_at(buffer, offset), Ok)
    }

    fn write_at(&self, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        durable::write_all_at(&self.file, buffers, offset)
    }

    fn reserve(&self, offset: u64, length: u64) -> io::Result<()> {
        match durable::reserve(&self.file, offset, length)? {
            // Without it writing is slower and finds a full disk later; both are allowed.
            Reservation::Made | Reservation::NotSupported => Ok(()),
        }
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        durable::sync_bytes(&self.file)?;
        if self.is_bulk {
            durable::let_go(&self.file);
        }
        Ok(())
    }
}
