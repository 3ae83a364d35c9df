//! Options by which a set, a version and a path are named, and what they mean in the archive.

use std::path::Path;

use backstore_protocol::entry::Entry;
use backstore_protocol::path::ArchivePath;
use backstore_vfs::view::View;

use super::entry_line::shown_path;
use super::error::chain;
use super::{CliError, Context};
use crate::archive::{Archive, ArchiveOptions, LineageSummary, Lineages};
use crate::reading::{Place, ReadingError, Versions, missing};

/// Which backup set.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct SetChoice {
    /// The backup set; needed where a path does not tell which of several is meant
    #[arg(long, value_name = "SET")]
    pub(super) set: Option<String>,
    /// The computer, where it is not this one
    #[arg(long, value_name = "DEVICE")]
    pub(super) device: Option<String>,
}

/// Which version.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct AtChoice {
    /// The version: latest, the name of its folder in a mount, the beginning of its id, or a time, as 2026-11-22, yesterday or 3d: the newest
    /// version at or before it
    #[arg(long, value_name = "VERSION")]
    pub(super) at: Option<String>,
}

/// A path in a version.
pub(super) struct Located<'a> {
    /// The set's versions.
    pub(super) versions: Versions<'a>,
    /// Its tree.
    pub(super) view: View,
    /// The path.
    pub(super) path: ArchivePath,
    /// What is there.
    pub(super) entry: Entry,
}

/// Opens the archive to read.
pub(super) fn open(context: &Context) -> Result<Archive, CliError> {
    Ok(Archive::open(&context.home, &context.machine, &ArchiveOptions::read())?)
}

impl SetChoice {
    /// The versions of the set that is meant, also by a path in it.
    pub(super) fn versions<'a>(
        &self,
        archive: &'a Archive,
        path: Option<&ArchivePath>,
    ) -> Result<Versions<'a>, ReadingError> {
        let paths: Vec<_> = path.map(|path| vec![path]).into_iter().collect();
        Versions::choose(archive, self.set.as_deref(), self.device.as_deref(), &paths)
    }

    /// All sets there are, or those that are meant.
    pub(super) fn all<'a>(&self, archive: &'a Archive) -> Result<Vec<Versions<'a>>, CliError> {
        match Versions::choose(archive, self.set.as_deref(), self.device.as_deref(), &[]) {
            Ok(one) if self.set.is_some() => Ok(vec![one]),
            Ok(_) | Err(ReadingError::WhichSet { .. }) => {
                let fits =
                    |name: &str, wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| wanted == name);
                let all = note_damaged(archive.lineages()?).into_iter().filter(|lineage| {
                    fits(&lineage.head.body.set, &self.set)
                        && (fits(&lineage.device_name, &self.device)
                            || fits(&lineage.head.header.device.to_string(), &self.device))
                });
                Ok(all.map(|lineage| Versions::new(archive, lineage)).collect())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Finds a path in the version that it names itself, or that `at` does.
    pub(super) fn locate<'a>(
        &self,
        archive: &'a Archive,
        at: &AtChoice,
        path: &Path,
        context: &Context,
    ) -> Result<Located<'a>, CliError> {
        let place = Place::parse(path)?;
        match self.locate_place(archive, at, &place, context) {
            Err(CliError::Reading(
                missing @ (ReadingError::NoSuchPath { .. } | ReadingError::WhichSet { .. }),
            )) => match &place.pasted {
                // Pasted from a mount that is no longer there.
                Some(pasted) => self.locate_place(archive, at, pasted, context),
                None => Err(missing.into()),
            },
            other => other,
        }
    }

    fn locate_place<'a>(
        &self,
        archive: &'a Archive,
        at: &AtChoice,
        place: &Place,
        context: &Context,
    ) -> Result<Located<'a>, CliError> {
        let at = match (at.at.as_deref(), place.version.as_deref()) {
            (Some(at), Some(named)) if at != named => {
                return Err(CliError::Usage(format!("the path lies in version {named}; --at says {at}")));
            }
            (at, named) => at.or(named),
        };
        let versions = self.versions(archive, Some(&place.path))?;
        let version = versions.at(at, context.machine.now_ms())?;
        let view = versions.view(&version);
        let path = place.path.clone();
        match view.resolve(&path).map_err(ReadingError::from)? {
            Some(entry) => Ok(Located { versions, view, path, entry }),
            None => Err(ReadingError::NoSuchPath {
                path: shown_path(&path),
                nearest: missing(&view, &path).map_err(ReadingError::from)?,
                version: version.name,
            }
            .into()),
        }
    }
}

/// Names on standard error what cannot be read; the others.
fn note_damaged(lineages: Lineages) -> Vec<LineageSummary> {
    for damage in lineages.damaged {
        eprintln!("backstore: a backup set cannot be read: {}", chain(&damage));
    }
    lineages.readable
}
