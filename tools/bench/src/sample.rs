//! The file of results: JSON Lines, appended to as samples come, so that an interrupted run loses nothing.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::corpus::Manifest;
use crate::error::{BenchError, file_error};
use crate::machine::Machine;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Session(Session),
    Sample(Sample),
}

/// A run of the benchmark. A resumed one is the same session and writes this line again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// 1, 2, … in this file.
    pub(crate) session: u32,
    /// Seconds since 1970.
    pub(crate) started_at: u64,
    pub(crate) machine: Machine,
    pub(crate) corpora: Manifest,
    /// By name: version and settings.
    pub(crate) tools: BTreeMap<String, ToolLine>,
    /// What the restores find in the page cache.
    pub(crate) restore_cache: String,
}

/// A tool that takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToolLine {
    pub(crate) version: String,
    pub(crate) settings: String,
}

/// One measurement of one tool, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) session: u32,
    pub(crate) measurement: String,
    pub(crate) tool: String,
    /// From 1.
    pub(crate) run: u32,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Figures(Figures),
    /// Why there are none.
    Failed(String),
}

/// The figures of a sample. CPU and memory are those of the tool's program: for what is done in a mount, of the
/// program that serves the mount.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Figures {
    pub(crate) wall_s: f64,
    /// User and system.
    pub(crate) cpu_s: f64,
    pub(crate) peak_mib: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_peak_mib: Option<f64>,
    /// CPU-seconds of anything else meanwhile.
    pub(crate) other_cpu_s: f64,
    /// Seconds that a sync took when the program had ended.
    pub(crate) sync_after_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) growth_bytes: Option<u64>,
    /// MB/s or reads a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<f64>,
    /// Of random reads: the delay that one of a hundred passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_us: Option<f64>,
    /// Bytes that came from the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fetched_bytes: Option<u64>,
    /// Memory of a mount that has nothing to do, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rest_mib: Option<f64>,
    /// Of a mount of very many versions: how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) versions: Option<u32>,
    /// Of a mount that is ready: seconds until the folder that was backed up was listed as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tree_s: Option<f64>,
}

impl Figures {
    /// So much else went on that the figures are doubtful.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.other_cpu_s > 0.3 && self.other_cpu_s > 0.1 * self.wall_s
    }
}

/// The file, and what is in it.
#[derive(Debug)]
pub(crate) struct Results {
    path: PathBuf,
    pub(crate) sessions: Vec<Session>,
    pub(crate) samples: Vec<Sample>,
}

impl Results {
    /// Reads a file; one that is not there is empty.
    pub(crate) fn open(path: &Path) -> Result<Self, BenchError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(file_error("read", path))?,
        };
        let mut results = Self { path: path.to_owned(), sessions: Vec::new(), samples: Vec::new() };
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for (index, line) in lines.iter().enumerate() {
            match serde_json::from_str(line) {
                Ok(Line::Session(session)) => results.sessions.push(session),
                Ok(Line::Sample(sample)) => results.samples.push(sample),
                // The end of a run that was cut off while it wrote.
                Err(_) if index + 1 == lines.len() && !line.ends_with('\n') => {
                    results.drop_last(&text, line)?
                }
                Err(source) => {
                    return Err(BenchError::Results { path: path.to_owned(), line: index + 1, source });
                }
            }
        }
        Ok(results)
    }

    fn drop_last(&self, text: &str, line: &str) -> Result<(), BenchError> {
        fs::write(&self.path, &text[..text.len() - line.len()]).map_err(file_error("write", &self.path))
    }

    /// Begins a session, or goes on with one.
    pub(crate) fn add_session(&mut self, session: Session) -> Result<(), BenchError> {
        self.append(&Line::Session(session.clone()))?;
        self.sessions.push(session);
        Ok(())
    }

    pub(crate) fn add_sample(&mut self, sample: Sample) -> Result<(), BenchError> {
        self.append(&Line::Sample(sample.clone()))?;
        self.samples.push(sample);
        Ok(())
    }

    fn append(&self, line: &Line) -> Result<(), BenchError> {
        let failed = file_error("write", &self.path);
        let text = serde_json::to_string(line).unwrap_or_default() + "\n";
        let opened = OpenOptions::new().create(true).append(true).open(&self.path);
        opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
    }

    /// The samples of a measurement in its newest session: ratios are true only within one.
    pub(crate) fn newest(&self, measurement: &str) -> Vec<&Sample> {
        let of_it = || self.samples.iter().filter(|sample| sample.measurement == measurement);
        let Some(newest) = of_it().map(|sample| sample.session).max() else { return Vec::new() };
        of_it().filter(|sample| sample.session == newest).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(session: u32, measurement: &str, tool: &str, run: u32, wall_s: f64) -> Sample {
        let figures = Figures { wall_s, cpu_s: wall_s * 1.5, peak_mib: 64.0, ..Figures::default() };
        Sample {
            session,
            measurement: measurement.to_owned(),
            tool: tool.to_owned(),
            run,
            outcome: Outcome::Figures(figures),
        }
    }

    #[test]
    fn what_was_appended_is_read_again() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("results.json");
        let mut results = Results::open(&path).expect("nothing yet");
        let failed = Sample {
            outcome: Outcome::Failed("exit code 1".to_owned()),
            ..sample(1, "first.src", "borg", 1, 0.0)
        };
        for sample in [sample(1, "first.src", "ours", 1, 2.5), failed, sample(2, "first.src", "ours", 1, 2.0)]
        {
            results.add_sample(sample).expect("written");
        }
        let read = Results::open(&path).expect("read");
        assert_eq!(read.samples, results.samples);
        assert_eq!(read.newest("first.src").len(), 1);
        assert_eq!(read.newest("first.vm").len(), 0);
    }

    #[test]
    fn a_cut_line_is_dropped_and_a_bad_one_is_not() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("results.json");
        let mut results = Results::open(&path).expect("nothing yet");
        results.add_sample(sample(1, "first.src", "ours", 1, 2.5)).expect("written");
        let whole = fs::read(&path).expect("read");
        fs::write(&path, [&whole[..], &whole[..20]].concat()).expect("written");
        assert_eq!(Results::open(&path).expect("read").samples.len(), 1);
        assert_eq!(fs::read(&path).expect("read"), whole);
        fs::write(&path, [b"{}\n", &whole[..]].concat()).expect("written");
        assert!(matches!(Results::open(&path), Err(BenchError::Results { line: 1, .. })));
    }

    #[test]
    fn disturbance() {
        let figures = |wall_s, other_cpu_s| Figures { wall_s, other_cpu_s, ..Figures::default() };
        assert!(!figures(0.1, 0.2).is_disturbed());
        assert!(!figures(10.0, 0.9).is_disturbed());
        assert!(figures(1.0, 0.4).is_disturbed());
    }
}
