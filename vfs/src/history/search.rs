//! Finding files by name, in all versions.

use std::ops::Range;

use globset::{Candidate, GlobBuilder, GlobMatcher};

use super::rows::{self, NameFlags};
use super::{History, HistoryError};

/// Files that are found at most.
pub const FOUND_MAX: usize = 10_000;

/// Names that are looked for: `*`, `?`, `[…]` and `{…,…}` as in a shell; without regard to case if there is no capital in it.
pub struct Pattern(GlobMatcher);

/// A file whose name fits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundFile {
    /// Where it is, in the form that keys are made of.
    pub path: Vec<u8>,
    /// Versions that have it as it was last, by their sequences.
    pub sequences: (u64, u64),
}

impl FoundFile {
    /// Versions that have it as it was last, by their sequences.
    pub const fn range(&self) -> Range<u64> {
        self.sequences.0..self.sequences.1
    }
}

impl Pattern {
    /// Reads a pattern; nothing if it is none. Hidden names without `*` and the like are what file managers look for everywhere.
    pub fn new(glob: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(glob).ok()?;
        if text.starts_with('.') && !text.contains(['*', '?', '[', '{']) {
            return None;
        }
        let ignores_case = !text.chars().any(char::is_uppercase);
        let glob = GlobBuilder::new(text).case_insensitive(ignores_case).build().ok()?;
        Some(Self(glob.compile_matcher()))
    }

    fn fits(&self, name: &[u8]) -> bool {
        self.0.is_match_candidate(&Candidate::from_bytes(name))
    }
}

impl History {
    /// Files whose names fit, in any version, by their paths; no more than [`FOUND_MAX`]. Every name that ever was is looked at.
    pub fn search(&self, pattern: &Pattern) -> Result<Vec<FoundFile>, HistoryError> {
        let mut hashes = Vec::new();
        self.scan(&rows::ALL_NAMES, &rows::ALL_NAMES, |key, value| {
            let opened = self.seal.open(key, value)?;
            let (flags, name) = NameFlags::decode(&opened)?;
            if flags.was_file && pattern.fits(name) {
                hashes.push(*key.last_chunk()?);
            }
            Some(hashes.len() < FOUND_MAX)
        })?;
        let mut found = Vec::with_capacity(hashes.len());
        for hash in hashes {
            let mut end = u64::MAX;
            for (sequence, known) in self.keyed_states(&hash)?.into_iter().rev() {
                if let Some((path, _)) = known {
                    found.push(FoundFile { path, sequences: (sequence, end) });
                    break;
                }
                end = sequence;
            }
        }
        found.sort();
        Ok(found)
    }
}
