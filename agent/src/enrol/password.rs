//! Where a password comes from: never from the command line.

use std::io::{self, Read};
use std::path::PathBuf;

use backstore_platform::process::{Stream, is_terminal, read_password, shell};
use zeroize::Zeroizing;

/// Where to take a password from.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PasswordSource {
    /// Read the password from a file, its first line; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "password_command")]
    password_file: Option<PathBuf>,
    /// Run a command and read the password from what it prints, the first line
    #[arg(long, value_name = "COMMAND")]
    password_command: Option<String>,
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// None was given and nobody can be asked.
    #[error(
        "a password is needed, and there is no terminal to ask for it: use --password-file, --password-command or BACKSTORE_PASSWORD"
    )]
    NoTerminal,
    /// The file, command or terminal failed.
    #[error("cannot read the password from {place}")]
    Unreadable {
        /// Where from.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The command ended with an error.
    #[error("the password command ended with {status}")]
    Command {
        /// How it ended.
        status: String,
    },
    /// It is not a password.
    #[error("the password is empty")]
    Empty,
    /// The two entries differ.
    #[error("the two passwords are not the same")]
    Mismatch,
    /// It is too short for a new one.
    #[error("a new password needs at least 8 characters")]
    Short,
}

/// The environment variable that holds a password.
pub(super) const PASSWORD_VARIABLE: &str = "BACKSTORE_PASSWORD";
/// Longest password.
const BYTES_MAX: u64 = 4096;
const NEW_CHARACTERS_MIN: usize = 8;

impl PasswordSource {
    /// From the first line of a file.
    pub fn in_file(path: PathBuf) -> Self {
        Self { password_file: Some(path), password_command: None }
    }

    /// The password of an account that exists.
    pub fn ask(&self, account: &str) -> Result<Zeroizing<String>, PasswordError> {
        match self.given()? {
            Some(password) => Ok(password),
            None => prompt(&format!("Password of account {account}: ")),
        }
    }

    /// A password for a new account, asked twice on a terminal.
    pub fn choose(&self, account: &str) -> Result<Zeroizing<String>, PasswordError> {
        let password = match self.given()? {
            Some(password) => password,
            None => {
                let password = prompt(&format!("New password for account {account}: "))?;
                if *prompt("Again: ")? != *password {
                    return Err(PasswordError::Mismatch);
                }
                password
            }
        };
        if password.chars().count() < NEW_CHARACTERS_MIN { Err(PasswordError::Short) } else { Ok(password) }
    }

    fn given(&self) -> Result<Option<Zeroizing<String>>, PasswordError> {
        if let Some(path) = &self.password_file {
            let place = if path.as_os_str() == "-" {
                "standard input".to_owned()
            } else {
                path.display().to_string()
            };
            let read = if path.as_os_str() == "-" {
                first_line(io::stdin())
            } else {
                std::fs::File::open(path).and_then(first_line)
            };
            return non_empty(read.map_err(|source| PasswordError::Unreadable { place, source })?).map(Some);
        }
        if let Some(command) = &self.password_command {
            return run(command).and_then(non_empty).map(Some);
        }
        match std::env::var(PASSWORD_VARIABLE) {
            Ok(password) => non_empty(Zeroizing::new(password)).map(Some),
            Err(_) => Ok(None),
        }
    }
}

fn prompt(text: &str) -> Result<Zeroizing<String>, PasswordError> {
    if !is_terminal(Stream::Input) && !is_terminal(Stream::Error) {
        return Err(PasswordError::NoTerminal);
    }
    let read = read_password(text)
        .map_err(|source| PasswordError::Unreadable { place: "the terminal".to_owned(), source })?;
    non_empty(read)
}

fn run(command: &str) -> Result<Zeroizing<String>, PasswordError> {
    let unreadable = |source| PasswordError::Unreadable { place: format!("`{command}`"), source };
    let output =
        shell(command).stdin(std::process::Stdio::null()).stderr(std::process::Stdio::inherit()).output();
    let output = output.map_err(unreadable)?;
    if !output.status.success() {
        return Err(PasswordError::Command { status: output.status.to_string() });
    }
    first_line(&Zeroizing::new(output.stdout)[..]).map_err(unreadable)
}

fn first_line(reader: impl Read) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    reader.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn non_empty(password: Zeroizing<String>) -> Result<Zeroizing<String>, PasswordError> {
    if password.is_empty() { Err(PasswordError::Empty) } else { Ok(password) }
}
