//! Paths as this system writes them, and as archives know them.
//!
//! An [`ArchivePath`] has a typed root and names of raw bytes; [`to_archive`] and [`to_native`] go there and back without loss. On Unix a
//! name is its bytes. On Windows it is WTF-8: UTF-8 that also has room for unpaired surrogates. Nothing here looks at the
//! file system: links are not resolved and names are not changed.

mod directories;
mod printable;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
#[cfg(any(windows, test))]
mod windows_form;
#[cfg(any(windows, test))]
mod wtf8;

use std::io;
use std::path::{Component, Path, PathBuf};

use backstore_protocol::codec::Malformed;
use backstore_protocol::path::ArchivePath;

pub use directories::{Directories, HOME_VARIABLE, NoHome};
pub use printable::{Printable, from_printable};
#[cfg(unix)]
pub use unix::{name_to_archive, name_to_native, root, root_to_name, text_to_native, to_archive, to_native};
#[cfg(windows)]
pub use windows::{
    name_to_archive, name_to_native, root, root_to_name, text_to_native, to_archive, to_native,
};

/// Why a path has no counterpart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin at a root that archives know.
    #[error("{} is not an absolute path", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// One of its names, or the whole, is not what archives allow.
    #[error("{} cannot be stored: {source}", path.display())]
    Unfit {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        source: Malformed,
    },
    /// An archived path of another system: its root means nothing here.
    #[error("{path} is a path of another system")]
    Foreign {
        /// The path.
        path: ArchivePath,
    },
    /// An archived name that is no name here.
    #[error("{} is not a name on this system", Printable(name))]
    NotAName {
        /// The name.
        name: Vec<u8>,
    },
}

/// Makes a path absolute and removes `.`, `..` and repeated separators, by its text alone.
///
/// `a/link/../b` becomes `a/b` whatever `link` points to, so that the path that is backed up is the one that was written. A relative path is
/// taken from the current directory; an empty one is refused.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    Ok(without_dots(&std::path::absolute(path)?))
}

/// An absolute path without `.` and `..`; above the root there is only the root.
fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                // On a path that is only a root, `pop` does nothing.
                clean.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => clean.push(component),
        }
    }
    clean
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn dots_go_by_text_alone() {
        let check = |path: &str, expected: &str| {
            assert_eq!(absolute(Path::new(path)).unwrap(), Path::new(expected), "{path}")
        };
        check("/", "/");
        check("/a/b", "/a/b");
        check("/a//b/", "/a/b");
        check("/a/./b/.", "/a/b");
        check("/a/../b", "/b");
        check("/../../b", "/b");
        check("/a/b/../../..", "/");
        check("/a/...", "/a/...");
    }

    #[test]
    fn relative_paths_begin_in_the_current_directory() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute(Path::new("x/../y")).unwrap(), here.join("y"));
        assert_eq!(absolute(Path::new(".")).unwrap(), here);
        assert_eq!(absolute(Path::new("..")).unwrap(), here.parent().unwrap_or(&here));
        assert_eq!(absolute(Path::new("")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
