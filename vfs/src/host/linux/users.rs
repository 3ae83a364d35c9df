//! Who uses a mount: processes that work in it or have its files open, as far as this user may see.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::MountUser;

/// Processes that are looked for; of more the first are named.
const USERS_MAX: usize = 100;

/// The processes that use what is mounted at `point`. Only links below `/proc` are read, so no answer of the mount is needed.
pub(super) fn of(point: &Path) -> Vec<MountUser> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| user(pid, point)).take(USERS_MAX).collect()
}

fn user(pid: u32, point: &Path) -> Option<MountUser> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let fixed = ["cwd", "root", "exe"].map(|name| process.join(name));
    let open =
        fs::read_dir(process.join("fd")).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let path = fixed.into_iter().chain(open).find_map(|link| {
        let target = fs::read_link(link).ok()?;
        target.starts_with(point).then_some(target)
    })?;
    let name = fs::read(process.join("comm")).unwrap_or_default();
    Some(MountUser { pid, name: String::from_utf8_lossy(name.trim_ascii()).into_owned(), path })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn who_has_a_file_open_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(folder.path()).unwrap().join("a file");
        let is_there = || {
            of(path.parent().unwrap()).iter().any(|user| user.pid == std::process::id() && user.path == path)
        };
        let file = File::create(&path).unwrap();
        assert!(is_there());
        drop(file);
        assert!(!is_there());
    }
}
