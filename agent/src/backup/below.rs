//! Parts of the tree to be remembered until they have been passed: everything below some directories.

use std::collections::BTreeSet;

use backstore_protocol::path::ArchivePath;

/// Directories, by what the keys of all below them start with.
#[derive(Default)]
pub(super) struct Below(BTreeSet<Vec<u8>>);

impl Below {
    /// Adds everything below a directory.
    pub(super) fn add(&mut self, directory: &ArchivePath) {
        self.0.insert(directory.subtree_prefix());
    }

    /// Whether a key is below one of them. Keys increase from call to call: what has been passed is forgotten.
    pub(super) fn has(&mut self, key: &[u8]) -> bool {
        while self.0.first().is_some_and(|first| first[..] < *key && !key.starts_with(first)) {
            self.0.pop_first();
        }
        !self.0.is_empty() && (0..key.len()).any(|zero| key[zero] == 0 && self.0.contains(&key[..=zero]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_below_a_directory_is_known_and_nothing_beside_it() {
        let path = |joined: &[u8]| ArchivePath::from_joined(joined).unwrap();
        let mut below = Below::default();
        below.add(&path(b"/\0a"));
        below.add(&path(b"/\0c"));
        assert!(!below.has(&path(b"/\0a").key()), "the directory itself is not below it");
        assert!(below.has(&path(b"/\0a\0x").key()));
        below.add(&path(b"/\0b\0y"));
        assert!(below.has(&path(b"/\0a\0x\0deep\0er").key()));
        assert!(!below.has(&path(b"/\0ab\0x").key()));
        assert!(!below.has(&path(b"/\0b\0x\0z").key()));
        assert!(below.has(&path(b"/\0b\0y\0z").key()));
        assert!(below.has(&path(b"/\0c\0z").key()));
        assert!(!below.has(&path(b"/\0d\0z").key()));
        assert_eq!(below.0.len(), 0, "what has been passed is forgotten");
    }
}
