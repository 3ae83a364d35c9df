//! `backstore tag`.

use super::choice::{AtChoice, SetChoice};
use super::error::chain;
use super::output::say;
use super::{CliError, Context, Exit};
use crate::archive::{Archive, ArchiveError, ArchiveOptions};
use crate::tags::{self, TagError, Tags, check_tag};

/// Give a version a word, or take it away
///
/// `backstore snapshots` shows the words of each version, and a mount has the versions of each word in .backstore/tags. A backup can be given one at
/// once: backstore backup --tag TAG.
#[derive(Debug, clap::Args)]
pub(super) struct TagArgs {
    /// The word: 1 to 255 bytes without `/`
    tag: String,
    #[command(flatten)]
    at: AtChoice,
    #[command(flatten)]
    set: SetChoice,
    /// Take it away
    #[arg(long)]
    remove: bool,
}

pub(super) fn run(args: &TagArgs, context: &Context) -> Result<Exit, CliError> {
    check_tag(&args.tag).map_err(CliError::Usage)?;
    let archive = Archive::open(&context.home, &context.machine, &ArchiveOptions::write())?;
    let text = tag(args, context, &archive)?;
    archive.close()?;
    say!("{text}");
    Ok(Exit::Complete)
}

/// Does it; what people are told.
fn tag(args: &TagArgs, context: &Context, archive: &Archive) -> Result<String, CliError> {
    let versions = args.set.versions(archive, None)?;
    let version = versions.at(args.at.at.as_deref(), context.machine.now_ms())?;
    let body = versions.body(&version)?;
    let said = read_tags(archive)?;
    let has_it = said.of(version.id, body.tags.iter().map(String::as_str)).contains(&args.tag);
    let place = format!("{}: version {}", versions.lineage.head.body.set, version.name);
    match (args.remove, has_it) {
        (false, true) => return Ok(format!("{place} has the tag {} already", args.tag)),
        (true, false) => {
            return Err(TagError::NotTagged { version: version.name, tag: args.tag.clone() }.into());
        }
        (false, false) | (true, true) => {}
    }
    tags::say(archive, &*context.machine, &[version.id], &args.tag, !args.remove)?;
    let done = if args.remove { "no longer has" } else { "has" };
    Ok(format!("{place} {done} the tag {}", args.tag))
}

/// What was said of tags. What cannot be read of it is named.
pub(super) fn read_tags(archive: &Archive) -> Result<Tags, CliError> {
    let lineages = archive.source.lineages().map_err(ArchiveError::from)?;
    let (tags, unread) = Tags::read(archive, &lineages)?;
    unread.iter().for_each(|unread| eprintln!("backstore: {}", chain(unread)));
    Ok(tags)
}
