//! Measuring mounts. Each figure is of a mount of its own, with an empty page cache and a server just started.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::restore::compare;
use super::{Bench, figures};
use crate::child::Step;
use crate::corpus::{Corpus, IMAGE_FILE};
use crate::error::{BenchError, Failure, file_error};
use crate::files;
use crate::machine::ProcessUse;
use crate::measurements::InMount;
use crate::mounted::{IN_MOUNT_LIMIT, Mounted};
use crate::read::RandomReads;
use crate::repository::Repository;
use crate::sample::Figures;
use crate::serving::{Route, Serving};
use crate::tool::{Found, Values};

/// The file that is read from its beginning to its end.
const SEQUENTIAL_FILE: &str = "clip3.bin";
/// Seconds of random reads.
const RANDOM_READS_S: u64 = 8;
const SUBTREE: &str = "drivers/net";
/// Something that is in many files of the subtree.
const PATTERN: &str = "netdev_priv";

impl Bench {
    /// From the command to the first listing.
    pub(super) fn ready(&self, corpus: Corpus, found: &Found) -> Result<Figures, Failure> {
        let repository = self.repository(corpus, found);
        self.mounted(corpus, found, &repository, |mounted, serving| {
            let failed = |_| Failure::Tool("the mount ended by itself".to_owned());
            let used = ProcessUse::of(mounted.process()).map_err(failed)?;
            let server = serving.processes().first().map(|server| ProcessUse::of(*server));
            let server = server.transpose().map_err(failed)?;
            Ok(Figures {
                wall_s: mounted.ready_s,
                tree_s: Some(mounted.tree_s),
                cpu_s: used.cpu_s,
                peak_mib: used.peak_mib,
                server_peak_mib: server.map(|server| server.peak_mib),
                ..Figures::default()
            })
        })
    }

    /// Something done in a fresh mount.
    pub(super) fn in_mount(
        &mut self,
        what: InMount,
        corpus: Corpus,
        found: &Found,
        is_checked: bool,
    ) -> Result<Figures, Failure> {
        let expected = self.expected_lines(what, corpus)?;
        let target = self.empty_target()?;
        let output = self.options.work.join("output");
        let repository = self.repository(corpus, found);
        let figures = self.mounted(corpus, found, &repository, |mounted, serving| {
            let step = self.step(what, &mounted.tree, &target, &output);
            let mut watched = vec![mounted.process()];
            watched.extend(serving.processes());
            let measured = self.runner.timed(&step, &repository.log(), IN_MOUNT_LIMIT, &watched)?;
            let in_mount = figures_in_mount(figures(&measured), &measured.watched);
            let rated = rated(what, in_mount, &mounted.tree, &output)?;
            if let Some(expected) = expected {
                check_lines(&output, expected)?;
            }
            if is_checked {
                compare_read(what, &self.sources.folder(corpus), &mounted.tree, &target)?;
            }
            Ok(rated)
        })?;
        files::remove(&target).map_err(file_error("remove", &target))?;
        Ok(figures)
    }

    /// Does something in a cold mount, and unmounts.
    fn mounted<T>(
        &self,
        corpus: Corpus,
        found: &Found,
        repository: &Repository<'_>,
        work: impl FnOnce(&Mounted, &Serving) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let marker = repository.ensure_current(self.sources.round(corpus))?;
        let point = self.options.work.join("mount").join(found.name());
        let values =
            Values { mountpoint: point.to_string_lossy().into_owned(), ..repository.newest(&marker) };
        repository.forget_what_was_read()?;
        repository.with_server(&marker, Route::Direct, |serving| {
            self.sources.cool()?;
            let mounted = Mounted::open(found, &values, &repository.log())?;
            let done = work(&mounted, serving)?;
            mounted.close(&self.runner)?;
            Ok(done)
        })
    }

    fn step(&self, what: InMount, tree: &Path, target: &Path, output: &Path) -> Step {
        let subtree = tree.join(SUBTREE);
        let path = |path: &Path| path.as_os_str().to_owned();
        let word = |text: &str| OsString::from(text);
        // Into a file: some programs do less when nobody reads what they print.
        let output = Some(output.to_owned());
        match what {
            InMount::Find => {
                Step { output, ..Step::new([word("find"), path(tree), word("-type"), word("f")]) }
            }
            InMount::List => Step { output, ..Step::new([word("ls"), word("-lR"), path(tree)]) },
            InMount::Grep => {
                Step { output, ..Step::new([word("grep"), word("-rl"), word(PATTERN), path(&subtree)]) }
            }
            InMount::Copy => Step::new([word("cp"), word("-r"), path(&subtree), path(target)]),
            InMount::Sequential => {
                let output = Some(PathBuf::from("/dev/null"));
                Step { output, ..Step::new([word("cat"), path(&tree.join(SEQUENTIAL_FILE))]) }
            }
            InMount::RandomReads => {
                let seconds = word(&RANDOM_READS_S.to_string());
                let own = path(&self.runner.own);
                Step {
                    output,
                    ..Step::new([own, word("read-randomly"), path(&tree.join(IMAGE_FILE)), seconds])
                }
            }
        }
    }

    /// How many lines the command prints over the source itself, counted once.
    fn expected_lines(&mut self, what: InMount, corpus: Corpus) -> Result<Option<u64>, Failure> {
        match what {
            InMount::Find | InMount::List | InMount::Grep => {}
            InMount::Copy | InMount::Sequential | InMount::RandomReads => return Ok(None),
        }
        if let Some(lines) = self.expected.get(&what) {
            return Ok(Some(*lines));
        }
        let output = self.options.work.join("expected");
        let step = self.step(what, &self.sources.folder(corpus), Path::new(""), &output);
        self.runner.untimed(&step, &self.options.work.join("logs/control.log"), IN_MOUNT_LIMIT)?;
        let lines = lines_of(&output)?;
        self.expected.insert(what, lines);
        Ok(Some(lines))
    }
}

/// CPU and memory are those of the program that serves the mount, then of its server.
fn figures_in_mount(figures: Figures, watched: &[ProcessUse]) -> Figures {
    let (mount, server) = (watched.first(), watched.get(1));
    Figures {
        cpu_s: mount.map_or(0.0, |mount| mount.cpu_s),
        peak_mib: mount.map_or(0.0, |mount| mount.peak_mib),
        server_cpu_s: server.map(|server| server.cpu_s),
        server_peak_mib: server.map(|server| server.peak_mib),
        ..figures
    }
}

/// Adds the rate, where one is measured.
fn rated(what: InMount, figures: Figures, tree: &Path, output: &Path) -> Result<Figures, Failure> {
    match what {
        InMount::Find | InMount::List | InMount::Grep | InMount::Copy => Ok(figures),
        InMount::Sequential => {
            let path = tree.join(SEQUENTIAL_FILE);
            let bytes = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
            Ok(Figures { rate: Some(bytes as f64 / 1e6 / figures.wall_s), ..figures })
        }
        InMount::RandomReads => {
            let read = fs::read(output).map_err(file_error("read", output))?;
            let reads: RandomReads = serde_json::from_slice(&read).map_err(|error| error.to_string())?;
            Ok(Figures { rate: Some(reads.per_s), p99_us: Some(reads.p99_us), ..figures })
        }
    }
}

/// What was read through the mount is what was backed up.
fn compare_read(what: InMount, source: &Path, tree: &Path, target: &Path) -> Result<(), Failure> {
    match what {
        InMount::Copy => compare(&source.join(SUBTREE), &target.join("net")),
        InMount::Sequential => compare(&source.join(SEQUENTIAL_FILE), &tree.join(SEQUENTIAL_FILE)),
        // Of listings, the lines were counted; random reads keep nothing.
        InMount::Find | InMount::List | InMount::Grep | InMount::RandomReads => Ok(()),
    }
}

fn check_lines(output: &Path, expected: u64) -> Result<(), Failure> {
    let lines = lines_of(output)?;
    if lines != expected {
        return Err(Failure::Tool(format!("{lines} lines where the source gives {expected}")));
    }
    Ok(())
}

fn lines_of(output: &Path) -> Result<u64, BenchError> {
    let bytes = fs::read(output).map_err(file_error("read", output))?;
    Ok(bytes.iter().filter(|byte| **byte == b'\n').count() as u64)
}
