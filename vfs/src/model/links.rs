//! Symbolic links that stay inside a version: SEMANTICS.md section 5.

use backstore_protocol::entry::{Content, Entry, Kind};
use backstore_protocol::path::ArchivePath;

use super::paths::UNIX_ROOT;

/// Roots of a backup set, as paths of their system: links into them stay inside the version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkRoots(Vec<Vec<u8>>);

impl LinkRoots {
    /// These roots, in the form that keys are made of. Those of other systems than Unix change no link.
    pub fn new<'a>(roots: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let paths = roots.into_iter().filter_map(|root| ArchivePath::from_joined(root).ok());
        Self(paths.filter_map(|path| unix_path(&path)).collect())
    }

    /// Where the link with this key leads instead of where it says; nothing if it stays as it is.
    pub(super) fn target(&self, key: &[u8], entry: &Entry) -> Option<Vec<u8>> {
        let (Kind::Symlink, Content::Inline(target)) = (entry.kind, &entry.content) else { return None };
        // Other names of the same link may lie at another depth.
        if self.0.is_empty() || entry.nlink > 1 || !self.holds(target) {
            return None;
        }
        let path =
            ArchivePath::from_key(key).ok().filter(|path| path.components().next() == Some(UNIX_ROOT))?;
        let mut inside = "../".repeat(path.depth().checked_sub(1)?).into_bytes();
        inside.extend_from_slice(&target[1..]);
        Some(if inside.is_empty() { b".".to_vec() } else { inside })
    }

    /// Whether an absolute path, as it is written, lies in a root.
    fn holds(&self, target: &[u8]) -> bool {
        let goes_up = target.split(|byte| *byte == b'/').any(|name| name == b"..");
        target.starts_with(b"/")
            && !goes_up
            && self.0.iter().any(|root| {
                let rest = target.strip_prefix(&root[..]);
                rest.is_some_and(|rest| root == b"/" || matches!(rest.first(), None | Some(b'/')))
            })
    }
}

fn unix_path(path: &ArchivePath) -> Option<Vec<u8>> {
    let mut components = path.components();
    (components.next() == Some(UNIX_ROOT)).then_some(())?;
    let names: Vec<_> = components.collect();
    Some([&b"/"[..], &names.join(&b'/')].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_into_roots_stay_inside() {
        let roots = LinkRoots::new([&b"/\0home\0alice"[..], b"C:", b"/\0srv"]);
        let link = |target: &str| Entry {
            content: Content::Inline(target.as_bytes().into()),
            ..Entry::new(Kind::Symlink)
        };
        let check = |target: &str, expected: Option<&str>| {
            let path = ArchivePath::from_joined(b"/\0home\0alice\0l").unwrap();
            let found = roots.target(&path.key(), &link(target));
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{target}");
        };
        check("/home/alice/x", Some("../../home/alice/x"));
        check("/home/alice", Some("../../home/alice"));
        check("/srv/a/b", Some("../../srv/a/b"));
        for other in ["/home/alicex", "/home", "/", "x", "../x", "", "/home/alice/../bob", "/etc/passwd"] {
            check(other, None);
        }
        let key = ArchivePath::from_joined(b"/\0l").unwrap().key();
        assert_eq!(roots.target(&key, &link("/srv")).unwrap(), b"srv");
        let all = LinkRoots::new([&b"/"[..]]);
        assert_eq!(all.target(&key, &link("/")).unwrap(), b".");
        assert_eq!(all.target(&key, &link("/etc/x")).unwrap(), b"etc/x");
        assert!(all.target(&key, &Entry { nlink: 2, ..link("/x") }).is_none());
        assert!(all.target(&ArchivePath::from_joined(b"C:\0l").unwrap().key(), &link("/x")).is_none());
        assert!(LinkRoots::default().target(&key, &link("/srv")).is_none());
    }
}
