//! The source of this workspace as text: its members, their dependencies and their files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A crate of the workspace.
pub(crate) struct Member {
    /// Its folder, from the root of the workspace.
    pub(crate) folder: String,
    /// Its name.
    pub(crate) name: String,
    /// What it depends on outside of tests, by name, on any system.
    pub(crate) dependencies: BTreeSet<String>,
    /// What its tests depend on besides.
    pub(crate) test_dependencies: BTreeSet<String>,
    /// Whether some of them are for some systems only.
    pub(crate) has_system_dependencies: bool,
}

/// A source file.
pub(crate) struct Source {
    /// Its path from the root of the workspace, with `/` on every system.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are in a folder of the workspace").to_owned()
}

/// All crates of the workspace.
pub(crate) fn members() -> Vec<Member> {
    let workspace = manifest(&root());
    let folders = workspace["workspace"]["members"].as_array().expect("a list of members");
    folders.iter().map(|folder| member(folder.as_str().expect("a folder"))).collect()
}

/// All Rust files of the workspace, fuzz targets included.
pub(crate) fn sources() -> Vec<Source> {
    let root = root();
    let mut files = Vec::new();
    for member in members() {
        collect(&root.join(member.folder), &mut files);
    }
    files.sort();
    files.dedup();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let names = path.strip_prefix(&root).expect("a file of the workspace").iter();
        Source { path: names.map(|name| name.to_string_lossy()).collect::<Vec<_>>().join("/"), text }
    };
    files.iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

fn member(folder: &str) -> Member {
    let manifest = manifest(&root().join(folder));
    let names = |kind: &str, table: &toml::Table| -> Vec<String> {
        let dependencies = table.get(kind).and_then(toml::Value::as_table);
        dependencies.into_iter().flat_map(|dependencies| dependencies.keys().cloned()).collect()
    };
    let targets = manifest.get("target").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let by_system: Vec<_> = targets.values().filter_map(toml::Value::as_table).collect();
    let of = |kind: &str| {
        by_system
            .iter()
            .copied()
            .chain([&manifest])
            .flat_map(|table| names(kind, table))
            .collect::<BTreeSet<_>>()
    };
    Member {
        folder: folder.to_owned(),
        name: manifest["package"]["name"].as_str().expect("a name").to_owned(),
        dependencies: &of("dependencies") | &of("build-dependencies"),
        test_dependencies: of("dev-dependencies"),
        has_system_dependencies: !targets.is_empty(),
    }
}

fn manifest(folder: &Path) -> toml::Table {
    let path = folder.join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
