//! `backstore snapshots`.

use serde_json::{Value, json};

use super::choice::open;
use super::entry_line::milliseconds_json;
use super::output::Output;
use super::{CliError, Context, Exit, text};
use crate::archive::Archive;
use crate::reading::{Change, Differences, ReadingError, VersionInfo, Versions};

/// List the versions there are, newest first
///
/// The name of a version is that of its folder in a mount. `+` is how much it has grown against the version before; with --changes all that differs is counted, which
/// takes as long as there is much of it.
#[derive(Debug, clap::Args)]
pub(super) struct SnapshotsArgs {
    /// Only of this set
    #[arg(value_name = "SET")]
    set: Option<String>,
    /// Only of this computer
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Only those with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only the newest so many of each set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// With how many files and folders were added, changed and removed
    #[arg(long)]
    changes: bool,
    /// One JSON document for each version
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SnapshotsArgs, context: &Context) -> Result<Exit, CliError> {
    let archive = open(context)?;
    let lineages = lineages(&archive, args)?;
    let mut out = Output::new(false);
    let has_several = lineages.len() > 1;
    for versions in &lineages {
        if has_several && !args.json {
            let lineage = &versions.lineage;
            out.text(format_args!("set {} of {}", lineage.head.body.set, lineage.device_name))?;
        }
        list(args, versions, &mut out)?;
    }
    out.finish()?;
    Ok(Exit::Complete)
}

/// All sets there are, or the one that is meant.
fn lineages<'a>(archive: &'a Archive, args: &SnapshotsArgs) -> Result<Vec<Versions<'a>>, CliError> {
    match Versions::choose(archive, args.set.as_deref(), args.device.as_deref(), &[]) {
        Ok(one) if args.set.is_some() => Ok(vec![one]),
        Ok(_) | Err(ReadingError::WhichSet { .. }) => {
            let fits =
                |name: &str, wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| wanted == name);
            let all = archive.lineages()?.into_iter().filter(|lineage| {
                fits(&lineage.head.body.set, &args.set)
                    && (fits(&lineage.device_name, &args.device)
                        || fits(&lineage.head.header.device.to_string(), &args.device))
            });
            Ok(all.map(|lineage| Versions::new(archive, lineage)).collect())
        }
        Err(error) => Err(error.into()),
    }
}

fn list(args: &SnapshotsArgs, versions: &Versions<'_>, out: &mut Output) -> Result<(), CliError> {
    let wanted = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    // One more, to be compared with; all of them to look for a tag.
    let read = if args.tag.is_some() { usize::MAX } else { wanted.saturating_add(1) };
    let all = versions.newest(read)?;
    let mut shown = 0;
    for (at, version) in all.iter().enumerate() {
        if shown == wanted {
            break;
        }
        let body = versions.body(version);
        let tags = body.as_ref().map(|body| body.tags.clone()).unwrap_or_default();
        if args.tag.as_ref().is_some_and(|tag| !tags.contains(tag)) {
            continue;
        }
        shown += 1;
        let before = all.get(at + 1);
        let changes = if args.changes { Some(changes(versions, before, version)?) } else { None };
        if let Err(error) = &body {
            eprintln!("backstore: version {}: {error}", version.name);
        }
        let line = Line {
            versions,
            version,
            files: body.as_ref().ok().map(|body| body.totals.files),
            errors: body.as_ref().map_or(0, |body| body.totals.errors),
            tags,
            before,
            changes,
        };
        if args.json { out.json(&line.json())? } else { out.text(line.text())? }
    }
    Ok(())
}

/// What differs from one version to the next.
#[derive(Debug, Clone, Copy, Default)]
struct Changes {
    added: u64,
    changed: u64,
    removed: u64,
    /// Sizes of the files that are new or have other content.
    bytes: u64,
}

fn changes(
    versions: &Versions<'_>,
    before: Option<&VersionInfo>,
    version: &VersionInfo,
) -> Result<Changes, CliError> {
    let mut changes = Changes::default();
    let Some(before) = before else {
        return Ok(Changes { added: version.entries, bytes: version.bytes, ..changes });
    };
    let (old, new) = (versions.view(before), versions.view(version));
    for found in Differences::new(&old, &new, None).map_err(ReadingError::from)? {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                super::ls::note_unreadable(error)?;
                continue;
            }
        };
        let size = found.new.as_ref().map_or(0, |entry| entry.size);
        match found.change {
            Change::Added => changes.added += 1,
            Change::Removed => changes.removed += 1,
            Change::Type | Change::Content | Change::Metadata => changes.changed += 1,
        }
        if found.change != Change::Metadata {
            changes.bytes += size;
        }
    }
    Ok(changes)
}

struct Line<'a> {
    versions: &'a Versions<'a>,
    version: &'a VersionInfo,
    files: Option<u64>,
    errors: u64,
    tags: Vec<String>,
    before: Option<&'a VersionInfo>,
    changes: Option<Changes>,
}

/// Digits of an id that are shown.
const ID_DIGITS: usize = 12;

impl Line<'_> {
    fn state(&self) -> &'static str {
        match (self.version.is_damaged, self.version.is_partial, self.errors) {
            (true, _, _) => "damaged",
            (false, true, _) => "partial",
            (false, false, 0) => "complete",
            (false, false, _) => "incomplete",
        }
    }

    fn growth(&self) -> i128 {
        i128::from(self.version.bytes) - self.before.map_or(0, |before| i128::from(before.bytes))
    }

    fn text(&self) -> String {
        let version = self.version;
        let files = self.files.map_or_else(|| "?".to_owned(), text::count);
        let sign = if self.growth() < 0 { '-' } else { '+' };
        let growth = u64::try_from(self.growth().unsigned_abs()).unwrap_or(u64::MAX);
        let mut line = format!(
            "{}  {:.ID_DIGITS$}  {files:>9} files  {:>7}  {:>8}  {:<10}  {}",
            version.name,
            version.id.to_string(),
            text::size(version.bytes),
            format!("{sign}{}", text::size(growth)),
            self.state(),
            self.versions.device_name(version),
        );
        if let Some(changes) = self.changes {
            line.push_str(&format!(
                "  {} added, {} changed, {} removed, {} new",
                text::count(changes.added),
                text::count(changes.changed),
                text::count(changes.removed),
                text::size(changes.bytes)
            ));
        }
        self.tags.iter().for_each(|tag| line.push_str(&format!("  #{tag}")));
        line
    }

    fn json(&self) -> Value {
        let version = self.version;
        let lineage = &self.versions.lineage;
        let mut document = json!({
            "version": version.name,
            "snapshot": version.id.to_string(),
            "set": lineage.head.body.set,
            "lineage": lineage.info.lineage.to_string(),
            "sequence": version.sequence,
            "device": self.versions.device_name(version),
            "device_id": version.device.to_string(),
            "started": milliseconds_json(version.started_at),
            "finished": milliseconds_json(version.finished_at),
            "received": milliseconds_json(version.received_at),
            "state": self.state(),
            "files": self.files,
            "entries": version.entries,
            "bytes": version.bytes,
            "grown_by": i64::try_from(self.growth()).unwrap_or(i64::MAX),
            "errors": self.errors,
            "tags": self.tags,
        });
        if let Some(changes) = self.changes {
            document["changes"] = json!({
                "added": changes.added,
                "changed": changes.changed,
                "removed": changes.removed,
                "bytes_new": changes.bytes,
            });
        }
        document
    }
}
