//! Paths as they are typed: absolute, from the current folder, or pasted from a mount.

use std::path::{Component, Path};

use backstore_platform::mounts::MountTable;
use backstore_platform::paths::{absolute, name_to_archive, to_archive};
use backstore_protocol::path::ArchivePath;
use backstore_vfs::moment::is_version_name;

use super::ReadingError;

/// What a path may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, by the path it had when it was backed up.
    pub path: ArchivePath,
    /// The version that the path itself names: it lies in a mount.
    pub version: Option<String>,
    /// What it means if `path` is not in the archive: a mount that is no longer there may have shown it.
    pub pasted: Option<Box<Self>>,
}

impl Place {
    /// The paths it may mean.
    pub fn meanings(&self) -> impl Iterator<Item = &ArchivePath> {
        std::iter::once(&self.path).chain(self.pasted.as_deref().map(|pasted| &pasted.path))
    }

    /// Reads a path.
    pub fn parse(text: &Path) -> Result<Self, ReadingError> {
        // Where the system tells of no mounts, the text alone decides.
        Self::parse_with(text, MountTable::read().ok().as_ref())
    }

    fn parse_with(text: &Path, mounts: Option<&MountTable>) -> Result<Self, ReadingError> {
        let full = absolute(text)
            .map_err(|source| ReadingError::Place { path: text.display().to_string(), source })?;
        let mount = mounts.and_then(|mounts| mounts.of_path(&full)).filter(|mount| mount.is_own());
        if let Some(inside) = mount.and_then(|mount| full.strip_prefix(&mount.point).ok()) {
            return Self::in_mount(inside);
        }
        let mut place = Self { path: to_archive(&full)?, version: None, pasted: None };
        let components: Vec<_> = full.components().collect();
        let names_version = |component: &Component<'_>| match component {
            Component::Normal(name) => name.to_str().is_some_and(is_version_name),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => false,
        };
        if let Some(at) = components.iter().position(names_version) {
            let inside: std::path::PathBuf = components[at..].iter().collect();
            place.pasted = Some(Box::new(Self::in_mount(&inside)?));
        }
        Ok(place)
    }

    /// A path below a mount: a version, then the full path in it.
    fn in_mount(inside: &Path) -> Result<Self, ReadingError> {
        let mut names = inside.components().map(|component| name_to_archive(component.as_os_str()));
        let version = names.next().map(|name| String::from_utf8_lossy(&name).into_owned());
        let unfit = |source| backstore_platform::paths::PathError::Unfit { path: inside.to_owned(), source };
        let mut names = names.peekable();
        // Drives and shares are folders of their own beside what lies under `/`.
        let root = names.peek().and_then(|name| ArchivePath::root(name).ok());
        let mut path = match root {
            Some(root) => {
                names.next();
                root
            }
            None => ArchivePath::unix_root(),
        };
        for name in names {
            path = path.join(&name).map_err(unfit)?;
        }
        Ok(Self { path, version, pasted: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, path: &str, version: Option<&str>) {
        let place = Place::parse_with(Path::new(text), None).unwrap();
        let place = place.pasted.as_deref().unwrap_or(&place);
        assert_eq!((&*place.path.to_string(), place.version.as_deref()), (path, version), "{text}");
    }

    #[test]
    fn paths_are_read() {
        let here = std::env::current_dir().unwrap();
        check("/home/a", "/home/a", None);
        check("/home/./b/../a/", "/home/a", None);
        check("x", here.join("x").to_str().unwrap(), None);
        check("/backstore/2026-11-22_14-30-05/home/a", "/home/a", Some("2026-11-22_14-30-05"));
        check("/mnt/x/2026-11-22_14-30-05_2/", "/", Some("2026-11-22_14-30-05_2"));
        check("2026-11-22_14-30-05_partial/home/a", "/home/a", Some("2026-11-22_14-30-05_partial"));
        check("/b/2026-11-22_14-30-05/C:/Users", "C:\\Users", Some("2026-11-22_14-30-05"));
    }

    #[test]
    fn what_looks_pasted_is_first_taken_as_it_stands() {
        let place = Place::parse_with(Path::new("/photos/2026-11-22_14-30-05/a.jpg"), None).unwrap();
        assert_eq!(place.path.to_string(), "/photos/2026-11-22_14-30-05/a.jpg");
        assert_eq!(place.version, None);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(Place::parse_with(Path::new(""), None), Err(ReadingError::Place { .. })));
        let long = format!("/{}", "n".repeat(2000));
        assert!(matches!(Place::parse_with(Path::new(&long), None), Err(ReadingError::Path(_))));
    }
}
