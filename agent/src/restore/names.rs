//! Names of what cannot have its own: they get the version's date.

use std::io;

/// Dated names that are tried.
pub(super) const RENAMES_MAX: u32 = 100;
/// Longest name that file systems have.
const NAME_BYTES_MAX: usize = 255;

/// Makes something new. A name that was free when it was planned is taken only if the file system takes two names for one, or somebody else was
/// quicker; then it gets the version's date.
pub(super) fn free_name<T>(
    date: &str,
    name: &[u8],
    mut make: impl FnMut(&[u8]) -> io::Result<T>,
) -> io::Result<(T, Vec<u8>)> {
    let mut tried = name.to_vec();
    for attempt in 1..=RENAMES_MAX {
        match make(&tried) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                tried = dated_name(name, date, attempt);
            }
            made => return Ok((made?, tried)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// `report.pdf` with a date: `report (2026-11-22 14-30-05).pdf`, from the second on `report (2026-11-22 14-30-05, 2).pdf`.
pub(super) fn dated_name(name: &[u8], date: &str, attempt: u32) -> Vec<u8> {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| {
        let is_hidden = name[..*at].iter().all(|byte| *byte == b'.');
        !is_hidden && (1..=EXTENSION_BYTES_MAX).contains(&(name.len() - at - 1))
    });
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let mark = if attempt == 1 { format!(" ({date})") } else { format!(" ({date}, {attempt})") };
    let mut end = stem.len().min(NAME_BYTES_MAX.saturating_sub(mark.len() + extension.len()));
    // Not in the middle of a character.
    while end > 0 && end < stem.len() && stem[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    [&stem[..end], mark.as_bytes(), extension].concat()
}

const EXTENSION_BYTES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Foo and foo where they are one name: the second gets a date. Here a name is taken after it was found free, which is the same to a restore.
    #[test]
    fn a_name_that_turns_out_to_be_taken_gets_a_date() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let make = |name: &[u8]| File::create_new(folder.path().join(std::str::from_utf8(name).unwrap()));
        for expected in ["foo", "foo (D)", "foo (D, 2)"] {
            let (_, name) = free_name("D", b"foo", make).unwrap();
            assert_eq!(name, expected.as_bytes());
        }
    }

    #[test]
    fn names_with_a_date() {
        let check = |name: &str, attempt, expected: &str| {
            let dated = dated_name(name.as_bytes(), "2026-11-22 14-30-05", attempt);
            assert_eq!(String::from_utf8(dated).unwrap(), expected);
        };
        check("report.pdf", 1, "report (2026-11-22 14-30-05).pdf");
        check("report.pdf", 3, "report (2026-11-22 14-30-05, 3).pdf");
        check("Makefile", 1, "Makefile (2026-11-22 14-30-05)");
        check(".bashrc", 1, ".bashrc (2026-11-22 14-30-05)");
        check("..x", 1, "..x (2026-11-22 14-30-05)");
        check("a.", 1, "a. (2026-11-22 14-30-05)");
        check(".a.conf", 1, ".a (2026-11-22 14-30-05).conf");
        check("no sentence. ends like this one", 1, "no sentence. ends like this one (2026-11-22 14-30-05)");
    }

    #[test]
    fn long_names_stay_names() {
        for (name, expected) in
            [("é".repeat(127) + "x", "é".repeat(116)), ("n".repeat(251) + ".txt", "n".repeat(229))]
        {
            let dated = String::from_utf8(dated_name(name.as_bytes(), "2026-11-22 14-30-05", 1)).unwrap();
            assert!(dated.len() <= 255 && dated.starts_with(&expected), "{dated}");
            assert!(dated.ends_with("(2026-11-22 14-30-05)") || dated.ends_with("(2026-11-22 14-30-05).txt"));
        }
        assert!(dated_name(&[0xbf; 255], "2026-11-22 14-30-05", 1).len() <= 255);
    }
}
