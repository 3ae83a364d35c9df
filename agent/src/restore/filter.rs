//! What of the selected paths is restored: `--include` and `--exclude`.

use backstore_protocol::path::ArchivePath;

use crate::scan::{ExcludeError, Exclusions};

/// Patterns as those of backup sets.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    include: Option<Exclusions>,
    exclude: Option<Exclusions>,
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is restored; of a directory, everything in it that is not excluded.
    In,
    /// A directory that is made only if something in it is restored.
    Through,
    /// It is not restored, nor is anything in it.
    Out,
}

impl Filter {
    /// Files that match `include`, or lie in a directory that does; all if there is none. Not what matches `exclude`.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, ExcludeError> {
        let compiled = |patterns: &[String]| match patterns {
            [] => Ok(None),
            patterns => Exclusions::new(patterns.iter().map(String::as_str), &[]).map(Some),
        };
        Ok(Self { include: compiled(include)?, exclude: compiled(exclude)? })
    }

    /// Whether everything is restored that is not excluded.
    pub(super) const fn is_all(&self) -> bool {
        self.include.is_none()
    }

    /// What becomes of `name` in `directory`, which is restored with everything in it or not.
    pub(super) fn verdict(
        &self,
        directory: &ArchivePath,
        name: &[u8],
        is_directory: bool,
        all: bool,
    ) -> Verdict {
        let matches = |patterns: &Exclusions| patterns.excludes(directory, name, is_directory);
        if self.exclude.as_ref().is_some_and(matches) {
            return Verdict::Out;
        }
        match (all || self.include.as_ref().is_none_or(matches), is_directory) {
            (true, _) => Verdict::In,
            (false, true) => Verdict::Through,
            (false, false) => Verdict::Out,
        }
    }
}
