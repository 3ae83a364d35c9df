//! The `backstore` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(backstore_agent::cli::run())
}
