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

fn wide(text: &[u8]) -> Result<OsString, PathError> {
    match wtf8::to_wide(text) {
        Some(wide) => Ok(OsString::from_wide(&wide)),
        None => Err(PathError::NotAName { name: text.to_owned() }),
    }
}
