//! What a set selects, and the directories that lead there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstore_platform::mounts::{Mount, MountTable};
use backstore_platform::paths::{PathError, absolute, to_archive, to_native};
use backstore_platform::walk::{Directory, Stat};
use backstore_protocol::entry::Kind;
use backstore_protocol::path::ArchivePath;

use super::{Enter, Listed, Listing, ScanRules};

/// Selected files and directories, opened.
pub struct Roots {
    /// The paths as archives know them, sorted, none below another.
    pub paths: Vec<ArchivePath>,
    /// The first component of each path, with its directory.
    pub tops: Vec<Top>,
    /// Directories on the way to roots, with what leads there and nothing else.
    pub(super) implied: Vec<Listing>,
    /// Roots that are directories.
    pub(super) directories: Vec<(ArchivePath, Directory, Stat)>,
}

/// `/`, or a drive.
pub struct Top {
    /// Its path.
    pub path: ArchivePath,
    /// It, opened.
    pub directory: Arc<Directory>,
    /// Its metadata.
    pub stat: Stat,
    /// It is not selected itself.
    pub implied: bool,
}

/// Why a set cannot be scanned.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A root is not there.
    #[error("{} is not there: is its disk connected and mounted?", path.display())]
    Missing {
        /// The root.
        path: PathBuf,
    },
    /// A root, or a directory on the way, cannot be opened.
    #[error("{} cannot be opened", path.display())]
    Unreadable {
        /// The root.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A root is, or lies in, what is BackStore's own.
    #[error(
        "{} is BackStore's own: its vault, its cache or state, or a mount of it. A backup of it would grow for ever: leave it out of the set",
        path.display()
    )]
    Own {
        /// The root.
        path: PathBuf,
    },
    /// A root cannot be named in an archive.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Roots {
    /// Opens what is selected. Roots below others are dropped.
    pub fn open(selected: &[PathBuf]) -> Result<Self, RootError> {
        let mut paths = BTreeSet::new();
        for path in selected {
            let path =
                absolute(path).map_err(|source| RootError::Unreadable { path: path.clone(), source })?;
            paths.insert(to_archive(&path)?.joined().to_vec());
        }
        let mut roots: Vec<ArchivePath> = Vec::new();
        for joined in paths {
            let path = ArchivePath::from_joined(&joined)
                .map_err(|source| PathError::Unfit { path: PathBuf::new(), source })?;
            if !roots.iter().any(|root| root.contains(&path)) {
                roots.push(path);
            }
        }
        let mut opened =
            Self { paths: Vec::new(), tops: Vec::new(), implied: Vec::new(), directories: Vec::new() };
        let mut ways: BTreeMap<Vec<u8>, Way> = BTreeMap::new();
        for root in &roots {
            let mut here = root.clone();
            let mut implied = false;
            while let Some(parent) = here.parent() {
                let way = ways
                    .entry(parent.joined().to_vec())
                    .or_insert_with(|| Way { path: parent.clone(), names: BTreeMap::new() });
                way.names.entry(here.name().to_vec()).or_insert(implied);
                here = parent;
                implied = true;
            }
            opened.add_top(here, implied)?;
            opened.add_directory(root)?;
        }
        for way in ways.into_values() {
            opened.implied.push(implied_listing(way)?);
        }
        opened.paths = roots;
        Ok(opened)
    }

    /// Refuses roots in BackStore's own folders and mounts.
    pub fn check_own(&self, rules: &ScanRules, table: &MountTable) -> Result<(), RootError> {
        for root in &self.paths {
            let native = to_native(root)?;
            let is_own = |folder: &Path| {
                let stat = Directory::open(folder).and_then(|folder| folder.full_stat_self());
                stat.is_ok_and(|stat| rules.never_enter.contains(&stat.basic.identity()))
            };
            if native.ancestors().any(is_own) || table.of_path(&native).is_some_and(Mount::is_own) {
                return Err(RootError::Own { path: native });
            }
        }
        Ok(())
    }

    fn add_top(&mut self, path: ArchivePath, implied: bool) -> Result<(), RootError> {
        if self.tops.iter().any(|top| top.path == path) {
            return Ok(());
        }
        let native = to_native(&path)?;
        let directory = open(&native)?;
        let stat = directory
            .full_stat_self()
            .map_err(|source| RootError::Unreadable { path: native, source })?
            .basic;
        self.tops.push(Top { path, directory: Arc::new(directory), stat, implied });
        Ok(())
    }

    fn add_directory(&mut self, root: &ArchivePath) -> Result<(), RootError> {
        let native = to_native(root)?;
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => RootError::Missing { path: native.clone() },
            _ => RootError::Unreadable { path: native.clone(), source },
        };
        if let (Some(parent), Some(_)) = (root.parent(), native.parent()) {
            let stat = open(&to_native(&parent)?)?.stat(root.name()).map_err(unreadable)?;
            if stat.kind != Kind::Directory {
                return Ok(());
            }
        }
        let directory = open(&native)?;
        let stat = directory.full_stat_self().map_err(unreadable)?.basic;
        self.directories.push((root.clone(), directory, stat));
        Ok(())
    }
}

fn open(path: &Path) -> Result<Directory, RootError> {
    Directory::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => RootError::Missing { path: path.to_owned() },
        _ => RootError::Unreadable { path: path.to_owned(), source },
    })
}

/// A directory that leads to roots.
struct Way {
    path: ArchivePath,
    /// What leads on, and whether that is implied as well.
    names: BTreeMap<Vec<u8>, bool>,
}

fn implied_listing(Way { path, names }: Way) -> Result<Listing, RootError> {
    let directory = Arc::new(open(&to_native(&path)?)?);
    let files = names
        .into_iter()
        .map(|(name, implied)| {
            let stat = directory.stat(&name);
            Listed { name: name.into(), stat, enter: Enter::NotADirectory, implied }
        })
        .collect();
    Ok(Listing { path, directory: Some(directory), files, excluded: 0, error: None, more: false })
}
