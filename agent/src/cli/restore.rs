//! `backstore restore`.

use std::path::PathBuf;
use std::sync::Arc;

use backstore_platform::create::{Links, Modes, Owners, Policy, TargetDirectory};
use backstore_platform::paths::{Printable, absolute, root};
use backstore_platform::process::{Interrupts, umask};
use backstore_platform::space::space;
use backstore_platform::system;
use clap::ValueEnum;

use super::output::say;
use super::progress::{Console, ProgressLine};
use super::{CliError, Context, Exit, text};
use crate::archive::{Archive, ArchiveOptions};
use crate::restore::{
    self, Ended, Existing, Filter, Item, Mapping, Monitor as _, Progress, Request, RestoreContext,
    RestoreError, RestorePlan, RestoreReport, Selected, items_at_full_path, items_by_name, open_target,
    select,
};

/// Get files back, as `cp -a` from the mounted version would
///
/// Each PATH becomes DIR/NAME; without a PATH, everything is restored under its full path. A path is absolute, relative to the current folder, or
/// pasted from a mount, whose version then counts. Files that cannot be restored whole are named, and the exit code is then 3. A restore that was cut off
/// goes on where it was when the same command is given again.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// What to restore; everything unless told otherwise
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The backup set; needed only if several have the paths
    #[arg(long, value_name = "SET")]
    set: Option<String>,
    /// The version: latest, 2026-11-22, 2026-11-22_14-30-05, yesterday, 3d, or the beginning of an id
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Restore into this folder, which is made if it is not there
    #[arg(long, value_name = "DIR", conflicts_with = "original")]
    to: Option<PathBuf>,
    /// Restore to where everything was
    #[arg(long)]
    original: bool,
    /// What to do with a file that is there and differs
    #[arg(long, value_enum, default_value_t = ExistingArg::Rename)]
    existing: ExistingArg,
    /// Whose rights restored files get
    #[arg(long, value_enum, default_value_t = PermissionsArg::Original)]
    permissions: PermissionsArg,
    /// Also restore setuid and setgid bits, device nodes, file capabilities and other attributes of the system
    #[arg(long)]
    privileged_metadata: bool,
    /// Find owners by their number, not by their name
    #[arg(long)]
    numeric_ids: bool,
    /// Restore only what matches, by name, or by path if it has a `/`; may be repeated
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Leave out what matches; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Restore what was in OLD to NEW; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    map: Vec<String>,
    /// Only look what would be done
    #[arg(long)]
    dry_run: bool,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExistingArg {
    /// Keep it; the restored file gets the version's date in its name
    Rename,
    /// Replace it
    Overwrite,
    /// Keep it and restore nothing
    Skip,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PermissionsArg {
    /// Those they were archived with, and as root their owners
    Original,
    /// As if the current user had made them
    Current,
}

pub(super) fn run(args: &RestoreArgs, context: &Context) -> Result<Exit, CliError> {
    let mappings = checked(args)?;
    let filter =
        Filter::new(&args.include, &args.exclude).map_err(|error| CliError::Usage(error.to_string()))?;
    // Many directories are open at once in a deep tree; fewer are enough for most.
    let _ = backstore_platform::process::raise_file_limit();
    let umask = umask();
    let interrupts = Interrupts::watch(|count| {
        if count > 1 {
            std::process::exit(Exit::Interrupted as i32);
        }
        eprintln!("\nbackstore: finishing the files under way; once more to end at once");
    });
    let interrupts =
        interrupts.map_err(|source| CliError::Io { action: "watch for Ctrl-C".to_owned(), source })?;
    let archive = Archive::open(&context.home, &context.machine, &ArchiveOptions::read())?;
    let request = Request { set: args.set.clone(), at: args.at.clone(), paths: args.paths.clone() };
    let selected = select(&archive, &request, context.machine.now_ms())?;
    let console = Console::new();
    let plan = RestorePlan {
        view: selected.view(&archive),
        items: items(args, &selected, &mappings)?,
        base: base(args)?,
        existing: args.existing.into(),
        policy: policy(args, &selected, umask),
        filter,
        date: selected.date(),
        writers: std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4),
        is_dry_run: args.dry_run,
    };
    tell_before(args, &selected, &console);
    let progress = Arc::new(Progress::default());
    let report = {
        let expected = selected.is_everything.then_some(selected.body.totals.bytes);
        let _line = ProgressLine::start_restore(&console, Arc::clone(&progress), expected);
        let is_interrupted = || interrupts.count() > 0;
        let context = RestoreContext {
            machine: &*context.machine,
            monitor: &console,
            progress: &progress,
            is_interrupted: &is_interrupted,
        };
        restore::restore(&plan, &context)?
    };
    if args.json {
        say!("{}", json(args, &selected, &report));
    } else {
        say!("{}", summary(args, &selected, &report));
    }
    drop(plan);
    archive.close()?;
    Ok(exit(&report))
}

/// What is wrong with the command line by itself.
fn checked(args: &RestoreArgs) -> Result<Vec<Mapping>, CliError> {
    if args.to.is_none() && !args.original {
        return Err(CliError::Usage(
            "say where to: --to DIR for a folder, or --original for where everything was".to_owned(),
        ));
    }
    if !args.map.is_empty() && args.to.is_some() && !args.paths.is_empty() {
        return Err(CliError::Usage(
            "--map is about full paths: it goes with --original, or with --to DIR without a PATH".to_owned(),
        ));
    }
    args.map.iter().map(|text| Mapping::parse(text).map_err(CliError::from)).collect()
}

fn items(args: &RestoreArgs, selected: &Selected, mappings: &[Mapping]) -> Result<Vec<Item>, RestoreError> {
    if args.to.is_some() && !selected.is_everything {
        return items_by_name(&selected.paths);
    }
    if args.original
        && let Some(path) =
            selected.paths.iter().find(|path| backstore_platform::paths::to_native(path).is_err())
    {
        return Err(RestoreError::Foreign { path: path.clone() });
    }
    Ok(items_at_full_path(&selected.paths, mappings))
}

fn base(args: &RestoreArgs) -> Result<Option<Arc<TargetDirectory>>, CliError> {
    let Some(folder) = args.to.as_deref().or(root()) else {
        let text =
            "restoring to the original places is not there yet on this system: name a folder with --to";
        return Err(CliError::Usage(text.to_owned()));
    };
    if !args.dry_run {
        return Ok(Some(Arc::new(open_target(folder)?)));
    }
    match TargetDirectory::open(folder, Links::Follow) {
        Ok(base) => Ok(Some(Arc::new(base))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RestoreError::Target { path: folder.to_owned(), source }.into()),
    }
}

fn target_name(args: &RestoreArgs) -> String {
    match &args.to {
        Some(folder) => folder.display().to_string(),
        None => "their original places".to_owned(),
    }
}

impl From<ExistingArg> for Existing {
    fn from(existing: ExistingArg) -> Self {
        match existing {
            ExistingArg::Rename => Self::Rename,
            ExistingArg::Overwrite => Self::Overwrite,
            ExistingArg::Skip => Self::Skip,
        }
    }
}

fn policy(args: &RestoreArgs, selected: &Selected, umask: u16) -> Policy {
    let (modes, owners) = match args.permissions {
        PermissionsArg::Original if args.numeric_ids => (Modes::Archived, Owners::ById),
        PermissionsArg::Original => (Modes::Archived, Owners::ByName),
        PermissionsArg::Current => (Modes::Masked(umask), Owners::Current),
    };
    Policy {
        modes,
        owners,
        xattrs: true,
        times: true,
        attributes: selected.body.system == system::NAME,
        privileged: args.privileged_metadata,
    }
}

/// What is to be known before it begins.
fn tell_before(args: &RestoreArgs, selected: &Selected, console: &Console) {
    if selected.version.is_partial {
        console.note(&format!(
            "the version of {} is partial: the backup was ended early, and what it had not come to is not in it",
            selected.shown_date()
        ));
    }
    if selected.version.is_damaged {
        console.note("the destination has lost a part of this version: what is missing will be named");
    }
    let bytes = selected.body.totals.bytes;
    let folder = args.to.as_deref().map_or(Ok(PathBuf::from("/")), absolute);
    if let Some(room) = folder.ok().and_then(|folder| space(&folder).ok())
        && selected.is_everything
        && args.include.is_empty()
        && args.exclude.is_empty()
        && room.available < bytes
    {
        console.note(&format!(
            "the version has {}, and {} are free: it may not fit",
            text::size(bytes),
            text::size(room.available)
        ));
    }
}

fn exit(report: &RestoreReport) -> Exit {
    let has_some = report.files + report.others + report.present > 0;
    match report.ended {
        Some(Ended::Interrupted) => Exit::Interrupted,
        Some(Ended::Stopped) if !has_some => Exit::Failed,
        Some(Ended::Stopped) => Exit::Incomplete,
        None if report.errors > 0 => Exit::Incomplete,
        None => Exit::Complete,
    }
}

fn json(args: &RestoreArgs, selected: &Selected, report: &RestoreReport) -> serde_json::Value {
    let left_out: serde_json::Map<_, _> =
        report.left_out.iter().map(|(part, count)| (part.to_string(), count.into())).collect();
    serde_json::json!({
        "set": selected.lineage.head.body.set,
        "version": selected.version.id.to_string(),
        "date": selected.shown_date(),
        "to": args.to.as_ref().map(|folder| folder.display().to_string()),
        "dry_run": args.dry_run,
        "complete": report.ended.is_none() && report.errors == 0,
        "interrupted": report.ended == Some(Ended::Interrupted),
        "files": report.files,
        "directories": report.directories,
        "others": report.others,
        "bytes": report.bytes,
        "present": report.present,
        "skipped": report.skipped,
        "renamed": report.renamed,
        "replaced": report.replaced,
        "separated_links": report.unlinked,
        "left_out": left_out,
        "errors": report.errors,
        "seconds": report.milliseconds as f64 / 1000.0,
    })
}

fn summary(args: &RestoreArgs, selected: &Selected, report: &RestoreReport) -> String {
    let verb = if args.dry_run { "would be restored" } else { "restored" };
    let mut lines = format!(
        "{}, version of {}: {verb} to {}\n  {} in {}, {}",
        selected.lineage.head.body.set,
        selected.shown_date(),
        Printable(target_name(args).as_bytes()),
        text::plural(report.files, "file", "files"),
        text::plural(report.directories, "directory", "directories"),
        text::size(report.bytes),
    );
    if report.others > 0 {
        lines.push_str(&format!(
            ", {}",
            text::plural(report.others, "link or special file", "links and special files")
        ));
    }
    lines.push_str(&format!(" in {}", text::duration(report.milliseconds)));
    let figures = [
        (report.present, "there already"),
        (report.skipped, "kept as they are, not restored"),
        (report.renamed, "restored beside what is there, with the date in their names"),
        (report.replaced, "replaced"),
        (report.unlinked, "hard links became files of their own"),
    ];
    for (count, what) in figures.into_iter().filter(|(count, _)| *count > 0) {
        lines.push_str(&format!("\n  {} {what}", text::count(count)));
    }
    if report.left_out.iter().next().is_some() {
        let all: Vec<String> =
            report.left_out.iter().map(|(part, count)| format!("{} {part}", text::count(count))).collect();
        lines.push_str(&format!("\n  left out: {}", all.join(", ")));
    }
    if report.errors > 0 {
        let problems = text::plural(report.errors, "problem", "problems");
        lines.push_str(&format!("\n  {problems}, named above: the restore is incomplete"));
    }
    match report.ended {
        Some(Ended::Interrupted) => lines.push_str("\n  interrupted; the same command goes on where it was"),
        Some(Ended::Stopped) => lines.push_str("\n  ended early; the same command goes on where it was"),
        None => {}
    }
    lines
}
