//! What there is instead of a path that is not there: where it ends, and the names most like the one that is missing.

use backstore_platform::paths::Printable;
use backstore_protocol::path::ArchivePath;
use backstore_vfs::objects::ReadError;
use backstore_vfs::view::View;

/// Names of a directory that a missing one is compared with.
const NAMES_COMPARED_MAX: usize = 20_000;
const NEAREST_MAX: usize = 3;
/// Longer names are simply far apart.
const LETTERS_MAX: usize = 80;

/// The end of a sentence that says that `path` is not in a version.
pub fn missing(view: &View, path: &ArchivePath) -> Result<String, ReadError> {
    let mut first = path.clone();
    let within = loop {
        let Some(parent) = first.parent() else { break first.clone() };
        match view.resolve(&parent)? {
            Some(entry) if entry.kind.is_directory() => break parent,
            Some(_) => return Ok(format!("; {} is not a directory", shown(&parent))),
            None => first = parent,
        }
    };
    let names = view.children(&within)?.take(NAMES_COMPARED_MAX).filter_map(Result::ok).map(|(name, _)| name);
    let nearest = nearest(first.name(), names);
    let name = Printable(first.name()).to_string();
    let nearest =
        if nearest.is_empty() { String::new() } else { format!("; nearest are {}", nearest.join(", ")) };
    Ok(format!("; {name:?} is not in {}{nearest}", shown(&within)))
}

fn shown(path: &ArchivePath) -> String {
    Printable(path.to_string().as_bytes()).to_string()
}

/// The names most like a missing one, best first.
fn nearest(missing: &[u8], names: impl Iterator<Item = Vec<u8>>) -> Vec<String> {
    let lower = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
    let wanted = lower(missing);
    let mut found: Vec<(usize, Vec<u8>)> = names
        .filter_map(|name| {
            let other = lower(&name);
            let is_part = other.contains(&wanted) || wanted.contains(&other);
            let far = distance(&wanted, &other);
            (is_part || far <= 1 + wanted.chars().count() / 3).then_some((far, name))
        })
        .collect();
    found.sort();
    found.iter().take(NEAREST_MAX).map(|(_, name)| format!("{:?}", Printable(name).to_string())).collect()
}

/// Letters that have to be changed, added or removed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > LETTERS_MAX || b.len() > LETTERS_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        let check = |missing: &str, expected: &[&str]| {
            let names = ["Documents", "documents.old", "Downloads", "x", "report.pdf"];
            let found = nearest(missing.as_bytes(), names.iter().map(|name| name.as_bytes().to_vec()));
            assert_eq!(found, expected.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>());
        };
        check("documents", &["Documents", "documents.old"]);
        check("Documnets", &["Documents"]);
        check("report", &["report.pdf"]);
        check("zebra", &[]);
    }
}
