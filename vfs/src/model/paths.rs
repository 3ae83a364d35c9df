//! Paths of directories as keys are made of them, seen from a version's own directory.

/// The path of the directory above another; of what is right below a version's own directory, empty.
pub(super) fn above(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == 0) {
        Some(end) if &path[..end] != UNIX_ROOT => &path[..end],
        Some(_) | None => &[],
    }
}

/// The names on the way to a directory from its version's.
pub(super) fn names_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == 0).filter(|name| !name.is_empty() && *name != UNIX_ROOT)
}

/// The root whose children are in a version's own directory.
pub(super) const UNIX_ROOT: &[u8] = b"/";
