//! Names, archive paths and the keys that order them: PROTOCOL.md section 1.
//!
//! An [`ArchivePath`] is what a snapshot calls a file: a typed root and names of raw bytes, the same on every system. How a
//! system's own paths become one is the business of `platform`.

use std::fmt;

use crate::codec::Malformed;
use crate::limits::{KEY_BYTES_MAX, NAME_BYTES_MAX, PATH_DEPTH_MAX};

/// A root and the names below it, joined by zero bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ArchivePath(Vec<u8>);

impl ArchivePath {
    /// The root of a Unix system.
    pub fn unix_root() -> Self {
        Self(b"/".to_vec())
    }

    /// The path of a root component: `/`, `C:` or `UNC\server\share`.
    pub fn root(component: &[u8]) -> Result<Self, Malformed> {
        check_root(component)?;
        Ok(Self(component.to_vec()))
    }

    /// The path that a tree key stands for.
    pub fn from_key(key: &[u8]) -> Result<Self, Malformed> {
        let (parent, name) = split_key(key)?;
        let mut joined = Vec::with_capacity(key.len());
        if parent.is_empty() {
            check_root(name)?;
        } else {
            check_name(name)?;
            check_joined(parent)?;
            joined.extend_from_slice(parent);
            joined.push(0);
        }
        joined.extend_from_slice(name);
        if joined.iter().filter(|byte| **byte == 0).count() > PATH_DEPTH_MAX {
            return Err(Malformed { what: "path depth", offset: 0 });
        }
        Ok(Self(joined))
    }

    /// The path of a root and names joined by zero bytes: see [`ArchivePath::joined`].
    pub fn from_joined(joined: &[u8]) -> Result<Self, Malformed> {
        check_joined(joined)?;
        let path = Self(joined.to_vec());
        if joined.len() >= KEY_BYTES_MAX || path.depth() > PATH_DEPTH_MAX {
            return Err(Malformed { what: "path length", offset: joined.len() });
        }
        Ok(path)
    }

    /// The path of the file `name` in this directory.
    pub fn join(&self, name: &[u8]) -> Result<Self, Malformed> {
        check_name(name)?;
        let mut joined = Vec::with_capacity(self.0.len() + 1 + name.len());
        joined.extend_from_slice(&self.0);
        joined.push(0);
        joined.extend_from_slice(name);
        // The key is one byte longer than the joined form.
        if joined.len() >= KEY_BYTES_MAX {
            return Err(Malformed { what: "path length", offset: joined.len() });
        }
        let path = Self(joined);
        if path.depth() > PATH_DEPTH_MAX {
            return Err(Malformed { what: "path depth", offset: 0 });
        }
        Ok(path)
    }

    /// Names below the root.
    pub fn depth(&self) -> usize {
        self.0.iter().filter(|byte| **byte == 0).count()
    }

    /// The directory it is in; nothing for a root.
    pub fn parent(&self) -> Option<Self> {
        let end = self.0.iter().rposition(|byte| *byte == 0)?;
        Some(Self(self.0[..end].to_vec()))
    }

    /// Its last component.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == 0).map_or(0, |end| end + 1);
        &self.0[start..]
    }

    /// The root, then every name.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == 0)
    }

    /// Whether `other` is this path or lies below it.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.strip_prefix(&self.0[..]).is_some_and(|rest| rest.is_empty() || rest[0] == 0)
    }

    /// Its key in the tree.
    pub fn key(&self) -> Vec<u8> {
        match self.0.iter().rposition(|byte| *byte == 0) {
            None => child_key(&[], &self.0),
            Some(end) => child_key(&self.0[..end], &self.0[end + 1..]),
        }
    }

    /// What the keys of its children start with.
    pub fn children_prefix(&self) -> Vec<u8> {
        [&self.0[..], &[0, 0]].concat()
    }

    /// What the keys of everything below it start with.
    pub fn subtree_prefix(&self) -> Vec<u8> {
        [&self.0[..], &[0]].concat()
    }

    /// Root and names joined by zero bytes, the form that keys are made of.
    pub fn joined(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Shows the path as its own system would write it; bytes that are not UTF-8 become replacement characters.
impl fmt::Display for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut components = self.components();
        let root = components.next().unwrap_or_default();
        let separator = if root == b"/" { '/' } else { '\\' };
        let mut first = true;
        if root != b"/" {
            f.write_str(&String::from_utf8_lossy(
                root.strip_prefix(b"UNC").map_or(root, |_| b"\\".as_slice()),
            ))?;
            if let Some(share) = root.strip_prefix(b"UNC") {
                f.write_str(&String::from_utf8_lossy(share))?;
            }
        }
        for name in components {
            write!(f, "{separator}{}", String::from_utf8_lossy(name))?;
            first = false;
        }
        if first && !root.starts_with(b"UNC") { write!(f, "{separator}") } else { Ok(()) }
    }
}

/// The key of `name` in the directory whose joined form is `parent`; with an empty parent, of the root `name`.
pub fn child_key(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(parent.len() + 2 + name.len());
    if !parent.is_empty() {
        key.extend_from_slice(parent);
        key.push(0);
    }
    key.push(0);
    key.extend_from_slice(name);
    key
}

/// Splits a key into the joined form of the parent (empty for a root) and the name.
pub fn split_key(key: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let malformed = |offset| Malformed { what: "key", offset };
    if key.len() > KEY_BYTES_MAX {
        return Err(malformed(KEY_BYTES_MAX));
    }
    let zero = key.iter().rposition(|byte| *byte == 0).ok_or(malformed(0))?;
    if zero == 0 {
        return Ok((&[], &key[1..]));
    }
    if key[zero - 1] != 0 || zero == 1 {
        return Err(malformed(zero));
    }
    Ok((&key[..zero - 1], &key[zero + 1..]))
}

/// The name that a key ends with: what follows its last zero byte.
pub fn key_name(key: &[u8]) -> &[u8] {
    let start = key.iter().rposition(|byte| *byte == 0).map_or(0, |zero| zero + 1);
    &key[start..]
}

/// The first key that does not start with `prefix`.
///
/// `prefix` ends in a zero byte, as those of [`ArchivePath::children_prefix`] and [`ArchivePath::subtree_prefix`] do.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// Refuses what cannot be the name of a file in a directory.
pub fn check_name(name: &[u8]) -> Result<(), Malformed> {
    let fine = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    if fine { Ok(()) } else { Err(Malformed { what: "name", offset: 0 }) }
}

fn check_root(root: &[u8]) -> Result<(), Malformed> {
    let fine = match root {
        b"/" => true,
        [letter, b':'] => letter.is_ascii_uppercase(),
        _ => root.strip_prefix(b"UNC\\").is_some_and(|rest| {
            let parts: Vec<_> = rest.split(|byte| *byte == b'\\').collect();
            parts.len() == 2 && parts.iter().all(|part| check_name(part).is_ok())
        }),
    };
    if fine { Ok(()) } else { Err(Malformed { what: "root", offset: 0 }) }
}

fn check_joined(joined: &[u8]) -> Result<(), Malformed> {
    let mut components = joined.split(|byte| *byte == 0);
    check_root(components.next().unwrap_or_default())?;
    components.try_for_each(check_name)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn any_path() -> impl Strategy<Value = ArchivePath> {
        let name = vec(any::<u8>(), 1..6).prop_filter("a name", |name| check_name(name).is_ok());
        vec(name, 0..5).prop_map(|names| {
            names.iter().fold(ArchivePath::unix_root(), |path, name| path.join(name).expect("a checked name"))
        })
    }

    proptest! {
        #[test]
        fn key_round_trip(path in any_path()) {
            prop_assert_eq!(ArchivePath::from_key(&path.key()), Ok(path.clone()));
            prop_assert_eq!(ArchivePath::from_joined(path.joined()), Ok(path.clone()));
            let key = path.key();
            prop_assert_eq!(key_name(&key), path.name());
        }

        #[test]
        fn accepted_keys_are_canonical(key in vec(prop_oneof![Just(0u8), Just(b'/'), Just(b'a'), Just(b'.')], 0..12)) {
            if let Ok(path) = ArchivePath::from_key(&key) {
                prop_assert_eq!(path.key(), key);
            }
        }

        #[test]
        fn prefixes_hold_exactly_children_and_subtree(a in any_path(), b in any_path()) {
            let key = b.key();
            prop_assert_eq!(key.starts_with(&a.children_prefix()), b.parent().as_ref() == Some(&a));
            prop_assert_eq!(key.starts_with(&a.subtree_prefix()), a.contains(&b) && a != b);
            let end = prefix_end(&a.subtree_prefix());
            prop_assert_eq!(key.starts_with(&a.subtree_prefix()), key >= a.subtree_prefix() && key < end);
        }
    }

    #[test]
    fn children_come_before_grandchildren() {
        let path = |text: &str| {
            text.split('/').skip(1).fold(ArchivePath::unix_root(), |p, n| p.join(n.as_bytes()).unwrap())
        };
        let order = ["/a", "/b", "/b.c", "/z", "/a/a", "/a/b", "/a/b/c", "/b/x", "/b.c/x"];
        let keys: Vec<_> = order.iter().map(|text| path(text).key()).collect();
        assert!(ArchivePath::unix_root().key() < keys[0]);
        assert!(keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn hostile_names_and_keys_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; NAME_BYTES_MAX + 1]] {
            assert!(ArchivePath::unix_root().join(name).is_err(), "{name:?}");
        }
        for key in [
            &b""[..],
            b"a",
            b"\0",
            b"\0x",
            b"/\0x",
            b"/\0\0",
            b"/\0\0.",
            b"/\0..\0\0x",
            b"/\0\0\0x",
            b"\0\0x",
            b"c:\0\0x",
        ] {
            assert!(ArchivePath::from_key(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn too_long_or_deep_is_refused() {
        let mut path = ArchivePath::unix_root();
        let refused = loop {
            match path.join(&[b'n'; 255]) {
                Ok(longer) => path = longer,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.what, "path length");
        assert!(path.key().len() <= KEY_BYTES_MAX && path.key().len() > KEY_BYTES_MAX - 257);
        let mut path = ArchivePath::unix_root();
        for _ in 0..PATH_DEPTH_MAX {
            path = path.join(b"d").unwrap();
        }
        assert_eq!(path.join(b"d").unwrap_err().what, "path depth");
    }

    #[test]
    fn shown_as_its_own_system_writes_it() {
        let shown = |root: &[u8], names: &[&str]| {
            names
                .iter()
                .fold(ArchivePath::root(root).unwrap(), |p, n| p.join(n.as_bytes()).unwrap())
                .to_string()
        };
        assert_eq!(shown(b"/", &[]), "/");
        assert_eq!(shown(b"/", &["home", "é"]), "/home/é");
        assert_eq!(shown(b"C:", &[]), "C:\\");
        assert_eq!(shown(b"C:", &["Users"]), "C:\\Users");
        assert_eq!(shown(b"UNC\\nas\\data", &["x"]), "\\\\nas\\data\\x");
    }
}
