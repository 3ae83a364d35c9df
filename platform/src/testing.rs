//! What the tests of this crate share: being an ordinary user, and trees with the ugly cases.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// Whether this process is an ordinary user. If it is root, the test called `name` runs again in a process that is one, and has to pass
/// there; the caller then has nothing more to do.
pub(crate) fn is_ordinary_user(name: &str) -> bool {
    if !is_root() {
        return true;
    }
    // A copy, because the other user may not be allowed into the folder of the original.
    let folder = world_readable_folder();
    let copy = folder.path().join("tests");
    fs::copy(std::env::current_exe().expect("the path of the tests"), &copy).expect("a copy of the tests");
    let output = Command::new(&copy)
        .args([name, "--exact", "--nocapture"])
        .current_dir(folder.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("the tests as another user");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "as an ordinary user:\n{text}");
    false
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that part of a test cannot run here; in continuous integration that is a failure.
pub(crate) fn skip(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI is set, but this cannot be tested here: {what}");
    eprintln!("SKIPPED: {what}");
}

/// A temporary folder that any user may enter.
pub(crate) fn world_readable_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its permissions");
    folder
}

/// A name that each byte but zero and `/` is in, and the longest one.
pub(crate) fn ugly_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> =
        (1..=255).filter(|byte| !b"/.".contains(byte)).map(|byte| vec![byte]).collect();
    names.push((1..=255).filter(|byte| *byte != b'/').collect());
    names.push(vec![b'n'; 255]);
    names.extend(
        [
            &b"..."[..],
            b".hidden",
            b" ",
            b"-rf",
            b"a\nb",
            b"\xff\xfe",
            "e\u{301}".as_bytes(),
            "\u{e9}".as_bytes(),
        ]
        .map(<[u8]>::to_vec),
    );
    names.sort();
    names.dedup();
    names
}

/// `folder` with one more name, of raw bytes.
pub(crate) fn child(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}

/// Makes a named pipe.
pub(crate) fn make_fifo(path: &Path) {
    let status = Command::new("mkfifo").arg("-m").arg("700").arg(path).status().expect("mkfifo");
    assert!(status.success(), "mkfifo {path:?}");
}

/// A test of this binary that runs in a process of its own, as the other side of a test.
pub(crate) struct ChildTest {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl ChildTest {
    /// Starts the test `name`, which gets `argument`.
    pub(crate) fn start(name: &str, argument: &Path) -> Self {
        let mut process = Self::command(name, argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tests as a child");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        Self { process, output }
    }

    /// The command that runs the test `name` with `argument`.
    pub(crate) fn command(name: &str, argument: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("the path of the tests"));
        command.args([name, "--exact", "--nocapture"]).env(ARGUMENT, argument);
        command
    }

    /// In the child, what it was started with; elsewhere nothing.
    pub(crate) fn argument() -> Option<PathBuf> {
        std::env::var_os(ARGUMENT).map(PathBuf::from)
    }

    /// In the child, tells the parent a word.
    pub(crate) fn say(word: &str) {
        // The test runner writes as well, without ending its lines.
        println!("\n{SAYS}{word}");
    }

    /// In the child, does nothing until the parent has gone.
    pub(crate) fn wait_to_be_killed() {
        let _ = io::stdin().read(&mut [0]);
    }

    /// The next word that the child says; empty when it has ended.
    pub(crate) fn next_word(&mut self) -> String {
        let mut lines = (&mut self.output).lines().map(|line| line.expect("text"));
        lines.find_map(|line| line.strip_prefix(SAYS).map(str::to_owned)).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it by force and waits until it has ended.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        self.process.wait().expect("its end");
    }
}

impl Drop for ChildTest {
    fn drop(&mut self) {
        self.kill();
    }
}

const ARGUMENT: &str = "BACKSTORE_TEST_ARGUMENT";
const SAYS: &str = "child says ";
const NOBODY: u32 = 65534;
