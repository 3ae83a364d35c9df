//! Measuring backups. The source is in the page cache; everything else is on the disk before a backup begins.

use super::{Bench, figures};
use crate::corpus::Corpus;
use crate::error::{BenchError, Failure};
use crate::measurements::{InMount, Measurement, Work};
use crate::sample::Figures;
use crate::tool::{Found, Role};

impl Bench {
    /// Before the tools take turns with a changed source: all have the state before the change, then it is changed.
    pub(super) fn prepare_round(&self, measurement: &Measurement, tools: &[Found]) -> Result<(), BenchError> {
        let corpus = measurement.corpus;
        match measurement.work {
            Work::Changed => {}
            Work::Growth if self.sources.round(corpus) > 0 => {
                // Who has seen the changed image already would not grow.
                self.sources.reset_image()?;
                self.remove_repositories(corpus)?;
            }
            Work::Growth => {}
            Work::Alone(InMount::Diff, _) => {
                if tools.iter().all(|found| self.has_both_versions(corpus, found)) {
                    return Ok(());
                }
                if self.sources.round(corpus) > 0 {
                    self.sources.renew(corpus)?;
                    self.remove_repositories(corpus)?;
                }
            }
            Work::First | Work::Unchanged | Work::Restore | Work::Ready => return Ok(()),
            Work::Mounted(_) | Work::Alone(_, _) | Work::Versions => return Ok(()),
        }
        let round = self.sources.round(corpus);
        for found in tools {
            match self.repository(corpus, found).ensure_current(round) {
                Ok(_) => {}
                // Its turn will fail, and say why.
                Err(Failure::Tool(_)) => self.forget(corpus, found)?,
                Err(Failure::Bench(error)) => return Err(error),
            }
        }
        self.sources.advance(corpus)
    }

    /// The tool has a version of before the change and one of after it.
    fn has_both_versions(&self, corpus: Corpus, found: &Found) -> bool {
        let marker = self.repository(corpus, found).marker();
        marker.is_some_and(|marker| marker.round == 1 && marker.backups == 2)
    }

    fn forget(&self, corpus: Corpus, found: &Found) -> Result<(), BenchError> {
        match self.repository(corpus, found).remove() {
            Ok(()) | Err(Failure::Tool(_)) => Ok(()),
            Err(Failure::Bench(error)) => Err(error),
        }
    }

    /// Into a new repository, which stays for what comes next.
    pub(super) fn first(&self, corpus: Corpus, found: &Found) -> Result<Figures, Failure> {
        let repository = self.repository(corpus, found);
        let empty = repository.create()?;
        self.sources.warm(corpus)?;
        let measured = repository.backup(&empty, self.sources.round(corpus))?;
        let repository_bytes = Some(repository.bytes()?);
        if found.tool.role == Role::PeerThroughServer {
            repository.remove()?;
        }
        Ok(Figures { repository_bytes, ..figures(&measured) })
    }

    pub(super) fn unchanged(&self, corpus: Corpus, found: &Found) -> Result<Figures, Failure> {
        let repository = self.repository(corpus, found);
        let round = self.sources.round(corpus);
        let marker = repository.ensure_current(round)?;
        self.sources.warm(corpus)?;
        let before = repository.bytes()?;
        let measured = repository.backup(&marker, round)?;
        let growth_bytes = Some(repository.bytes()?.saturating_sub(before));
        Ok(Figures { growth_bytes, ..figures(&measured) })
    }

    /// The source was changed just before.
    pub(super) fn changed(&self, corpus: Corpus, found: &Found) -> Result<Figures, Failure> {
        let repository = self.repository(corpus, found);
        let round = self.sources.round(corpus);
        let marker = repository.marker().filter(|marker| marker.round + 1 == round);
        let marker = marker.ok_or_else(|| "the backup before the change failed".to_owned())?;
        self.sources.warm(corpus)?;
        let before = repository.bytes()?;
        let measured = repository.backup(&marker, round)?;
        let growth_bytes = Some(repository.bytes()?.saturating_sub(before));
        Ok(Figures { growth_bytes, ..figures(&measured) })
    }
}
