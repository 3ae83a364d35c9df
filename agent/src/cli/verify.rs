//! `backstore verify`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backstore_platform::private_file::replace;
use backstore_platform::process::Interrupts;
use backstore_protocol::path::ArchivePath;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::entry_line::{path_bytes, put_bytes};
use super::error::chain;
use super::meter::Meter;
use super::output::Output;
use super::{CliError, Context, Exit, text};
use crate::archive::{Archive, ArchiveError, ArchiveOptions, Lineages};
use crate::cached::Keep;
use crate::home::HomeError;
use crate::reading::verify::{Ended, Findings, Position, Scope, Verification, VerifyProgress};
use crate::reading::{ReadingError, Versions};
use crate::tags::{Tags, Unread};

/// Check what is stored: read it back and compare it with what it was sealed as
///
/// Reads the trees of all versions, what was said of tags, and of the data about 1 GiB chosen at random, others each time; with --full all of it. What is damaged is named, with the files and
/// versions that need it; the exit code is then 3. A backup of a computer that still has these files sends them again. --full and --subset go on where
/// they were interrupted.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// Read all data
    #[arg(long, conflicts_with = "subset")]
    full: bool,
    /// Read one of M slices of the data, which together are all of it
    #[arg(long, value_name = "N/M", value_parser = Scope::parse_slice)]
    subset: Option<Scope>,
    /// Only this backup set
    #[arg(long, value_name = "SET")]
    set: Option<String>,
    /// Only of this computer
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Begin anew although an earlier run was interrupted
    #[arg(long)]
    restart: bool,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// What is kept of a run that was cut off: `state/verify.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    account: String,
    /// What was asked for: only the same goes on.
    asked: String,
    begun_at: i64,
    /// Lineages that are done.
    done: Vec<String>,
    /// The lineage it is in.
    lineage: String,
    position: Position,
    findings: Findings,
}

const KEPT_FILE: &str = "verify.json";
/// A run that was cut off longer ago is begun anew.
const KEPT_MS_MAX: i64 = 30 * 86_400_000;

pub(super) fn run(args: &VerifyArgs, context: &Context) -> Result<Exit, CliError> {
    // What is to be known is what the destination still has.
    let options = ArchiveOptions { keep: Keep::Nothing, ..ArchiveOptions::read() };
    let archive = Archive::open(&context.home, &context.machine, &options)?;
    let (sets, mut other) = sets(&archive, args)?;
    let bytes = sets.iter().map(|set| set.lineage.head.header.bytes).sum();
    let mut seed = [0; 8];
    context.machine.random(&mut seed);
    let scope = match (args.full, args.subset) {
        (true, _) => Scope::Full,
        (false, Some(slice)) => slice,
        (false, None) => Scope::sample(bytes, u64::from_le_bytes(seed)),
    };
    let interrupts = Interrupts::watch(|count| {
        if count > 1 {
            std::process::exit(Exit::Interrupted as i32);
        }
    });
    let interrupts =
        interrupts.map_err(|source| CliError::Io { action: "watch for Ctrl-C".to_owned(), source })?;
    let memory = Memory::new(args, context, &archive);
    let mut kept = memory.load(args.restart);
    if kept.begun_at != 0 {
        let zone = sets.first().map_or(chrono_tz::UTC, |set| set.zone);
        let since = text::time(kept.begun_at, zone);
        eprintln!("backstore: going on with the verification begun at {since}; --restart begins anew");
    } else {
        kept.begun_at = context.machine.now_ms();
    }
    if !args.json {
        let names: Vec<_> = sets.iter().map(|set| &*set.lineage.head.body.set).collect();
        println_quietly(&format!("verifying {}: all trees and {scope}", names.join(", ")))?;
    }
    let progress = Arc::new(VerifyProgress::default());
    progress.bytes.store(kept.findings.bytes_read, Ordering::Relaxed);
    let meter = Meter::start({
        let progress = Arc::clone(&progress);
        move |elapsed| line(&progress, elapsed)
    });
    for set in &sets {
        let lineage = set.lineage.info.lineage.to_string();
        if kept.done.contains(&lineage) {
            continue;
        }
        if kept.lineage != lineage {
            (kept.lineage, kept.position) = (lineage.clone(), Position::default());
        }
        let verification = Verification {
            versions: set,
            scope,
            machine: &*context.machine,
            interrupts: &interrupts,
            progress: &progress,
        };
        let (mut findings, mut position) =
            (std::mem::take(&mut kept.findings), std::mem::take(&mut kept.position));
        let frame = &kept;
        let ended = verification.run(&mut findings, &mut position, &mut |findings, position| {
            memory.save(frame, findings, position);
        });
        (kept.findings, kept.position) = (findings, position);
        match ended? {
            Ended::Done => kept.done.push(lineage),
            Ended::Interrupted => {
                drop(meter);
                if memory.is_kept {
                    eprintln!("backstore: interrupted; the same command goes on from here");
                }
                return Ok(Exit::Interrupted);
            }
        }
    }
    drop(meter);
    memory.forget();
    other.extend(tag_damage(&archive)?);
    let is_whole = kept.findings.is_whole() && other.is_empty();
    let mut out = Output::new(false);
    if args.json {
        out.json(&document(&kept, &other, &scope))?
    } else {
        report(&kept.findings, &other, &scope, &mut out)?
    }
    out.finish()?;
    Ok(if is_whole { Exit::Complete } else { Exit::Incomplete })
}

fn println_quietly(text: &str) -> Result<(), CliError> {
    let mut out = Output::new(false);
    out.text(text)?;
    out.finish()
}

/// What is damaged of what devices said of tags.
fn tag_damage(archive: &Archive) -> Result<Vec<String>, CliError> {
    let lineages = archive.source.lineages().map_err(ArchiveError::from)?;
    let (_, unread) = Tags::read(archive, &lineages)?;
    Ok(unread.iter().map(|unread: &Unread| chain(unread)).collect())
}

/// The sets that are meant: all without a name, of all computers without one; and what is damaged so that it is not known which set it is.
fn sets<'a>(archive: &'a Archive, args: &VerifyArgs) -> Result<(Vec<Versions<'a>>, Vec<String>), CliError> {
    let chosen = Versions::choose(archive, args.set.as_deref(), args.device.as_deref(), &[]);
    match chosen {
        Ok(_) | Err(ReadingError::WhichSet { .. }) => {}
        Err(ReadingError::Archive(error)) if error.is_damage() => {}
        Err(error) => return Err(error.into()),
    }
    let fits = |wanted: &Option<String>, names: [&str; 2]| {
        wanted.as_ref().is_none_or(|wanted| names.contains(&&**wanted))
    };
    let Lineages { readable, damaged } = archive.lineages()?;
    let sets = readable.into_iter().filter(|lineage| {
        let set = &*lineage.head.body.set;
        fits(&args.set, [set, set])
            && fits(&args.device, [&lineage.device_name, &lineage.head.header.device.to_string()])
    });
    let damaged = damaged.iter().map(|damage| format!("a backup set cannot be read: {}", chain(damage)));
    Ok((sets.map(|lineage| Versions::new(archive, lineage)).collect(), damaged.collect()))
}

/// Where a run that can be cut off keeps how far it has come.
struct Memory {
    path: PathBuf,
    account: String,
    asked: String,
    now: i64,
    /// A sample is begun anew, with other objects.
    is_kept: bool,
}

impl Memory {
    fn new(args: &VerifyArgs, context: &Context, archive: &Archive) -> Self {
        Self {
            path: context.home.state_path(KEPT_FILE),
            account: archive.account.to_string(),
            asked: format!("{:?} {:?} {:?} {:?}", args.full, args.subset, args.set, args.device),
            now: context.machine.now_ms(),
            is_kept: args.full || args.subset.is_some(),
        }
    }

    fn load(&self, restart: bool) -> Kept {
        let new = || Kept { account: self.account.clone(), asked: self.asked.clone(), ..Kept::default() };
        if restart || !self.is_kept {
            return new();
        }
        let kept = std::fs::read(&self.path).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        let is_same = |kept: &Kept| {
            kept.account == self.account
                && kept.asked == self.asked
                && (0..KEPT_MS_MAX).contains(&self.now.saturating_sub(kept.begun_at))
        };
        kept.filter(is_same).unwrap_or_else(new)
    }

    /// Keeps it; if that fails, the run is only begun anew.
    fn save(&self, frame: &Kept, findings: &Findings, position: &Position) {
        if !self.is_kept {
            return;
        }
        let kept = json!({
            "account": frame.account,
            "asked": frame.asked,
            "begun-at": frame.begun_at,
            "done": frame.done,
            "lineage": frame.lineage,
            "position": position,
            "findings": findings,
        });
        if let Err(error) = replace(&self.path, kept.to_string().as_bytes()).map_err(HomeError::from) {
            tracing::warn!(%error, "how far the verification has come is not kept");
        }
    }

    fn forget(&self) {
        if self.is_kept {
            // If it stays, the next run sees from it that all is done, and says so.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn line(progress: &VerifyProgress, elapsed: Duration) -> String {
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let bytes = get(&progress.bytes);
    format!(
        "{} done, {} files, {} read ({}/s)",
        text::plural(get(&progress.versions), "version", "versions"),
        text::count(get(&progress.files)),
        text::size(bytes),
        text::size((bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64),
    )
}

fn report(findings: &Findings, other: &[String], scope: &Scope, out: &mut Output) -> Result<(), CliError> {
    let is_whole = findings.is_whole() && other.is_empty();
    out.text(format_args!(
        "{}, {}, {} read: {}",
        text::plural(findings.versions, "version", "versions"),
        text::plural(findings.files_seen, "file", "files"),
        text::size(findings.bytes_read),
        if is_whole { "all of it is whole" } else { "something is DAMAGED" },
    ))?;
    if is_whole {
        if !scope.is_all() {
            out.text("the rest of the data was not read; --full reads all of it")?;
        }
        return Ok(());
    }
    for damage in other {
        out.text(damage)?;
    }
    for lost in &findings.lost {
        out.text(format_args!("set {}, version {}: {}", lost.set, lost.version, lost.what))?;
    }
    for file in &findings.files {
        let path = ArchivePath::from_key(&file.key).map(|path| path_bytes(&path)).unwrap_or_default();
        let versions = if file.newest == file.oldest {
            format!("version {}", file.newest)
        } else {
            format!("versions {} to {}", file.oldest, file.newest)
        };
        out.line(format_args!("set {}, {versions}: ", file.set), &path, format_args!(": {}", file.what))?;
    }
    let more = findings.file_count - findings.files.len() as u64;
    if more > 0 {
        out.text(format_args!("and {} more", text::plural(more, "file", "files")))?;
    }
    out.text(format_args!(
        "{} and {} damaged; `backstore backup` sends again what this computer still has",
        text::plural(findings.objects.len() as u64, "object", "objects"),
        text::plural(findings.file_count, "file", "files"),
    ))
}

fn document(kept: &Kept, other: &[String], scope: &Scope) -> serde_json::Value {
    let findings = &kept.findings;
    let files = findings.files.iter().map(|file| {
        let mut document = serde_json::Map::new();
        let path = ArchivePath::from_key(&file.key).map(|path| path_bytes(&path)).unwrap_or_default();
        put_bytes(&mut document, "path", &path);
        document.insert("set".to_owned(), file.set.clone().into());
        document.insert("first".to_owned(), file.oldest.clone().into());
        document.insert("last".to_owned(), file.newest.clone().into());
        document.insert("problem".to_owned(), file.what.clone().into());
        document
    });
    let files: Vec<_> = files.collect();
    let lost: Vec<_> = findings
        .lost
        .iter()
        .map(|lost| json!({ "set": lost.set, "version": lost.version, "problem": lost.what }))
        .collect();
    let objects: Vec<_> =
        findings.objects.iter().map(|(id, what)| json!({ "object": id, "problem": what })).collect();
    json!({
        "whole": findings.is_whole() && other.is_empty(),
        "share": 1.0 / scope.one_in() as f64,
        "versions": findings.versions,
        "files": findings.files_seen,
        "bytes_read": findings.bytes_read,
        "damaged_objects": objects,
        "damaged_files": files,
        "damaged_files_in_all": findings.file_count,
        "damaged_versions": lost,
        "other_damage": other,
    })
}
