//! The agent, to be started by tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(backstore_agent::cli::run())
}
