//! `backstore diff`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::choice::{SetChoice, open};
use super::entry_line::{entry_json, path_bytes, put_bytes};
use super::ls::note_unreadable;
use super::output::Output;
use super::{CliError, Context, Exit, text};
use crate::reading::{Change, Difference, Differences, Place, ReadingError};

/// Show what differs between two versions
///
/// Marks: + added, - removed, M other content, m other metadata, T another kind of file. Times of folders do not count. The exit code is 0 if nothing differs, 1 if
/// something does.
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// The first version; see --at of other commands for what it may be
    #[arg(value_name = "A")]
    old: String,
    /// The second version, the latest without it
    #[arg(value_name = "B")]
    second: Option<PathBuf>,
    /// Only what differs here; has a `/` in it if no B stands before it
    path: Option<PathBuf>,
    #[command(flatten)]
    set: SetChoice,
    /// End paths with a zero byte in place of a newline
    #[arg(short = '0', long = "zero", conflicts_with = "json")]
    zero: bool,
    /// One JSON document for each difference
    #[arg(long)]
    json: bool,
}

/// Differences of each kind.
#[derive(Debug, Default)]
struct Counts {
    added: u64,
    removed: u64,
    content: u64,
    metadata: u64,
}

pub(super) fn run(args: &DiffArgs, context: &Context) -> Result<Exit, CliError> {
    let rest: Vec<_> = args.second.iter().chain(&args.path).map(PathBuf::as_path).collect();
    let (new, path) = second_and_path(&rest)?;
    let place = path.map(Place::parse).transpose()?;
    let archive = open(context)?;
    let below = place.as_ref().map(|place| &place.path);
    let versions = args.set.versions(&archive, below)?;
    let now = context.machine.now_ms();
    let old = versions.at(Some(&args.old), now)?;
    let new = versions.at(new.as_deref(), now)?;
    let (old, new) = (versions.view(&old), versions.view(&new));
    let mut out = Output::new(args.zero);
    let mut counts = Counts::default();
    let mut is_incomplete = false;
    for found in Differences::new(&old, &new, below).map_err(ReadingError::from)? {
        match found {
            Ok(found) => {
                counts.add(found.change);
                if args.json {
                    out.json(&document(&found, &archive.keys.ids))?;
                } else {
                    out.line(format_args!("{} ", found.change.mark()), &path_bytes(&found.path), "")?;
                }
            }
            Err(error) => {
                is_incomplete = true;
                note_unreadable(error)?;
            }
        }
    }
    if out.is_terminal() && !args.json {
        out.text(counts.summary())?;
    }
    out.finish()?;
    Ok(match (is_incomplete, counts.total()) {
        (true, _) => Exit::Incomplete,
        (false, 0) => Exit::Complete,
        (false, _) => Exit::Failed,
    })
}

/// What follows the first version: a second one, a path, or both. A path has a `/` in it or is `.` or `..`.
fn second_and_path<'a>(rest: &[&'a Path]) -> Result<(Option<String>, Option<&'a Path>), CliError> {
    let is_path = |path: &Path| {
        let text = path.to_string_lossy();
        text.contains(['/', '\\']) || text == "." || text == ".."
    };
    let version = |path: &Path| Some(path.to_string_lossy().into_owned());
    match rest {
        [] => Ok((None, None)),
        [one] if is_path(one) => Ok((None, Some(one))),
        [one] => Ok((version(one), None)),
        [second, path, ..] if !is_path(second) => Ok((version(second), Some(path))),
        [second, ..] => {
            Err(CliError::Usage(format!("{} is a path; it comes after both versions", second.display())))
        }
    }
}

impl Counts {
    fn add(&mut self, change: Change) {
        *match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Type | Change::Content => &mut self.content,
            Change::Metadata => &mut self.metadata,
        } += 1;
    }

    fn total(&self) -> u64 {
        self.added + self.removed + self.content + self.metadata
    }

    fn summary(&self) -> String {
        if self.total() == 0 {
            return "no differences".to_owned();
        }
        let [added, removed, content, metadata] =
            [self.added, self.removed, self.content, self.metadata].map(text::count);
        format!("{added} added, {removed} removed, {content} changed, {metadata} with other metadata")
    }
}

fn document(found: &Difference, keys: &backstore_protocol::keys::IdKeys) -> Value {
    let mut document = serde_json::Map::new();
    put_bytes(&mut document, "path", &path_bytes(&found.path));
    let side = |entry: &Option<Box<_>>| {
        entry.as_ref().map_or(Value::Null, |entry| Value::Object(entry_json(&found.path, entry, keys)))
    };
    document.insert("change".to_owned(), json!(found.change.word()));
    document.insert("old".to_owned(), side(&found.old));
    document.insert("new".to_owned(), side(&found.new));
    Value::Object(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_from_a_version() {
        let check = |rest: &[&str], expected: Result<(Option<&str>, Option<&str>), ()>| {
            let rest: Vec<_> = rest.iter().map(Path::new).collect();
            let found = second_and_path(&rest);
            let found =
                found.as_ref().map(|(new, path)| (new.as_deref(), path.and_then(|path| path.to_str())));
            assert_eq!(found.map_err(|_| ()), expected, "{rest:?}");
        };
        check(&[], Ok((None, None)));
        check(&["latest"], Ok((Some("latest"), None)));
        check(&["/home"], Ok((None, Some("/home"))));
        check(&["."], Ok((None, Some("."))));
        check(&["3d", "docs"], Ok((Some("3d"), Some("docs"))));
        check(&["/a", "/b"], Err(()));
    }
}
