//! The filesystem as plain operations: versions, inodes, directories and files, without any system's types.
//!
//! A host (see `host`) translates what its system asks into calls of [`Snapshots`] and the answers back. Every call takes a
//! [`Wait`]: with [`Wait::Not`] it answers from memory or fails with [`Problem::NotInMemory`], so that a host can answer at once where
//! possible and leave the rest to threads that may block.

mod ahead;
mod attributes;
mod calendar;
mod directory;
mod file;
mod folder;
mod found;
mod inode;
mod links;
mod listing;
mod made_up;
mod neighbours;
mod options;
mod past;
mod paths;
mod problem;
mod regions;
mod sets;
mod spare;
mod tags;
#[cfg(test)]
mod tests;
mod texts;
mod version;
mod views;
mod watch;

use std::io;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use backstore_protocol::entry::{Content, Entry, Kind, Xattr};
use backstore_protocol::ids::LineageId;
use backstore_protocol::tree::{Items, lookup};
use bytes::Bytes;

pub use attributes::{Attributes, FileKind, Owner};
pub use file::FileReading;
pub use folder::{OpenSet, OpenSetError};
pub use inode::Ino;
pub use links::LinkRoots;
pub use listing::{AddLine, Listed};
pub use options::{BackupSet, FolderOptions};
pub use problem::Problem;
pub use spare::Spare;
pub use version::{LISTED_MAX, Version};

use crate::content::ContentReader;
use crate::objects::{ObjectReader, Wait};
use crate::requests::RequestCounts;
use crate::sync::{lock, read};
use ahead::Ahead;
use directory::{Directory, Found};
use file::{Files, ReadFile};
use folder::Folder;
use inode::{Identity, Inodes, Node, Place};
use listing::Listings;
use neighbours::Neighbours;
use regions::Regions;
use sets::Sets;
use version::{NamedVersion, VersionList};
use views::View;

/// All versions of a backup set as one folder, and those of others below it.
pub struct Snapshots {
    reader: Arc<ObjectReader>,
    options: FolderOptions,
    top: Arc<Folder>,
    /// All sets, if they are shown.
    sets: RwLock<Option<Arc<Sets>>>,
    inodes: Arc<Inodes>,
    files: Files,
    listings: Listings,
    ahead: Ahead,
    neighbours: Neighbours,
    regions: Regions,
    taker: TakerSlot,
    requests: OnceLock<Arc<RequestCounts>>,
}

/// What is no more as it was, for a host to tell its system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// Names that mean something else, or nothing, and the directories they are in.
    pub names: Vec<(Ino, String)>,
    /// Directories that list something else.
    pub directories: Vec<Ino>,
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

/// A directory.
enum Listable {
    Archived(Directory),
    MadeUp(Arc<Folder>, View),
}

/// A file that can be read.
enum Opened {
    Archived(Arc<ReadFile>),
    MadeUp(Bytes),
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
    /// A folder without versions.
    pub fn new(reader: &Arc<ObjectReader>, options: FolderOptions) -> io::Result<Self> {
        let inodes = Arc::new(Inodes::new());
        let taker = TakerSlot::default();
        Ok(Self {
            neighbours: Neighbours::new(reader, &inodes, &taker)?,
            regions: Regions::new(reader, &taker)?,
            taker,
            reader: Arc::clone(reader),
            top: Folder::new(Vec::new(), options.set.clone(), None),
            sets: RwLock::default(),
            options,
            inodes,
            files: Files::new(),
            listings: Listings::default(),
            ahead: Ahead::default(),
            requests: OnceLock::new(),
        })
    }

    /// Shows these versions from now on. Gives what is no more as it was.
    pub fn set_versions(&self, versions: Vec<Version>) -> Changed {
        self.set_versions_in(&self.top, versions)
    }

    /// Shows these versions of a set from now on, where there is one of that lineage. Gives what is no more as it was.
    pub fn set_versions_of(&self, lineage: LineageId, versions: Vec<Version>) -> Changed {
        self.folder(lineage).map_or_else(Changed::default, |folder| self.set_versions_in(&folder, versions))
    }

    fn set_versions_in(&self, folder: &Arc<Folder>, versions: Vec<Version>) -> Changed {
        let names = folder.set_versions(VersionList::new(versions, self.options.utc));
        let place = self.ino_of(folder, &View::Folder);
        let names = names.into_iter().map(|name| (place, name)).collect();
        Changed { names, directories: self.made_up_directories() }
    }

    /// The names of all versions, newest first.
    pub fn version_names(&self) -> Vec<String> {
        self.top.versions().newest_first.iter().map(|named| named.name.clone()).collect()
    }

    /// The entry `name` of a directory. Counts one reference to its inode.
    pub fn lookup(&self, parent: Ino, name: &[u8], wait: Wait) -> Result<Lookup, Problem> {
        let directory = match self.listable(parent)? {
            Listable::Archived(directory) => directory,
            Listable::MadeUp(folder, view) => {
                let item = self.find_in_view(&folder, &view, name, wait)?.ok_or(Problem::NotFoundYet)?;
                return Ok(self.remember_item(&folder, &view, name, &item));
            }
        };
        let Some(found) = directory.find(&self.reader, name, wait)? else {
            return self.link_to_past(&directory, name);
        };
        Ok(Lookup { attributes: self.remember(&directory, &found), validity: Validity::UntilChanged })
    }

    /// What an inode looks like.
    pub fn attributes(&self, ino: Ino, wait: Wait) -> Result<Attributes, Problem> {
        if ino == Ino::ROOT {
            return Ok(Attributes::made_up_directory(ino, self.options.owner, self.top.time()));
        }
        let owner = self.options.owner;
        Ok(match self.node(ino)? {
            Node::Version(version) => Attributes::made_up_directory(ino, owner, version.version.time()),
            Node::View(folder, _) => Attributes::made_up_directory(ino, owner, folder.time()),
            Node::Link { target, time } => Attributes::made_up_link(ino, owner, time, target.len() as u64),
            Node::Text { bytes, time } => Attributes::made_up_file(ino, owner, time, bytes.len() as u64),
            Node::Directory { version, place, .. } | Node::File { version, place } => {
                let (key, entry) = self.entry(&version, &place, wait)?;
                self.attributes_of(ino, &version, &place, &key, &entry)
            }
        })
    }

    /// Gives bytes that nobody has asked for yet to `give`, from now on: those of small files that will probably be read soon, and of
    /// the rest of a region of which much was read. `give` is called by threads that answer no requests, and may block.
    pub fn set_spare_taker(&self, give: SpareTaker) {
        *lock(&self.taker) = Some(give);
    }

    /// Tells in `status.json` what a host counts; of several hosts, the first.
    pub(crate) fn set_request_counts(&self, counts: &Arc<RequestCounts>) {
        let _ = self.requests.set(Arc::clone(counts));
    }

    /// Reads `length` bytes of a file from `offset` on.
    pub fn read(&self, ino: Ino, offset: u64, length: u64, wait: Wait) -> Result<FileReading, Problem> {
        let file = match self.opened(ino, wait)? {
            Opened::Archived(file) => file,
            Opened::MadeUp(bytes) => return Ok(FileReading::of_bytes(&bytes, offset, length)),
        };
        let reading = file.read(&self.reader, offset, length, wait)?;
        self.regions.read(&file, &reading.spare);
        Ok(reading)
    }

    /// Where the next data of a file starts, from `offset` on.
    pub fn seek_data(&self, ino: Ino, offset: u64) -> Result<u64, Problem> {
        match self.opened(ino, Wait::UntilDeadline)? {
            Opened::Archived(file) => file.content.next_data(offset)?.ok_or(Problem::NothingThere),
            Opened::MadeUp(bytes) if offset < bytes.len() as u64 => Ok(offset),
            Opened::MadeUp(_) => Err(Problem::NothingThere),
        }
    }

    /// Where the next hole of a file starts, from `offset` on; its end counts as one.
    pub fn seek_hole(&self, ino: Ino, offset: u64) -> Result<u64, Problem> {
        match self.opened(ino, Wait::UntilDeadline)? {
            Opened::Archived(file) if offset < file.content.size() => Ok(file.content.next_hole(offset)?),
            Opened::MadeUp(bytes) if offset < bytes.len() as u64 => Ok(bytes.len() as u64),
            Opened::Archived(_) | Opened::MadeUp(_) => Err(Problem::NothingThere),
        }
    }

    /// Where a symbolic link leads.
    pub fn read_link(&self, ino: Ino, wait: Wait) -> Result<Vec<u8>, Problem> {
        match self.node(ino)? {
            Node::Link { target, .. } => Ok(target.to_vec()),
            Node::File { version, place } => {
                let (key, entry) = self.entry(&version, &place, wait)?;
                if let Some(target) = self.target_inside(&version, &place, &key, &entry) {
                    return Ok(target);
                }
                let Content::Inline(target) = entry.content else { return Err(Problem::Invalid) };
                if entry.kind == Kind::Symlink { Ok(target.into_vec()) } else { Err(Problem::Invalid) }
            }
            Node::Version(_) | Node::View(..) | Node::Text { .. } | Node::Directory { .. } => {
                Err(Problem::Invalid)
            }
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

    /// Whether something is in a version, not made up by us.
    pub fn is_archived(&self, ino: Ino) -> bool {
        match self.inodes.get(ino) {
            Some(Node::Version(_) | Node::Directory { .. } | Node::File { .. }) => true,
            Some(Node::View(..) | Node::Link { .. } | Node::Text { .. }) | None => false,
        }
    }

    /// The size of the newest version.
    pub fn statistics(&self) -> Statistics {
        let list = self.top.versions();
        let newest = list.newest_first.first().map(|named| &named.version);
        newest.map_or_else(Statistics::default, |version| Statistics {
            bytes: version.bytes,
            entries: version.entries,
        })
    }

    /// The system has dropped so many of its references to an inode.
    pub fn forget(&self, ino: Ino, references: u64) {
        if self.inodes.forget(ino, references) {
            if let Some(file) = self.files.get(ino) {
                file.leave(&self.reader);
            }
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

    /// The folder of a set, where there is one of that lineage.
    fn folder(&self, lineage: LineageId) -> Option<Arc<Folder>> {
        if lineage == self.top.set.lineage {
            return Some(Arc::clone(&self.top));
        }
        read(&self.sets).as_ref().and_then(|sets| sets.folder(lineage).cloned())
    }

    /// The folder that a version is in.
    fn folder_of(&self, version: &NamedVersion) -> Arc<Folder> {
        self.folder(version.version.lineage).unwrap_or_else(|| Arc::clone(&self.top))
    }

    fn node(&self, ino: Ino) -> Result<Node, Problem> {
        self.inodes.get(ino).ok_or(Problem::NotFound)
    }

    fn listable(&self, ino: Ino) -> Result<Listable, Problem> {
        if ino == Ino::ROOT {
            return Ok(Listable::MadeUp(Arc::clone(&self.top), View::Folder));
        }
        match self.node(ino)? {
            Node::Version(version) => Ok(Listable::Archived(Directory { version, path: Arc::from([]) })),
            Node::Directory { version, path, .. } => Ok(Listable::Archived(Directory { version, path })),
            Node::View(folder, view) => Ok(Listable::MadeUp(folder, view)),
            Node::File { .. } | Node::Link { .. } | Node::Text { .. } => Err(Problem::NotADirectory),
        }
    }

    fn opened(&self, ino: Ino, wait: Wait) -> Result<Opened, Problem> {
        if let Some(file) = self.files.get(ino) {
            return Ok(Opened::Archived(file));
        }
        let (version, place) = match self.node(ino)? {
            Node::File { version, place } => (version, place),
            Node::Text { bytes, .. } => return Ok(Opened::MadeUp(bytes)),
            Node::Version(_) | Node::View(..) | Node::Directory { .. } => return Err(Problem::IsADirectory),
            Node::Link { .. } => return Err(Problem::Invalid),
        };
        let (key, entry) = self.entry(&version, &place, wait)?;
        self.neighbours.read(&version, &key, &entry);
        let file = self.files.add(ReadFile::new(ino, ContentReader::new(&self.reader, &entry)));
        Ok(Opened::Archived(file))
    }

    /// Reads an entry again, and its key.
    fn entry(&self, version: &NamedVersion, place: &Place, wait: Wait) -> Result<(Vec<u8>, Entry), Problem> {
        let (leaf, index) = match place {
            Place::Leaf(leaf, index) => (self.reader.tree_node(leaf, wait)?, usize::from(*index)),
            Place::Key(key) => {
                let found = lookup(self.reader.nodes(wait), version.version.root, key)?;
                return Ok((key.to_vec(), found.ok_or(Problem::NotFound)?));
            }
        };
        let mut items = Items::at(leaf, index)?;
        let entry = items.read_entry()?.ok_or(Problem::NotFound)?;
        Ok((items.key().to_vec(), entry))
    }

    fn xattrs(&self, ino: Ino, wait: Wait) -> Result<Vec<Xattr>, Problem> {
        if ino == Ino::ROOT {
            return Ok(Vec::new());
        }
        match self.node(ino)? {
            Node::Version(_) | Node::View(..) | Node::Link { .. } | Node::Text { .. } => Ok(Vec::new()),
            Node::Directory { version, place, .. } | Node::File { version, place } => {
                Ok(self.entry(&version, &place, wait)?.1.xattrs)
            }
        }
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
        self.attributes_of(ino, version, &found.place, &found.key, &found.entry)
    }

    fn attributes_of(
        &self,
        ino: Ino,
        version: &NamedVersion,
        place: &Place,
        key: &[u8],
        entry: &Entry,
    ) -> Attributes {
        let attributes = Attributes::of_entry(ino, entry, self.options.owner, version.version.time());
        match self.target_inside(version, place, key, entry) {
            Some(target) => Attributes { size: target.len() as u64, ..attributes },
            None => attributes,
        }
    }

    /// Where a link leads that has to stay inside its version. In made-up directories, which are no version, links are as archived.
    fn target_inside(
        &self,
        version: &NamedVersion,
        place: &Place,
        key: &[u8],
        entry: &Entry,
    ) -> Option<Vec<u8>> {
        match place {
            Place::Leaf(..) if entry.kind == Kind::Symlink => {
                self.folder_of(version).set.links.target(key, entry)
            }
            Place::Leaf(..) => None,
            Place::Key(_) => None,
        }
    }
}
