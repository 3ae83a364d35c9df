//! `backstore umount`.

use std::path::PathBuf;

use super::mount::mount_point;
use super::output::say;
use super::{CliError, Context, Exit};
use crate::mount::unmount;

/// Take away a folder that `backstore mount` has made
///
/// It also clears up where the mounting process was killed. `umount` and `fusermount3 -u` do as well.
#[derive(Debug, clap::Args)]
pub(super) struct UmountArgs {
    /// The folder; as for `backstore mount` without
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Also if it is in use: whoever has files open keeps them until they are closed
    #[arg(long, visible_alias = "lazy")]
    force: bool,
}

pub(super) fn run(args: &UmountArgs, context: &Context) -> Result<Exit, CliError> {
    let point = mount_point(args.dir.as_deref())?;
    let point = unmount(&context.home, &point, args.force)?;
    say!("unmounted {}", point.display());
    Ok(Exit::Complete)
}
