//! `backstore tag`.

use std::collections::HashMap;

use backstore_protocol::snapshot::Body;
use backstore_vfs::objects::Recovery;
use serde_json::{Value, json};

use super::choice::{AtChoice, SetChoice, open};
use super::entry_line::milliseconds_json;
use super::error::chain;
use super::output::{Output, say};
use super::{CliError, Context, Exit, text};
use crate::archive::{Archive, ArchiveError, ArchiveOptions};
use crate::reading::{ReadingError, VersionInfo, Versions};
use crate::tags::{self, TagError, Tags, check_tag};

/// Give a version a word, take it away, or list the words there are
///
/// The words are in `backstore snapshots` too, and a mount has the versions of each word in .backstore/tags. A backup can be given one at
/// once: backstore backup --tag TAG.
#[derive(Debug, clap::Args)]
pub(super) struct TagArgs {
    /// The word: 1 to 255 bytes without `/`
    #[arg(required_unless_present = "list")]
    tag: Option<String>,
    #[command(flatten)]
    at: AtChoice,
    #[command(flatten)]
    set: SetChoice,
    /// Take it away
    #[arg(long)]
    remove: bool,
    /// Take it away from all versions of the set
    #[arg(long, requires = "remove", conflicts_with = "at")]
    all: bool,
    /// List the words, or this one, and the versions that have them, newest first
    #[arg(long, conflicts_with_all = ["remove", "at"])]
    list: bool,
    /// One JSON document for each word of a version
    #[arg(long, requires = "list")]
    json: bool,
}

pub(super) fn run(args: &TagArgs, context: &Context) -> Result<Exit, CliError> {
    args.tag.iter().try_for_each(|tag| check_tag(tag)).map_err(CliError::Usage)?;
    let Some(tag) = args.tag.as_ref().filter(|_| !args.list) else { return list(args, context) };
    let archive = Archive::open(&context.home, &context.machine, &ArchiveOptions::write())?;
    let versions = args.set.versions(&archive, None)?;
    let text = match (args.remove, args.all) {
        (false, _) => give(tag, args, &versions, context)?,
        (true, false) => remove(tag, args, &versions, context)?,
        (true, true) => remove_all(tag, &versions, context)?,
    };
    archive.close()?;
    say!("{text}");
    Ok(Exit::Complete)
}

/// Gives the version that is meant the tag; what people are told.
fn give(tag: &str, args: &TagArgs, versions: &Versions<'_>, context: &Context) -> Result<String, CliError> {
    let version = versions.at(args.at.at.as_deref(), context.machine.now_ms())?;
    let place = place(versions, &version);
    if tags_of(versions, &version)?.iter().any(|has| has == tag) {
        return Ok(format!("{place} has the tag {tag} already"));
    }
    tags::say(versions.archive, &*context.machine, &[version.id], tag, true)?;
    Ok(format!("{place} has the tag {tag}"))
}

/// Takes the tag away from the version that is meant.
fn remove(tag: &str, args: &TagArgs, versions: &Versions<'_>, context: &Context) -> Result<String, CliError> {
    let version = versions.at(args.at.at.as_deref(), context.machine.now_ms())?;
    if !tags_of(versions, &version)?.iter().any(|has| has == tag) {
        return Err(TagError::NotTagged { version: version.name, tag: tag.to_owned() }.into());
    }
    tags::say(versions.archive, &*context.machine, &[version.id], tag, false)?;
    Ok(format!("{} no longer has the tag {tag}", place(versions, &version)))
}

/// Takes the tag away from all versions of a set.
fn remove_all(tag: &str, versions: &Versions<'_>, context: &Context) -> Result<String, CliError> {
    let said = read_tags(versions.archive)?;
    let mut having = Vec::new();
    for_each_tagged(versions, &said, |version, has| {
        having.extend(has.iter().any(|has| has == tag).then_some(version.id));
        Ok(())
    })?;
    let set = &versions.lineage.head.body.set;
    if having.is_empty() {
        return Err(TagError::NoneTagged { set: set.clone(), tag: tag.to_owned() }.into());
    }
    tags::say(versions.archive, &*context.machine, &having, tag, false)?;
    let (count, one, many) = (having.len() as u64, "version no longer has", "versions no longer have");
    Ok(format!("{set}: {} the tag {tag}", text::plural(count, one, many)))
}

fn place(versions: &Versions<'_>, version: &VersionInfo) -> String {
    format!("{}: version {}", versions.lineage.head.body.set, version.name)
}

/// A version that has a tag, where it is listed.
struct Line {
    /// When it began, by which they are ordered.
    started_at: i64,
    text: String,
    json: Value,
}

/// Lists the tags, each with the versions that have it.
fn list(args: &TagArgs, context: &Context) -> Result<Exit, CliError> {
    let archive = open(context)?;
    let said = read_tags(&archive)?;
    let mut by_tag: HashMap<String, Vec<Line>> = HashMap::new();
    for versions in args.set.all(&archive)? {
        for_each_tagged(&versions, &said, |version, tags| {
            for tag in tags.into_iter().filter(|tag| args.tag.as_ref().is_none_or(|wanted| wanted == tag)) {
                let line = line(&versions, version, &tag);
                by_tag.entry(tag).or_default().push(line);
            }
            Ok(())
        })?;
    }
    let mut out = Output::new(false);
    for (tag, lines) in newest_first(by_tag) {
        if !args.json {
            out.line("", tag.as_bytes(), "")?;
        }
        for line in lines {
            if args.json { out.json(&line.json)? } else { out.text(line.text)? }
        }
    }
    out.finish()?;
    Ok(Exit::Complete)
}

/// Versions newest first, and tags by the newest version that has them.
fn newest_first(by_tag: HashMap<String, Vec<Line>>) -> Vec<(String, Vec<Line>)> {
    let mut tags: Vec<_> = by_tag.into_iter().collect();
    for (_, lines) in &mut tags {
        // Those of one set are in this order already, also where clocks went back.
        lines.sort_by_key(|line| std::cmp::Reverse(line.started_at));
    }
    let newest = |lines: &[Line]| std::cmp::Reverse(lines.iter().map(|line| line.started_at).max());
    tags.sort_by(|(a, lines), (b, others)| (newest(lines), a).cmp(&(newest(others), b)));
    tags
}

/// Digits of an id that are shown.
const ID_DIGITS: usize = 12;

fn line(versions: &Versions<'_>, version: &VersionInfo, tag: &str) -> Line {
    let set = &versions.lineage.head.body.set;
    let (id, device) = (version.id.to_string(), versions.device_name(version));
    Line {
        started_at: version.started_at,
        text: format!("  {}  {id:.ID_DIGITS$}  {set} of {device}", version.name),
        json: json!({
            "tag": tag,
            "version": version.name,
            "snapshot": id,
            "set": set,
            "lineage": versions.lineage.info.lineage.to_string(),
            "device": device,
            "started": milliseconds_json(version.started_at),
        }),
    }
}

/// Hands over each version of a set with its tags, newest first.
fn for_each_tagged(
    versions: &Versions<'_>,
    said: &Tags,
    mut each: impl FnMut(&VersionInfo, Vec<String>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let all = versions.all()?;
    for (version, body) in all.iter().zip(versions.bodies(&all)) {
        each(version, with_own(said, version, body)?)?;
    }
    Ok(())
}

/// The tags of one version.
fn tags_of(versions: &Versions<'_>, version: &VersionInfo) -> Result<Vec<String>, CliError> {
    with_own(&read_tags(versions.archive)?, version, versions.body(version))
}

/// What was said of tags. What cannot be read of it is named.
pub(super) fn read_tags(archive: &Archive) -> Result<Tags, CliError> {
    let lineages = archive.source.lineages().map_err(ArchiveError::from)?;
    let (tags, unread) = Tags::read(archive, &lineages)?;
    unread.iter().for_each(|unread| eprintln!("backstore: {}", chain(unread)));
    Ok(tags)
}

/// The tags of a version with this body. If that is damaged, those that it was made with are not known, which is said.
fn with_own(
    said: &Tags,
    version: &VersionInfo,
    body: Result<Body, ReadingError>,
) -> Result<Vec<String>, CliError> {
    let own = match body {
        Ok(body) => body.tags,
        Err(ReadingError::Read(error)) if error.recovery() == Recovery::SkipIt => {
            eprintln!("backstore: version {}: {error}", version.name);
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    Ok(said.of(version.id, own.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(started_at: i64) -> Line {
        Line { started_at, text: String::new(), json: Value::Null }
    }

    #[test]
    fn tags_come_by_their_newest_version() {
        let by_tag = [("old", vec![1]), ("z", vec![3, 9]), ("a", vec![9, 2]), ("newest", vec![4, 10])];
        let by_tag = by_tag.map(|(tag, times)| (tag.to_owned(), times.into_iter().map(line).collect()));
        let listed = newest_first(by_tag.into());
        let times = |lines: &[Line]| lines.iter().map(|line| line.started_at).collect::<Vec<_>>();
        let listed: Vec<_> = listed.iter().map(|(tag, lines)| (&**tag, times(lines))).collect();
        assert_eq!(listed, [("newest", vec![10, 4]), ("a", vec![9, 2]), ("z", vec![9, 3]), ("old", vec![1])]);
    }
}
