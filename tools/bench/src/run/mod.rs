//! A run: every measurement, every tool by turns, several times.

mod backup;
mod control;
mod in_mount;
mod mount;
mod restore;
mod slow;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::child::{Measured, Runner};
use crate::corpus::{Corpus, Manifest};
use crate::error::{BenchError, Failure, file_error, io_error};
use crate::machine::Machine;
use crate::measurements::{Control, Measurement, Setting, Work};
use crate::repository::Repository;
use crate::sample::{Figures, Outcome, Results, Sample, Session, ToolLine};
use crate::sources::Sources;
use crate::tool::{Found, Role};
use crate::{files, mounted};

/// What a run does.
#[derive(Debug)]
pub(crate) struct RunOptions {
    pub(crate) corpora: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) out: PathBuf,
    pub(crate) runs: u32,
    pub(crate) measurements: Vec<&'static Measurement>,
    pub(crate) tools: Vec<Found>,
    /// Goes on with the last session in the results.
    pub(crate) is_resumed: bool,
    /// Slow peers are measured as often as fast ones.
    pub(crate) repeats_slow: bool,
    /// Restores find the repository in the page cache.
    pub(crate) restores_warm: bool,
    /// Repositories and copies stay when the run has ended.
    pub(crate) keeps: bool,
    /// How many versions [`Work::Versions`] has.
    pub(crate) versions: u32,
    /// No measurement begins after so long.
    pub(crate) time_limit: Option<Duration>,
    pub(crate) idle_patience: Duration,
}

/// A run under way.
struct Bench {
    options: RunOptions,
    runner: Runner,
    sources: Sources,
    results: Results,
    session: u32,
    /// What commands say of the source itself, to check what mounts show.
    expected: BTreeMap<crate::measurements::InMount, u64>,
}

/// Measures everything asked for.
pub(crate) fn run(options: RunOptions) -> Result<(), BenchError> {
    let started = Instant::now();
    let mut bench = Bench::start(options)?;
    let measurements = bench.options.measurements.clone();
    for (index, measurement) in measurements.iter().enumerate() {
        if bench.options.time_limit.is_some_and(|limit| started.elapsed() > limit) {
            eprintln!("time is up before {}; go on with --resume", measurement.id);
            return Ok(());
        }
        if !bench.sources.has(measurement.corpus) {
            eprintln!("{} is left out: there is no corpus `{}`", measurement.id, measurement.corpus.name());
            continue;
        }
        bench.measure(measurement)?;
        let is_last_of_corpus =
            measurements.get(index + 1).is_none_or(|next| next.corpus != measurement.corpus);
        if is_last_of_corpus && !bench.options.keeps {
            bench.remove_repositories(measurement.corpus)?;
        }
    }
    if !bench.options.keeps {
        bench.clear()?;
    }
    eprintln!("done in {:.0} minutes", started.elapsed().as_secs_f64() / 60.0);
    Ok(())
}

impl Bench {
    fn start(options: RunOptions) -> Result<Self, BenchError> {
        let corpora = Manifest::load(&options.corpora)?;
        for folder in ["logs", "mount", "repositories"] {
            let path = options.work.join(folder);
            std::fs::create_dir_all(&path).map_err(file_error("create", &path))?;
        }
        let mut results = Results::open(&options.out)?;
        let last = results.sessions.last().map_or(0, |session| session.session);
        let session = if options.is_resumed { last.max(1) } else { last + 1 };
        let line = |found: &Found| {
            let settings = found.tool.settings.to_owned();
            (found.name().to_owned(), ToolLine { version: found.version.clone(), settings })
        };
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        results.add_session(Session {
            session,
            started_at: since_1970.as_secs(),
            machine: Machine::here(&options.work),
            corpora,
            tools: options.tools.iter().map(line).collect(),
            restore_cache: if options.restores_warm { "warm" } else { "cold" }.to_owned(),
        })?;
        let own = std::env::current_exe().map_err(io_error("find this program"))?;
        let runner = Runner { own, work: options.work.clone(), idle_patience: options.idle_patience };
        let sources = Sources::new(&options.corpora, &options.work);
        Ok(Self { options, runner, sources, results, session, expected: BTreeMap::new() })
    }

    /// All tools by turns, then again.
    fn measure(&mut self, measurement: &Measurement) -> Result<(), BenchError> {
        let runs = if measurement.work == Work::Growth { 1 } else { self.options.runs };
        if !self.options.tools.iter().any(|found| takes_part(measurement, found)) {
            return Ok(());
        }
        for run in 1..=runs {
            let tools = self.pending(measurement, run);
            if !tools.is_empty() {
                eprintln!("{}, run {run} of {runs}", measurement.id);
                self.sources.prepare(measurement.corpus)?;
                self.prepare_round(measurement, &tools)?;
            }
            for found in &tools {
                let outcome = self.sample(measurement, found, run);
                self.record(measurement, found.name(), run, outcome)?;
            }
            for control in measurement.controls {
                if self.is_done(measurement, control.name(), run) {
                    continue;
                }
                self.sources.prepare(measurement.corpus)?;
                let outcome = self.control(*control, measurement);
                self.record(measurement, control.name(), run, outcome)?;
            }
        }
        Ok(())
    }

    /// The tools whose turn it is; every round begins with another one, so that none always comes first.
    fn pending(&self, measurement: &Measurement, run: u32) -> Vec<Found> {
        let takes_turn = |found: &&Found| {
            takes_part(measurement, found)
                && !self.is_done(measurement, found.name(), run)
                && (self.options.repeats_slow || !self.is_slow(measurement, found))
        };
        let mut tools: Vec<Found> = self.options.tools.iter().filter(takes_turn).cloned().collect();
        let first = (run as usize - 1) % tools.len().max(1);
        tools.rotate_left(first);
        tools
    }

    fn is_slow(&self, measurement: &Measurement, found: &Found) -> bool {
        let is_peer = |tool: &str| !Control::is_one(tool) && !tool.starts_with("ours");
        let samples = self.results.newest(measurement.id);
        let peers =
            samples.into_iter().filter(|sample| sample.session == self.session && is_peer(&sample.tool));
        slow::is_slow(found.name(), peers)
    }

    /// This session has a sample of it that did not fail.
    fn is_done(&self, measurement: &Measurement, tool: &str, run: u32) -> bool {
        self.results.samples.iter().any(|sample| {
            sample.session == self.session
                && sample.measurement == measurement.id
                && sample.tool == tool
                && sample.run == run
                && matches!(sample.outcome, Outcome::Figures(_))
        })
    }

    fn sample(&mut self, measurement: &Measurement, found: &Found, run: u32) -> Result<Figures, Failure> {
        let corpus = measurement.corpus;
        match measurement.work {
            Work::First => self.first(corpus, found),
            Work::Unchanged => self.unchanged(corpus, found),
            Work::Changed | Work::Growth => self.changed(corpus, found),
            Work::Restore => self.restore(corpus, found, run == 1),
            Work::Ready => self.ready(corpus, found),
            Work::Mounted(what) => self.in_mount(what, Setting::Cold, corpus, found, run == 1),
            Work::Alone(what, setting) => self.in_mount(what, setting, corpus, found, run == 1),
            Work::Versions => self.versions(corpus, found),
        }
    }

    fn record(
        &mut self,
        measurement: &Measurement,
        tool: &str,
        run: u32,
        outcome: Result<Figures, Failure>,
    ) -> Result<(), BenchError> {
        let outcome = match outcome {
            Ok(figures) => Outcome::Figures(figures),
            Err(Failure::Tool(problem)) => Outcome::Failed(self.without_folders(&problem)),
            Err(Failure::Bench(error)) => return Err(error),
        };
        match &outcome {
            Outcome::Figures(figures) => {
                let note = if figures.is_disturbed() { "  (disturbed)" } else { "" };
                let rate = figures.rate.map(|rate| format!("  {rate:.0}/s")).unwrap_or_default();
                let fetched =
                    figures.fetched_bytes.map(|bytes| format!("  {bytes} bytes fetched")).unwrap_or_default();
                let rest = figures.rest_mib.map(|mib| format!("  {mib:.0} MiB at rest")).unwrap_or_default();
                eprintln!(
                    "  {tool:20} {:8.3} s  {:7.2} CPU-s  {:5.0} MiB{rate}{fetched}{rest}{note}",
                    figures.wall_s, figures.cpu_s, figures.peak_mib
                );
            }
            Outcome::Failed(problem) => eprintln!("  {tool:20} FAILED: {problem}"),
        }
        self.results.add_sample(Sample {
            session: self.session,
            measurement: measurement.id.to_owned(),
            tool: tool.to_owned(),
            run,
            outcome,
        })
    }

    /// A report says nothing of where things lie on this machine.
    fn without_folders(&self, problem: &str) -> String {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        problem.replace(&text(&self.options.work), "WORK").replace(&text(&self.options.corpora), "CORPORA")
    }

    fn repository<'a>(&'a self, corpus: Corpus, found: &'a Found) -> Repository<'a> {
        Repository::new(&self.runner, found, corpus, self.sources.folder(corpus))
    }

    /// Leaves nothing but the logs.
    fn clear(&self) -> Result<(), BenchError> {
        self.sources.remove()?;
        for name in ["repositories", "mount", "restored", "output", "expected", "usage.json"] {
            let path = self.options.work.join(name);
            files::remove(&path).map_err(file_error("remove", &path))?;
        }
        Ok(())
    }

    fn remove_repositories(&self, corpus: Corpus) -> Result<(), BenchError> {
        for found in &self.options.tools {
            match self.repository(corpus, found).remove() {
                Ok(()) => {}
                Err(Failure::Bench(error)) => return Err(error),
                Err(Failure::Tool(problem)) => eprintln!("  {}: {problem}", found.name()),
            }
        }
        let point = self.options.work.join("mount");
        mounted::release(&point);
        files::empty(&point).map_err(file_error("empty", &point))
    }
}

fn takes_part(measurement: &Measurement, found: &Found) -> bool {
    match (measurement.work, found.tool.role) {
        // No peer is set against what it is measured for, and the slowest would take an hour.
        (_, role) if measurement.corpus == Corpus::Many => role == Role::Ours,
        (Work::First, _) => true,
        (Work::Unchanged | Work::Changed | Work::Growth, role) => role != Role::PeerThroughServer,
        (Work::Restore, role) => matches!(role, Role::Ours | Role::Peer),
        (Work::Alone(_, _) | Work::Versions, role) => role == Role::Ours,
        (Work::Ready | Work::Mounted(_), role) => {
            matches!(role, Role::Ours | Role::Peer) && found.tool.mount.is_some()
        }
    }
}

/// The figures of a program and the server that it talked to.
fn figures(measured: &Measured) -> Figures {
    let server = measured.watched.first();
    Figures {
        wall_s: measured.usage.wall_s,
        cpu_s: measured.usage.user_s + measured.usage.sys_s,
        peak_mib: measured.usage.peak_mib,
        server_cpu_s: server.map(|server| server.cpu_s),
        server_peak_mib: server.map(|server| server.peak_mib),
        other_cpu_s: measured.other_cpu_s,
        sync_after_s: measured.sync_after_s,
        ..Figures::default()
    }
}

/// What a run will do, and about how many minutes it takes.
pub(crate) fn plan(measurements: &[&Measurement], runs: u32) -> String {
    let minutes = |measurement: &Measurement| {
        // From the second round on, slow peers are left out.
        let again = if measurement.work == Work::Growth { 0.0 } else { 0.4 * f64::from(runs - 1) };
        f64::from(measurement.round_s) * (1.0 + again) / 60.0
    };
    let mut text = String::new();
    for measurement in measurements {
        text.push_str(&format!("  {:20} {:4.1} min\n", measurement.id, minutes(measurement)));
    }
    let total: f64 = measurements.iter().map(|measurement| minutes(measurement)).sum();
    format!("{text}about {total:.0} minutes with all peers on two cores\n")
}
