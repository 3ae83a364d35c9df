//! The servers that some tools talk to: started for a step, ended after it, so that each step has its own figures and
//! a repository at rest.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::ServerKind;
use crate::child::{call, tail};

/// The account that backups go to.
const ACCOUNT: &str = "bench";
/// A server that says nothing for so long does not come up.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a server may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A server that runs; ended when dropped.
#[derive(Debug)]
pub(crate) struct RunningServer {
    child: Child,
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
}

/// Makes an empty vault for a `backstored`.
pub(crate) fn make_vault(program: &Path, vault: &Path) -> Result<(), String> {
    call(Command::new(program).arg("init").arg(vault)).map(drop).map_err(|error| error.to_string())
}

/// An invitation to a running `backstored`, or the address of any other server.
pub(crate) fn invitation(
    kind: ServerKind,
    program: &Path,
    repository: &Path,
    port: u16,
) -> Result<String, String> {
    match kind {
        ServerKind::RestServer => Ok(format!("rest:http://127.0.0.1:{port}/")),
        ServerKind::Backstored => {
            let mut invite = Command::new(program);
            invite.args(["account", "invite", ACCOUNT, "--vault"]).arg(repository);
            invite.args(["--host", &format!("127.0.0.1:{port}")]);
            let said = call(&mut invite).map_err(|error| error.to_string())?;
            said.lines().last().map(str::to_owned).ok_or_else(|| "no invitation was printed".to_owned())
        }
    }
}

impl RunningServer {
    /// Starts a server and waits until it listens; at a free port unless one is given.
    pub(crate) fn start(
        kind: ServerKind,
        program: &Path,
        repository: &Path,
        port: Option<u16>,
        log: &Path,
    ) -> Result<Self, String> {
        let opened = OpenOptions::new().create(true).append(true).open(log);
        let log_file = opened.map_err(|error| format!("cannot open {}: {error}", log.display()))?;
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stderr(log_file);
        match kind {
            ServerKind::Backstored => {
                command.arg("serve").arg("--vault").arg(repository);
                command.arg("--listen").arg(format!("127.0.0.1:{}", port.unwrap_or(0)));
                Self::start_saying_its_port(command.stdout(Stdio::piped()))
            }
            ServerKind::RestServer => {
                let port = port.map_or_else(free_port, Ok)?;
                command
                    .args(["--no-auth", "--listen", &format!("127.0.0.1:{port}"), "--path"])
                    .arg(repository);
                Self::start_at(command.stdout(Stdio::null()), port)
            }
        }
    }

    fn start_saying_its_port(command: &mut Command) -> Result<Self, String> {
        let mut child = command.spawn().map_err(|error| format!("the server was not started: {error}"))?;
        let output = child.stdout.take().ok_or("the server has no output")?;
        let mut server = Self { child, port: 0 };
        let (said, heard) = channel();
        // Ends with the server's output.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(port) = port_of(&line) {
                    // Nobody listens any more once the port is known.
                    let _ = said.send(port);
                }
            }
        });
        let no_word = |_| "the server did not say where it listens".to_owned();
        server.port = heard.recv_timeout(START_LIMIT).map_err(no_word)?;
        Ok(server)
    }

    fn start_at(command: &mut Command, port: u16) -> Result<Self, String> {
        let child = command.spawn().map_err(|error| format!("the server was not started: {error}"))?;
        let server = Self { child, port };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if started.elapsed() > START_LIMIT {
                return Err("the server does not listen".to_owned());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it and waits; what it has stored is at rest then.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        let process = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let ended = process.map_or(Ok(()), |process| kill_process(process, Signal::TERM));
        ended.map_err(|error| format!("the server cannot be ended: {error}"))?;
        let asked = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() || status.code().is_none() => return Ok(()),
                Ok(Some(status)) => return Err(tail(&format!("the server ended with {status}"))),
                Ok(None) if asked.elapsed() < STOP_LIMIT => thread::sleep(Duration::from_millis(10)),
                Ok(None) => return Err("the server does not end".to_owned()),
                Err(error) => return Err(format!("the server cannot be waited for: {error}")),
            }
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        // It has ended already if it was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port of `listening on 127.0.0.1:4287`.
fn port_of(line: &str) -> Option<u16> {
    line.trim().strip_prefix("listening on ")?.rsplit_once(':')?.1.parse().ok()
}

fn free_port() -> Result<u16, String> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| format!("no port is free: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!(port_of("listening on 127.0.0.1:4287"), Some(4287));
        assert_eq!(port_of("listening on [::1]:9\n"), Some(9));
        assert_eq!(port_of("vault 12 opened"), None);
        assert_eq!(port_of("listening on 127.0.0.1:70000"), None);
    }
}
