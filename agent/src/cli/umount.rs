//! `backstore umount`.

use std::path::{Path, PathBuf};

use backstore_vfs::host::MountError;

use super::mount::mount_point;
use super::output::say;
use super::{CliError, Context, Exit};
use crate::mount::{MountProblem, is_served_place, served_places, unmount};

/// Take away a folder that `backstore mount` has made
///
/// It also clears up where the mounting process was killed. `umount` and `fusermount3 -u` do as well. With the address that `backstore mount --via webdav`
/// named, which may be without the secret, it ends that. Without DIR it does so too, if nothing else is mounted where `backstore mount` does it.
#[derive(Debug, clap::Args)]
pub(super) struct UmountArgs {
    /// The folder or address; as for `backstore mount` without
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Also if it is in use: whoever has files open keeps them until they are closed
    #[arg(long, visible_alias = "lazy")]
    force: bool,
}

pub(super) fn run(args: &UmountArgs, context: &Context) -> Result<Exit, CliError> {
    let point = match args.dir.as_deref() {
        Some(url) if is_served_place(url) => unmount(&context.home, url, args.force)?,
        Some(dir) => unmount(&context.home, &mount_point(Some(dir))?, args.force)?,
        None => unmount_the_only_one(args.force, context)?,
    };
    say!("unmounted {}", point.display());
    Ok(Exit::Complete)
}

/// What is mounted at the usual place, or else what is served.
fn unmount_the_only_one(even_in_use: bool, context: &Context) -> Result<PathBuf, CliError> {
    let unmounted = unmount(&context.home, &mount_point(None)?, even_in_use);
    let is_absent = matches!(
        &unmounted,
        Err(MountProblem::Mount(MountError::NotMounted { .. } | MountError::NoHost { .. }))
    );
    let places = if is_absent { served_places(&context.home) } else { Vec::new() };
    match &places[..] {
        [] => Ok(unmounted?),
        [place] => Ok(unmount(&context.home, place, even_in_use)?),
        several => {
            let all: Vec<_> = several.iter().map(|place| Path::display(place).to_string()).collect();
            Err(CliError::Usage(format!("say which one: {}", all.join(", "))))
        }
    }
}
