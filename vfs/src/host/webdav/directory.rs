//! The names of one directory: which are shown otherwise than they say, because a system without regard to case would take two for one.
//!
//! The first entries of a directory, in its own order, decide, as many as are listed. What comes after them is found by its name and
//! changes nothing, so that no directory is ever read whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::names;
use super::tree::{Held, Tree};
use crate::model::{Attributes, FileKind, Ino, Problem};
use crate::objects::Wait;

/// Names that are shown otherwise than they say.
#[derive(Debug, Default)]
pub(super) struct Directory {
    by_shown: HashMap<String, Vec<u8>>,
    by_archived: HashMap<Vec<u8>, String>,
    has_notice: bool,
}

/// What a directory lists first that has more entries than are listed. No entry of it has that name.
pub(super) const NOTICE: &str = "README - not all is listed.txt";

const NOTICE_TEXT: &str = "\
This folder has more entries than are listed here: those that are missing come after these, in the order of the
bytes of their names. They are there, and open by their names.

`backstore ls PATH` lists all of them, and `backstore restore PATH --to DIR` brings them back. PATH is where they
were on the computer that was backed up. `backstore mount` without --via webdav has no such limit.
";

impl Directory {
    /// From the first names of the directory `above`, in the order in which they are listed.
    pub(super) fn new<'a>(
        tree: &Tree,
        above: &Arc<Held>,
        archived: impl Iterator<Item = &'a [u8]>,
        has_more: bool,
        wait: Wait,
    ) -> Result<Self, Problem> {
        let (mut taken, mut colliding, mut count) = (HashSet::from([names::folded(NOTICE)]), Vec::new(), 0);
        for name in archived {
            count += 1;
            let shown = names::shown(name);
            if !taken.insert(names::folded(&shown)) {
                colliding.push((name, shown));
            }
        }
        let has_notice = has_more || count > tree.listed_max_windows;
        let mut directory = Self { has_notice, ..Self::default() };
        let mut failed = None;
        for (name, shown) in colliding {
            // What is not listed keeps its name.
            let is_taken = |candidate: &str| {
                let raw = names::archived(candidate).filter(|_| has_more);
                let found = raw.map(|raw| tree.lookup(above, &raw, wait));
                match found {
                    Some(Ok(_)) => true,
                    None | Some(Err(Problem::NotFound | Problem::NotFoundYet)) => false,
                    Some(Err(problem)) => {
                        failed = Some(problem);
                        false
                    }
                }
            };
            let own = names::another(&shown, &mut taken, is_taken);
            directory.by_shown.insert(own.clone(), name.to_vec());
            directory.by_archived.insert(name.to_vec(), own);
        }
        failed.map_or(Ok(directory), Err)
    }

    /// How an entry is shown.
    pub(super) fn shown(&self, archived: &[u8]) -> String {
        self.by_archived.get(archived).cloned().unwrap_or_else(|| names::shown(archived))
    }

    /// The entry that is shown so, if there is one of its name.
    pub(super) fn archived(&self, shown: &str) -> Option<Vec<u8>> {
        self.by_shown.get(shown).cloned().or_else(|| {
            let archived = names::archived(shown)?;
            (!self.by_archived.contains_key(&archived)).then_some(archived)
        })
    }

    /// What says that not all is listed, if that is so for anybody.
    pub(super) fn notice(&self, above: &Held) -> Option<(Bytes, Attributes)> {
        if !self.has_notice {
            return None;
        }
        let bytes = Bytes::from_static(NOTICE_TEXT.as_bytes());
        let directory = above.attributes;
        let (ino, size) = (Ino(!directory.ino.0), bytes.len() as u64);
        Some((bytes, Attributes { ino, kind: FileKind::File, size, mode: 0o644, ..directory }))
    }

    /// About as much memory as it takes.
    pub(super) fn bytes(&self) -> usize {
        let names = self.by_shown.iter().map(|(shown, archived)| 2 * (shown.len() + archived.len()) + 128);
        128 + names.sum::<usize>()
    }
}
