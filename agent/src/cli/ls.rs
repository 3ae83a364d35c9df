//! `backstore ls`.

use std::path::PathBuf;

use backstore_protocol::entry::Entry;
use backstore_protocol::path::ArchivePath;
use backstore_vfs::objects::{ReadError, Recovery};
use serde_json::Value;

use super::choice::{AtChoice, Located, SetChoice, open};
use super::entry_line::{entry_json, long, long_after, path_bytes};
use super::output::Output;
use super::{CliError, Context, Exit};
use crate::archive::Archive;
use crate::reading::ReadingError;

/// List what is in a folder of a version
///
/// PATH is the path that the folder or file had when it was backed up, from the root, from the current folder, or as it stands in a mount. Without it, what the
/// set selects is listed. Folders end in `/`.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    /// The folder or file
    path: Option<PathBuf>,
    #[command(flatten)]
    at: AtChoice,
    #[command(flatten)]
    set: SetChoice,
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
