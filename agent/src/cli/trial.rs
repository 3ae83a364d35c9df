//! `backstore try`.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use backstore_platform::paths::to_archive;
use backstore_platform::private_file::write_secret;
use backstore_platform::process::{Interrupts, Stream, is_terminal};
use backstore_platform::space::space;
use backstore_protocol::ids::LineageId;
use backstore_protocol::store::StoreError;
use backstore_vault::Vault;
use backstore_vfs::host::{MountError, MountHandle, MountOptions, mount};
use backstore_vfs::model::{FolderOptions, Snapshots};

use super::backup::{BackupArgs, run_set, summary};
use super::choice::open;
use super::entry_line::path_bytes;
use super::output::Output;
use super::{CliError, Context, Exit, text};
use crate::archive::{Archive, ArchiveError};
use crate::enrol::{Login, PasswordSource};
use crate::home::{Config, HomeError, SetConfig};
use crate::reading::{Differences, ReadingError, VersionInfo, Versions};
use crate::trial::{TrialError, TrialPlace, estimate};

/// See it work: back FOLDER up, look into the versions, and leave nothing behind
///
/// Makes a private vault beside FOLDER, backs it up, shows it as a mounted folder, asks you to change a file, backs up again, and shows both versions and what differs.
/// Asks for no password, changes nothing in FOLDER, and removes all it made in the end.
#[derive(Debug, clap::Args)]
pub(super) struct TryArgs {
    /// The folder to try it with
    folder: PathBuf,
    /// Do not wait for anything: back up, show, and end
    #[arg(long)]
    once: bool,
    /// Where the private vault is made, in place of beside FOLDER
    #[arg(long = "in", value_name = "DIR")]
    place: Option<PathBuf>,
    /// Do not ask, however large FOLDER is
    #[arg(long)]
    yes: bool,
}

/// More than this is asked about first.
const ASK_BYTES: u64 = 5 << 30;
/// Room that has to be left besides the copy.
const SPARE_BYTES: u64 = 64 << 20;
const SET: &str = "try";
/// Differences that are shown.
const SHOWN_MAX: usize = 20;
/// How often it is looked whether the user wants to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the vault is tried again while this process itself still holds it.
const LOCKED_MAX: u32 = 50;
/// Interrupts after which nothing is cleaned up any more.
const IMPATIENT: u32 = 3;

pub(super) fn run(args: &TryArgs, context: &Context) -> Result<Exit, CliError> {
    let failed = |action: String| move |source| CliError::Io { action, source };
    let folder =
        std::fs::canonicalize(&args.folder).map_err(failed(format!("find {}", args.folder.display())))?;
    if !folder.is_dir() {
        return Err(CliError::Usage(format!("{} is not a folder", folder.display())));
    }
    let interrupts = Interrupts::watch(|count| {
        if count >= IMPATIENT {
            std::process::exit(Exit::Interrupted as i32);
        }
        eprintln!("\nbackstore: ending, and removing what was made");
    });
    let interrupts = interrupts.map_err(failed("watch for Ctrl-C".to_owned()))?;
    let named = args.place.as_ref().map(std::fs::canonicalize).transpose();
    let named = named.map_err(failed("find the folder of --in".to_owned()))?;
    let place = TrialPlace::make(&folder, named.as_deref(), context.home.cache_path())?;
    let trial = Trial {
        waits: !args.once && is_terminal(Stream::Input),
        context: Context { home: place.home(), machine: Arc::clone(&context.machine) },
        folder,
        place: &place,
        interrupts,
    };
    let done = trial.run(args);
    match (done, place.remove()) {
        (Ok(exit), Ok(())) => {
            if exit == Exit::Complete {
                say(format_args!("\n{NEXT}"))?;
            }
            Ok(exit)
        }
        (Ok(_), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error),
    }
}

struct Trial<'a> {
    /// Whether there is somebody to wait for.
    waits: bool,
    context: Context,
    folder: PathBuf,
    place: &'a TrialPlace,
    interrupts: Interrupts,
}

/// What is shown of the archive: mounted where that can be done.
struct Shown {
    // Before the archive, which it reads.
    mount: Option<MountHandle>,
    archive: Archive,
}

impl Trial<'_> {
    fn run(&self, args: &TryArgs) -> Result<Exit, CliError> {
        if !self.is_room(args)? {
            return Ok(Exit::Interrupted);
        }
        let set = self.prepare()?;
        if !self.back_up(&set)? {
            return Ok(Exit::Interrupted);
        }
        let shown = self.show()?;
        self.list(&shown)?;
        say("")?;
        if self.waits {
            say(format_args!(
                "Now change, add or delete a file in {}, then press Enter.",
                self.folder.display()
            ))?;
            if !self.wait()? {
                return Ok(Exit::Interrupted);
            }
        }
        say("Backing up again:")?;
        drop(shown);
        if !self.back_up(&set)? {
            return Ok(Exit::Interrupted);
        }
        let shown = self.show()?;
        self.list(&shown)?;
        self.differences(&shown.archive)?;
        if self.waits {
            say("")?;
            self.say_how_to_look(&shown)?;
            say("Press Enter to end; everything that was made is removed then.")?;
            if !self.wait()? {
                return Ok(Exit::Interrupted);
            }
        }
        drop(shown);
        Ok(Exit::Complete)
    }

    /// Whether there is enough room, and the user agrees to use it.
    fn is_room(&self, args: &TryArgs) -> Result<bool, CliError> {
        let failed = |action: String| move |source| CliError::Io { action, source };
        let found = estimate(&self.folder, &self.interrupts)
            .map_err(failed(format!("look through {}", self.folder.display())))?;
        if self.interrupts.count() > 0 {
            return Ok(false);
        }
        let (files, bytes) = (text::plural(found.files, "file", "files"), text::size(found.bytes));
        say(format_args!("{}: {files}, {bytes}", self.folder.display()))?;
        let free = space(self.place.path())
            .map_err(failed(format!("ask for room in {}", self.place.path().display())))?;
        if free.available < found.bytes + SPARE_BYTES {
            return Err(CliError::Usage(format!(
                "a trial may need as much room as the folder, and only {} is free in {}: try a smaller folder, or --in DIR on another disk",
                text::size(free.available),
                self.place.path().parent().unwrap_or(self.place.path()).display()
            )));
        }
        if found.bytes <= ASK_BYTES || args.yes {
            return Ok(true);
        }
        if !is_terminal(Stream::Input) {
            return Err(CliError::Usage(format!(
                "the folder holds {bytes}: try a smaller one, or say --yes"
            )));
        }
        eprint!("Back all of it up? (yes/no) ");
        let answer = self.read_line()?;
        Ok(answer.is_some_and(|answer| matches!(answer.trim(), "yes" | "y")))
    }

    /// A vault, an account in it, and a set.
    fn prepare(&self) -> Result<SetConfig, CliError> {
        let Context { home, machine } = &self.context;
        let vault = self.place.vault();
        Vault::create(&vault, &**machine)?;
        let mut random = [0; 32];
        machine.random(&mut random);
        let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let file = self.place.password_file();
        let _written = write_secret(&file, password.as_bytes()).map_err(HomeError::from)?;
        let password = PasswordSource::in_file(file);
        let machine = Arc::clone(machine);
        Login { home, machine, password: &password, device_name: "trial".to_owned() }.in_folder(&vault)?;
        let mut lineage = [0; 16];
        self.context.machine.random(&mut lineage);
        let zone =
            backstore_platform::system::time_zone().filter(|zone| zone.parse::<chrono_tz::Tz>().is_ok());
        let set = SetConfig {
            name: SET.to_owned(),
            lineage: LineageId::from_bytes(lineage).to_string(),
            roots: vec![SetConfig::root_text(&self.folder)],
            one_file_system: true,
            zone: zone.unwrap_or_else(|| "UTC".to_owned()),
            ..SetConfig::default()
        };
        Config { sets: vec![set.clone()], ..Config::default() }.save(home)?;
        Ok(set)
    }

    /// Backs up, as `backstore backup` does; false if it was interrupted.
    fn back_up(&self, set: &SetConfig) -> Result<bool, CliError> {
        let config = Config::load(&self.context.home)?;
        let mut attempts = 0;
        let report = loop {
            match run_set(set, &config, &BackupArgs::default(), &self.context, &self.interrupts) {
                // The threads of a reader that is no longer used hold the vault a moment longer.
                Err(CliError::Archive(ArchiveError::Store(StoreError::Locked { .. })))
                    if attempts < LOCKED_MAX =>
                {
                    attempts += 1;
                    std::thread::sleep(LOOK_EVERY);
                }
                done => break done?,
            }
        };
        if report.is_partial {
            return Ok(false);
        }
        say(summary(set, &report, false))?;
        if report.changes.bytes_stored > 0 && report.bytes_read > 0 {
            let share = 100.0 * report.changes.bytes_stored as f64 / report.bytes_read as f64;
            say(format_args!("  compressed and sealed, that is {share:.0} % of what was read"))?;
        }
        Ok(true)
    }

    /// Opens the archive as it is now, and mounts it.
    fn show(&self) -> Result<Shown, CliError> {
        let archive = open(&self.context)?;
        let versions = Versions::choose(&archive, None, None, &[])?;
        let model = Arc::new(
            Snapshots::new(&archive.reader, FolderOptions::default()).map_err(ReadingError::Thread)?,
        );
        let zone = versions.zone.name();
        model.set_versions(versions.all()?.iter().map(|version| versions.model(version, zone)).collect());
        let mount = match mount(model, &self.place.mount_point(), &MountOptions::default()) {
            Ok(mount) => Some(mount),
            Err(error) => {
                say(format_args!("\nThe versions cannot be mounted here: {}", explain(&error)))?;
                None
            }
        };
        drop(versions);
        Ok(Shown { mount, archive })
    }

    /// The versions as folders.
    fn list(&self, shown: &Shown) -> Result<(), CliError> {
        let versions = Versions::choose(&shown.archive, None, None, &[])?;
        say("")?;
        match &shown.mount {
            Some(mount) => {
                say(format_args!("Every version is a folder now, in {}:", mount.mount_point().display()))?
            }
            None => say("The versions there are:")?,
        }
        for version in versions.all()? {
            match &shown.mount {
                Some(mount) => say(format_args!("  {}", self.in_mount(mount, &version).display()))?,
                None => say(format_args!("  {}{}", version.name, self.folder.display()))?,
            }
        }
        Ok(())
    }

    /// The folder in a version, where it is mounted.
    fn in_mount(&self, mount: &MountHandle, version: &VersionInfo) -> PathBuf {
        let inside = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        mount.mount_point().join(&version.name).join(inside)
    }

    fn differences(&self, archive: &Archive) -> Result<(), CliError> {
        let versions = Versions::choose(archive, None, None, &[])?;
        let all = versions.all()?;
        let [new, old, ..] = &all[..] else {
            return say(
                "\nNothing has changed, so there still is one version: it was confirmed, nothing was stored.",
            );
        };
        say("\nWhat differs between the two (`backstore diff`; + added, - removed, M content, m metadata):")?;
        let below = to_archive(&self.folder).map_err(ReadingError::from)?;
        let mut out = Output::new(false);
        let mut more = 0;
        let (old, new) = (versions.view(old), versions.view(new));
        for (at, found) in Differences::new(&old, &new, Some(&below)).map_err(ReadingError::from)?.enumerate()
        {
            let found = found.map_err(ReadingError::from)?;
            if at < SHOWN_MAX {
                out.line(format_args!("  {} ", found.change.mark()), &path_bytes(&found.path), "")?;
            } else {
                more += 1;
            }
        }
        if more > 0 {
            out.text(format_args!("  and {more} more"))?;
        }
        out.finish()
    }

    fn say_how_to_look(&self, shown: &Shown) -> Result<(), CliError> {
        let Some(mount) = &shown.mount else { return Ok(()) };
        let versions = Versions::choose(&shown.archive, None, None, &[])?;
        say("Look into them in another window, or in a file manager:")?;
        let all = versions.all()?;
        if let [new, old, ..] = &all[..] {
            let (new, old) = (self.in_mount(mount, new), self.in_mount(mount, old));
            say(format_args!("  ls -l {}", quoted(&old)))?;
            say(format_args!("  diff -r {} {}", quoted(&old), quoted(&new)))?;
        } else if let [one] = &all[..] {
            say(format_args!("  ls -l {}", quoted(&self.in_mount(mount, one))))?;
        }
        Ok(())
    }

    /// Waits for Enter; false if the user wants to end.
    fn wait(&self) -> Result<bool, CliError> {
        Ok(self.read_line()?.is_some())
    }

    /// A line that is typed; nothing if the user wants to end.
    fn read_line(&self) -> Result<Option<String>, CliError> {
        let failed = |source| CliError::Io { action: "read from the terminal".to_owned(), source };
        io::stderr().flush().map_err(failed)?;
        let (typed, line) = mpsc::channel();
        // Reading cannot be broken off: a thread does it, and ends with the process.
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = io::stdin().lock().read_line(&mut text).map(|_| text);
            // Nobody listens any more after an interrupt.
            let _ = typed.send(read);
        });
        loop {
            if self.interrupts.count() > 0 {
                return Ok(None);
            }
            match line.recv_timeout(LOOK_EVERY) {
                Ok(read) => return read.map(Some).map_err(failed),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

const NEXT: &str = "\
Everything that was made is removed. For a disk of your own:
  backstore init /media/disk/backups
  backstore login /media/disk/backups
  backstore set add documents FOLDER…
  backstore backup
  backstore mount
For a server: `backstored init DIR`, `backstored serve --vault DIR`, `backstored account invite NAME --vault DIR`, and here
  backstore login 'INVITATION'";

/// What keeps a folder from being mounted, with its causes.
fn explain(error: &MountError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn say(text: impl std::fmt::Display) -> Result<(), CliError> {
    let mut out = Output::new(false);
    out.text(text)?;
    out.finish()
}

impl From<TrialError> for CliError {
    fn from(error: TrialError) -> Self {
        match error {
            TrialError::Running(source) => {
                Self::Busy { what: "another trial of this folder is running".to_owned(), source }
            }
            TrialError::Io { action, path, source } => {
                Self::Io { action: format!("{action} {}", path.display()), source }
            }
            other @ (TrialError::Taken { .. } | TrialError::Nowhere { .. } | TrialError::Inside { .. }) => {
                Self::Usage(other.to_string())
            }
        }
    }
}
