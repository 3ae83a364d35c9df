//! Mounting and unmounting. As root with the system calls, so that the mount has its proper type; as anybody else with `fusermount3`.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use fuser::{Config, MountOption, Session, SessionACL};
use rustix::fs::{major, minor};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{getegid, geteuid};

use super::super::{MountError, MountOptions};
use super::filesystem::FuseFilesystem;

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";
/// What the mount table calls us.
pub(super) const SOURCE: &str = "backstore";
const KIND: &str = "fuse.backstore";
/// Bytes that the kernel reads ahead of a sequential reader, if it lets us say.
const READ_AHEAD_KIB: &str = "1024";

/// Mounts `filesystem` at `path`, which was prepared.
pub(super) fn mount(
    filesystem: FuseFilesystem,
    path: &Path,
    options: &MountOptions,
) -> Result<Session<FuseFilesystem>, MountError> {
    let device =
        OpenOptions::new().read(true).write(true).open(DEVICE).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => MountError::NoDevice,
            _ => MountError::DeviceForbidden(source),
        })?;
    let refused = |source| MountError::Refused { path: path.to_owned(), source };
    let config = config(options);
    if geteuid().is_root() {
        let device = OwnedFd::from(device);
        match mount_directly(&device, path, options) {
            Ok(()) => {
                let session = Session::from_fd(filesystem, device, config.acl, config);
                return session.map_err(|source| {
                    let _ = unmount(path);
                    refused(source)
                });
            }
            // Root of a container may still be allowed to use the helper.
            Err(Errno::PERM) => {}
            Err(errno) => return Err(refused(errno.into())),
        }
    }
    find_helper().ok_or(MountError::NoFusermount)?;
    Session::new(filesystem, path, &config).map_err(|source| refusal(path, source))
}

/// What the helper's words mean. They are not translated; those that are not known are passed on.
fn refusal(path: &Path, source: io::Error) -> MountError {
    let path = path.to_owned();
    let words = source.to_string();
    if words.contains("user_allow_other") {
        MountError::OthersForbidden
    } else if words.contains("no write access to mountpoint") || words.contains("not owned by user") {
        MountError::PointForbidden { path }
    } else {
        MountError::Refused { path, source: io::Error::new(source.kind(), words.trim().to_owned()) }
    }
}

fn mount_directly(device: &OwnedFd, path: &Path, options: &MountOptions) -> rustix::io::Result<()> {
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        geteuid().as_raw(),
        getegid().as_raw()
    );
    if options.allow_other {
        data.push_str(",allow_other,default_permissions");
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    rustix::mount::mount(SOURCE, path, KIND, flags, data.as_c_str())
}

fn config(options: &MountOptions) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
        MountOption::FSName(SOURCE.into()),
        MountOption::Subtype(SOURCE.into()),
    ];
    if options.allow_other {
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(options.event_loops.max(1));
    config.clone_fd = true;
    config
}

/// Takes a mount away; one that is in use is detached.
pub(super) fn unmount(path: &Path) -> Result<(), MountError> {
    match rustix::mount::unmount(path, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => detach(path),
        Err(Errno::PERM) => help(path, &["-u"]).or_else(|_| detach(path)),
        Err(errno) => Err(failed(path, io::Error::from(errno).to_string())),
    }
}

/// Whether a mount stands in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It was taken away.
    Unused,
    /// Somebody uses it, and it is still there.
    Busy,
}

/// Takes a mount away unless it is in use.
pub(super) fn unmount_unused(path: &Path) -> Result<Use, MountError> {
    match rustix::mount::unmount(path, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(Use::Unused),
        Err(Errno::BUSY) => Ok(Use::Busy),
        Err(Errno::PERM) => match help(path, &["-u"]) {
            Ok(()) => Ok(Use::Unused),
            Err(MountError::Unmount { detail, .. }) if detail.contains("busy") => Ok(Use::Busy),
            Err(error) => Err(error),
        },
        Err(errno) => Err(failed(path, io::Error::from(errno).to_string())),
    }
}

/// Takes a mount out of the file tree, whoever uses it.
pub(super) fn detach(path: &Path) -> Result<(), MountError> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => help(path, &["-u", "-z"]),
        Err(errno) => Err(failed(path, io::Error::from(errno).to_string())),
    }
}

fn help(path: &Path, arguments: &[&str]) -> Result<(), MountError> {
    let helper = find_helper().ok_or(MountError::NoFusermount)?;
    let output = Command::new(helper).args(arguments).arg("--").arg(path).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(failed(path, String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) => Err(failed(path, error.to_string())),
    }
}

fn failed(path: &Path, detail: String) -> MountError {
    MountError::Unmount { path: path.to_owned(), detail }
}

/// The program that mounts for those who are not root. Also where `PATH` does not lead, as in some services.
fn find_helper() -> Option<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let is_program = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(&paths).chain(usual).map(|folder| folder.join(HELPER)).find(is_program)
}

/// Has the kernel read further ahead than its default of 128 KiB. Only root may say so; without it our own reading ahead has to do.
pub(super) fn read_further_ahead(device: u64) {
    let path = format!("/sys/class/bdi/{}:{}/read_ahead_kb", major(device), minor(device));
    if let Err(error) = fs::write(&path, READ_AHEAD_KIB) {
        tracing::debug!(%error, path, "the kernel reads ahead as far as it does by itself");
    }
}

/// Whether the kernel still knows the filesystem with this device number: detached mounts live until nobody uses them.
pub(super) fn is_connected(device: u64) -> bool {
    Path::new(&format!("/sys/class/bdi/{}:{}", major(device), minor(device))).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_helper_are_understood() {
        let said = |words: &str| refusal(Path::new("/a"), io::Error::other(words)).to_string();
        let others = said(
            "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf\n",
        );
        assert!(others.contains("the line `user_allow_other`"), "{others}");
        let forbidden = "cannot mount at /a: this user may not write there";
        assert_eq!(said("fusermount3: user has no write access to mountpoint /a\n"), forbidden);
        assert_eq!(said("fusermount3: mountpoint /a not owned by user\n"), forbidden);
        let unknown = refusal(Path::new("/a"), io::Error::other("fusermount3: something else\n"));
        let MountError::Refused { source, .. } = unknown else { panic!("{unknown}") };
        assert_eq!(source.to_string(), "fusermount3: something else");
    }
}
