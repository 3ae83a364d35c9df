//! `backstore mount`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backstore_platform::paths::absolute;
use backstore_platform::process::{
    Interrupts, Readiness, StartError, forbid_core_dumps, is_privileged, raise_file_limit, start_daemon,
};
use backstore_vfs::host::{MountOptions, Thumbnails};
use tracing_subscriber::EnvFilter;

use super::output::say;
use super::{CliError, Context, Exit};
use crate::mount::{MountRequest, Via, serve, text_of};

/// Open every version of a backup set as an ordinary folder
///
/// DIR then has a folder for each version, named by its time, with all files under their full paths, and `latest`. It can only be read. Names that are
/// not listed work as well, as DIR/2026-11-22, DIR/yesterday or DIR/3d: the newest version at or before that moment; README.txt in it says more.
/// Without DIR it is /backstore for root, else the folder `backstore` in the home directory. It is made if it is missing, and removed again by `backstore
/// umount`. New versions appear in it by themselves.
///
/// Where FUSE is not permitted, or not there, `--via webdav` serves the same as WebDAV to this computer, and names the address to open it by.
#[derive(Debug, clap::Args)]
pub(super) struct MountArgs {
    /// An empty folder, or one that does not exist yet
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How it is shown: `webdav` needs no FUSE and no rights, and no DIR either
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    via: ViaArg,
    /// Of WebDAV, the port on this computer; any that is free without
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Which backup set, where there are several
    #[arg(long, value_name = "SET")]
    set: Option<String>,
    /// Stay until it is unmounted or interrupted
    #[arg(long)]
    foreground: bool,
    /// Other users may look too, by the permission bits of the files
    #[arg(long)]
    allow_other: bool,
    /// Show extended attributes and ACLs, which makes `ls -l` slower
    #[arg(long)]
    xattrs: bool,
    /// Name versions by their time in UTC, not in the time zone of the backup set
    #[arg(long)]
    utc: bool,
    /// Where symbolic links lead that were absolute: `archive` keeps those inside the version that lead into the backup set
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    symlinks: SymlinksArg,
    /// What programs may read that make thumbnails or look for words in every file: `small` is 1 MiB for the former and nothing for the latter
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    thumbnails: ThumbnailsArg,
}

/// How a set is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum ViaArg {
    /// As a file system, which needs FUSE
    #[default]
    Fuse,
    /// As WebDAV, for file managers and `net use`
    Webdav,
}

/// Where absolute symbolic links lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum SymlinksArg {
    /// Where they say, as on the computer that was backed up
    #[default]
    Original,
    /// To what they say in the same version, if the set has it
    Archive,
}

/// What thumbnailers and indexers may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum ThumbnailsArg {
    /// Everything, which may fetch much of the archive
    All,
    /// Thumbnailers: files of at most 1 MiB; indexers: nothing
    #[default]
    Small,
    /// Nothing
    None,
}

impl ThumbnailsArg {
    const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Small => "small",
            Self::None => "none",
        }
    }

    const fn policy(self) -> Thumbnails {
        match self {
            Self::All => Thumbnails::All,
            Self::Small => Thumbnails::Small,
            Self::None => Thumbnails::None,
        }
    }
}

/// How long the folder may take to answer: longer than a server is waited for.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// A log that is larger is begun anew.
const LOG_BYTES_MAX: u64 = 1 << 20;

pub(super) fn run(args: &MountArgs, context: &Context) -> Result<Exit, CliError> {
    let via = via(args)?;
    match Readiness::from_environment() {
        None if !args.foreground => start_in_background(args, &via, context),
        readiness => stay(args, via, readiness, context),
    }
}

/// How and where. What WebDAV has no use for is refused.
fn via(args: &MountArgs) -> Result<Via, CliError> {
    let of_a_folder = [
        ("DIR", args.dir.is_some()),
        ("--allow-other", args.allow_other),
        ("--xattrs", args.xattrs),
        ("--thumbnails", args.thumbnails != ThumbnailsArg::default()),
    ];
    match args.via {
        ViaArg::Fuse if args.port.is_some() => {
            Err(CliError::Usage("--port is for --via webdav only".to_owned()))
        }
        ViaArg::Fuse => {
            let options = MountOptions {
                allow_other: args.allow_other,
                xattrs: args.xattrs,
                thumbnails: args.thumbnails.policy(),
                ..MountOptions::default()
            };
            Ok(Via::Folder { point: mount_point(args.dir.as_deref())?, options })
        }
        ViaArg::Webdav => match of_a_folder.iter().find(|(_, is_set)| *is_set) {
            Some((name, _)) => {
                Err(CliError::Usage(format!("{name} means nothing with --via webdav: there is no folder")))
            }
            None => Ok(Via::Webdav { port: args.port.unwrap_or(0) }),
        },
    }
}

/// The folder that is meant.
pub(super) fn mount_point(dir: Option<&Path>) -> Result<PathBuf, CliError> {
    let dir = match dir {
        Some(dir) => dir.to_owned(),
        None if is_privileged() == Some(true) => PathBuf::from("/backstore"),
        None => std::env::home_dir()
            .map(|home| home.join("backstore"))
            .ok_or_else(|| CliError::Usage("this user has no home directory: name a folder".to_owned()))?,
    };
    absolute(&dir).map_err(|source| CliError::Io { action: format!("use {}", dir.display()), source })
}

/// Runs this command again in the background, and returns when its folder answers.
fn start_in_background(args: &MountArgs, via: &Via, context: &Context) -> Result<Exit, CliError> {
    let failed = |source| CliError::Io { action: "start in the background".to_owned(), source };
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("mount").arg("--foreground");
    if let Some(set) = &args.set {
        command.arg("--set").arg(set);
    }
    let flags = [("--allow-other", args.allow_other), ("--xattrs", args.xattrs), ("--utc", args.utc)];
    command.args(flags.iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag));
    command.arg("--thumbnails").arg(args.thumbnails.word());
    if args.symlinks == SymlinksArg::Archive {
        command.args(["--symlinks", "archive"]);
    }
    if let Some(port) = args.port {
        command.arg("--port").arg(port.to_string());
    }
    match via {
        Via::Folder { point, .. } => command.arg("--").arg(point),
        Via::Webdav { .. } => command.args(["--via", "webdav"]),
    };
    match start_daemon(&mut command, START_PATIENCE) {
        Ok(started) => {
            let text = text_of(&context.home, started.pid);
            say!("{}", text.unwrap_or_else(|| "BACKSTORE mounted, and ended already".to_owned()));
            Ok(Exit::Complete)
        }
        // It has said why.
        Err(StartError::Ended { status }) => Ok(status.code().map_or(Exit::Failed, exit_of)),
        Err(StartError::Spawn { source }) => Err(failed(source)),
        Err(error @ StartError::NotReady { .. }) => Err(failed(std::io::Error::other(error))),
    }
}

/// The exit that a process ended with.
fn exit_of(code: i32) -> Exit {
    let all = [Exit::Usage, Exit::NotFound, Exit::Locked, Exit::WrongPassword, Exit::Interrupted];
    all.into_iter().find(|exit| *exit as i32 == code).unwrap_or(Exit::Failed)
}

/// Mounts, says so, and stays with the mount.
fn stay(
    args: &MountArgs,
    via: Via,
    readiness: Option<Readiness>,
    context: &Context,
) -> Result<Exit, CliError> {
    // Keys are in memory for as long as the mount is there. Not every system can forbid dumps.
    let _ = forbid_core_dumps();
    let _ = raise_file_limit();
    let filter = EnvFilter::try_from_env("BACKSTORE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // Fails only where a log is kept already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .try_init();
    let stays_inside = args.symlinks == SymlinksArg::Archive;
    let request = MountRequest { via, set: args.set.clone(), utc: args.utc, stays_inside };
    let serving = serve(&context.home, &context.machine, &request)?;
    let stopper = serving.stopper();
    let interrupts = Interrupts::watch(move |count| {
        if !stopper.stop() && count > 1 {
            std::process::exit(Exit::Interrupted as i32);
        }
    });
    interrupts.map_err(|source| CliError::Io { action: "watch for Ctrl-C".to_owned(), source })?;
    match readiness {
        None => say!("{}", serving.text),
        Some(readiness) => {
            let failed = |source| CliError::Io { action: "go into the background".to_owned(), source };
            std::env::set_current_dir("/").map_err(failed)?;
            readiness.announce(log(context)).map_err(failed)?;
        }
    }
    serving.until_unmounted();
    Ok(Exit::Complete)
}

/// Where messages go once nobody looks; nowhere if that cannot be written.
fn log(context: &Context) -> Option<File> {
    let path = context.home.state_path("mount.log");
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        let _ = std::fs::remove_file(&path);
    }
    File::options().append(true).create(true).open(path).ok()
}
