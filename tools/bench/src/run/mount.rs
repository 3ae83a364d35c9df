//! Measuring mounts. Each figure is of a mount of its own, with an empty page cache and a server just started; a warm
//! one of the second time that the same is done in it.

use std::time::Duration;

use super::in_mount::{Site, check_said, compare_read, rated};
use super::{Bench, figures};
use crate::corpus::Corpus;
use crate::error::{Failure, file_error};
use crate::files;
use crate::machine::{self, ProcessUse};
use crate::measurements::{InMount, Setting};
use crate::mounted::{IN_MOUNT_LIMIT, Mounted};
use crate::repository::{Marker, Repository};
use crate::sample::Figures;
use crate::serving::{Route, Serving};
use crate::tool::{Found, Values};

/// What a mount does by itself after it was mounted may take so long.
const REST_PATIENCE: Duration = Duration::from_secs(180);

impl Bench {
    /// From the command to the first listing.
    pub(super) fn ready(&self, corpus: Corpus, found: &Found) -> Result<Figures, Failure> {
        let repository = self.repository(corpus, found);
        let marker = repository.ensure_current(self.sources.round(corpus))?;
        self.mounted(found, &repository, &marker, Route::Direct, when_ready)
    }

    /// The same with very many versions and a far server, and then its memory when it has nothing to do any more.
    pub(super) fn versions(&self, corpus: Corpus, found: &Found) -> Result<Figures, Failure> {
        let repository = self.repository(corpus, found);
        let count = self.options.versions;
        let marker = repository.ensure_versions(count, |number| self.sources.write_version(number))?;
        self.mounted(found, &repository, &marker, Route::Far, |mounted, serving| {
            let ready = when_ready(mounted, serving)?;
            let at_rest = machine::wait_until_at_rest(mounted.process(), REST_PATIENCE).map_err(has_ended)?;
            let rest_mib = Some(at_rest.resident_mib);
            Ok(Figures { peak_mib: at_rest.peak_mib, rest_mib, versions: Some(marker.backups), ..ready })
        })
    }

    /// Something done in a mount.
    pub(super) fn in_mount(
        &mut self,
        what: InMount,
        setting: Setting,
        corpus: Corpus,
        found: &Found,
        is_checked: bool,
    ) -> Result<Figures, Failure> {
        let expected = self.expected(what, corpus)?;
        let target = self.empty_target()?;
        let repository = self.repository(corpus, found);
        let marker = repository.ensure_current(self.sources.round(corpus))?;
        let figures = self.mounted(found, &repository, &marker, setting.route(), |mounted, serving| {
            let earlier = if what == InMount::Diff { mounted.earlier_tree()? } else { mounted.tree.clone() };
            let output = self.options.work.join("output");
            let site = Site { tree: mounted.tree.clone(), earlier, target: target.clone(), output };
            if setting == Setting::Warm {
                self.runner.untimed(&self.first_step(what, &site), &repository.log(), IN_MOUNT_LIMIT)?;
            }
            let mut watched = vec![mounted.process()];
            watched.extend(serving.processes());
            let step = self.step(what, &site);
            let measured = self.runner.timed(&step, &repository.log(), IN_MOUNT_LIMIT, &watched)?;
            let fetched_bytes = serving.fetched_bytes();
            let in_mount = figures_in_mount(figures(&measured), &measured.watched);
            let rated = rated(what, Figures { fetched_bytes, ..in_mount }, &site)?;
            if let Some(expected) = expected {
                check_said(what, &site.output, expected)?;
            }
            if is_checked {
                compare_read(what, &self.sources.folder(corpus), &site)?;
            }
            Ok(rated)
        })?;
        files::remove(&target).map_err(file_error("remove", &target))?;
        Ok(figures)
    }

    /// Does something in a cold mount, and unmounts.
    fn mounted<T>(
        &self,
        found: &Found,
        repository: &Repository<'_>,
        marker: &Marker,
        route: Route,
        work: impl FnOnce(&Mounted, &Serving) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let point = self.options.work.join("mount").join(found.name());
        let values = Values { mountpoint: point.to_string_lossy().into_owned(), ..repository.newest(marker) };
        repository.forget_what_was_read()?;
        repository.with_server(marker, route, |serving| {
            self.sources.cool()?;
            let mounted = Mounted::open(found, &values, &repository.log())?;
            let done = work(&mounted, serving)?;
            mounted.close(&self.runner)?;
            Ok(done)
        })
    }
}

/// Of a mount that was just listed.
fn when_ready(mounted: &Mounted, serving: &Serving) -> Result<Figures, Failure> {
    let used = ProcessUse::of(mounted.process()).map_err(has_ended)?;
    let server = serving.processes().first().map(|server| ProcessUse::of(*server));
    let server = server.transpose().map_err(has_ended)?;
    Ok(Figures {
        wall_s: mounted.ready_s,
        tree_s: Some(mounted.tree_s),
        cpu_s: used.cpu_s,
        peak_mib: used.peak_mib,
        server_peak_mib: server.map(|server| server.peak_mib),
        ..Figures::default()
    })
}

fn has_ended(_: std::io::Error) -> Failure {
    Failure::Tool("the mount ended by itself".to_owned())
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
