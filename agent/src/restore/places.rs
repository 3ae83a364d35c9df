//! Where what is restored goes: below the target under its own name, or under its full path.

use std::path::Path;

use backstore_platform::paths::{absolute, root_to_name, to_archive};
use backstore_protocol::path::ArchivePath;

use super::RestoreError;

/// A selected path and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The path in the version.
    pub path: ArchivePath,
    /// Names below the target's directory; none for that itself.
    pub names: Vec<Vec<u8>>,
    /// The paths whose metadata new directories above it get; as many as there are names above.
    pub above: Vec<Option<ArchivePath>>,
    /// Paths below it that go elsewhere.
    pub without: Vec<ArchivePath>,
}

/// `--map OLD=NEW`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    old: ArchivePath,
    new: ArchivePath,
}

impl Mapping {
    /// Reads `OLD=NEW`, two absolute paths.
    pub fn parse(text: &str) -> Result<Self, RestoreError> {
        let wrong = || RestoreError::Usage(format!("--map {text:?} is not OLD=NEW with two absolute paths"));
        let (old, new) = text.split_once("=/").ok_or_else(wrong)?;
        let path = |text: &str| {
            let path = Path::new(text);
            if !path.is_absolute() {
                return Err(wrong());
            }
            let clean = absolute(path).map_err(|_| wrong())?;
            Ok(to_archive(&clean)?)
        };
        Ok(Self { old: path(old)?, new: path(&format!("/{new}"))? })
    }

    /// Where `path` goes if this mapping is about it.
    fn apply(&self, path: &ArchivePath) -> Option<ArchivePath> {
        let mut rest = path.components().skip(self.old.components().count());
        // A path that gets too long stays where it was.
        self.old.contains(path).then(|| rest.try_fold(self.new.clone(), |new, name| new.join(name)))?.ok()
    }
}

/// Every path becomes a name in the target's directory, as `cp -a PATH… DIR` would make it.
pub fn items_by_name(paths: &[ArchivePath]) -> Result<Vec<Item>, RestoreError> {
    let mut items: Vec<Item> = Vec::new();
    for path in paths {
        let name = path.name().to_vec();
        if path.parent().is_none() {
            return Err(RestoreError::Usage(format!(
                "{path} has no name: leave it out to restore everything"
            )));
        }
        if let Some(other) = items.iter().find(|item| item.names[0] == name && item.path != *path) {
            return Err(RestoreError::Usage(format!(
                "{path} and {} have the same name: restore them one after the other",
                other.path
            )));
        }
        if items.iter().all(|item| item.path != *path) {
            items.push(Item {
                path: path.clone(),
                names: vec![name],
                above: Vec::new(),
                without: Vec::new(),
            });
        }
    }
    Ok(items)
}

/// Every path keeps its full path below the target's directory, but for what is mapped elsewhere. Paths below others are restored with those.
pub fn items_at_full_path(paths: &[ArchivePath], mappings: &[Mapping]) -> Vec<Item> {
    let mut paths = paths.to_vec();
    paths.sort_by_key(ArchivePath::key);
    paths.dedup();
    let whole = paths.clone();
    paths.retain(|path| !whole.iter().any(|other| other != path && other.contains(path)));
    let mapped_below: Vec<&Mapping> = mappings
        .iter()
        .filter(|mapping| paths.iter().any(|path| path != &mapping.old && path.contains(&mapping.old)))
        .collect();
    let all = paths.iter().cloned().chain(mapped_below.iter().map(|mapping| mapping.old.clone()));
    let all: Vec<ArchivePath> = all.collect();
    all.iter()
        .map(|path| {
            // The mapping that says most precisely what is meant.
            let target = mappings
                .iter()
                .filter(|mapping| mapping.old.contains(path))
                .max_by_key(|mapping| mapping.old.depth())
                .and_then(|mapping| mapping.apply(path));
            let without =
                all.iter().filter(|other| *other != path && path.contains(other)).cloned().collect();
            item(path, target.as_ref(), without)
        })
        .collect()
}

fn item(path: &ArchivePath, target: Option<&ArchivePath>, without: Vec<ArchivePath>) -> Item {
    let names = names(target.unwrap_or(path));
    let mut above = Vec::new();
    let mut ancestor = path.parent();
    while above.len() + 1 < names.len() {
        above.push(match (target, &ancestor) {
            (None, Some(ancestor)) => Some(ancestor.clone()),
            (_, _) => None,
        });
        ancestor = ancestor.and_then(|path| path.parent());
    }
    above.reverse();
    Item { path: path.clone(), names, above, without }
}

/// Names below the target's directory: a Unix root has none, a drive or share is a directory.
fn names(path: &ArchivePath) -> Vec<Vec<u8>> {
    let mut components = path.components();
    let root = components.next().filter(|root| *root != b"/").map(|root| root_to_name(root).into_owned());
    root.into_iter().chain(components.map(<[u8]>::to_vec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ArchivePath {
        to_archive(Path::new(text)).unwrap()
    }

    fn shown(items: &[Item]) -> Vec<String> {
        let place = |item: &Item| {
            let names: Vec<_> = item.names.iter().map(|name| String::from_utf8_lossy(name)).collect();
            let without: String = item.without.iter().map(|path| format!(" without {path}")).collect();
            format!("{} to {}{without}", item.path, names.join("/"))
        };
        items.iter().map(place).collect()
    }

    #[test]
    fn by_name() {
        let items = items_by_name(&[path("/home/a"), path("/b"), path("/home/a")]).unwrap();
        assert_eq!(shown(&items), ["/home/a to a", "/b to b"]);
        assert!(matches!(items_by_name(&[path("/x/a"), path("/y/a")]), Err(RestoreError::Usage(_))));
        assert!(matches!(items_by_name(&[path("/")]), Err(RestoreError::Usage(_))));
    }

    #[test]
    fn at_full_path() {
        let map = |text: &str| Mapping::parse(text).unwrap();
        let check = |paths: &[&str], maps: &[&str], expected: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
            let maps: Vec<_> = maps.iter().map(|text| map(text)).collect();
            assert_eq!(shown(&items_at_full_path(&paths, &maps)), expected);
        };
        check(&["/home", "/home/a", "/etc"], &[], &["/etc to etc", "/home to home"]);
        check(&["/home/alice/x"], &["/home/alice=/home/bob"], &["/home/alice/x to home/bob/x"]);
        check(
            &["/home"],
            &["/home/alice=/data/al", "/etc=/x"],
            &["/home to home without /home/alice", "/home/alice to data/al"],
        );
        check(&["/homer"], &["/home=/x"], &["/homer to homer"]);
        check(&["/a/b/c"], &["/a=/1", "/a/b=/2"], &["/a/b/c to 2/c"]);
        check(&["/"], &[], &["/ to "]);
    }

    #[test]
    fn directories_above_are_those_of_the_archive_unless_mapped() {
        let items = items_at_full_path(&[path("/a/b/c")], &[]);
        assert_eq!(items[0].above, [Some(path("/a")), Some(path("/a/b"))]);
        let items = items_at_full_path(&[path("/a/b/c")], &[Mapping::parse("/a/b=/x/y/z").unwrap()]);
        assert_eq!(items[0].above, [None, None, None]);
    }

    #[test]
    fn mappings_are_two_absolute_paths() {
        for text in ["", "=", "/a", "/a=", "a=/b", "/a=b"] {
            assert!(Mapping::parse(text).is_err(), "{text}");
        }
        assert_eq!(Mapping::parse("/a=b=/c/../d").unwrap(), Mapping { old: path("/a=b"), new: path("/d") });
    }
}
