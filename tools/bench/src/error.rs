//! Why the benchmark itself cannot go on. A tool that fails is no such error: it is a failed sample.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// Why the benchmark cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A system call failed.
    #[error("cannot {action}")]
    Io { action: String, source: io::Error },
    /// A program that the benchmark needs did not do its work.
    #[error("{program} failed ({status}): {output}")]
    Program { program: String, status: String, output: String },
    /// The folder has no complete corpora, or others than asked for.
    #[error("the corpora in {} cannot be used: {problem}", dir.display())]
    Corpora { dir: PathBuf, problem: String },
    /// A file does not hold what it should.
    #[error("{}, line {line} is not understood", path.display())]
    Results { path: PathBuf, line: usize, source: serde_json::Error },
    /// The notes are not TOML of the form `row = "text"`.
    #[error("{} is not understood", path.display())]
    Notes { path: PathBuf, source: toml::de::Error },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
}

/// Makes an error of a failed system call; `action` completes the sentence "cannot …".
pub(crate) fn io_error(action: impl Into<String>) -> impl FnOnce(io::Error) -> BenchError {
    let action = action.into();
    move |source| BenchError::Io { action, source }
}

/// The same for something done with a file.
pub(crate) fn file_error(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> BenchError {
    io_error(format!("{verb} {}", path.display()))
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Why there is no sample.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The tool failed: a failed sample, and the run goes on.
    Tool(String),
    /// The benchmark failed.
    Bench(BenchError),
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        Self::Bench(error)
    }
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self::Tool(problem)
    }
}
