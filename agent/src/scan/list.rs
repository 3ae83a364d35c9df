//! One directory: its names, sorted, with their metadata, less what the rules leave out.

use std::io;
use std::sync::Arc;

use backstore_platform::walk::{Directory, ListBuffer, Stat};
use backstore_protocol::entry::Kind;
use backstore_protocol::path::{ArchivePath, check_name};

use super::sort::{NameSorter, SortedNames};
use super::{Enter, Listed, Listing, ScanRules};

/// A directory whose names have been read.
pub(super) struct Names {
    path: ArchivePath,
    directory: Arc<Directory>,
    names: SortedNames,
    cache_tag_only: bool,
    error: Option<io::Error>,
    excluded: u64,
}

/// Files of one listing; of a larger directory there are several.
pub(super) const LISTING_FILES_MAX: usize = 4096;
const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
/// What a `CACHEDIR.TAG` has to begin with to count.
const CACHE_TAG_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What the names of a directory say before they are sorted.
#[derive(Default)]
struct Seen {
    count: u64,
    is_left_out: bool,
    has_cache_tag: bool,
}

impl Names {
    /// Reads the names of a directory.
    pub(super) fn read(
        path: ArchivePath,
        mut directory: Directory,
        rules: &ScanRules,
        buffer: &mut ListBuffer,
    ) -> Self {
        let mut seen = Seen::default();
        // Half a listing would look as if the other half had been deleted.
        let (mut names, error) = match sorted_names(&mut directory, rules, buffer, &mut seen) {
            Ok(names) => (names, None),
            Err(error) => (SortedNames::empty(), Some(error)),
        };
        let mut excluded = 0;
        let mut cache_tag_only = false;
        if error.is_none() && seen.is_left_out {
            excluded = seen.count;
            names = SortedNames::empty();
        } else if error.is_none() && seen.has_cache_tag && is_cache_tag(&directory) {
            excluded = seen.count - 1;
            cache_tag_only = true;
        }
        Self { path, directory: Arc::new(directory), names, cache_tag_only, error, excluded }
    }

    /// The next part of the directory, with metadata.
    pub(super) fn next_listing(&mut self, rules: &ScanRules, device_of: impl Fn(&Stat) -> Enter) -> Listing {
        let mut files = Vec::new();
        let more = self.next_files(rules, device_of, &mut files).unwrap_or_else(|error| {
            self.error = Some(unsortable(rules, &error));
            false
        });
        Listing {
            path: self.path.clone(),
            directory: Some(Arc::clone(&self.directory)),
            files,
            excluded: std::mem::take(&mut self.excluded),
            error: if more { None } else { self.error.take() },
            more,
        }
    }

    /// Adds the next files; whether more follow.
    fn next_files(
        &mut self,
        rules: &ScanRules,
        device_of: impl Fn(&Stat) -> Enter,
        files: &mut Vec<Listed>,
    ) -> io::Result<bool> {
        let mut name = Vec::new();
        for _ in 0..LISTING_FILES_MAX {
            if !self.names.next_into(&mut name)? {
                return Ok(false);
            }
            if self.cache_tag_only && name != CACHE_TAG {
                continue;
            }
            let stat = self.directory.stat(&name);
            if stat.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                continue;
            }
            let is_directory = stat.as_ref().is_ok_and(|stat| stat.kind == Kind::Directory);
            let too_large =
                |limit: u64| stat.as_ref().is_ok_and(|stat| stat.kind == Kind::File && stat.size > limit);
            if rules.exclusions.excludes(&self.path, &name, is_directory)
                || rules.exclude_larger_than.is_some_and(too_large)
            {
                self.excluded += 1;
                continue;
            }
            let enter = match &stat {
                Ok(stat) if stat.kind == Kind::Directory => device_of(stat),
                Ok(_) | Err(_) => Enter::NotADirectory,
            };
            files.push(Listed { name: name[..].into(), stat, enter, implied: false });
        }
        self.names.has_more()
    }
}

fn sorted_names(
    directory: &mut Directory,
    rules: &ScanRules,
    buffer: &mut ListBuffer,
    seen: &mut Seen,
) -> io::Result<SortedNames> {
    let mut sorter = NameSorter::new(&rules.sort_room);
    directory.list(buffer, |listed| {
        let name = listed.name;
        // Names that archives cannot hold would be refused by the tree; a file system that returns them is damaged.
        check_name(name)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it holds a name that is none"))?;
        seen.count += 1;
        seen.is_left_out |= rules.exclude_if_present.iter().any(|wanted| wanted == name);
        seen.has_cache_tag |= rules.exclude_caches && name == CACHE_TAG;
        sorter.add(name).map_err(|error| unsortable(rules, &error))
    })?;
    sorter.finish().map_err(|error| unsortable(rules, &error))
}

/// Names that cannot be sorted are unknown. What the system said of the file must not be taken for what it says of the directory.
fn unsortable(rules: &ScanRules, error: &io::Error) -> io::Error {
    let folder = rules.sort_room.folder.display();
    io::Error::other(format!(
        "it holds more names than fit in memory, and they cannot be sorted in {folder}: {error}"
    ))
}

fn is_cache_tag(directory: &Directory) -> bool {
    use std::io::Read;
    let mut start = [0; CACHE_TAG_SIGNATURE.len()];
    let read = directory.open_file(CACHE_TAG).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == CACHE_TAG_SIGNATURE
}
