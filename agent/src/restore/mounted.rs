//! Paths pasted from a mounted version: `/backstore/2026-11-22_14-30-05/home/alice` means `/home/alice` of that version.

use std::path::{Component, Path, PathBuf};

use backstore_platform::mounts::MountTable;

/// A path of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounted {
    /// The name of the version there.
    pub(super) version: String,
    /// What comes after it, from the version's root.
    pub(super) path: PathBuf,
}

/// Splits an absolute path that lies in one of `mounts`, or that has the name of a version in it.
pub(super) fn split(path: &Path, mounts: &MountTable) -> Option<Mounted> {
    let own = mounts.iter().filter(|mount| mount.is_own()).find_map(|mount| {
        let rest = path.strip_prefix(&mount.point).ok()?;
        after_version(rest, |_| true)
    });
    own.or_else(|| {
        let mut rest = path.components();
        while rest.next().is_some() {
            if let Some(found) = after_version(rest.as_path(), is_version_name) {
                return Some(found);
            }
        }
        None
    })
}

fn after_version(rest: &Path, is_version: impl FnOnce(&str) -> bool) -> Option<Mounted> {
    let mut names = rest.components();
    let Some(Component::Normal(version)) = names.next() else { return None };
    let version = version.to_str().filter(|name| is_version(name))?;
    Some(Mounted { version: version.to_owned(), path: Path::new("/").join(names.as_path()) })
}

/// Whether a mount names versions so: `2026-11-22_14-30-05`, in the hour that comes twice `2026-10-25_02A-30-00`, then perhaps `_2` and `_partial`.
fn is_version_name(name: &str) -> bool {
    let name = name.strip_suffix("_partial").unwrap_or(name);
    let (time, number) = match name.get(11..).and_then(|after| after.find('_')) {
        Some(at) => name.split_at(11 + at),
        None => (name, "_2"),
    };
    let mut folded = time.to_owned();
    if folded.len() == 20 && matches!(folded.as_bytes()[13], b'A' | b'B') {
        folded.remove(13);
    }
    let is_time = folded.len() == 19
        && folded.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 | 13 | 16 => byte == b'-',
            10 => byte == b'_',
            _ => byte.is_ascii_digit(),
        });
    is_time && number[1..].parse::<u32>().is_ok_and(|number| number > 1)
}

/// The time in a version's name, and which of those of the same second it is.
pub(super) fn time_and_number(version: &str) -> (&str, u32) {
    let name = version.strip_suffix("_partial").unwrap_or(version);
    match name.get(11..).and_then(|after| after.find('_')) {
        Some(at) => (&name[..11 + at], name[12 + at..].parse().unwrap_or(1)),
        None => (name, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<(&str, &str)>) {
        let expected =
            expected.map(|(version, path)| Mounted { version: version.to_owned(), path: path.into() });
        assert_eq!(split(Path::new(path), &MountTable::default()), expected, "{path}");
    }

    #[test]
    fn versions_are_found_by_their_names() {
        check("/backstore/2026-11-22_14-30-05/home/x", Some(("2026-11-22_14-30-05", "/home/x")));
        check("/b/s/2026-11-22_14-30-05_2_partial", Some(("2026-11-22_14-30-05_2_partial", "/")));
        check("/b/2026-10-25_02A-30-00/x", Some(("2026-10-25_02A-30-00", "/x")));
        for path in [
            "/home/x",
            "/backstore/2026-11-22/x",
            "/backstore/latest/home",
            "/b/2026-11-22_14-30-05_1/x",
            "/b/2026-11-22_14-30-05_x/x",
            "/b/2026-10-25_02C-30-00/x",
            "/b/2026-11-22_14-30-0é/x",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn times_and_numbers() {
        for (name, expected) in [
            ("2026-11-22_14-30-05", ("2026-11-22_14-30-05", 1)),
            ("2026-11-22_14-30-05_partial", ("2026-11-22_14-30-05", 1)),
            ("2026-10-25_02B-30-00_12_partial", ("2026-10-25_02B-30-00", 12)),
            ("latest", ("latest", 1)),
        ] {
            assert_eq!(time_and_number(name), expected);
        }
    }
}
