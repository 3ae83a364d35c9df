//! A server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::computer::Ran;
use crate::{Programs, World};

/// A vault with a server that may run.
pub struct Server {
    programs: Programs,
    /// The vault's folder.
    pub vault: PathBuf,
    /// Where it listens, from the first start on.
    pub address: String,
    child: Option<Child>,
}

impl Server {
    /// Makes a vault and serves it.
    pub fn start(world: &World, name: &str) -> Self {
        Self::start_in(world, world.path(name))
    }

    /// Makes a vault in a folder and serves it.
    pub fn start_in(world: &World, vault: PathBuf) -> Self {
        let mut server =
            Self { programs: world.programs, vault, address: "127.0.0.1:0".to_owned(), child: None };
        let folder = server.vault.clone().into_os_string();
        let made = Command::new(server.programs.backstored).arg("init").arg(folder).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.restart();
        server
    }

    /// Starts it again at the same address, and waits until it is ready.
    pub fn restart(&mut self) {
        assert!(self.child.is_none());
        let mut command = Command::new(self.programs.backstored);
        command.args(["serve", "--listen", &self.address, "--vault"]).arg(&self.vault);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ");
        self.address = address.unwrap_or_else(|| panic!("the server said {line:?}")).to_owned();
        self.child = Some(child);
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks it to end, and gives its exit code.
    pub fn stop(&mut self) -> i32 {
        let Some(mut child) = self.child.take() else { return 0 };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Waits until it ends by itself, and gives its exit code.
    pub fn ended(&mut self) -> i32 {
        let Some(mut child) = self.child.take() else { return 0 };
        child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Runs an administrative command on its vault.
    pub fn administer(&self, arguments: &[&str]) -> Ran {
        administer(self.programs, &self.vault, arguments)
    }

    /// An invitation for one computer.
    #[track_caller]
    pub fn invite(&self, account: &str) -> String {
        self.invite_to(account, &self.address)
    }

    /// The same with another address to call it by.
    #[track_caller]
    pub fn invite_to(&self, account: &str, address: &str) -> String {
        let ran = self.administer(&["account", "invite", account, "--host", address]).ends(0);
        ran.out.lines().last().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `backstored` on a vault.
pub fn administer(programs: Programs, vault: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(programs.backstored);
    command.args(arguments).arg("--vault").arg(vault);
    Ran::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}
