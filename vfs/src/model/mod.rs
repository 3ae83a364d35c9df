//! The filesystem as plain operations: versions, inodes, directories and files, without any system's types.
//!
//! A host (see `host`) translates what its system asks into calls of [`Snapshots`] and the answers back. Every call takes a
//! [`Wait`]: with [`Wait::Not`] it answers from memory or fails with [`Problem::NotInMemory`], so that a host can answer at once where
//! possible and leave the rest to threads that may block.

mod ahead;
mod attributes;
mod directory;
mod file;
mod inode;
mod listing;
mod neighbours;
mod problem;
mod regions;
#[cfg(test)]
mod tests;
mod version;
mod watch;

use std::io;
use std::sync::{Arc, Mutex, RwLock};

use backstore_protocol::entry::{Content, Entry, Kind, Time, Xattr};
use backstore_protocol::tree::Items;

pub use attributes::{Attributes, FileKind, Owner};
pub use file::{FileReading, Spare};
pub use inode::Ino;
pub use listing::{AddLine, Listed};
pub use problem::Problem;
pub use version::{LISTED_MAX, Version};

use crate::content::ContentReader;
use crate::objects::{ObjectReader, Wait};
use crate::sync::{lock, read, write};
use ahead::Ahead;
use directory::{Directory, Found};
use file::{Files, ReadFile};
use inode::{Identity, Inodes, Node, Place};
use listing::Listings;
use neighbours::Neighbours;
use regions::Regions;
use version::VersionList;

/// All versions of a backup set as one folder.
pub struct Snapshots {
    reader: Arc<ObjectReader>,
    owner: Owner,
    versions: RwLock<Arc<VersionList>>,
    inodes: Arc<Inodes>,
    files: Files,
    listings: Listings,
    ahead: Ahead,
    neighbours: Neighbours,
    regions: Regions,
    taker: TakerSlot,
}

/// Takes bytes that nobody has asked for yet.
pub type SpareTaker = Arc<dyn Fn(Spare) + Send + Sync>;

/// Who takes them, once there is somebody.
type TakerSlot = Arc<Mutex<Option<SpareTaker>>>;

/// How long an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// For ever, or until [`Snapshots::set_versions`] says otherwise.
    UntilChanged,
    /// For about a second.
    Briefly,
}

/// A name that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup {
    /// What it is. Its inode is remembered until it is forgotten.
    pub attributes: Attributes,
    /// How long name and attributes hold.
    pub validity: Validity,
}

/// Size of what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Bytes of all files of the newest version.
    pub bytes: u64,
    /// Entries of the newest version.
    pub entries: u64,
}

/// Longest value of an extended attribute.
pub const XATTR_BYTES_MAX: usize = 64 << 10;

impl Snapshots {
    /// A folder without versions. `owner` is who things belong to that have no owner of their own.
    pub fn new(reader: &Arc<ObjectReader>, owner: Owner) -> io::Result<Self> {
        let inodes = Arc::new(Inodes::new());
        let taker = TakerSlot::default();
        Ok(Self {
            neighbours: Neighbours::new(reader, &inodes, &taker)?,
            regions: Regions::new(reader, &taker)?,
            taker,
            reader: Arc::clone(reader),
            owner,
            versions: RwLock::default(),
            inodes,
            files: Files::new(),
            listings: Listings::default(),
            ahead: Ahead::default(),
        })
    }

    /// Shows these versions from now on. Gives the names in the folder that no longer mean what they meant: the host tells its
    /// system.
    pub fn set_versions(&self, versions: Vec<Version>) -> Vec<String> {
        let newer = Arc::new(VersionList::new(versions));
        let old = std::mem::replace(&mut *write(&self.versions), Arc::clone(&newer));
        old.names_changed_in(&newer)
    }

    /// The names of all versions, newest first.
    pub fn version_names(&self) -> Vec<String> {
        self.current().newest_first.iter().map(|named| named.name.clone()).collect()
    }

    /// The entry `name` of a directory. Counts one reference to its inode.
    pub fn lookup(&self, parent: Ino, name: &[u8], wait: Wait) -> Result<Lookup, Problem> {
        if parent == Ino::ROOT {
            return self.lookup_in_folder(&self.current(), name);
        }
        let directory = self.directory(parent)?;
        let found = directory.find(&self.reader, name, wait)?.ok_or(Problem::NotFound)?;
        Ok(Lookup { attributes: self.remember(&directory, &found), validity: Validity::UntilChanged })
    }

    /// What an inode looks like.
    pub fn attributes(&self, ino: Ino, wait: Wait) -> Result<Attributes, Problem> {
        if ino == Ino::ROOT {
            return Ok(self.folder());
        }
        Ok(match self.node(ino)? {
            Node::Version(version) => Attributes::made_up_directory(ino, self.owner, version.version.time()),
            Node::Link { target, time } => Attributes::made_up_link(ino, self.owner, time, &target),
            Node::Directory { version, place, .. } | Node::File { version, place } => {
                let (_, entry) = self.entry(&place, wait)?;
                Attributes::of_entry(ino, &entry, self.owner, version.version.time())
            }
        })
    }

    /// Gives bytes that nobody has asked for yet to `give`, from now on: those of small files that will probably be read soon, and of
    /// the rest of a region of which much was read. `give` is called by threads that answer no requests, and may block.
    pub fn set_spare_taker(&self, give: SpareTaker) {
        *lock(&self.taker) = Some(give);
    }

    /// Reads `length` bytes of a file from `offset` on.
    pub fn read(&self, ino: Ino, offset: u64, length: u64, wait: Wait) -> Result<FileReading, Problem> {
        let file = self.file(ino, wait)?;
        let reading = file.read(&self.reader, offset, length, wait)?;
        self.regions.read(&file, &reading.spare);
        Ok(reading)
    }

    /// Where the next data of a file starts, from `offset` on.
    pub fn seek_data(&self, ino: Ino, offset: u64) -> Result<u64, Problem> {
        self.file(ino, Wait::UntilDeadline)?.content.next_data(offset)?.ok_or(Problem::NothingThere)
    }

    /// Where the next hole of a file starts, from `offset` on; its end counts as one.
    pub fn seek_hole(&self, ino: Ino, offset: u64) -> Result<u64, Problem> {
        let file = self.file(ino, Wait::UntilDeadline)?;
        if offset >= file.content.size() {
            return Err(Problem::NothingThere);
        }
        Ok(file.content.next_hole(offset)?)
    }

    /// Where a symbolic link leads.
    pub fn read_link(&self, ino: Ino, wait: Wait) -> Result<Vec<u8>, Problem> {
        match self.node(ino)? {
            Node::Link { target, .. } => Ok(target.as_bytes().to_vec()),
            Node::File { place, .. } => {
                let (_, entry) = self.entry(&place, wait)?;
                let Content::Inline(target) = entry.content else { return Err(Problem::Invalid) };
                if entry.kind == Kind::Symlink { Ok(target.into_vec()) } else { Err(Problem::Invalid) }
            }
            Node::Version(_) | Node::Directory { .. } => Err(Problem::Invalid),
        }
    }

    /// The names of a file's extended attributes.
    pub fn xattr_names(&self, ino: Ino, wait: Wait) -> Result<Vec<Box<[u8]>>, Problem> {
        Ok(self.xattrs(ino, wait)?.into_iter().map(|xattr| xattr.name).collect())
    }

    /// The value of an extended attribute.
    pub fn xattr(&self, ino: Ino, name: &[u8], wait: Wait) -> Result<Vec<u8>, Problem> {
        let xattrs = self.xattrs(ino, wait)?;
        let xattr = xattrs.into_iter().find(|xattr| *xattr.name == *name).ok_or(Problem::NoSuchAttribute)?;
        if xattr.size > XATTR_BYTES_MAX as u64 {
            return Err(Problem::TooLarge);
        }
        let value = ContentReader::of(&self.reader, &xattr.value, xattr.size);
        let mut bytes = Vec::with_capacity(xattr.size as usize);
        for run in value.read_runs(0, xattr.size, wait)?.runs {
            match run {
                crate::content::Run::Data(data) => bytes.extend_from_slice(&data),
                crate::content::Run::Hole(length) => bytes.resize(bytes.len() + length as usize, 0),
            }
        }
        Ok(bytes)
    }

    /// The size of the newest version.
    pub fn statistics(&self) -> Statistics {
        let list = self.current();
        let newest = list.newest_first.first().map(|named| &named.version);
        newest.map_or_else(Statistics::default, |version| Statistics {
            bytes: version.bytes,
            entries: version.entries,
        })
    }

    /// The system has dropped so many of its references to an inode.
    pub fn forget(&self, ino: Ino, references: u64) {
        if self.inodes.forget(ino, references) {
            self.files.remove(ino);
        }
    }

    /// Inodes that the system refers to.
    pub fn remembered(&self) -> usize {
        self.inodes.len()
    }

    /// What reads its objects.
    pub const fn reader(&self) -> &Arc<ObjectReader> {
        &self.reader
    }

    fn current(&self) -> Arc<VersionList> {
        Arc::clone(&read(&self.versions))
    }

    fn node(&self, ino: Ino) -> Result<Node, Problem> {
        self.inodes.get(ino).ok_or(Problem::NotFound)
    }

    fn directory(&self, ino: Ino) -> Result<Directory, Problem> {
        match self.node(ino)? {
            Node::Version(version) => Ok(Directory { version, path: Arc::from([]) }),
            Node::Directory { version, path, .. } => Ok(Directory { version, path }),
            Node::File { .. } | Node::Link { .. } => Err(Problem::NotADirectory),
        }
    }

    fn file(&self, ino: Ino, wait: Wait) -> Result<Arc<ReadFile>, Problem> {
        if let Some(file) = self.files.get(ino) {
            return Ok(file);
        }
        let Node::File { version, place } = self.node(ino)? else { return Err(Problem::IsADirectory) };
        let (key, entry) = self.entry(&place, wait)?;
        self.neighbours.read(&version, &key, &entry);
        Ok(self.files.add(ReadFile::new(ino, ContentReader::new(&self.reader, &entry))))
    }

    /// Reads an entry again, and its key.
    fn entry(&self, place: &Place, wait: Wait) -> Result<(Vec<u8>, Entry), Problem> {
        let leaf = self.reader.tree_node(&place.leaf, wait)?;
        let mut items = Items::at(leaf, usize::from(place.index))?;
        let entry = items.read_entry()?.ok_or(Problem::NotFound)?;
        Ok((items.key().to_vec(), entry))
    }

    fn xattrs(&self, ino: Ino, wait: Wait) -> Result<Vec<Xattr>, Problem> {
        if ino == Ino::ROOT {
            return Ok(Vec::new());
        }
        match self.node(ino)? {
            Node::Version(_) | Node::Link { .. } => Ok(Vec::new()),
            Node::Directory { place, .. } | Node::File { place, .. } => {
                Ok(self.entry(&place, wait)?.1.xattrs)
            }
        }
    }

    fn folder(&self) -> Attributes {
        let time =
            self.current().newest_first.first().map_or_else(Time::default, |newest| newest.version.time());
        Attributes::made_up_directory(Ino::ROOT, self.owner, time)
    }

    fn lookup_in_folder(&self, list: &VersionList, name: &[u8]) -> Result<Lookup, Problem> {
        if let Some(version) = list.find(name) {
            let identity = Identity::directory(&version.version.id, &[]);
            let ino = self.inodes.remember(&identity, Node::Version(Arc::clone(version)));
            let attributes = Attributes::made_up_directory(ino, self.owner, version.version.time());
            return Ok(Lookup { attributes, validity: Validity::UntilChanged });
        }
        let target = list.link(name).ok_or(Problem::NotFound)?;
        let time = list.find(target.as_bytes()).map_or_else(Time::default, |version| version.version.time());
        let node = Node::Link { target: target.into(), time };
        let ino = self.inodes.remember(&Identity::link(name, target), node);
        let attributes = Attributes::made_up_link(ino, self.owner, time, target);
        Ok(Lookup { attributes, validity: Validity::Briefly })
    }

    /// Gives what was found in a version its inode.
    fn remember(&self, directory: &Directory, found: &Found) -> Attributes {
        let version = &directory.version;
        let (identity, node) = if found.entry.kind.is_directory() {
            let path: Arc<[u8]> = Directory::path_of(&found.key).into();
            let identity = Identity::directory(&version.version.id, &path);
            (identity, Node::Directory { version: Arc::clone(version), path, place: found.place.clone() })
        } else {
            let identity = Identity::file(version, &found.key, &found.entry);
            (identity, Node::File { version: Arc::clone(version), place: found.place.clone() })
        };
        let ino = self.inodes.remember(&identity, node);
        Attributes::of_entry(ino, &found.entry, self.owner, version.version.time())
    }
}
