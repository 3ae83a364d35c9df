//! A kernel's source tree, from Debian's package or from a tar file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::CorporaOptions;
use crate::child::call;
use crate::error::{BenchError, file_error};
use crate::files;

/// Unpacks it into a folder that is there.
pub(super) fn make(dir: &Path, options: &CorporaOptions) -> Result<(), BenchError> {
    let package = dir.with_extension("package");
    let tar = match &options.kernel_tar {
        Some(path) => path.clone(),
        None => match installed() {
            Some(path) => path,
            None => fetch(&package)?,
        },
    };
    let mut unpack = Command::new("tar");
    unpack.arg("-xf").arg(&tar).arg("-C").arg(dir).arg("--strip-components=1");
    if options.scale < 1.0 {
        unpack.args(["--wildcards", "*/drivers/net/*"]);
    }
    call(&mut unpack)?;
    files::remove(&package).map_err(file_error("remove", &package))
}

/// The newest source that the machine has already.
fn installed() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/src")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_source(path))
        .collect();
    found.sort();
    found.pop()
}

fn is_source(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("linux-source-") && name.contains(".tar")
}

/// Downloads the package that `linux-source` stands for and opens it, without installing it.
fn fetch(package: &Path) -> Result<PathBuf, BenchError> {
    files::empty(package).map_err(file_error("create", package))?;
    let depends = call(Command::new("apt-cache").args(["depends", "linux-source"]))?;
    let name = package_name(&depends).ok_or_else(|| {
        BenchError::Usage("apt knows no linux-source package: name a kernel with --kernel-tar".to_owned())
    })?;
    call(Command::new("apt-get").args(["download", name]).current_dir(package))?;
    let debs = files::sorted(package).map_err(file_error("list", package))?;
    let deb =
        debs.first().ok_or_else(|| BenchError::Usage(format!("apt-get download {name} left no file")))?;
    call(Command::new("dpkg-deb").arg("-x").arg(deb).arg(package))?;
    let unpacked = files::sorted(package).map_err(file_error("list", package))?;
    unpacked
        .into_iter()
        .find(|path| is_source(path))
        .ok_or_else(|| BenchError::Usage(format!("package {name} holds no source")))
}

/// `linux-source-6.1` of what `apt-cache depends` prints.
fn package_name(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends:"))
        .map(str::trim)
        .find(|name| name.starts_with("linux-source-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_found() {
        assert_eq!(package_name("linux-source\n  Depends: linux-source-6.1\n"), Some("linux-source-6.1"));
        assert_eq!(package_name("linux-source\n"), None);
        assert!(is_source(Path::new("/usr/src/linux-source-6.1.tar.xz")));
        assert!(!is_source(Path::new("/usr/src/linux-headers-6.1")));
    }
}
