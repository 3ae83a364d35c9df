//! A computer that is backed up: a home of the agent's own.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::World;

/// A computer.
#[derive(Debug, Clone)]
pub struct Computer {
    /// The agent, and before it what starts it.
    pub program: Vec<OsString>,
    /// The agent's own files.
    pub home: PathBuf,
    /// The account's password.
    pub password: String,
    /// What the agent's environment has besides.
    pub environment: Vec<(OsString, OsString)>,
}

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard output as it is.
    pub out_bytes: Vec<u8>,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Waits for a program.
    pub fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            out_bytes: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts an exit code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// Asserts an exit code, and words in what is said to people.
    #[track_caller]
    pub fn says(self, code: i32, words: &[&str]) -> Self {
        let ran = self.ends(code);
        for word in words {
            assert!(
                ran.err.contains(word) || ran.out.contains(word),
                "no {word:?} in\n{}\n{}",
                ran.out,
                ran.err
            );
        }
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        ran
    }

    /// Its output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

impl Computer {
    /// A computer that is not enrolled.
    pub fn new(world: &World, name: &str) -> Self {
        Self {
            program: vec![world.programs.backstore.into()],
            home: world.path(name),
            password: "correct horse battery".to_owned(),
            environment: Vec::new(),
        }
    }

    /// The agent, about to be started.
    pub fn command<I, S>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).args(arguments);
        command.env("BACKSTORE_HOME", &self.home).env("BACKSTORE_PASSWORD", &self.password);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the agent to its end.
    pub fn run<I, S>(&self, arguments: I) -> Ran
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Ran::of(self.command(arguments).spawn().unwrap())
    }

    /// Makes a vault in a folder and enrols with it.
    pub fn enrol_with_folder(&self, vault: &Path) {
        self.run([OsStr::new("init"), vault.as_os_str()]).ends(0);
        self.run([OsStr::new("login"), vault.as_os_str()]).ends(0);
    }

    /// Makes a backup set.
    pub fn add_set(&self, name: &str, root: &Path) {
        self.run([OsStr::new("set"), OsStr::new("add"), OsStr::new(name), root.as_os_str()]).ends(0);
    }

    /// Backs up and gives the report.
    #[track_caller]
    pub fn backup(&self) -> serde_json::Value {
        self.run(["backup", "--json"]).ends(0).json()
    }
}
