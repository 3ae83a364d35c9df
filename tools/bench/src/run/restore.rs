//! Measuring restores: into an empty folder, what is restored compared with the source the first time.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Bench, figures};
use crate::child::tail;
use crate::corpus::Corpus;
use crate::error::{BenchError, Failure, file_error, io_error};
use crate::files;
use crate::machine;
use crate::repository::STEP_LIMIT;
use crate::sample::Figures;
use crate::serving::Route;
use crate::tool::{Found, Values};

impl Bench {
    pub(super) fn restore(
        &self,
        corpus: Corpus,
        found: &Found,
        is_checked: bool,
    ) -> Result<Figures, Failure> {
        let repository = self.repository(corpus, found);
        let marker = repository.ensure_current(self.sources.round(corpus))?;
        repository.forget_what_was_read()?;
        let target = self.empty_target()?;
        let values = Values { target: target.to_string_lossy().into_owned(), ..repository.newest(&marker) };
        let step = found.restore(&values);
        let measured = repository.with_server(&marker, Route::Direct, |serving| {
            if self.options.restores_warm {
                repository.warm()?;
                machine::sync();
            } else {
                self.sources.cool()?;
            }
            self.runner.timed(&step, &repository.log(), STEP_LIMIT, &serving.processes())
        })?;
        if is_checked {
            let source = self.sources.folder(corpus);
            let under_its_path = target.join(source.strip_prefix("/").unwrap_or(&source));
            let restored = if under_its_path.is_dir() { under_its_path } else { target.clone() };
            compare(&source, &restored)?;
        }
        files::remove(&target).map_err(file_error("remove", &target))?;
        Ok(figures(&measured))
    }

    /// The folder that is restored into.
    pub(super) fn empty_target(&self) -> Result<PathBuf, BenchError> {
        let target = self.options.work.join("restored");
        files::empty(&target).map_err(file_error("empty", &target))?;
        machine::sync();
        Ok(target)
    }
}

/// Both folders hold the same names and the same bytes.
pub(super) fn compare(expected: &Path, found: &Path) -> Result<(), Failure> {
    let mut diff = Command::new("diff");
    diff.args(["-rq", "--no-dereference"]).arg(expected).arg(found);
    let output = diff.output().map_err(io_error("start diff"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Failure::Tool(format!("not what was backed up: {}", tail(&String::from_utf8_lossy(&said)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        for folder in [&one, &other] {
            std::fs::create_dir(folder).expect("made");
            std::fs::write(folder.join("file"), "same").expect("written");
        }
        assert!(compare(&one, &other).is_ok());
        std::fs::write(other.join("file"), "else").expect("written");
        assert!(matches!(compare(&one, &other), Err(Failure::Tool(problem)) if problem.contains("differ")));
    }
}
