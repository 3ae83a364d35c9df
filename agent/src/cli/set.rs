//! `backstore set`.

use std::path::{Path, PathBuf};

use backstore_platform::paths::absolute;
use backstore_protocol::ids::LineageId;
use clap::Subcommand;

use super::output::say;
use super::{CliError, Context, Exit, text};
use crate::home::{Config, ConfigError, SetConfig};
use crate::scan::PathPattern;

/// What is backed up: named selections of files
#[derive(Debug, clap::Args)]
pub(super) struct SetArgs {
    #[command(subcommand)]
    command: SetCommand,
}

#[derive(Debug, Subcommand)]
enum SetCommand {
    /// Add a set
    Add {
        /// Its name
        name: String,
        /// Files and folders to back up
        #[arg(required = true, value_name = "ROOT")]
        roots: Vec<PathBuf>,
        #[command(flatten)]
        selection: Selection,
    },
    /// List the sets
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show one set
    Show {
        /// Its name
        name: String,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Change a set; what is not named stays
    Edit {
        /// Its name
        name: String,
        /// New roots, in place of the old ones
        #[arg(long, value_name = "ROOT", num_args = 1..)]
        roots: Vec<PathBuf>,
        /// Remove an exclusion
        #[arg(long, value_name = "GLOB")]
        no_exclude: Vec<String>,
        #[command(flatten)]
        selection: Selection,
    },
    /// Remove a set; its snapshots stay at the destination
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Selection {
    /// Leave out files whose name, or path if it has a `/`, matches; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Leave out what the patterns in a file match, a line each
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// Leave out what is in a directory that holds a file of this name
    #[arg(long, value_name = "NAME")]
    exclude_if_present: Vec<String>,
    /// Leave out files larger than this
    #[arg(long, value_name = "SIZE", value_parser = text::parse_size)]
    exclude_larger_than: Option<u64>,
    /// Do not enter other file systems than those of the roots
    #[arg(long)]
    one_file_system: bool,
    /// Leave nothing out by default: no caches, no trash, no directories marked with CACHEDIR.TAG
    #[arg(long)]
    no_default_exclusions: bool,
    /// Time zone that its dates are shown in, as Europe/Berlin; that of this computer unless told otherwise
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

pub(super) fn run(args: SetArgs, context: &Context) -> Result<Exit, CliError> {
    let mut config = Config::load(&context.home)?;
    match args.command {
        SetCommand::Add { name, roots, selection } => {
            if config.set(&name).is_ok() {
                return Err(CliError::Usage(format!(
                    "there is a set {name:?} already; change it with `backstore set edit`"
                )));
            }
            let mut lineage = [0; 16];
            context.machine.random(&mut lineage);
            let zone =
                backstore_platform::system::time_zone().filter(|zone| zone.parse::<chrono_tz::Tz>().is_ok());
            let mut set = SetConfig {
                name: name.clone(),
                lineage: LineageId::from_bytes(lineage).to_string(),
                roots: root_texts(&roots)?,
                zone: zone.unwrap_or_else(|| "UTC".to_owned()),
                ..SetConfig::default()
            };
            selection.apply(&mut set)?;
            config.sets.push(set);
            config.save(&context.home)?;
            say!("Set {name} was added.");
            say!("next:  backstore backup {name}");
        }
        SetCommand::List { json } => {
            if json {
                say!("{}", serde_json::json!({ "sets": config.sets }));
            } else if config.sets.is_empty() {
                say!("No sets yet: say `backstore set add NAME FOLDER…`");
            } else {
                config.sets.iter().for_each(|set| say!("{}  {}", set.name, set.roots.join("  ")));
            }
        }
        SetCommand::Show { name, json } => show(config.set(&name)?, json),
        SetCommand::Edit { name, roots, no_exclude, selection } => {
            let unknown = || ConfigError::NoSuchSet { name: name.clone() };
            let set = config.sets.iter_mut().find(|set| set.name == name).ok_or_else(unknown)?;
            if !roots.is_empty() {
                set.roots = root_texts(&roots)?;
            }
            for pattern in &no_exclude {
                if !set.exclude.contains(pattern) {
                    return Err(CliError::Usage(format!("set {name:?} has no exclusion {pattern:?}")));
                }
            }
            set.exclude.retain(|pattern| !no_exclude.contains(pattern));
            selection.apply(set)?;
            config.save(&context.home)?;
        }
        SetCommand::Remove { name } => {
            config.set(&name)?;
            config.sets.retain(|set| set.name != name);
            config.save(&context.home)?;
            say!("Set {name} is no longer backed up. Its snapshots stay at the destination.");
        }
    }
    Ok(Exit::Complete)
}

impl Selection {
    fn apply(self, set: &mut SetConfig) -> Result<(), CliError> {
        for pattern in &self.exclude {
            PathPattern::new(pattern.trim_end_matches('/'))
                .map_err(|error| CliError::Usage(error.to_string()))?;
        }
        let new =
            self.exclude.into_iter().filter(|pattern| !set.exclude.contains(pattern)).collect::<Vec<_>>();
        set.exclude.extend(new);
        for file in &self.exclude_file {
            set.exclude_file.push(full(file)?.display().to_string());
        }
        set.exclude_if_present.extend(self.exclude_if_present);
        set.exclude_larger_than = self.exclude_larger_than.or(set.exclude_larger_than);
        set.one_file_system |= self.one_file_system;
        set.no_default_exclusions |= self.no_default_exclusions;
        if let Some(zone) = self.zone {
            set.zone = zone;
        }
        Ok(set.check()?)
    }
}

fn root_texts(roots: &[PathBuf]) -> Result<Vec<String>, CliError> {
    roots
        .iter()
        .map(|root| {
            let path = full(root)?;
            let found = std::fs::symlink_metadata(&path)
                .map_err(|source| CliError::Io { action: format!("find {}", path.display()), source })?;
            if found.is_symlink() {
                return Err(CliError::Usage(format!(
                    "{} is a symbolic link: name what it points to",
                    path.display()
                )));
            }
            Ok(SetConfig::root_text(&path))
        })
        .collect()
}

fn full(path: &Path) -> Result<PathBuf, CliError> {
    absolute(path).map_err(|source| CliError::Io { action: format!("find {}", path.display()), source })
}

fn show(set: &SetConfig, json: bool) {
    if json {
        say!("{}", serde_json::json!(set));
        return;
    }
    say!("{}", set.name);
    set.roots.iter().for_each(|root| say!("  root      {root}"));
    set.exclude.iter().for_each(|pattern| say!("  exclude   {pattern}"));
    set.exclude_file.iter().for_each(|file| say!("  exclude what is in {file}"));
    set.exclude_if_present.iter().for_each(|name| say!("  exclude directories that hold {name}"));
    if let Some(bytes) = set.exclude_larger_than {
        say!("  exclude files larger than {}", text::size(bytes));
    }
    if set.one_file_system {
        say!("  stays on the file systems of its roots");
    }
    say!("  default exclusions {}", if set.no_default_exclusions { "off" } else { "on" });
    say!("  time zone {}", set.zone);
    say!("  lineage   {}", set.lineage);
}
