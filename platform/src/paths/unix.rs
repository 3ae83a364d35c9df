//! Unix: one root, names of any bytes but `/` and zero.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use backstore_protocol::path::{ArchivePath, check_name};

use super::PathError;

/// The archive's form of an absolute path. `..` is refused: see [`super::absolute`].
pub fn to_archive(path: &Path) -> Result<ArchivePath, PathError> {
    if !path.is_absolute() {
        return Err(PathError::NotAbsolute { path: path.to_owned() });
    }
    let unfit = |source| PathError::Unfit { path: path.to_owned(), source };
    let mut archived = ArchivePath::unix_root();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            // `join` refuses `..` by its name.
            Component::ParentDir => archived = archived.join(b"..").map_err(unfit)?,
            Component::Normal(name) => archived = archived.join(name.as_bytes()).map_err(unfit)?,
        }
    }
    Ok(archived)
}

/// This system's form of an archived path.
pub fn to_native(path: &ArchivePath) -> Result<PathBuf, PathError> {
    let mut components = path.components();
    if components.next() != Some(b"/") {
        return Err(PathError::Foreign { path: path.clone() });
    }
    let mut native = Vec::with_capacity(path.joined().len() + 1);
    for name in components {
        native.push(b'/');
        native.extend_from_slice(name);
    }
    if native.is_empty() {
        native.push(b'/');
    }
    Ok(OsString::from_vec(native).into())
}

/// The archive's form of one name.
pub fn name_to_archive(name: &OsStr) -> Cow<'_, [u8]> {
    Cow::Borrowed(name.as_bytes())
}

/// This system's form of one archived name.
pub fn name_to_native(name: &[u8]) -> Result<Cow<'_, OsStr>, PathError> {
    match check_name(name) {
        Ok(()) => Ok(Cow::Borrowed(OsStr::from_bytes(name))),
        Err(_) => Err(PathError::NotAName { name: name.to_owned() }),
    }
}

/// The directory that all paths begin at, where there is one.
pub fn root() -> Option<&'static Path> {
    Some(Path::new("/"))
}

/// A name for the directory that stands for an archived drive or share, in the archive's form.
pub fn root_to_name(root: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(root)
}

/// Any archived text as this system's, to be matched against patterns: exact.
pub fn text_to_native(text: &[u8]) -> Cow<'_, OsStr> {
    Cow::Borrowed(OsStr::from_bytes(text))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every byte but `/` and zero may stand in a name.
        #[test]
        fn archive_and_back(names in vec(vec(any::<u8>(), 1..255), 0..8)) {
            let names: Vec<_> = names.into_iter().filter(|name| check_name(name).is_ok()).collect();
            let path = names.iter().fold(PathBuf::from("/"), |path, name| path.join(OsStr::from_bytes(name)));
            let archived = to_archive(&path).unwrap();
            prop_assert!(archived.components().skip(1).eq(names.iter().map(Vec::as_slice)));
            prop_assert_eq!(to_native(&archived).unwrap(), path);
            for name in &names {
                let native = name_to_native(name).unwrap();
                prop_assert_eq!(&name_to_archive(&native)[..], &name[..]);
            }
        }
    }

    #[test]
    fn what_has_no_counterpart_is_refused() {
        for path in ["", "a", "./a", "../a"] {
            assert_eq!(to_archive(Path::new(path)), Err(PathError::NotAbsolute { path: path.into() }));
        }
        assert!(matches!(to_archive(Path::new("/a/../b")), Err(PathError::Unfit { .. })));
        let too_long = Path::new("/").join("n".repeat(1025));
        assert!(
            matches!(to_archive(&too_long), Err(PathError::Unfit { source, .. }) if source.what == "name")
        );
        for root in [&b"C:"[..], b"UNC\\nas\\data"] {
            let path = ArchivePath::root(root).unwrap();
            assert_eq!(to_native(&path), Err(PathError::Foreign { path }));
        }
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
            assert_eq!(name_to_native(name), Err(PathError::NotAName { name: name.to_owned() }));
        }
    }
}
