//! What tools are set beside: the machine's own file system, and our own restore.

use std::time::Duration;

use super::in_mount::SEQUENTIAL_FILE;
use super::{Bench, figures};
use crate::child::{Measured, Step};
use crate::corpus::Corpus;
use crate::error::{Failure, file_error};
use crate::files;
use crate::machine;
use crate::measurements::{Control, InMount, Measurement, Setting, Work};
use crate::mounted::IN_MOUNT_LIMIT;
use crate::repository::STEP_LIMIT;
use crate::sample::Figures;
use crate::tool::{Found, Role, Values};

impl Bench {
    /// Measures a control of a measurement.
    pub(super) fn control(&self, control: Control, measurement: &Measurement) -> Result<Figures, Failure> {
        let corpus = measurement.corpus;
        match (control, measurement.work) {
            (Control::Ext4 | Control::Ext4Disk, Work::Mounted(what) | Work::Alone(what, _)) => {
                let is_warm = matches!(measurement.work, Work::Alone(_, Setting::Warm));
                self.at_file_system(what, corpus, is_warm, control == Control::Ext4Disk)
            }
            (Control::Restore, Work::Mounted(what)) => self.restored(what, Setting::Cold, corpus),
            (Control::Restore, Work::Alone(what, setting)) => self.restored(what, setting, corpus),
            (Control::Differing, _) => {
                let fetched_bytes = Some(self.sources.differing(corpus)?.bytes);
                Ok(Figures { fetched_bytes, ..Figures::default() })
            }
            (Control::Copy, _) => self.copied(corpus),
            (Control::Ext4 | Control::Ext4Disk | Control::Restore, _) => {
                Err(Failure::Tool("this is set beside mounts only".to_owned()))
            }
        }
    }

    /// What copying the same files takes, to tell the tools' time from that of the file system.
    fn copied(&self, corpus: Corpus) -> Result<Figures, Failure> {
        let target = self.empty_target()?;
        let source = self.sources.folder(corpus);
        if self.options.restores_warm {
            self.sources.warm(corpus)?;
        } else {
            self.sources.cool()?;
        }
        let step = Step::new(["cp".as_ref(), "-r".as_ref(), source.as_os_str(), target.as_os_str()]);
        let measured = self.measured_control(&step, STEP_LIMIT)?;
        files::remove(&target).map_err(file_error("remove", &target))?;
        Ok(figures(&measured))
    }

    /// What the same command takes over what was backed up. Unless the disk is to be cold too, the blocks that names and
    /// attributes are read from are in memory: what the disk takes is not the file system's.
    fn at_file_system(
        &self,
        what: InMount,
        corpus: Corpus,
        is_warm: bool,
        is_disk_cold: bool,
    ) -> Result<Figures, Failure> {
        let site = self.at_source(corpus);
        let step = self.step(what, &site);
        self.sources.cool()?;
        if !is_disk_cold {
            self.runner.untimed(&self.first_step(what, &site), &self.control_log(), IN_MOUNT_LIMIT)?;
        }
        if !is_warm {
            machine::drop_names().map_err(crate::error::io_error("drop cached names (are you root?)"))?;
        }
        let measured = self.measured_control(&step, IN_MOUNT_LIMIT)?;
        Ok(figures(&measured))
    }

    /// What our restore takes for what is read in the mount: all of it, or one file.
    fn restored(&self, what: InMount, setting: Setting, corpus: Corpus) -> Result<Figures, Failure> {
        let ours = self.options.tools.iter().find(|found| found.tool.role == Role::Ours);
        let ours: &Found = ours.ok_or_else(|| "our program takes no part".to_owned())?;
        let repository = self.repository(corpus, ours);
        let marker = repository.ensure_current(self.sources.round(corpus))?;
        let target = self.empty_target()?;
        let values = Values { target: target.to_string_lossy().into_owned(), ..repository.newest(&marker) };
        let mut step = ours.restore(&values);
        let file = (what == InMount::Sequential).then(|| self.sources.folder(corpus).join(SEQUENTIAL_FILE));
        step.argv.extend(file.iter().map(|file| file.as_os_str().to_owned()));
        repository.forget_what_was_read()?;
        let (measured, fetched_bytes) = repository.with_server(&marker, setting.route(), |serving| {
            self.sources.cool()?;
            let watched = serving.processes();
            let measured = self.runner.timed(&step, &repository.log(), STEP_LIMIT, &watched)?;
            Ok((measured, serving.fetched_bytes()))
        })?;
        files::remove(&target).map_err(file_error("remove", &target))?;
        let figures = Figures { fetched_bytes, ..figures(&measured) };
        let Some(file) = file else { return Ok(figures) };
        let bytes = std::fs::metadata(&file).map_err(file_error("read", &file))?.len();
        Ok(Figures { rate: Some(bytes as f64 / 1e6 / figures.wall_s), ..figures })
    }

    fn measured_control(&self, step: &Step, limit: Duration) -> Result<Measured, Failure> {
        self.runner.timed(step, &self.control_log(), limit, &[])
    }
}
