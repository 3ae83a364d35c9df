//! Going into the background: the starter returns when the child says that it is ready, not before.
//!
//! The child is the program itself with other arguments. It says "ready" on its standard output, which is a pipe to the starter, and then leaves
//! terminal and session. Until then its messages go to the starter's standard error, so that a failure is seen by whoever started it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::host;

/// A child in the background that is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Its process id.
    pub pid: u32,
}

/// Why there is no child in the background.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It could not be started.
    #[error("the background process cannot be started")]
    Spawn {
        /// What the system said.
        source: io::Error,
    },
    /// It ended before it was ready; it has said why on standard error.
    #[error("the background process ended before it was ready ({status})")]
    Ended {
        /// How.
        status: ExitStatus,
    },
    /// It was not ready in time and has been ended.
    #[error("the background process was not ready after {} s", patience.as_secs())]
    NotReady {
        /// How long it was waited for.
        patience: Duration,
    },
}

/// Starts `command`, which has to get hold of its [`Readiness`], and waits until it announces that it is ready.
pub fn start_daemon(command: &mut Command, patience: Duration) -> Result<Started, StartError> {
    host::prepare_daemon(command);
    command.env(VARIABLE, "1").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|source| StartError::Spawn { source })?;
    match wait_until_ready(&mut child, patience) {
        Ok(true) => Ok(Started { pid: child.id() }),
        Ok(false) => {
            // Its output has ended, which a child that goes on working does not do.
            let _ = child.kill();
            let status = child.wait().map_err(|source| StartError::Spawn { source })?;
            Err(StartError::Ended { status })
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(StartError::NotReady { patience })
        }
    }
}

/// Whether it said that it is ready, or ended its output without.
fn wait_until_ready(child: &mut Child, patience: Duration) -> Result<bool, RecvTimeoutError> {
    let (tell, told) = mpsc::channel();
    let Some(output) = child.stdout.take() else { return Ok(false) };
    // Ends with the child at the latest.
    std::thread::spawn(move || {
        let lines = BufReader::new(output.take(OUTPUT_BYTES_MAX)).split(b'\n');
        let is_ready = lines.map_while(Result::ok).any(|line| line == READY);
        // Nobody listens any more when patience has ended.
        let _ = tell.send(is_ready);
    });
    told.recv_timeout(patience)
}

/// In the child: the means to say that it is ready.
#[derive(Debug)]
pub struct Readiness(());

impl Readiness {
    /// What the starter waits for; nothing if this process was not started by [`start_daemon`].
    pub fn from_environment() -> Option<Self> {
        std::env::var_os(VARIABLE).map(|_| Self(()))
    }

    /// Says that this process is ready and leaves the terminal. From here on standard error is `log`, or nowhere.
    ///
    /// Before this, nothing else may be written to standard output.
    pub fn announce(self, log: Option<File>) -> io::Result<()> {
        let mut output = io::stdout().lock();
        output.write_all(&[b"\n", READY, b"\n"].concat())?;
        output.flush()?;
        drop(output);
        host::detach(log)
    }
}

const VARIABLE: &str = "BACKSTORE_ANNOUNCE_READINESS";
const READY: &[u8] = b"backstore is ready";
/// What is read of the child's output before it is ready.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::testing::{ChildTest, make_fifo};

    fn start(what: &Path, patience: Duration) -> Result<Started, StartError> {
        let mut command = ChildTest::command("process::daemon::tests::child_in_the_background", what);
        start_daemon(command.stderr(Stdio::null()), patience)
    }

    #[test]
    fn the_starter_returns_when_the_child_is_ready() {
        let folder = tempfile::tempdir().unwrap();
        let (log, pipe) = (folder.path().join("log"), folder.path().join("pipe"));
        make_fifo(&pipe);
        let started = start(&log, Duration::from_secs(60)).unwrap();
        // The child writes here when it has left the terminal.
        assert_eq!(fs::read_to_string(&pipe).unwrap(), format!("{} {}", started.pid, started.pid));
        assert!(fs::read_to_string(&log).unwrap().contains("to the log"));
    }

    #[test]
    fn a_child_that_ends_or_hangs_is_an_error() {
        assert!(matches!(start(Path::new("end"), Duration::from_secs(60)), Err(StartError::Ended { .. })));
        assert!(matches!(
            start(Path::new("hang"), Duration::from_millis(1)),
            Err(StartError::NotReady { .. })
        ));
        let missing = start_daemon(&mut Command::new("/no/such/program"), Duration::ZERO).unwrap_err();
        assert!(matches!(missing, StartError::Spawn { source } if source.kind() == io::ErrorKind::NotFound));
    }

    /// The other process of the tests above; on its own it does nothing.
    #[test]
    fn child_in_the_background() {
        let Some(argument) = ChildTest::argument() else { return };
        let Some(readiness) = Readiness::from_environment() else { return };
        if argument == Path::new("end") {
            return;
        }
        while argument == Path::new("hang") {
            std::thread::park();
        }
        readiness.announce(Some(File::create(&argument).unwrap())).unwrap();
        eprintln!("to the log");
        println!("to nowhere");
        let session = rustix::process::getsid(None).unwrap().as_raw_pid();
        fs::write(argument.with_file_name("pipe"), format!("{} {session}", std::process::id())).unwrap();
    }
}
