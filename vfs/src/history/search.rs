//! Finding files by name, in all versions.

use std::ops::Range;

use globset::{Candidate, GlobBuilder, GlobMatcher};

use super::rows::{self, NameFlags};
use super::seal::PathHash;
use super::{History, HistoryError, PastState};

/// Files that are found at most.
pub const FOUND_MAX: usize = 10_000;

/// Names that are looked for: `*`, `?`, `[…]` and `{…,…}` as in a shell; without regard to case if there is no capital in it.
pub struct Pattern(GlobMatcher);

/// A path whose name fits.
#[derive(Debug, Clone, PartialEq)]
pub struct PastPath {
    /// It, in the form that keys are made of.
    pub path: Vec<u8>,
    /// What became of it, oldest first.
    pub states: Vec<PastState>,
}

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
        let fits = |flags: NameFlags, name: &[u8]| flags.was_file && pattern.fits(name);
        let mut found = Vec::new();
        for hash in self.paths_named(FOUND_MAX, fits)? {
            let Some(PastPath { path, states }) = self.past_path(&hash)? else { continue };
            let is_file =
                |state: &PastState| state.entry.as_ref().is_some_and(|entry| !entry.kind.is_directory());
            let Some(last) = states.iter().rposition(is_file) else { continue };
            let end = states.get(last + 1).map_or(u64::MAX, |next| next.sequence);
            found.push(FoundFile { path, sequences: (states[last].sequence, end) });
        }
        found.sort();
        Ok(found)
    }

    /// Every path whose name fits, in any version and no order, until `each` returns false. Every name that ever was is looked at.
    pub fn find(
        &self,
        fits: impl Fn(&[u8]) -> bool,
        mut each: impl FnMut(PastPath) -> bool,
    ) -> Result<(), HistoryError> {
        for hash in self.paths_named(usize::MAX, |_, name| fits(name))? {
            if let Some(found) = self.past_path(&hash)?
                && !each(found)
            {
                break;
            }
        }
        Ok(())
    }

    /// Paths by their names.
    fn paths_named(
        &self,
        count_max: usize,
        fits: impl Fn(NameFlags, &[u8]) -> bool,
    ) -> Result<Vec<PathHash>, HistoryError> {
        let mut hashes = Vec::new();
        self.scan(&rows::ALL_NAMES, &rows::ALL_NAMES, |key, value| {
            let opened = self.seal.open(key, value)?;
            let (flags, name) = NameFlags::decode(&opened)?;
            if fits(flags, name) {
                hashes.push(*key.last_chunk()?);
            }
            Some(hashes.len() < count_max)
        })?;
        Ok(hashes)
    }

    fn past_path(&self, hash: &PathHash) -> Result<Option<PastPath>, HistoryError> {
        let mut path = None;
        let states = self.keyed_states(hash)?.into_iter().map(|(sequence, known)| {
            let entry = known.map(|(found, entry)| {
                path = Some(found);
                entry
            });
            PastState { sequence, entry }
        });
        let states = states.collect();
        Ok(path.map(|path| PastPath { path, states }))
    }
}
