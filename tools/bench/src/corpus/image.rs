//! A disk image as of a virtual machine: an ext4 file system with programs, libraries and their data; and the same
//! image after some of its files were written.
//!
//! It holds files of this machine, so only images made on one machine are the same. Needs root (a loop mount).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::IMAGE_FILE;
use crate::child::call;
use crate::error::{BenchError, file_error};
use crate::files;
use crate::random::Random;

/// Bytes of the image at scale 1.
pub(super) const BYTES: u64 = 2 << 30;
/// What fills it: of these folders in `/usr`, in this order, as many as four fifths of it take.
const FOLDERS: [&str; 10] = [
    "bin",
    "sbin",
    "lib/python3",
    "lib/python3.11",
    "lib/git-core",
    "lib/x86_64-linux-gnu",
    "lib/gcc",
    "lib/llvm-14",
    "include",
    "share",
];
const SEED: u64 = 7;

/// Makes the image.
pub(super) fn make(dir: &Path, bytes: u64) -> Result<(), BenchError> {
    let content = dir.with_extension("content");
    files::empty(&content).map_err(file_error("create", &content))?;
    // The file system needs some room for itself, of a small image a larger share.
    let mut left = bytes / 5 * 4 - (bytes / 5).min(32 << 20);
    for folder in FOLDERS {
        let from = Path::new("/usr").join(folder);
        let Ok(size) = files::size_of(&from) else { continue };
        // Of every file's last block, half is lost on average.
        let needed = size.bytes + size.files * 2048;
        if needed > left {
            continue;
        }
        left -= needed;
        let to = content.join("usr").join(folder);
        let parent = to.parent().unwrap_or(&content);
        fs::create_dir_all(parent).map_err(file_error("create", parent))?;
        call(Command::new("cp").arg("-a").arg(&from).arg(parent))?;
    }
    let image = dir.join(IMAGE_FILE);
    let sized = File::create(&image).and_then(|file| file.set_len(bytes));
    sized.map_err(file_error("create", &image))?;
    let options = "hash_seed=00000000-0000-0000-0000-000000000001,lazy_itable_init=0";
    call(
        Command::new("mkfs.ext4")
            .env("E2FSPROGS_FAKE_TIME", "1700000000")
            .args(["-q", "-E", options, "-U", "00000000-0000-0000-0000-000000000002", "-d"])
            .arg(&content)
            .arg(&image),
    )?;
    files::remove(&content).map_err(file_error("remove", &content))
}

/// Copies the image and changes files in it, about one byte of fifty.
pub(super) fn make_changed(original: &Path, dir: &Path) -> Result<(), BenchError> {
    let image = dir.join(IMAGE_FILE);
    call(Command::new("cp").arg("--sparse=always").arg(original.join(IMAGE_FILE)).arg(&image))?;
    let mount = dir.with_extension("mount");
    files::empty(&mount).map_err(file_error("create", &mount))?;
    call(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount))?;
    let changed = change_files(&mount);
    call(Command::new("umount").arg(&mount))?;
    changed.map_err(file_error("change files in", &image))?;
    files::remove(&mount).map_err(file_error("remove", &mount))
}

/// Larger files stay as they are: one of them would be all the change there is.
const CHANGED_FILE_BYTES_MAX: u64 = 20_000_000;
const APPENDED_BYTES: usize = 2048;

/// By turns a file is touched, appended to, or replaced by a file whose first half is new.
fn change_files(root: &Path) -> io::Result<()> {
    let mut random = Random::new(SEED);
    let mut paths: Vec<PathBuf> = files::sorted(root)?;
    random.shuffle(&mut paths);
    let mut total = 0;
    for path in &paths {
        total += fs::metadata(path)?.len();
    }
    let mut done = 0;
    for (number, path) in paths.iter().enumerate() {
        if done > total / 50 {
            break;
        }
        let size = fs::metadata(path)?.len();
        if size > CHANGED_FILE_BYTES_MAX {
            continue;
        }
        match number % 3 {
            0 => File::options().append(true).open(path)?.set_modified(std::time::SystemTime::now())?,
            1 => {
                let mut appended = [0; APPENDED_BYTES];
                random.fill(&mut appended);
                OpenOptions::new().append(true).open(path)?.write_all(&appended)?;
                done += 4096;
            }
            _ => {
                let mut bytes = fs::read(path)?;
                let half = bytes.len() / 2;
                random.fill(&mut bytes[..half]);
                let new = path.with_extension("changed");
                fs::write(&new, bytes)?;
                fs::rename(&new, path)?;
                done += size;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fiftieth_changes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        (0..300).for_each(|number| {
            fs::write(dir.path().join(format!("{number:03}")), [7; 9000]).expect("written")
        });
        change_files(dir.path()).expect("changed");
        let paths = files::sorted(dir.path()).expect("listed");
        assert_eq!(paths.len(), 300, "nothing is added or lost");
        let changed = paths.iter().filter(|path| fs::read(path).expect("read") != [7; 9000]).count();
        assert!((5..=12).contains(&changed), "{changed}");
    }
}
