//! Running programs and accounting for them.
//!
//! A program is started by a second, small process of ours (`measure`), whose only children are that program and what
//! it starts: so the kernel's figures for "children" are those of the program. Started from the benchmark itself, a
//! program's peak memory would be at least the benchmark's own, which it shares until it has replaced itself.

pub(crate) mod measure;
mod step;

pub(crate) use step::{Measured, Runner, Step, length_of, tail, tail_since};

use std::process::Command;

use crate::error::BenchError;

/// Runs a program that prepares something; its output is an error's text.
pub(crate) fn call(command: &mut Command) -> Result<String, BenchError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed =
        |status: String, output: String| BenchError::Program { program: program.clone(), status, output };
    let output = command.output().map_err(|error| failed("not started".to_owned(), error.to_string()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(failed(output.status.to_string(), tail(&text)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
