//! `backstore find`.

use std::sync::Arc;

use backstore_protocol::entry::Kind;
use backstore_protocol::path::ArchivePath;
use clap::ValueEnum;
use serde_json::Value;

use super::choice::{AtChoice, SetChoice, open};
use super::entry_line::{entry_json, path_bytes};
use super::ls::note_unreadable;
use super::meter::while_indexing;
use super::output::Output;
use super::{CliError, Context, Exit};
use crate::reading::{AllMatches, Matches, Query, ReadingError, VersionInfo};
use crate::scan::PathPattern;

/// Find files by name, in one version or in all
///
/// PATTERN is a name with `*`, `?` and `[…]`. With a `/` in it it is compared with paths: with whole ones if it begins with `/`, else with their ends; `**` stands for
/// any folders. With --all, each state of a file is found once, in the newest complete version that has it, and the version's name stands before the path, as in a mount.
#[derive(Debug, clap::Args)]
pub(super) struct FindArgs {
    /// What to look for
    pattern: String,
    #[command(flatten)]
    at: AtChoice,
    /// In all versions
    #[arg(long, conflicts_with = "at")]
    all: bool,
    #[command(flatten)]
    set: SetChoice,
    /// Only files (f), directories (d) or symbolic links (l)
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<FindKind>,
    /// End paths with a zero byte in place of a newline
    #[arg(short = '0', long = "zero", conflicts_with = "json")]
    zero: bool,
    /// One JSON document for each file
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FindKind {
    /// Regular files
    F,
    /// Directories
    D,
    /// Symbolic links
    L,
}

pub(super) fn run(args: &FindArgs, context: &Context) -> Result<Exit, CliError> {
    let pattern = PathPattern::new(&args.pattern).map_err(|error| CliError::Usage(error.problem))?;
    let kind = args.kind.map(|kind| match kind {
        FindKind::F => Kind::File,
        FindKind::D => Kind::Directory,
        FindKind::L => Kind::Symlink,
    });
    let query = Query { pattern, kind };
    let archive = open(context)?;
    let versions = args.set.versions(&archive, None)?;
    let mut out = Output::new(args.zero);
    let mut is_incomplete = false;
    let show = |version: &VersionInfo, path: &ArchivePath, entry: &_, out: &mut Output| {
        if args.json {
            let mut document = entry_json(path, entry, &archive.keys.ids);
            document.insert("version".to_owned(), version.name.clone().into());
            document.insert("snapshot".to_owned(), version.id.to_string().into());
            return out.json(&Value::Object(document));
        }
        let path_bytes = path_bytes(path);
        if !args.all {
            return out.line("", &path_bytes, "");
        }
        let slash = if path_bytes.starts_with(b"/") { "" } else { "/" };
        out.line(format_args!("{}{slash}", version.name), &path_bytes, "")
    };
    if args.all {
        let all = versions.all()?;
        let progress = Arc::default();
        let meter = while_indexing(&progress);
        let matches = AllMatches::new(&versions, &context.home, &all, &query, &progress)?;
        drop(meter);
        for found in matches {
            match found {
                Ok(found) => show(&all[found.version], &found.path, &found.entry, &mut out)?,
                Err(ReadingError::Read(error)) => {
                    is_incomplete = true;
                    note_unreadable(error)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    } else {
        let version = versions.at(args.at.at.as_deref(), context.machine.now_ms())?;
        for found in Matches::new(&versions.view(&version), &query).map_err(ReadingError::from)? {
            match found {
                Ok((path, entry)) => show(&version, &path, &entry, &mut out)?,
                Err(error) => {
                    is_incomplete = true;
                    note_unreadable(error)?;
                }
            }
        }
    }
    out.finish()?;
    Ok(if is_incomplete { Exit::Incomplete } else { Exit::Complete })
}
