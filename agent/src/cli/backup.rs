//! `backstore backup`.

use std::sync::Arc;

use backstore_platform::lock::{Lock, LockError};
use backstore_platform::process::Interrupts;
use backstore_protocol::chunker::ChunkerConfig;
use backstore_protocol::snapshot::Body;
use backstore_protocol::store::Recovery;

use super::output::say;
use super::progress::{Console, ProgressLine};
use super::threads::Threads;
use super::{CliError, Context, Exit, changes, text};
use crate::archive::{Archive, ArchiveError, ArchiveOptions};
use crate::backup::{
    BackupContext, BackupError, BackupPlan, BackupReport, Basis, Device, Monitor, Progress, SealOptions,
    backup,
};
use crate::home::{Config, LineageMemory, LineageState, SetConfig};
use crate::scan::{Reading, SORT_BYTES_MAX, ScanRules, SortRoom, never_enter, pseudo_devices};
use crate::tags::check_tag;

/// Back up now, and wait until the destination holds everything
///
/// Files that cannot be read whole are named, and the exit code is then 3. Ctrl-C keeps what was done so far as a partial version; a second one ends at
/// once. A backup that was cut off goes on where it was.
#[derive(Debug, Default, clap::Args)]
pub(super) struct BackupArgs {
    /// Back up only these sets
    #[arg(value_name = "SET")]
    sets: Vec<String>,
    /// A word for this version; may be repeated
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only look what would be done
    #[arg(long)]
    dry_run: bool,
    /// A root that is empty, or on another file system than before, is meant to be
    #[arg(long)]
    accept_root_change: bool,
    /// One JSON document per set
    #[arg(long)]
    json: bool,
}

/// How often a backup is begun anew because the lineage had gone on.
const CONFLICTS_MAX: usize = 3;

pub(super) fn run(args: &BackupArgs, context: &Context) -> Result<Exit, CliError> {
    let config = Config::load(&context.home)?;
    if config.sets.is_empty() {
        return Err(CliError::Usage("no backup set yet: say `backstore set add NAME FOLDER…`".to_owned()));
    }
    args.tag.iter().try_for_each(|tag| check_tag(tag)).map_err(CliError::Usage)?;
    let names: Vec<&str> = if args.sets.is_empty() {
        config.sets.iter().map(|set| &*set.name).collect()
    } else {
        args.sets.iter().map(String::as_str).collect()
    };
    let sets: Vec<&SetConfig> = names.iter().map(|name| config.set(name)).collect::<Result<_, _>>()?;
    // Many directories are open at once; fewer are enough as well.
    let _ = backstore_platform::process::raise_file_limit();
    let interrupts = Interrupts::watch(|count| {
        if count > 1 {
            std::process::exit(Exit::Interrupted as i32);
        }
        eprintln!("\nbackstore: keeping what was done so far; once more to end at once");
    });
    let interrupts =
        interrupts.map_err(|source| CliError::Io { action: "watch for Ctrl-C".to_owned(), source })?;
    let mut exit = Exit::Complete;
    for set in sets {
        let report = run_set(set, &config, args, context, &interrupts)?;
        if args.json {
            say!("{}", json(set, &report));
        } else {
            say!("{}", summary(set, &report, args.dry_run));
        }
        if report.is_partial {
            return Ok(Exit::Interrupted);
        }
        if report.totals.errors > 0 {
            exit = Exit::Incomplete;
        }
    }
    Ok(exit)
}

/// Backs one set up, with what is remembered of it before and after.
pub(super) fn run_set(
    set: &SetConfig,
    config: &Config,
    args: &BackupArgs,
    context: &Context,
    interrupts: &Interrupts,
) -> Result<BackupReport, CliError> {
    let memory = LineageMemory::new(&context.home, set.lineage_id());
    let mut state = memory.load();
    memory.save(&state)?;
    let lock = Lock::acquire(&memory.lock_path()).map_err(|source| CliError::Busy {
        what: match &source {
            LockError::Held { .. } => format!("another backup of set {} is running", set.name),
            LockError::File { .. } => format!("set {} cannot be locked", set.name),
        },
        source,
    })?;
    state.last_run_at = Some(context.machine.now_ms());
    let done = attempt(set, config, args, context, interrupts, &mut state);
    match &done {
        Ok(report) if !args.dry_run => {
            state.last_errors = report.totals.errors;
            state.last_changes = Some(report.changes);
            state.last_problem = report.is_partial.then(|| "interrupted".to_owned());
            if !report.is_partial {
                state.last_success_at = Some(context.machine.now_ms());
            }
            memory.save(&state)?;
        }
        Ok(_) => {}
        Err(error) => {
            state.last_problem = Some(error.to_string());
            memory.save(&state)?;
        }
    }
    drop(lock);
    done
}

fn attempt(
    set: &SetConfig,
    config: &Config,
    args: &BackupArgs,
    context: &Context,
    interrupts: &Interrupts,
    state: &mut LineageState,
) -> Result<BackupReport, CliError> {
    let archive = Archive::open(&context.home, &context.machine, &ArchiveOptions::write())?;
    let console = Console::new();
    let plan = plan(set, config, args, context, &archive)?;
    let device = Device {
        account: archive.account,
        device: archive.device,
        domain: archive.domain,
        account_log_head: archive.log_head(),
        keys: Arc::clone(&archive.keys),
        signing: archive.secrets.signing(),
        host: backstore_platform::system::host_name(),
    };
    let mut conflicts = 0;
    let report = loop {
        let basis = newest(&archive, set, state)?;
        let expected = basis.as_ref().map(|basis| basis.body.totals.bytes);
        let progress = Arc::new(Progress::default());
        let _line = ProgressLine::start(&console, Arc::clone(&progress), expected);
        let destination = archive
            .destination
            .clone()
            .ok_or(CliError::Usage("the archive is open for reading".to_owned()))?;
        let outcome = backup(
            &plan,
            &BackupContext {
                device: &device,
                destination,
                reader: Arc::clone(&archive.reader),
                basis,
                machine: &*context.machine,
                monitor: &console,
                progress: &progress,
                interrupts,
            },
        );
        match outcome {
            Err(BackupError::Store(error))
                if error.recovery() == Recovery::LookAtHead && conflicts < CONFLICTS_MAX =>
            {
                conflicts += 1;
                console.note("the set was backed up by another process meanwhile: comparing again");
            }
            outcome => break outcome?,
        }
    };
    if !args.dry_run {
        let newest = archive.source.snapshots(set.lineage_id(), u64::MAX, 1).map_err(ArchiveError::from)?;
        if let Some(head) = newest.first() {
            state.sequence = archive.verify(head)?.sequence;
            let is_same = state.head_id() == Some(head.id);
            state.head = head.id.to_string();
            // A file that could not be read was not compared.
            let confirmed = report.is_unchanged && report.snapshot == head.id && report.totals.errors == 0;
            state.confirmed_ns =
                if confirmed { Some(report.scan_started_ns) } else { state.confirmed_ns.filter(|_| is_same) };
        }
    }
    archive.close()?;
    Ok(report)
}

/// The snapshot to start from: the lineage's newest, if it continues what this computer has seen.
fn newest(archive: &Archive, set: &SetConfig, state: &LineageState) -> Result<Option<Basis>, CliError> {
    let mut head = None;
    let mut seen = state.sequence == 0;
    for stored in archive.snapshots(set.lineage_id()) {
        let stored = stored?;
        let header = archive.verify(&stored)?;
        if header.sequence < state.sequence {
            break;
        }
        seen |= header.sequence == state.sequence && state.head_id() == Some(stored.id);
        if head.is_none() {
            head = Some(stored);
        }
        if seen {
            break;
        }
    }
    if !seen {
        return Err(ArchiveError::RolledBack { place: archive.place.clone() }.into());
    }
    let Some(stored) = head else { return Ok(None) };
    let header = archive.verify(&stored)?;
    let body = match archive.reader.body(&header.body) {
        Ok(bytes) => Body::decode(&bytes)
            .map_err(|error| ArchiveError::from(backstore_vfs::objects::ReadError::from(error)))?,
        Err(error) => return Err(ArchiveError::from(error).into()),
    };
    let confirmed = state.confirmed_ns.filter(|_| state.head_id() == Some(stored.id));
    let compared_ns = confirmed.map_or(body.scan_started_ns, |confirmed| confirmed.max(body.scan_started_ns));
    Ok(Some(Basis { id: stored.id, header, body, compared_ns }))
}

fn plan(
    set: &SetConfig,
    config: &Config,
    args: &BackupArgs,
    context: &Context,
    archive: &Archive,
) -> Result<BackupPlan, CliError> {
    let roots = set.root_paths()?;
    let own = context.home.own_folders();
    let own = own.into_iter().chain(archive.folder.as_deref());
    let rules = ScanRules {
        exclusions: set.exclusions(&set.patterns_in_files()?)?,
        exclude_if_present: set.exclude_if_present.iter().map(|name| name.as_bytes().to_vec()).collect(),
        exclude_larger_than: set.exclude_larger_than,
        one_file_system: set.one_file_system,
        exclude_caches: !set.no_default_exclusions,
        never_enter: never_enter(own),
        pseudo: pseudo_devices(),
        sort_room: SortRoom { folder: context.home.cache_path().to_owned(), bytes_max: SORT_BYTES_MAX },
    };
    let threads = Threads::choose(config, &Reading::of(&roots));
    tracing::debug!(set = set.name, ?threads, "files are read");
    Ok(BackupPlan {
        set: set.name.clone(),
        lineage: set.lineage_id(),
        roots,
        rules,
        zone: set.zone.clone(),
        tags: args.tag.clone(),
        chunker: ChunkerConfig::default(),
        seal: SealOptions {
            compression_level: config.upload.compression_level,
            verify_every: config.upload.verify_every,
        },
        workers: threads.workers,
        readers: threads.readers,
        scanners: threads.scanners,
        reread_every: (config.scan.reread_days > 0)
            .then(|| std::time::Duration::from_secs(u64::from(config.scan.reread_days) * 86_400)),
        accept_root_change: args.accept_root_change,
        partial_every: std::time::Duration::from_secs(600),
        is_dry_run: args.dry_run,
    })
}

fn json(set: &SetConfig, report: &BackupReport) -> serde_json::Value {
    let mut document = serde_json::json!({
        "set": set.name,
        "snapshot": report.snapshot.to_string(),
        "unchanged": report.is_unchanged,
        "partial": report.is_partial,
        "files": report.totals.files,
        "directories": report.totals.directories,
        "others": report.totals.others,
        "bytes": report.totals.bytes,
        "excluded": report.totals.excluded,
        "bytes_read": report.bytes_read,
        "errors": report.totals.errors,
        "seconds": report.milliseconds as f64 / 1000.0,
    });
    changes::add_to(&mut document, &report.changes, report.entries);
    document
}

pub(super) fn summary(set: &SetConfig, report: &BackupReport, is_dry_run: bool) -> String {
    let totals = &report.totals;
    let what = match (is_dry_run, report.is_partial, report.is_unchanged) {
        (true, _, _) => "would be backed up".to_owned(),
        (_, true, _) => format!("backed up in part, version {:.12}", report.snapshot.to_string()),
        (_, _, true) => format!("unchanged, version {:.12} confirmed", report.snapshot.to_string()),
        (_, _, false) => format!("backed up, version {:.12}", report.snapshot.to_string()),
    };
    let mut lines = format!(
        "{}: {what}\n  {} in {}, {}\n  {}; {} read in {}",
        set.name,
        text::plural(totals.files, "file", "files"),
        text::plural(totals.directories, "directory", "directories"),
        text::size(totals.bytes),
        changes::text(&report.changes),
        text::size(report.bytes_read),
        text::duration(report.milliseconds),
    );
    if totals.excluded > 0 {
        lines.push_str(&format!("\n  {} left out by exclusions", text::count(totals.excluded)));
    }
    if totals.errors > 0 {
        let problems = text::plural(totals.errors, "problem", "problems");
        lines.push_str(&format!("\n  {problems}, named above: the version is incomplete"));
    }
    lines
}
