//! `backstore snapshots`.

use backstore_protocol::snapshot::Body;
use serde_json::{Value, json};

use super::choice::{SetChoice, open};
use super::entry_line::milliseconds_json;
use super::output::Output;
use super::tag::read_tags;
use super::{CliError, Context, Exit, changes, text};
use crate::reading::{VersionInfo, Versions};
use crate::tags::Tags;

/// List the versions there are, newest first
///
/// The name of a version is that of its folder in a mount. Each is counted against the version it
/// started from: `+` are its new files and folders, `~` the changed ones, `-` those that are gone; then what was stored for it.
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
    /// One JSON document for each version
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SnapshotsArgs, context: &Context) -> Result<Exit, CliError> {
    let archive = open(context)?;
    let lineages = SetChoice { set: args.set.clone(), device: args.device.clone() }.all(&archive)?;
    let tags = read_tags(&archive)?;
    let mut out = Output::new(false);
    let has_several = lineages.len() > 1;
    for versions in &lineages {
        if has_several && !args.json {
            let lineage = &versions.lineage;
            out.text(format_args!("set {} of {}", lineage.head.body.set, lineage.device_name))?;
        }
        list(args, versions, &tags, &mut out)?;
    }
    out.finish()?;
    Ok(Exit::Complete)
}

fn list(
    args: &SnapshotsArgs,
    versions: &Versions<'_>,
    tags: &Tags,
    out: &mut Output,
) -> Result<(), CliError> {
    let wanted = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    // One more, to be compared with; all of them to look for a tag.
    let read = if args.tag.is_some() { usize::MAX } else { wanted.saturating_add(1) };
    let all = versions.newest(read)?;
    let mut shown = 0;
    for ((at, version), body) in all.iter().enumerate().zip(versions.bodies(&all)) {
        if shown == wanted {
            break;
        }
        let own = body.iter().flat_map(|body| &body.tags).map(String::as_str);
        let tags = tags.of(version.id, own);
        if args.tag.as_ref().is_some_and(|tag| !tags.contains(tag)) {
            continue;
        }
        shown += 1;
        let before = all.get(at + 1);
        if let Err(error) = &body {
            eprintln!("backstore: version {}: {error}", version.name);
        }
        let line = Line { versions, version, body: body.ok(), tags, before };
        if args.json { out.json(&line.json())? } else { out.text(line.text())? }
    }
    Ok(())
}

struct Line<'a> {
    versions: &'a Versions<'a>,
    version: &'a VersionInfo,
    /// Nothing if it cannot be read.
    body: Option<Body>,
    tags: Vec<String>,
    before: Option<&'a VersionInfo>,
}

/// Digits of an id that are shown.
const ID_DIGITS: usize = 12;

impl Line<'_> {
    fn state(&self) -> &'static str {
        match (self.version.is_damaged, self.version.is_partial, self.errors()) {
            (true, _, _) => "damaged",
            (false, true, _) => "partial",
            (false, false, 0) => "complete",
            (false, false, _) => "incomplete",
        }
    }

    fn errors(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.totals.errors)
    }

    fn growth(&self) -> i128 {
        i128::from(self.version.bytes) - self.before.map_or(0, |before| i128::from(before.bytes))
    }

    fn text(&self) -> String {
        let (version, body) = (self.version, self.body.as_ref());
        let number = |number: fn(&Body) -> u64| body.map(number);
        let count = |sign: &str, number: Option<u64>| {
            number.map_or_else(|| "?".to_owned(), |number| format!("{sign}{}", text::count(number)))
        };
        let stored = number(|body| body.changes.bytes_stored).map_or_else(|| "?".to_owned(), text::size);
        let mut line = format!(
            "{}  {:.ID_DIGITS$}  {:>9} files  {:>7}  {:>8} {:>8} {:>8}  {stored:>7} stored  {:<10}  {}",
            version.name,
            version.id.to_string(),
            count("", number(|body| body.totals.files)),
            text::size(version.bytes),
            count("+", number(|body| body.changes.new.all())),
            count("~", number(|body| body.changes.changed.all())),
            count("-", number(|body| body.changes.removed.all())),
            self.state(),
            self.versions.device_name(version),
        );
        self.tags.iter().for_each(|tag| line.push_str(&format!("  #{tag}")));
        line
    }

    fn json(&self) -> Value {
        let (version, body) = (self.version, self.body.as_ref());
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
            "files": body.map(|body| body.totals.files),
            "entries": version.entries,
            "bytes": version.bytes,
            "grown_by": i64::try_from(self.growth()).unwrap_or(i64::MAX),
            "errors": self.errors(),
            "tags": self.tags,
        });
        if let Some(body) = body {
            changes::add_to(&mut document, &body.changes, version.entries);
        }
        document
    }
}
