//! The server, to be started by tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(backstored::cli::run())
}
