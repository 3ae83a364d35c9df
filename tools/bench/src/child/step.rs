//! One program run: its command line, and what it used.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::measure::Usage;
use crate::error::{BenchError, Failure, file_error, io_error};
use crate::files;
use crate::machine::{self, ProcessUse};

/// A program to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) argv: Vec<OsString>,
    pub(crate) environment: Vec<(String, String)>,
    /// The folder it runs in.
    pub(crate) folder: Option<PathBuf>,
    /// Where its standard output goes; to the log without one.
    pub(crate) output: Option<PathBuf>,
}

impl Step {
    /// A program without a particular environment.
    pub(crate) fn new(argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The command that runs it, for one that goes on beside the benchmark.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.argv.first().map_or_else(OsString::new, OsString::clone));
        command.args(self.argv.iter().skip(1));
        self.surround(&mut command);
        command
    }

    fn surround(&self, command: &mut Command) {
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
    }
}

/// What a step used, and what else happened meanwhile.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    pub(crate) usage: Usage,
    /// Of the processes watched, in their order: CPU during the step, and peak memory since they were started.
    pub(crate) watched: Vec<ProcessUse>,
    /// CPU-seconds that went to anything else.
    pub(crate) other_cpu_s: f64,
    /// Seconds that a sync took afterwards.
    pub(crate) sync_after_s: f64,
}

/// Runs steps.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    /// This program, which measures as its own child.
    pub(crate) own: PathBuf,
    /// Where the logs are, and scratch files.
    pub(crate) work: PathBuf,
    /// How long an idle machine is waited for.
    pub(crate) idle_patience: Duration,
}

impl Runner {
    /// Runs a step and measures it, and these processes beside it.
    pub(crate) fn timed(
        &self,
        step: &Step,
        log: &Path,
        limit: Duration,
        watched: &[u32],
    ) -> Result<Measured, Failure> {
        machine::wait_until_idle(self.idle_patience);
        let before = watched.iter().map(|process| ProcessUse::of(*process)).collect::<Result<Vec<_>, _>>();
        let logged = length_of(log);
        let busy_before = machine::busy_s();
        let usage = self.run(step, log, limit)?;
        let busy_s = machine::busy_s() - busy_before;
        let after = watched.iter().map(|process| ProcessUse::of(*process)).collect::<Result<Vec<_>, _>>();
        let syncing = Instant::now();
        machine::sync();
        let sync_after_s = syncing.elapsed().as_secs_f64();
        success(&usage, limit, log, logged)?;
        let (Ok(before), Ok(after)) = (before, after) else {
            return Err(Failure::Tool(format!(
                "a server or mount ended meanwhile: {}",
                tail_since(log, logged)
            )));
        };
        let used = |(before, after): (&ProcessUse, &ProcessUse)| ProcessUse {
            cpu_s: after.cpu_s - before.cpu_s,
            ..*after
        };
        let watched: Vec<ProcessUse> = before.iter().zip(&after).map(used).collect();
        let ours = usage.user_s + usage.sys_s + watched.iter().map(|process| process.cpu_s).sum::<f64>();
        Ok(Measured { usage, watched, other_cpu_s: (busy_s - ours).max(0.0), sync_after_s })
    }

    /// Runs a step that only prepares something.
    pub(crate) fn untimed(&self, step: &Step, log: &Path, limit: Duration) -> Result<(), Failure> {
        let logged = length_of(log);
        let usage = self.run(step, log, limit)?;
        Ok(success(&usage, limit, log, logged)?)
    }

    fn run(&self, step: &Step, log: &Path, limit: Duration) -> Result<Usage, BenchError> {
        let mut log_file =
            OpenOptions::new().create(true).append(true).open(log).map_err(file_error("open", log))?;
        let line: Vec<_> = step.argv.iter().map(|argument| argument.to_string_lossy()).collect();
        writeln!(log_file, "\n$ {}", line.join(" ")).map_err(file_error("write", log))?;
        let same_log = || log_file.try_clone().map_err(file_error("open", log));
        let output = match &step.output {
            Some(path) => File::create(path).map_err(file_error("create", path))?,
            None => same_log()?,
        };
        let report = self.work.join("usage.json");
        files::remove(&report).map_err(file_error("remove", &report))?;
        let mut command = Command::new(&self.own);
        command.arg("measure").arg(&report).arg(limit.as_secs().to_string()).arg("--").args(&step.argv);
        step.surround(&mut command);
        command.stdout(output).stderr(same_log()?);
        let program =
            step.argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
        let status = command.status().map_err(io_error(format!("start {}", self.own.display())))?;
        let failed = |output| BenchError::Program { program, status: status.to_string(), output };
        match fs::read(&report) {
            Ok(bytes) if status.success() => {
                serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
            }
            // The program could not be started.
            Ok(_) | Err(_) => Ok(Usage {
                wall_s: 0.0,
                user_s: 0.0,
                sys_s: 0.0,
                peak_mib: 0.0,
                exit: NOT_STARTED,
                is_late: false,
            }),
        }
    }
}

/// What shells say of a program that is not there.
const NOT_STARTED: i32 = 127;

fn success(usage: &Usage, limit: Duration, log: &Path, logged: u64) -> Result<(), String> {
    if usage.is_late {
        return Err(format!("took more than {} s", limit.as_secs()));
    }
    if usage.exit != 0 {
        return Err(format!("exit code {}: {}", usage.exit, tail_since(log, logged)));
    }
    Ok(())
}

/// Bytes in a log; none if there is none.
pub(crate) fn length_of(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |metadata| metadata.len())
}

/// The end of what was added to a log since it had so many bytes, command lines left out.
pub(crate) fn tail_since(log: &Path, length: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let added = bytes.get(usize::try_from(length).unwrap_or(usize::MAX)..).unwrap_or_default();
    let text = String::from_utf8_lossy(added);
    tail(&text.lines().filter(|line| !line.starts_with("$ ")).collect::<Vec<_>>().join("\n"))
}

/// The end of a text, on one line; what a failed sample shows.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let joined = lines[lines.len().saturating_sub(4)..].join(" / ");
    let skipped = joined.chars().count().saturating_sub(TAIL_CHARACTERS_MAX);
    joined.chars().skip(skipped).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

const TAIL_CHARACTERS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_short_and_on_one_line() {
        assert_eq!(tail("one\n\n  two \nthree\nfour\nfive\n"), "two / three / four / five");
        assert_eq!(tail(&"ü".repeat(1000)).chars().count(), TAIL_CHARACTERS_MAX);
        assert_eq!(tail("a\u{1b}[31mb"), "a [31mb");
        assert_eq!(tail(""), "");
    }

    #[test]
    fn what_was_logged_before_is_not_shown() {
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(log.path(), "an earlier step\n").expect("written");
        let logged = length_of(log.path());
        fs::write(log.path(), "an earlier step\n\n$ tool backup\nno space\n").expect("written");
        assert_eq!(tail_since(log.path(), logged), "no space");
        assert_eq!(tail_since(log.path(), 1000), "");
        assert_eq!(tail_since(Path::new("/nonexistent/log"), length_of(Path::new("/nonexistent/log"))), "");
    }

    #[test]
    fn usage_tells_failures() {
        let usage =
            |exit, is_late| Usage { wall_s: 1.0, user_s: 0.0, sys_s: 0.0, peak_mib: 1.0, exit, is_late };
        let check = |usage: Usage| success(&usage, Duration::from_secs(9), Path::new("/nonexistent/log"), 0);
        assert_eq!(check(usage(0, false)), Ok(()));
        assert_eq!(check(usage(-9, true)), Err("took more than 9 s".to_owned()));
        assert_eq!(check(usage(3, false)), Err("exit code 3: ".to_owned()));
    }
}
