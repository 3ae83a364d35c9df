//! Other systems: no table yet. Callers then know other file systems by the device alone, and of none whether it is remote.

use std::io;

use super::{Mount, Storage};
use crate::Unsupported;

pub(super) fn read() -> io::Result<Vec<Mount>> {
    Err(Unsupported { what: "a table of mounts" }.into())
}

pub(super) fn storage(_mount: &Mount) -> Storage {
    Storage::Unknown
}
