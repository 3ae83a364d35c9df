//! Walking, counting, reading and removing files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How much is in a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FolderSize {
    /// Regular files.
    pub(crate) files: u64,
    /// Their bytes, without holes: of a sparse file what it occupies, of any other its length.
    pub(crate) bytes: u64,
}

/// Counts a folder. Names of one file are counted each.
pub(crate) fn size_of(folder: &Path) -> io::Result<FolderSize> {
    let mut size = FolderSize::default();
    visit(folder, &mut |path| {
        let metadata = fs::symlink_metadata(path)?;
        size.files += 1;
        size.bytes += metadata.len().min(metadata.blocks() * 512);
        Ok(())
    })?;
    Ok(size)
}

/// Calls for every regular file, in no particular order; symbolic links are not followed.
pub(crate) fn visit(folder: &Path, each: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            visit(&entry.path(), each)?;
        } else if kind.is_file() {
            each(&entry.path())?;
        }
    }
    Ok(())
}

/// All regular files, sorted.
pub(crate) fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    visit(folder, &mut |path| {
        paths.push(path.to_owned());
        Ok(())
    })?;
    paths.sort_unstable();
    Ok(paths)
}

/// Reads every file once, so that the page cache holds it.
pub(crate) fn warm(folder: &Path) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    visit(folder, &mut |path| {
        let mut file = File::open(path)?;
        while file.read(&mut buffer)? > 0 {}
        Ok(())
    })
}

/// Removes whatever is there; that nothing is there is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a folder that is empty.
pub(crate) fn empty(path: &Path) -> io::Result<()> {
    remove(path)?;
    fs::create_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_leave_holes_out() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("below")).expect("made");
        fs::write(folder.path().join("below/small"), b"abc").expect("written");
        let sparse = File::create(folder.path().join("sparse")).expect("created");
        sparse.set_len(1 << 30).expect("sized");
        std::os::unix::fs::symlink("small", folder.path().join("link")).expect("linked");
        let size = size_of(folder.path()).expect("counted");
        assert_eq!(size.files, 2);
        assert!(size.bytes >= 3 && size.bytes < 1 << 20, "{size:?}");
    }

    #[test]
    fn removing_what_is_not_there() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep/er");
        remove(&path).expect("nothing to do");
        empty(&path).expect("made");
        fs::write(path.join("x"), b"x").expect("written");
        empty(&path).expect("made empty");
        assert_eq!(sorted(&path).expect("listed"), Vec::<PathBuf>::new());
    }
}
