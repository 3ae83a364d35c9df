//! `backstore versions`.

use std::path::PathBuf;

use backstore_protocol::entry::Kind;
use backstore_protocol::keys::IdKeys;
use serde_json::{Map, Value, json};

use super::choice::{SetChoice, open};
use super::entry_line::{entry_json, hash, kind_word, put_bytes, shown_path, time_text};
use super::output::Output;
use super::{CliError, Context, Exit, text};
use crate::reading::{History, Place, ReadingError, State, Versions};

/// Show the different versions of a file, and when it was deleted
///
/// One line for each state of the file, newest first: the version it first came with, its size, its time and a hash that is the same for equal contents. Versions in
/// which nothing about it changed are not listed. To see it as it was: backstore dump PATH --at VERSION.
#[derive(Debug, clap::Args)]
pub(super) struct VersionsArgs {
    /// The file or folder, by the path it had when it was backed up
    path: PathBuf,
    #[command(flatten)]
    set: SetChoice,
    /// One JSON document for each state
    #[arg(long)]
    json: bool,
}

/// Digits of a hash that are shown.
const HASH_DIGITS: usize = 12;

pub(super) fn run(args: &VersionsArgs, context: &Context) -> Result<Exit, CliError> {
    let archive = open(context)?;
    let place = Place::parse(&args.path)?;
    let mut places = vec![place.clone()];
    places.extend(place.pasted.as_deref().cloned());
    for (at, place) in places.iter().enumerate() {
        let versions = match args.set.versions(&archive, Some(&place.path)) {
            Err(ReadingError::WhichSet { .. }) if at + 1 < places.len() => continue,
            versions => versions?,
        };
        if let Some(exit) = show(args, &versions, place, context)? {
            return Ok(exit);
        }
        if at + 1 == places.len() {
            let set = versions.lineage.head.body.set.clone();
            return Err(ReadingError::NeverThere { path: shown_path(&places[0].path), set }.into());
        }
    }
    Ok(Exit::Complete)
}

/// Shows all states; nothing if there are none.
fn show(
    args: &VersionsArgs,
    versions: &Versions<'_>,
    place: &Place,
    context: &Context,
) -> Result<Option<Exit>, CliError> {
    let keys = &versions.archive.keys.ids;
    let mut out = Output::new(false);
    let mut exit = None;
    for state in History::new(versions, &context.home, place.path.clone())? {
        match state {
            Ok(state) => {
                exit = exit.or(Some(Exit::Complete));
                if args.json {
                    out.json(&Value::Object(document(&state, place, keys)))?;
                } else {
                    out.text(line(&state, versions, keys))?;
                }
            }
            Err(ReadingError::Read(error)) => {
                exit = Some(Exit::Incomplete);
                super::ls::note_unreadable(error)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    out.finish()?;
    Ok(exit)
}

fn line(state: &State, versions: &Versions<'_>, keys: &IdKeys) -> String {
    let since = &state.oldest.name;
    let Some(entry) = &state.entry else { return format!("{since}  deleted") };
    let what =
        if entry.kind == Kind::File { text::size(entry.size) } else { kind_word(entry.kind).to_owned() };
    let hash = hash(entry, keys).filter(|_| entry.kind == Kind::File);
    let hash = hash.map(|hash| format!("  {}", &hash[..HASH_DIGITS.min(hash.len())])).unwrap_or_default();
    let after = super::entry_line::long_after(entry);
    format!("{since}  {what:>9}  {}{hash}{after}", time_text(entry.mtime, versions.zone))
}

fn document(state: &State, place: &Place, keys: &IdKeys) -> Map<String, Value> {
    let mut document = match &state.entry {
        Some(entry) => entry_json(&place.path, entry, keys),
        None => {
            let mut document = Map::new();
            put_bytes(&mut document, "path", &super::entry_line::path_bytes(&place.path));
            document
        }
    };
    let version = |version: &crate::reading::VersionInfo| json!({ "version": version.name, "snapshot": version.id.to_string() });
    document.insert("deleted".to_owned(), state.entry.is_none().into());
    document.insert("first".to_owned(), version(&state.oldest));
    document.insert("last".to_owned(), version(&state.newest));
    document.insert("versions".to_owned(), state.versions.into());
    document
}
