//! `backstore dump`.

use std::path::PathBuf;

use backstore_vfs::stream::{ContentStream, Event, WINDOW_BYTES, Wanted};

use super::choice::{AtChoice, SetChoice, open};
use super::entry_line::{kind_word, shown_path};
use super::output::Output;
use super::{CliError, Context, Exit};
use crate::reading::ReadingError;

/// Write a file of a version to standard output
///
/// Holes are written as zeros. If a part cannot be read, the output ends before it and the exit code is 1. What is no text is not written to a terminal.
#[derive(Debug, clap::Args)]
pub(super) struct DumpArgs {
    /// The file, by the path it had when it was backed up
    path: PathBuf,
    #[command(flatten)]
    at: AtChoice,
    #[command(flatten)]
    set: SetChoice,
    /// Write it to a terminal, whatever it is
    #[arg(long)]
    force: bool,
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// Bytes of a file that are looked at before it is shown on a terminal.
const LOOKED_AT_BYTES: usize = 64 * 1024;

pub(super) fn run(args: &DumpArgs, context: &Context) -> Result<Exit, CliError> {
    let archive = open(context)?;
    let located = args.set.locate(&archive, &args.at, &args.path, context)?;
    let (path, entry) = (&located.path, &located.entry);
    if entry.kind != backstore_protocol::entry::Kind::File {
        return Err(
            ReadingError::NotAFile { path: shown_path(path), what: article(kind_word(entry.kind)) }.into()
        );
    }
    let wanted = Wanted { tag: (), content: entry.content.clone(), size: entry.size };
    let mut out = Output::new(false);
    let mut is_looked_at = args.force || !out.is_terminal();
    for event in ContentStream::new(&archive.reader, std::iter::once(wanted), WINDOW_BYTES) {
        match event {
            Event::Start(()) => {}
            Event::Data(bytes) => {
                if !is_looked_at && !is_text(&bytes[..bytes.len().min(LOOKED_AT_BYTES)]) {
                    return Err(CliError::Usage(format!(
                        "{} is no text: redirect the output to a file, or say --force",
                        shown_path(path)
                    )));
                }
                is_looked_at = true;
                out.bytes(&bytes)?;
            }
            Event::Hole(mut length) => {
                while length > 0 {
                    let step = length.min(ZEROS.len() as u64);
                    out.bytes(&ZEROS[..step as usize])?;
                    length -= step;
                }
            }
            Event::Failed { error, .. } => {
                out.finish()?;
                return Err(ReadingError::from(error).into());
            }
        }
    }
    out.finish()?;
    Ok(Exit::Complete)
}

/// Whether a terminal shows it without acting on it.
fn is_text(bytes: &[u8]) -> bool {
    !bytes.iter().any(|byte| *byte == 0x7f || (*byte < b' ' && !b"\t\n\r\x0c".contains(byte)))
}

fn article(kind: &'static str) -> &'static str {
    match kind {
        "directory" => "a directory",
        "symlink" => "a symbolic link",
        _ => "a special file",
    }
}
