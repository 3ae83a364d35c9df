//! How much there is in a folder: a quick look, before anything is copied.

use std::io;
use std::path::Path;

use backstore_platform::process::Interrupts;
use backstore_platform::walk::{Directory, ListBuffer};
use backstore_protocol::entry::Kind;

/// What a folder holds, roughly: hard links count each time, what cannot be read not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Files of any kind but directories.
    pub files: u64,
    /// Bytes they take on disk.
    pub bytes: u64,
}

/// Looks through `folder`, on its own file system. Ends early when it is interrupted.
pub fn estimate(folder: &Path, interrupts: &Interrupts) -> io::Result<Estimate> {
    let root = Directory::open(folder)?;
    let device = root.full_stat_self()?.basic.device;
    let mut found = Estimate::default();
    // Paths, not open directories: a deep tree must not use up the process's files.
    let mut waiting = vec![folder.to_owned()];
    let mut buffer = ListBuffer::default();
    while let Some(path) = waiting.pop() {
        if interrupts.count() > 0 {
            break;
        }
        let Ok(mut directory) = Directory::open(&path) else { continue };
        let mut names: Vec<Vec<u8>> = Vec::new();
        let listed = directory.list(&mut buffer, |entry| {
            names.push(entry.name.to_vec());
            Ok(())
        });
        if listed.is_err() {
            continue;
        }
        for name in names {
            let Ok(stat) = directory.stat(&name) else { continue };
            if stat.device != device {
                continue;
            }
            if stat.kind == Kind::Directory {
                if let Ok(name) = backstore_platform::paths::name_to_native(&name) {
                    waiting.push(path.join(&*name));
                }
            } else {
                found.files += 1;
                found.bytes += stat.allocated.min(stat.size);
            }
        }
    }
    Ok(found)
}
