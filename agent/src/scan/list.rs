//! One directory: its names, sorted, with their metadata, less what the rules leave out.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use backstore_platform::walk::{Directory, ListBuffer, Stat};
use backstore_protocol::entry::Kind;
use backstore_protocol::path::{ArchivePath, check_name};

use super::{Enter, Listed, Listing, ScanRules};

/// A directory whose names have been read.
pub(super) struct Names {
    path: ArchivePath,
    directory: Arc<Directory>,
    /// All names, one after the other.
    bytes: Vec<u8>,
    /// Where each name is, sorted by name.
    places: Vec<Range<u32>>,
    next: usize,
    cache_tag_only: bool,
    error: Option<io::Error>,
    excluded: u64,
}

/// Files of one listing; of a larger directory there are several.
pub(super) const LISTING_FILES_MAX: usize = 4096;
const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
/// What a `CACHEDIR.TAG` has to begin with to count.
const CACHE_TAG_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

impl Names {
    /// Reads the names of a directory.
    pub(super) fn read(
        path: ArchivePath,
        mut directory: Directory,
        rules: &ScanRules,
        buffer: &mut ListBuffer,
    ) -> Self {
        let mut bytes = Vec::new();
        let mut places: Vec<Range<u32>> = Vec::new();
        let listed = directory.list(buffer, |listed| {
            // Names that archives cannot hold would be refused by the tree; a file system that returns them is damaged.
            check_name(listed.name)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it holds a name that is none"))?;
            let start = bytes.len() as u32;
            bytes.extend_from_slice(listed.name);
            places.push(start..bytes.len() as u32);
            if bytes.len() > NAMES_BYTES_MAX {
                Err(io::Error::other("it holds more names than fit in memory"))
            } else {
                Ok(())
            }
        });
        let name = |place: &Range<u32>| &bytes[place.start as usize..place.end as usize];
        places.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        // A file system may give a name twice while the directory changes.
        places.dedup_by(|a, b| name(a) == name(b));
        let has = |wanted: &[u8]| places.binary_search_by(|place| name(place).cmp(wanted)).is_ok();
        let mut excluded = 0;
        let mut cache_tag_only = false;
        if listed.is_err() {
            // Half a listing would look as if the other half had been deleted.
            places.clear();
        } else if rules.exclude_if_present.iter().any(|wanted| has(wanted)) {
            excluded = places.len() as u64;
            places.clear();
        } else if rules.exclude_caches && has(CACHE_TAG) && is_cache_tag(&directory) {
            excluded = places.len() as u64 - 1;
            cache_tag_only = true;
        }
        Self {
            path,
            directory: Arc::new(directory),
            bytes,
            places,
            next: 0,
            cache_tag_only,
            error: listed.err(),
            excluded,
        }
    }

    /// The next part of the directory, with metadata.
    pub(super) fn next_listing(&mut self, rules: &ScanRules, device_of: impl Fn(&Stat) -> Enter) -> Listing {
        let end = self.places.len().min(self.next + LISTING_FILES_MAX);
        let mut files = Vec::with_capacity(end - self.next);
        for place in &self.places[self.next..end] {
            let name = &self.bytes[place.start as usize..place.end as usize];
            if self.cache_tag_only && name != CACHE_TAG {
                continue;
            }
            let stat = self.directory.stat(name);
            if stat.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                continue;
            }
            let is_directory = stat.as_ref().is_ok_and(|stat| stat.kind == Kind::Directory);
            let too_large =
                |limit: u64| stat.as_ref().is_ok_and(|stat| stat.kind == Kind::File && stat.size > limit);
            if rules.exclusions.excludes(&self.path, name, is_directory)
                || rules.exclude_larger_than.is_some_and(too_large)
            {
                self.excluded += 1;
                continue;
            }
            let enter = match &stat {
                Ok(stat) if stat.kind == Kind::Directory => device_of(stat),
                Ok(_) | Err(_) => Enter::NotADirectory,
            };
            files.push(Listed { name: name.into(), stat, enter, implied: false });
        }
        self.next = end;
        let more = end < self.places.len();
        Listing {
            path: self.path.clone(),
            directory: Some(Arc::clone(&self.directory)),
            files,
            excluded: std::mem::take(&mut self.excluded),
            error: if more { None } else { self.error.take() },
            more,
        }
    }
}

/// All names of one directory together: some ten million.
const NAMES_BYTES_MAX: usize = 256 << 20;

fn is_cache_tag(directory: &Directory) -> bool {
    use std::io::Read;
    let mut start = [0; CACHE_TAG_SIGNATURE.len()];
    let read = directory.open_file(CACHE_TAG).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == CACHE_TAG_SIGNATURE
}
