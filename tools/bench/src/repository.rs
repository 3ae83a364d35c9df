//! A tool's repository of one corpus: made, backed up to, restored from.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::child::{Measured, Runner, call};
use crate::corpus::Corpus;
use crate::error::{BenchError, Failure, file_error};
use crate::files;
use crate::machine;
use crate::serving::{Route, Serving};
use crate::tool::{Found, RunningServer, ServerKind, Values, invitation, make_vault};

/// A backup or restore that takes longer has failed.
pub(crate) const STEP_LIMIT: Duration = Duration::from_secs(900);
const CREATE_LIMIT: Duration = Duration::from_secs(120);
/// Versions after which a repository is marked as whole again.
const VERSIONS_AT_ONCE: u32 = 500;

/// Where a tool keeps one corpus.
#[derive(Debug)]
pub(crate) struct Repository<'a> {
    runner: &'a Runner,
    found: &'a Found,
    corpus: Corpus,
    source: PathBuf,
    folder: PathBuf,
}

/// What a repository holds; a file beside it that is there only while it is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// Backups in it.
    pub(crate) backups: u32,
    /// How often the source had been changed at the last one.
    pub(crate) round: u32,
    /// Where its server listens: enrolled clients remember that.
    port: Option<u16>,
}

impl<'a> Repository<'a> {
    pub(crate) fn new(runner: &'a Runner, found: &'a Found, corpus: Corpus, source: PathBuf) -> Self {
        let folder = runner.work.join("repositories").join(format!("{}-{}", found.name(), corpus.name()));
        Self { runner, found, corpus, source, folder }
    }

    /// What it holds; `None` if it is not there or not whole.
    pub(crate) fn marker(&self) -> Option<Marker> {
        serde_json::from_slice(&fs::read(self.marker_path()).ok()?).ok()
    }

    /// Makes it anew, with no backup in it.
    pub(crate) fn create(&self) -> Result<Marker, Failure> {
        self.remove()?;
        let state = self.state();
        fs::create_dir_all(&state).map_err(file_error("create", &state))?;
        let data = self.data();
        let Some((kind, program)) = &self.found.server else {
            self.create_with(&self.values(0))?;
            return Ok(Marker { backups: 0, round: 0, port: None });
        };
        match kind {
            ServerKind::Backstored => make_vault(program, &data)?,
            ServerKind::RestServer => fs::create_dir_all(&data).map_err(file_error("create", &data))?,
        }
        let server = RunningServer::start(*kind, program, &data, None, &self.server_log())?;
        let destination = invitation(*kind, program, &data, server.port)?;
        self.create_with(&Values { destination, ..self.values(0) })?;
        let port = Some(server.port);
        server.stop()?;
        Ok(Marker { backups: 0, round: 0, port })
    }

    fn create_with(&self, values: &Values) -> Result<(), Failure> {
        for step in self.found.create(values) {
            self.runner.untimed(&step, &self.log(), CREATE_LIMIT)?;
        }
        Ok(())
    }

    /// Backs the source up, as it is after so many changes.
    pub(crate) fn backup(&self, before: &Marker, round: u32) -> Result<Measured, Failure> {
        self.unmark()?;
        let values = self.values_of(before, before.backups + 1);
        machine::sync();
        let step = self.found.backup(&values);
        let measured = self.with_server(before, Route::Direct, |serving| {
            self.runner.timed(&step, &self.log(), STEP_LIMIT, &serving.processes())
        })?;
        let marker = Marker { backups: before.backups + 1, round, port: before.port };
        self.mark(&marker)?;
        Ok(measured)
    }

    /// It is whole, and holds this.
    fn mark(&self, marker: &Marker) -> Result<(), BenchError> {
        let path = self.marker_path();
        let bytes = serde_json::to_vec(marker).unwrap_or_default();
        fs::write(&path, bytes).map_err(file_error("write", &path))
    }

    /// It is not whole until it is marked again.
    fn unmark(&self) -> Result<(), BenchError> {
        let path = self.marker_path();
        files::remove(&path).map_err(file_error("remove", &path))
    }

    /// Brings it up to date, unless it is.
    pub(crate) fn ensure_current(&self, round: u32) -> Result<Marker, Failure> {
        let marker = match self.marker() {
            Some(marker) if marker.round == round && marker.backups > 0 => return Ok(marker),
            Some(marker) => marker,
            None => self.create()?,
        };
        self.backup(&marker, round)?;
        self.marker().ok_or_else(|| Failure::Tool("the repository is not whole".to_owned()))
    }

    /// Backs the source up until there are so many versions, each after a change. Nothing is measured, so the program is
    /// started without the process that measures.
    pub(crate) fn ensure_versions(
        &self,
        count: u32,
        change: impl Fn(u32) -> Result<(), BenchError>,
    ) -> Result<Marker, Failure> {
        let mut marker = self.ensure_current(0)?;
        while marker.backups < count {
            let until = count.min(marker.backups + VERSIONS_AT_ONCE);
            self.unmark()?;
            let mut step = self.found.backup(&self.values_of(&marker, until)).command();
            self.with_server(&marker, Route::Direct, |_| {
                for number in marker.backups..until {
                    change(number)?;
                    call(&mut step).map_err(|error| error.to_string())?;
                }
                Ok(())
            })?;
            marker = Marker { backups: until, ..marker };
            self.mark(&marker)?;
            eprintln!("  {until} of {count} versions");
        }
        Ok(marker)
    }

    /// Does something while its server runs, if it has one.
    pub(crate) fn with_server<T>(
        &self,
        marker: &Marker,
        route: Route,
        work: impl FnOnce(&Serving) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let serving = match &self.found.server {
            None => Serving::NOTHING,
            Some((kind, program)) => {
                let port = route.server_port(marker.port);
                let server = RunningServer::start(*kind, program, &self.data(), port, &self.server_log())?;
                Serving::new(server, route, marker.port)?
            }
        };
        let done = work(&serving)?;
        serving.stop()?;
        Ok(done)
    }

    /// What braces stand for in commands about the newest backup.
    pub(crate) fn newest(&self, marker: &Marker) -> Values {
        self.values_of(marker, marker.backups)
    }

    fn values_of(&self, marker: &Marker, number: u32) -> Values {
        let destination =
            marker.port.map(|port| format!("rest:http://127.0.0.1:{port}/")).unwrap_or_default();
        Values { destination, ..self.values(number) }
    }

    fn values(&self, number: u32) -> Values {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Values {
            repository: text(&self.data()),
            state: text(&self.state()),
            source: text(&self.source),
            number,
            ..Values::default()
        }
    }

    /// Bytes stored, the tool's own state not counted.
    pub(crate) fn bytes(&self) -> Result<u64, Failure> {
        let data = self.data();
        Ok(files::size_of(&data).map_err(file_error("count", &data))?.bytes)
    }

    /// Removes what mounts and restores have kept of what they read: the next one is to be the first.
    pub(crate) fn forget_what_was_read(&self) -> Result<(), BenchError> {
        for folder in self.found.tool.kept {
            let path = self.state().join(folder);
            files::remove(&path).map_err(file_error("remove", &path))?;
        }
        Ok(())
    }

    /// Reads all of it once, so that the page cache holds it.
    pub(crate) fn warm(&self) -> Result<(), Failure> {
        Ok(files::warm(&self.folder).map_err(file_error("read", &self.folder))?)
    }

    /// Removes it.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        // The marker first: what is left of a removal that was cut off is not whole.
        for path in [self.marker_path(), self.folder.clone()] {
            files::remove(&path).map_err(file_error("remove", &path))?;
        }
        Ok(())
    }

    /// The folder that backups go to.
    fn data(&self) -> PathBuf {
        self.folder.join("repository")
    }

    /// The tool's own folder.
    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn marker_path(&self) -> PathBuf {
        self.folder.join("marker.json")
    }

    /// Where everything that the tool prints goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.runner.work.join("logs").join(format!("{}-{}.log", self.found.name(), self.corpus.name()))
    }

    fn server_log(&self) -> PathBuf {
        self.log().with_extension("server.log")
    }
}
