//! Standard output of commands that list: buffered, safe for terminals, and quiet when whoever reads it has had enough.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

use backstore_platform::paths::Printable;
use backstore_platform::process::{Stream, is_terminal};
use serde_json::Value;

use super::CliError;

/// A line for whoever reads: `println!` for commands that have done their work, which counts even when nobody listens any more.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::output::write_line(format_args!($($text)*)) };
}
pub(super) use say;

/// Writes a line, if it can be written.
pub(super) fn write_line(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Standard output.
pub(super) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
    ends_lines_with: u8,
}

const BUFFER_BYTES: usize = 64 * 1024;

impl Output {
    /// `zero` ends each line with a zero byte in place of a newline.
    pub(super) fn new(zero: bool) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock()),
            is_terminal: is_terminal(Stream::Output),
            ends_lines_with: if zero { 0 } else { b'\n' },
        }
    }

    /// Whether a person reads it.
    pub(super) const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// A line of text and a name or path. On a terminal no byte of the name acts on it; elsewhere it is written as it is.
    pub(super) fn line(
        &mut self,
        before: impl Display,
        name: &[u8],
        after: impl Display,
    ) -> Result<(), CliError> {
        let written = self.write_line(before, name, after);
        self.check(written)
    }

    /// A line without a name.
    pub(super) fn text(&mut self, text: impl Display) -> Result<(), CliError> {
        self.line(text, b"", "")
    }

    /// One JSON document on a line of its own.
    pub(super) fn json(&mut self, value: &Value) -> Result<(), CliError> {
        let written = writeln!(self.out, "{value}");
        self.check(written)?;
        self.show()
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let written = self.out.write_all(bytes);
        self.check(written)
    }

    /// Hands over what is still held back. Without it, the end may be lost unnoticed.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        let written = self.out.flush();
        self.check(written)
    }

    fn write_line(&mut self, before: impl Display, name: &[u8], after: impl Display) -> io::Result<()> {
        write!(self.out, "{before}")?;
        if self.is_terminal {
            write!(self.out, "{}", Printable(name))?;
        } else {
            self.out.write_all(name)?;
        }
        write!(self.out, "{after}")?;
        self.out.write_all(&[self.ends_lines_with])?;
        if self.is_terminal { self.out.flush() } else { Ok(()) }
    }

    fn show(&mut self) -> Result<(), CliError> {
        let written = if self.is_terminal { self.out.flush() } else { Ok(()) };
        self.check(written)
    }

    fn check(&self, written: io::Result<()>) -> Result<(), CliError> {
        written.map_err(|source| match source.kind() {
            io::ErrorKind::BrokenPipe => CliError::OutputClosed,
            _ => CliError::Io { action: "write to standard output".to_owned(), source },
        })
    }
}
