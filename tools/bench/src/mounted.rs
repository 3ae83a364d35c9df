//! A mount of a repository's newest backup, while something is measured in it.
//!
//! A mount that stops answering holds whoever asks it, also this program. So a watchdog kills the program that serves
//! it when time is up: the kernel then answers in its place.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::child::{Runner, Step, length_of, tail_since};
use crate::error::{Failure, file_error};
use crate::tool::{Found, TreeAt, Values};

/// A command in a mount that takes longer has failed.
pub(crate) const IN_MOUNT_LIMIT: Duration = Duration::from_secs(120);
/// A mount that takes longer to come up has failed.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// After this the program that serves a mount is killed, whatever it does.
const MOUNT_LIMIT: Duration = Duration::from_secs(300);
/// How long an unmount, and the end of the program after it, may take.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(20);

/// A mount.
#[derive(Debug)]
pub(crate) struct Mounted {
    child: Child,
    point: PathBuf,
    unmount: Step,
    log: PathBuf,
    /// Bytes in the log before it.
    logged: u64,
    /// Ends the watchdog when dropped.
    _watched: Sender<()>,
    /// The folder that was backed up, as the mount shows it.
    pub(crate) tree: PathBuf,
    /// Seconds from the command until the mount was listed.
    pub(crate) ready_s: f64,
    /// Seconds more until the folder that was backed up was listed.
    pub(crate) tree_s: f64,
}

impl Mounted {
    /// Mounts, and waits until the mount can be listed.
    pub(crate) fn open(found: &Found, values: &Values, log: &Path) -> Result<Self, Failure> {
        let step = found.mount(values).ok_or_else(|| Failure::Tool("it cannot mount".to_owned()))?;
        let point = PathBuf::from(&values.mountpoint);
        release(&point);
        fs::create_dir_all(&point).map_err(file_error("create", &point))?;
        let opened = OpenOptions::new().create(true).append(true).open(log);
        let log_file = opened.map_err(file_error("open", log))?;
        let error_file = log_file.try_clone().map_err(file_error("open", log))?;
        let started = Instant::now();
        let child = step.command().stdout(log_file).stderr(error_file).spawn();
        let child = child.map_err(|error| Failure::Tool(format!("not started: {error}")))?;
        let watched = watch(child.id());
        let mut mounted = Self {
            child,
            point,
            unmount: found.unmount(values),
            log: log.to_owned(),
            logged: length_of(log),
            _watched: watched,
            tree: PathBuf::new(),
            ready_s: 0.0,
            tree_s: 0.0,
        };
        mounted.wait_until_listed(started)?;
        mounted.ready_s = started.elapsed().as_secs_f64();
        mounted.tree = mounted.find_tree(found.tool.tree, Path::new(&values.source))?;
        mounted.tree_s = started.elapsed().as_secs_f64() - mounted.ready_s;
        Ok(mounted)
    }

    fn wait_until_listed(&mut self, started: Instant) -> Result<(), Failure> {
        while !(is_mounted(&self.point) && has_entries(&self.point)) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Failure::Tool(format!(
                    "it ended with {status}: {}",
                    tail_since(&self.log, self.logged)
                )));
            }
            if started.elapsed() > READY_LIMIT {
                return Err(Failure::Tool(format!("no mount after {} s", READY_LIMIT.as_secs())));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Looks where the mount shows the folder, and lists that.
    fn find_tree(&self, at: TreeAt, source: &Path) -> Result<PathBuf, Failure> {
        let inner = source.strip_prefix("/").unwrap_or(source);
        let candidates = match at {
            TreeAt::Below(folder) => {
                let folder = self.point.join(folder);
                vec![folder.join(inner), folder]
            }
            TreeAt::BelowLastFolder => {
                last_folder(&self.point).map(|folder| folder.join(inner)).into_iter().collect()
            }
        };
        let tree = candidates.into_iter().find(|candidate| has_entries(candidate));
        tree.ok_or_else(|| Failure::Tool("the mount does not show what was backed up".to_owned()))
    }

    /// The same folder in the version before.
    pub(crate) fn earlier_tree(&self) -> Result<PathBuf, Failure> {
        let inside = self.tree.strip_prefix(&self.point).unwrap_or(&self.tree);
        let newest = inside.components().next().map(|version| self.point.join(version));
        let earlier = folders(&self.point).into_iter().filter(|folder| Some(folder) != newest.as_ref()).max();
        let inner: PathBuf = inside.components().skip(1).collect();
        let tree = earlier.map(|folder| folder.join(inner)).filter(|tree| has_entries(tree));
        tree.ok_or_else(|| Failure::Tool("the mount does not show the version before".to_owned()))
    }

    /// The program that serves it.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Unmounts, and waits until the program has ended.
    pub(crate) fn close(mut self, runner: &Runner) -> Result<(), Failure> {
        runner.untimed(&self.unmount.clone(), &self.log.clone(), UNMOUNT_LIMIT)?;
        if self.wait_for_end() {
            return Ok(());
        }
        // Some programs go on until they are told.
        let process = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let told = process.is_some_and(|process| kill_process(process, Signal::INT).is_ok());
        if told && self.wait_for_end() {
            return Ok(());
        }
        Err(Failure::Tool("it does not end after the unmount".to_owned()))
    }

    fn wait_for_end(&mut self) -> bool {
        let asked = Instant::now();
        while asked.elapsed() < UNMOUNT_LIMIT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // It has ended already if it was closed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        release(&self.point);
    }
}

/// Kills a process when time is up, unless the sender is dropped before.
fn watch(process: u32) -> Sender<()> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let is_late = receiver.recv_timeout(MOUNT_LIMIT) == Err(RecvTimeoutError::Timeout);
        let process = i32::try_from(process).ok().and_then(Pid::from_raw);
        if let (true, Some(process)) = (is_late, process) {
            // It may have ended this moment.
            let _ = kill_process(process, Signal::KILL);
        }
    });
    sender
}

/// Takes away what an earlier mount has left; nothing there is fine.
pub(crate) fn release(point: &Path) {
    let unmount = || {
        let mut command = Command::new("fusermount3");
        command.args(["-u", "-z"]).arg(point).stdout(Stdio::null()).stderr(Stdio::null());
        // Without a mount it fails, as it should.
        let _ = command.status();
    };
    let is_broken = fs::metadata(point).is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound);
    if is_broken || is_mounted(point) {
        unmount();
    }
}

fn is_mounted(point: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let outside = point.parent().and_then(device);
    device(point).is_some_and(|inside| outside.is_some_and(|outside| inside != outside))
}

fn has_entries(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some_and(|entry| entry.is_ok()))
}

/// The last, by name, of the folders that are not hidden.
fn last_folder(folder: &Path) -> Option<PathBuf> {
    folders(folder).into_iter().max()
}

/// The folders that are not hidden.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let folders = entries.filter(|entry| {
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        !is_hidden && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    folders.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_the_last_folder() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for name in ["2026-11-21_10-00-00", "2026-11-22_09-00-00", ".backstore"] {
            fs::create_dir(dir.path().join(name)).expect("made");
        }
        std::os::unix::fs::symlink("2026-11-21_10-00-00", dir.path().join("latest")).expect("linked");
        assert_eq!(last_folder(dir.path()), Some(dir.path().join("2026-11-22_09-00-00")));
        assert!(has_entries(dir.path()) && !has_entries(&dir.path().join(".backstore")));
        assert!(!is_mounted(dir.path()));
    }
}
