//! Windows: drives and shares as roots, names of UTF-16 as WTF-8.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use backstore_protocol::path::ArchivePath;

use super::windows_form::{self, FormError};
use super::{PathError, wtf8};

/// The archive's form of an absolute path. `..` is refused: see [`super::absolute`].
pub fn to_archive(path: &Path) -> Result<ArchivePath, PathError> {
    windows_form::to_archive(&name_to_archive(path.as_os_str())).map_err(|error| match error {
        FormError::NotAbsolute => PathError::NotAbsolute { path: path.to_owned() },
        FormError::Unfit(source) => PathError::Unfit { path: path.to_owned(), source },
    })
}

/// This system's form of an archived path: behind `\\?\`, so of any length.
pub fn to_native(path: &ArchivePath) -> Result<PathBuf, PathError> {
    if let Some(name) = path.components().skip(1).find(|name| !windows_form::is_native_name(name)) {
        return Err(PathError::NotAName { name: name.to_owned() });
    }
    let text = windows_form::to_native(path).ok_or_else(|| PathError::Foreign { path: path.clone() })?;
    Ok(wide(&text)?.into())
}

/// The archive's form of one name.
pub fn name_to_archive(name: &OsStr) -> Cow<'_, [u8]> {
    Cow::Owned(wtf8::from_wide(name.encode_wide()))
}

/// This system's form of one archived name.
pub fn name_to_native(name: &[u8]) -> Result<Cow<'_, OsStr>, PathError> {
    if !windows_form::is_native_name(name) {
        return Err(PathError::NotAName { name: name.to_owned() });
    }
    wide(name).map(Cow::Owned)
}

/// The directory that all paths begin at: there is none, but drives and shares.
pub fn root() -> Option<&'static Path> {
    None
}

/// A name for the directory that stands for an archived drive or share, in the archive's form: neither is a name here.
pub fn root_to_name(root: &[u8]) -> Cow<'_, [u8]> {
    Cow::Owned(windows_form::root_to_name(root))
}

/// Any archived text as this system's, to be matched against patterns; what is not UTF-8 becomes replacement characters.
pub fn text_to_native(text: &[u8]) -> Cow<'_, OsStr> {
    match String::from_utf8_lossy(text) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_ref()),
        Cow::Owned(text) => Cow::Owned(text.into()),
    }
}

fn wide(text: &[u8]) -> Result<OsString, PathError> {
    match wtf8::to_wide(text) {
        Some(wide) => Ok(OsString::from_wide(&wide)),
        None => Err(PathError::NotAName { name: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_and_back() {
        for path in [r"C:\", r"C:\Users\alice\file.txt", r"\\nas\data\x", r"\\?\D:\name. \x"] {
            let archived = to_archive(Path::new(path)).unwrap();
            let native = to_native(&archived).unwrap();
            assert!(native.to_str().unwrap().starts_with(r"\\?\"), "{native:?}");
            assert_eq!(to_archive(&native).unwrap(), archived);
        }
        let unpaired = OsString::from_wide(&[0x61, 0xD83D, 0x62]);
        let archived = to_archive(&Path::new(r"C:\").join(&unpaired)).unwrap();
        assert_eq!(archived.name(), b"a\xED\xA0\xBDb");
        assert_eq!(to_native(&archived).unwrap().file_name(), Some(&*unpaired));
    }

    #[test]
    fn what_has_no_counterpart_is_refused() {
        assert!(matches!(to_archive(Path::new("a")), Err(PathError::NotAbsolute { .. })));
        assert!(matches!(to_native(&ArchivePath::unix_root()), Err(PathError::Foreign { .. })));
        let stream = ArchivePath::root(b"C:").unwrap().join(b"file:stream").unwrap();
        assert!(matches!(to_native(&stream), Err(PathError::NotAName { .. })));
        assert!(matches!(name_to_native(b"..\\x"), Err(PathError::NotAName { .. })));
        assert!(matches!(name_to_native(b"\xff"), Err(PathError::NotAName { .. })));
    }

    #[test]
    fn absolute_paths_have_no_dots() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(super::super::absolute(Path::new(r".\x\..\y")).unwrap(), here.join("y"));
        assert_eq!(super::super::absolute(Path::new(r"C:\a\..\..\b")).unwrap(), Path::new(r"C:\b"));
    }
}
