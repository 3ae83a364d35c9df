//! What is on disk against what the basis has, listing by listing: both come in key order.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use backstore_platform::mounts::MountTable;
use backstore_platform::paths::to_native;
use backstore_platform::walk::{DeviceId, Directory, Stat};
use backstore_protocol::entry::{Entry, Kind, PrincipalId, Time};
use backstore_protocol::path::{ArchivePath, child_key};
use backstore_protocol::snapshot::{Mount, Totals};

use super::BackupError;
use super::basis::{BasisEntries, BasisNodes};
use super::below::Below;
use super::differences::{Changed, Differences};
use super::moved::Moved;
use super::report::{Events, Progress};
use super::reread::Reread;
use crate::scan::{Enter, Exclusions, Listed, Listing, Top};

/// A file that was listed.
struct Found {
    key: Vec<u8>,
    name: Box<[u8]>,
    stat: Stat,
    implied: bool,
    directory: Arc<Directory>,
}

/// The comparison as far as it has come.
pub(super) struct Merge<'a> {
    events: &'a Events<'a>,
    basis: BasisEntries,
    nodes: BasisNodes,
    /// Files of the basis that changed before this moment cannot have changed again unseen.
    clean_before: Time,
    reread: Reread,
    moved: Moved,
    exclusions: Exclusions,
    pub(super) mounts: Mounts,
    pub(super) totals: Totals,
    /// Files removed because an exclusion now hits them.
    excluded_now: u64,
    /// Where the basis is kept, since nobody knows what is there now.
    kept_below: Below,
    /// Directories that an exclusion now hits.
    excluded_below: Below,
}

impl<'a> Merge<'a> {
    #[expect(clippy::too_many_arguments, reason = "everything a comparison is made of, once")]
    pub(super) fn new(
        events: &'a Events<'a>,
        basis: BasisEntries,
        nodes: BasisNodes,
        clean_before: Time,
        reread: Reread,
        moved: Moved,
        exclusions: Exclusions,
        mounts: Mounts,
    ) -> Self {
        Self {
            events,
            basis,
            nodes,
            clean_before,
            reread,
            moved,
            exclusions,
            mounts,
            totals: Totals::default(),
            excluded_now: 0,
            kept_below: Below::default(),
            excluded_below: Below::default(),
        }
    }

    /// Compares one directory's files.
    pub(super) fn listing(
        &mut self,
        listing: Listing,
        out: &mut impl Differences,
    ) -> Result<(), BackupError> {
        self.totals.excluded += listing.excluded;
        let Some(directory) = listing.directory else {
            return self.unlisted(&listing.path, listing.error, out);
        };
        let parent = listing.path.joined();
        let mut old = match listing.files.first() {
            Some(first) => self.moved.files_of(&listing.path, &first.name)?,
            None => None,
        };
        for Listed { name, stat, implied, enter } in listing.files {
            let key = child_key(parent, &name);
            let path = match listing.path.join(&name) {
                Ok(path) => path,
                Err(error) => {
                    self.events
                        .problem(&key, &format!("its path is too long or too deep for an archive ({error})"));
                    continue;
                }
            };
            self.count(&stat);
            self.remove_before(&key, out)?;
            match stat {
                Ok(stat) => {
                    let directory = Arc::clone(&directory);
                    let old = old.as_mut().map_or(Ok(None), |old| old.take(&name))?;
                    let file = Found { key, name, stat, implied, directory };
                    // Of what is not selected but leads to a root, nothing else is entered.
                    let is_entered = matches!(enter, Enter::Yes | Enter::NotADirectory) && !implied;
                    if stat.kind == Kind::Directory && is_entered {
                        self.look_for_moved(&path, &file, old.as_ref())?;
                    }
                    self.file(file, old, out)?;
                }
                Err(error) => {
                    self.events.problem(&key, &format!("cannot be examined: {error}"));
                    self.keep(&key)?;
                    self.keep_below(&path);
                }
            }
        }
        match listing.error {
            Some(error) => self.unlisted(&listing.path, Some(error), out),
            None => Ok(()),
        }
    }

    /// Compares the top of an archive's paths, which no listing contains.
    pub(super) fn top(&mut self, top: Top, out: &mut impl Differences) -> Result<(), BackupError> {
        let key = top.path.key();
        self.count(&Ok(top.stat));
        self.remove_before(&key, out)?;
        let (stat, implied, directory) = (top.stat, top.implied, top.directory);
        self.file(Found { key, name: Box::default(), stat, implied, directory }, None, out)
    }

    /// Compares a file with what the basis has under its key, or else where its directory was before.
    fn file(
        &mut self,
        file: Found,
        old: Option<Entry>,
        out: &mut impl Differences,
    ) -> Result<(), BackupError> {
        let Found { key, name, stat, implied, directory } = file;
        let mount = if implied { 0 } else { self.mounts.ordinal(stat.device, &key) };
        let mut in_basis = false;
        let mut basis = None;
        if self.basis.peek().is_some_and(|(next, _)| next == key) {
            in_basis = true;
            if let Some(entry) = self.basis.take()? {
                let same = if implied {
                    is_same_implied(&entry, &stat)
                } else {
                    self.is_unchanged(&entry, &stat, mount)
                };
                let whole = self.nodes.has_content_of(&entry);
                if same && whole {
                    return Ok(());
                }
                basis = whole.then(|| Box::new(entry));
            }
        }
        if let Some(old) = old.filter(|old| !implied && self.nodes.has_content_of(old)) {
            if self.is_unchanged(&old, &stat, mount) {
                return out.put_known(key, old, basis, in_basis);
            }
            if !in_basis {
                basis = Some(Box::new(old));
            }
        }
        out.put(Changed { key, directory, name, stat, mount, implied, basis, in_basis })
    }

    /// A directory that is another than the basis has at its path may have been renamed.
    fn look_for_moved(
        &mut self,
        path: &ArchivePath,
        file: &Found,
        old: Option<&Entry>,
    ) -> Result<(), BackupError> {
        let mount = self.mounts.ordinal(file.stat.device, &file.key);
        let is_it = |entry: &Entry| {
            entry.kind == Kind::Directory && entry.inode == file.stat.inode && entry.mount == mount
        };
        let at_its_path = self.basis.peek().filter(|(next, _)| *next == file.key).map(|(_, entry)| entry);
        if !at_its_path.is_some_and(is_it) && !old.is_some_and(is_it) {
            self.moved.look_for(path, &file.directory, &file.stat, mount)?;
        }
        Ok(())
    }

    /// Removes what is left of the basis.
    pub(super) fn finish(&mut self, out: &mut impl Differences) -> Result<(), BackupError> {
        while let Some((key, _)) = self.basis.peek() {
            let key = key.to_vec();
            self.remove(key, out)?;
        }
        if self.excluded_now > 0 {
            let text = format!(
                "{} files that were backed up before are now excluded; earlier snapshots keep them",
                self.excluded_now
            );
            self.events.note(&text);
        }
        Ok(())
    }

    /// Whether a file is certain to be what it was.
    fn is_unchanged(&self, entry: &Entry, stat: &Stat, mount: u32) -> bool {
        let size = if stat.kind.has_content() { stat.size } else { 0 };
        entry.kind == stat.kind
            && entry.size == size
            && entry.mtime == stat.mtime
            && entry.ctime == stat.ctime
            && entry.inode == stat.inode
            && entry.mount == mount
            && !entry.changing
            && !entry.stale
            && !matches!(entry.content, backstore_protocol::entry::Content::Unread)
            && self.is_clean(stat)
            && !(stat.kind == Kind::File && self.reread.is_due(stat, mount))
    }

    /// Whether the file's clock shows that it was not changed while, or right before, the basis was made.
    fn is_clean(&self, stat: &Stat) -> bool {
        // A file system that counts whole seconds, or two, cannot tell what happens within them.
        let coarse = stat.ctime.nanoseconds == 0 && stat.mtime.nanoseconds == 0;
        let grain = if coarse { 2 } else { 0 };
        let changed = Time { seconds: stat.ctime.seconds.saturating_add(grain), ..stat.ctime };
        changed < self.clean_before
    }

    /// A directory that could not be listed keeps what the basis has below it.
    fn unlisted(
        &mut self,
        path: &ArchivePath,
        error: Option<io::Error>,
        out: &mut impl Differences,
    ) -> Result<(), BackupError> {
        let Some(error) = error else { return Ok(()) };
        if crate::scan::has_vanished(&error) {
            return Ok(());
        }
        self.remove_before(&path.children_prefix(), out)?;
        self.events.problem(&path.key(), &format!("its files cannot be listed: {error}"));
        self.keep_below(path);
        Ok(())
    }

    fn keep(&mut self, key: &[u8]) -> Result<(), BackupError> {
        if self.basis.peek().is_some_and(|(next, _)| next == key) {
            self.basis.take()?;
        }
        Ok(())
    }

    /// Keeps the basis below a directory. What is there comes later in key order than the rest of the directory's listing, so this only remembers it.
    fn keep_below(&mut self, path: &ArchivePath) {
        self.kept_below.add(path);
    }

    fn remove_before(&mut self, key: &[u8], out: &mut impl Differences) -> Result<(), BackupError> {
        while let Some((next, _)) = self.basis.peek().filter(|(next, _)| *next < key) {
            let next = next.to_vec();
            self.remove(next, out)?;
        }
        Ok(())
    }

    fn remove(&mut self, key: Vec<u8>, out: &mut impl Differences) -> Result<(), BackupError> {
        let Some(entry) = self.basis.take()? else { return Ok(()) };
        if self.kept_below.has(&key) {
            return Ok(());
        }
        if self.excluded_below.has(&key) {
            self.excluded_now += 1;
        } else if let Ok(path) = ArchivePath::from_key(&key)
            && let Some(parent) = path.parent()
            && self.exclusions.excludes(&parent, path.name(), entry.kind.is_directory())
        {
            self.excluded_now += 1;
            if entry.kind.is_directory() {
                self.excluded_below.add(&path);
            }
        }
        out.remove(key, entry.kind)
    }

    fn count(&mut self, stat: &io::Result<Stat>) {
        let progress = self.events.progress();
        match stat {
            Ok(stat) if stat.kind == Kind::File => {
                self.totals.files += 1;
                self.totals.bytes += stat.size;
                Progress::add(&progress.files, 1);
                Progress::add(&progress.bytes, stat.size);
            }
            Ok(stat) if stat.kind.is_directory() => {
                self.totals.directories += 1;
                Progress::add(&progress.directories, 1);
            }
            Ok(_) | Err(_) => self.totals.others += 1,
        }
    }
}

fn is_same_implied(entry: &Entry, stat: &Stat) -> bool {
    let is = |principal: &PrincipalId, id: Option<u32>| match (principal, id) {
        (PrincipalId::Unix(known), Some(id)) => *known == id,
        (PrincipalId::None, None) => true,
        (PrincipalId::None | PrincipalId::Unix(_) | PrincipalId::Sid(_), _) => false,
    };
    entry.kind == Kind::ImpliedDirectory
        && entry.mode == stat.mode
        && is(&entry.owner.id, stat.owner)
        && is(&entry.group.id, stat.group)
}

/// Numbers for file systems: those of the basis where the mount point is the same.
pub(super) struct Mounts {
    by_device: HashMap<DeviceId, u32>,
    /// Of the basis, and new ones.
    known: Vec<Mount>,
    used: Vec<u32>,
    table: MountTable,
}

impl Mounts {
    pub(super) fn new(table: MountTable, of_basis: &[Mount]) -> Self {
        Self { by_device: HashMap::new(), known: of_basis.to_vec(), used: Vec::new(), table }
    }

    /// The number of the file system with this device, first met at the file with this key.
    pub(super) fn ordinal(&mut self, device: DeviceId, key: &[u8]) -> u32 {
        if let Some(ordinal) = self.by_device.get(&device) {
            return *ordinal;
        }
        let native =
            ArchivePath::from_key(key).ok().and_then(|path| to_native(&path).ok()).unwrap_or_default();
        let mount = self.table.of_path(&native).filter(|mount| mount.device == device);
        let path = mount.map_or(native.as_path(), |mount| mount.point.as_path());
        let path = backstore_platform::paths::name_to_archive(path.as_os_str()).into_owned();
        let kind = mount.map_or_else(String::new, |mount| mount.file_system.clone());
        let ordinal =
            match self.known.iter().find(|known| known.path == path && !self.used.contains(&known.ordinal)) {
                Some(known) => known.ordinal,
                None => {
                    let ordinal = self.known.iter().map(|known| known.ordinal + 1).max().unwrap_or(0);
                    self.known.push(Mount { ordinal, path, kind });
                    ordinal
                }
            };
        self.used.push(ordinal);
        self.by_device.insert(device, ordinal);
        ordinal
    }

    /// The file systems that were met, for the body.
    pub(super) fn used(&self) -> Vec<Mount> {
        self.known.iter().filter(|mount| self.used.contains(&mount.ordinal)).cloned().collect()
    }
}
