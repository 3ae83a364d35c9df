//! The command line.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::child::measure::measure;
use crate::corpus::{self, CorporaOptions};
use crate::error::{BenchError, file_error, io_error};
use crate::read::read_randomly;
use crate::report;
use crate::rows;
use crate::run::{self, RunOptions};
use crate::sample::Results;
use crate::tool::{self, Places};

/// Compare BackStore with other backup programs: same machine, same data, same run
#[derive(Debug, Parser)]
#[command(name = "backstore-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make what is backed up: 8 GB in five folders
    Corpora(CorporaArgs),
    /// Measure, and append every sample to a file
    Run(RunArgs),
    /// Write tables of the results, in Markdown
    Report(ReportArgs),
    /// Run a program and write what it used into a file (part of `run`)
    #[command(hide = true)]
    Measure {
        report: PathBuf,
        limit_s: u64,
        #[arg(last = true, required = true)]
        argv: Vec<OsString>,
    },
    /// Read 4 KiB here and there (part of `run`)
    #[command(hide = true)]
    ReadRandomly { file: PathBuf, seconds: u64 },
}

#[derive(Debug, Args)]
struct CorporaArgs {
    /// Where; folders that are there already are taken as they are
    dir: PathBuf,
    /// A kernel's source, instead of that of the machine or of Debian's package
    #[arg(long, value_name = "FILE")]
    kernel_tar: Option<PathBuf>,
    /// Smaller corpora for a trial, above 0 up to 1
    #[arg(long, default_value_t = 1.0, value_parser = parse_scale)]
    scale: f64,
    /// Three million small files as well, for the agent's memory: 13 GB more
    #[arg(long)]
    many: bool,
}

fn parse_scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if scale > 0.0 && scale <= 1.0 { Ok(scale) } else { Err("not above 0 and up to 1".to_owned()) }
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Folder made by `corpora`
    #[arg(long, value_name = "DIR")]
    corpora: PathBuf,
    /// Folder on a disk for repositories, restores and logs; 25 GB are needed
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
    /// Results are appended to this file
    #[arg(long, value_name = "FILE", default_value = "results.json")]
    out: PathBuf,
    /// Only these tools, of ours,bupstash,restic,rustic,borg,conserve
    #[arg(long, value_name = "LIST")]
    tools: Option<String>,
    /// Only rows whose id matches, as `first.*,mount.find`
    #[arg(long, value_name = "PATTERNS")]
    rows: Option<String>,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Everything once, and a tenth of the very many versions
    #[arg(long, conflicts_with = "runs")]
    quick: bool,
    /// Go on with the last session in the results: what it has is not measured again
    #[arg(long)]
    resume: bool,
    /// Measure slow peers as often as fast ones
    #[arg(long)]
    repeat_slow: bool,
    /// Restore with the repository in the page cache, not with an empty cache
    #[arg(long)]
    restore_warm: bool,
    /// Keep repositories and copies
    #[arg(long)]
    keep: bool,
    /// Begin no measurement after so many minutes
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// How many seconds to wait for an idle machine before a step
    #[arg(long, value_name = "N", default_value_t = 60)]
    idle_wait: u64,
    /// Look for programs here before the PATH; may be repeated
    #[arg(long, value_name = "DIR")]
    bin_dir: Vec<PathBuf>,
    /// Take this file for a program, as restic=/opt/restic-0.18; may be repeated
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_program)]
    program: Vec<(String, PathBuf)>,
    /// Our agent, if not beside this program or in target/release
    #[arg(long, value_name = "FILE")]
    backstore: Option<PathBuf>,
    /// Our server, if not beside this program or in target/release
    #[arg(long, value_name = "FILE")]
    backstored: Option<PathBuf>,
    /// Only say what would be measured, with which programs, and how long it takes
    #[arg(long)]
    plan: bool,
}

fn parse_program(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=FILE")?;
    Ok((name.to_owned(), PathBuf::from(path)))
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// What `run` has written
    results: PathBuf,
    /// Why rows fall short: a TOML file with a line `"row.id" = "text"` for each
    #[arg(long, value_name = "FILE", default_value = "tools/bench/notes.toml")]
    notes: PathBuf,
}

/// Runs the program.
pub(crate) fn run() -> Result<(), BenchError> {
    match Cli::parse().command {
        Command::Corpora(args) => make_corpora(&args),
        Command::Run(args) => measure_all(&args),
        Command::Report(args) => print_report(&args),
        Command::Measure { report, limit_s, argv } => {
            measure(&report, Duration::from_secs(limit_s), &argv).map_err(io_error("measure a program"))
        }
        Command::ReadRandomly { file, seconds } => {
            let reads =
                read_randomly(&file, Duration::from_secs(seconds)).map_err(file_error("read", &file))?;
            print(&serde_json::to_string(&reads).unwrap_or_default())
        }
    }
}

fn make_corpora(args: &CorporaArgs) -> Result<(), BenchError> {
    let options =
        CorporaOptions { kernel_tar: args.kernel_tar.clone(), scale: args.scale, has_many: args.many };
    let manifest = corpus::make(&args.dir, &options)?;
    for (name, size) in &manifest.folders {
        print(&format!("{name:6} {:7} files {:11} bytes\n", size.files, size.bytes))?;
    }
    Ok(())
}

fn measure_all(args: &RunArgs) -> Result<(), BenchError> {
    let runs = if args.quick { 1 } else { args.runs };
    let measurements = rows::chosen(args.rows.as_deref());
    if measurements.is_empty() {
        let known: Vec<&str> = rows::ROWS.iter().map(|row| row.id).collect();
        return Err(BenchError::Usage(format!("no such rows; there are {}", known.join(", "))));
    }
    let mut named: std::collections::BTreeMap<String, PathBuf> = args.program.iter().cloned().collect();
    named.extend(args.backstore.clone().map(|path| ("backstore".to_owned(), path)));
    named.extend(args.backstored.clone().map(|path| ("backstored".to_owned(), path)));
    let places = Places { folders: args.bin_dir.clone(), named };
    let mut tools = Vec::new();
    for tool in tool::chosen(args.tools.as_deref())? {
        match tool::find(tool, &places) {
            Ok(found) => {
                eprintln!("{:20} {}", tool.name, found.version);
                tools.push(found);
            }
            Err(problem) => eprintln!("{:20} takes no part: {problem}", tool.name),
        }
    }
    eprint!("{}", run::plan(&measurements, runs));
    if args.plan {
        return Ok(());
    }
    // Real paths: tools show what they are given, mounts and restores are searched for it.
    std::fs::create_dir_all(&args.work).map_err(file_error("create", &args.work))?;
    run::run(RunOptions {
        corpora: args.corpora.canonicalize().map_err(file_error("find", &args.corpora))?,
        work: args.work.canonicalize().map_err(file_error("find", &args.work))?,
        out: args.out.clone(),
        runs,
        measurements,
        tools,
        is_resumed: args.resume,
        repeats_slow: args.repeat_slow,
        restores_warm: args.restore_warm,
        keeps: args.keep,
        versions: if args.quick { QUICK_VERSIONS } else { VERSIONS },
        time_limit: args.minutes.map(|minutes| Duration::from_secs(minutes * 60)),
        idle_patience: Duration::from_secs(args.idle_wait),
    })
}

/// Of the mount of very many versions; making them takes minutes.
const VERSIONS: u32 = 10_000;
const QUICK_VERSIONS: u32 = 1000;

fn print_report(args: &ReportArgs) -> Result<(), BenchError> {
    let results = Results::open(&args.results)?;
    if results.samples.is_empty() {
        return Err(BenchError::Usage(format!("{} holds no samples", args.results.display())));
    }
    print(&report::render(&results, &report::load_notes(&args.notes)?))
}

fn print(text: &str) -> Result<(), BenchError> {
    std::io::stdout().write_all(text.as_bytes()).map_err(io_error("write the output"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn scales() {
        assert_eq!(parse_scale("0.01"), Ok(0.01));
        assert!(parse_scale("0").is_err() && parse_scale("2").is_err() && parse_scale("x").is_err());
    }
}
