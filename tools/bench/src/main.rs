//! The benchmark: BackStore and its peers, on the same machine, with the same data, in one run.
//!
//! `corpora` makes what is backed up, `run` measures and appends every sample to a file, `report` makes tables of it.
//! It runs the programs as a user would and links none of them, so that it measures what a user gets; the slow link is
//! that of the tests. Linux only: it reads `/proc`. It is no test: a failing program is a failed sample, and the run goes on.

mod child;
mod cli;
mod corpus;
mod error;
mod files;
mod machine;
mod measurements;
mod mounted;
mod random;
mod read;
mod report;
mod repository;
mod rows;
mod run;
mod sample;
mod serving;
mod sources;
mod statistics;
mod tool;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backstore-bench: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}
