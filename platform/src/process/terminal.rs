//! The terminal, if there is one: how wide it is, and a password typed into it.

use std::io::{self, IsTerminal};

use zeroize::Zeroizing;

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard input.
    Input,
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Whether a person sits at the other end of this stream.
pub fn is_terminal(stream: Stream) -> bool {
    match stream {
        Stream::Input => io::stdin().is_terminal(),
        Stream::Output => io::stdout().is_terminal(),
        Stream::Error => io::stderr().is_terminal(),
    }
}

/// Columns of the terminal behind this stream; nothing if it is not one.
pub fn width(stream: Stream) -> Option<u16> {
    let (terminal_size::Width(columns), _) = match stream {
        Stream::Input => terminal_size::terminal_size_of(io::stdin()),
        Stream::Output => terminal_size::terminal_size_of(io::stdout()),
        Stream::Error => terminal_size::terminal_size_of(io::stderr()),
    }?;
    (columns > 0).then_some(columns)
}

/// Asks for a password on the terminal itself, without showing what is typed, wherever the standard streams go. An error if there is no
/// terminal.
pub fn read_password(prompt: &str) -> io::Result<Zeroizing<String>> {
    rpassword::prompt_password(prompt).map(Zeroizing::new)
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Stdio;

    use super::*;
    use crate::testing::ChildTest;

    /// In a session of its own, where there is no terminal whoever runs the tests.
    #[test]
    fn without_a_terminal_there_is_no_width_and_no_password() {
        if ChildTest::argument().is_none() {
            let mut command = ChildTest::command(
                "process::terminal::tests::without_a_terminal_there_is_no_width_and_no_password",
                "x".as_ref(),
            );
            let output = command.stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            return;
        }
        rustix::process::setsid().unwrap();
        for stream in [Stream::Input, Stream::Output, Stream::Error] {
            assert!(!is_terminal(stream));
            assert_eq!(width(stream), None);
        }
        assert!(read_password("").is_err());
    }
}
