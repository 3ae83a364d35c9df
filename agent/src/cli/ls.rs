//! `backstore ls`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstore_protocol::entry::Entry;
use backstore_protocol::path::ArchivePath;
use backstore_vfs::objects::{ReadError, Recovery};
use serde_json::Value;

use super::choice::{AtChoice, Located, SetChoice, open};
use super::entry_line::{entry_json, long, long_after, path_bytes};
use super::meter::while_indexing;
use super::output::Output;
use super::{CliError, Context, Exit};
use crate::archive::Archive;
use crate::reading::{Deleted, Gone, Place, ReadingError};

/// List what is in a folder of a version
///
/// PATH is the path that the folder or file had when it was backed up, from the root, from the current folder, or as it stands in a mount. Without it, what the
/// set selects is listed. Folders end in `/`. What is gone comes back by: backstore restore PATH --at VERSION --to DIR, with the version that --deleted names.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    /// The folder or file
    path: Option<PathBuf>,
    #[command(flatten)]
    at: AtChoice,
    #[command(flatten)]
    set: SetChoice,
    /// Files that were there and are not in the newest version, with the last version that has them; always with everything below
    #[arg(long, conflicts_with_all = ["at", "recursive"])]
    deleted: bool,
    /// With permissions, owner, group, size and time
    #[arg(short = 'l', long)]
    long: bool,
    /// With everything below, by full paths
    #[arg(short = 'R', long)]
    recursive: bool,
    /// End names with a zero byte in place of a newline
    #[arg(short = '0', long = "zero", conflicts_with = "json")]
    zero: bool,
    /// One JSON document for each file
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &LsArgs, context: &Context) -> Result<Exit, CliError> {
    let archive = open(context)?;
    let mut lines = Lines {
        out: Output::new(args.zero),
        args,
        archive: &archive,
        zone: chrono_tz::UTC,
        is_incomplete: false,
    };
    match &args.path {
        path if args.deleted => lines.deleted(path.as_deref(), context)?,
        Some(path) => {
            let located = args.set.locate(&archive, &args.at, path, context)?;
            lines.zone = located.versions.zone;
            lines.below(&located)?;
        }
        None => {
            let versions = args.set.versions(&archive, None)?;
            lines.zone = versions.zone;
            let version = versions.at(args.at.at.as_deref(), context.machine.now_ms())?;
            let (view, body) = (versions.view(&version), versions.body(&version)?);
            for root in &body.roots {
                let Ok(path) = ArchivePath::from_joined(root) else { continue };
                let found = view.resolve(&path).map_err(ReadingError::from)?;
                if let (true, Some(_)) = (args.recursive, &found) {
                    lines.all(view.walk(&path).map_err(ReadingError::from)?)?;
                } else if let Some(entry) = found {
                    lines.entry(&path, &path_bytes(&path), &entry)?;
                }
            }
        }
    }
    let exit = if lines.is_incomplete { Exit::Incomplete } else { Exit::Complete };
    lines.out.finish()?;
    Ok(exit)
}

/// Says on standard error that something cannot be read; fails if nothing else can be either.
pub(super) fn note_unreadable(error: ReadError) -> Result<(), CliError> {
    match error.recovery() {
        Recovery::SkipIt => {
            eprintln!("backstore: a part of the tree cannot be read: {error}");
            Ok(())
        }
        Recovery::Stop | Recovery::Wait => Err(ReadingError::from(error).into()),
    }
}

struct Lines<'a> {
    out: Output,
    args: &'a LsArgs,
    archive: &'a Archive,
    zone: chrono_tz::Tz,
    is_incomplete: bool,
}

impl Lines<'_> {
    fn below(&mut self, located: &Located<'_>) -> Result<(), CliError> {
        let Located { view, path, entry, .. } = located;
        if self.args.recursive {
            return self.all(view.walk(path).map_err(ReadingError::from)?);
        }
        if !entry.kind.is_directory() {
            return self.entry(path, &path_bytes(path), entry);
        }
        for child in view.children(path).map_err(ReadingError::from)? {
            match child {
                Ok((name, entry)) => {
                    let path = path.join(&name).map_err(ReadError::from).map_err(ReadingError::from)?;
                    self.entry(&path, &name, &entry)?;
                }
                Err(error) => self.unreadable(error)?,
            }
        }
        Ok(())
    }

    /// What is gone below a path, or below what the set selects.
    fn deleted(&mut self, path: Option<&Path>, context: &Context) -> Result<(), CliError> {
        let place = path.map(Place::parse).transpose()?;
        let pasted = place.as_ref().and_then(|place| place.pasted.as_deref().cloned());
        let mut meant = place.map(|place| place.path);
        let versions = match self.args.set.versions(self.archive, meant.as_ref()) {
            Err(ReadingError::WhichSet { .. }) if pasted.is_some() => {
                meant = pasted.map(|place| place.path);
                self.args.set.versions(self.archive, meant.as_ref())?
            }
            versions => versions?,
        };
        self.zone = versions.zone;
        let roots = match meant {
            Some(path) => vec![path],
            None => {
                let roots = versions.lineage.head.body.roots.iter();
                roots.filter_map(|root| ArchivePath::from_joined(root).ok()).collect()
            }
        };
        for root in roots {
            let progress = Arc::default();
            let meter = while_indexing(&progress);
            let deleted = Deleted::new(&versions, &context.home, &root, &progress)?;
            drop(meter);
            for gone in deleted {
                match gone {
                    Ok(Gone { path, entry, version }) => self.gone(&path, &entry, &version.name)?,
                    Err(ReadingError::Read(error)) => self.unreadable(error)?,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn gone(&mut self, path: &ArchivePath, entry: &Entry, version: &str) -> Result<(), CliError> {
        if self.args.json {
            let mut document = entry_json(path, entry, &self.archive.keys.ids);
            document.insert("last".to_owned(), version.into());
            return self.out.json(&Value::Object(document));
        }
        let before = if self.args.long { long(entry, self.zone) } else { String::new() };
        let after =
            if self.args.zero { String::new() } else { format!("  last in {version}{}", long_after(entry)) };
        self.out.line(before, &path_bytes(path), after)
    }

    fn all(
        &mut self,
        walk: impl Iterator<Item = Result<(ArchivePath, Entry), ReadError>>,
    ) -> Result<(), CliError> {
        for item in walk {
            match item {
                Ok((path, entry)) => self.entry(&path, &path_bytes(&path), &entry)?,
                Err(error) => self.unreadable(error)?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &ArchivePath, name: &[u8], entry: &Entry) -> Result<(), CliError> {
        if self.args.json {
            return self.out.json(&Value::Object(entry_json(path, entry, &self.archive.keys.ids)));
        }
        let before = if self.args.long { long(entry, self.zone) } else { String::new() };
        let slash =
            if entry.kind.is_directory() && !self.args.zero && !name.ends_with(b"/") { "/" } else { "" };
        let after = if self.args.long { format!("{slash}{}", long_after(entry)) } else { slash.to_owned() };
        self.out.line(before, name, after)
    }

    fn unreadable(&mut self, error: ReadError) -> Result<(), CliError> {
        self.is_incomplete = true;
        note_unreadable(error)
    }
}
