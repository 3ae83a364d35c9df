//! The `backstored` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(backstored::cli::run())
}
