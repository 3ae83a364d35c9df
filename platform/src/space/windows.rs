//! Windows: `GetDiskFreeSpaceEx`, through the crate that has it.

use std::io;
use std::path::Path;

use super::Space;

pub(super) fn space(path: &Path) -> io::Result<Space> {
    // The call itself is content with the volume.
    std::fs::metadata(path)?;
    Ok(Space {
        total: fs4::total_space(path)?,
        free: fs4::free_space(path)?,
        available: fs4::available_space(path)?,
    })
}
