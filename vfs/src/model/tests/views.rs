//! Made-up directories, links and files.

use super::*;

fn id_of(version: &Version) -> String {
    version.id.to_string()
}

/// Versions of 1970-01-12 14:46:40 + 10 s each, of the two days after, and of the next year.
fn several(archive: &mut TestArchive) -> Vec<Version> {
    archive.add(&unix("/x"), Entry::new(Kind::File), &file(b"abc"));
    let root = archive.finish();
    let seconds = [1_000_010, 1_000_020, 1_086_400, 1_119_500, 40_000_000];
    let versions = seconds.iter().zip(1..);
    versions.map(|(second, sequence)| Version { root, ..version(sequence, *second) }).collect()
}

fn target(snapshots: &Snapshots, path: &str) -> String {
    let found = find(snapshots, path).unwrap_or_else(|problem| panic!("{path}: {problem}"));
    assert_eq!(found.kind, FileKind::Symlink, "{path}");
    let target = snapshots.read_link(found.ino, WAIT).unwrap();
    assert_eq!(found.size, target.len() as u64);
    String::from_utf8(target).unwrap()
}

#[test]
fn times_lead_to_the_newest_version_at_or_before_them() {
    let mut archive = TestArchive::new();
    let versions = several(&mut archive);
    let snapshots = snapshots(&archive, versions[..4].to_vec());
    for (name, version) in [
        ("1970-01-12", "1970-01-12_14-47-00"),
        ("1970-01", "1970-01-13_23-58-20"),
        ("1970-01-12_14-46", "1970-01-12_14-46-50"),
        ("1970-01-12T13:46:50Z", "1970-01-12_14-46-50"),
        ("1970-01-12T13:46:59+00:00", "1970-01-12_14-46-50"),
        ("@1000010", "1970-01-12_14-46-50"),
        ("@GMT-1970.01.12-13.47.00", "1970-01-12_14-47-00"),
        ("today", "1970-01-13_23-58-20"),
        ("yesterday", "1970-01-13_23-58-20"),
        ("1d", "1970-01-12_14-47-00"),
        ("1h", "1970-01-13_14-46-40"),
    ] {
        assert_eq!(target(&snapshots, name), version, "{name}");
        let found = snapshots.lookup(Ino::ROOT, name.as_bytes(), WAIT).unwrap();
        assert_eq!(found.validity, Validity::Briefly, "{name}");
    }
    for name in ["1970-01-11", "@5", "9w", "latest ", "1970", ".Trash", "x", "1970-01-12_14-46-55", ""] {
        assert!(matches!(find(&snapshots, name), Err(Problem::NotFoundYet)), "{name:?}");
    }
    let id = id_of(&versions[1]);
    assert_eq!(target(&snapshots, &id[..8]), "1970-01-12_14-47-00");
}

#[test]
fn the_calendar_leads_to_every_version() {
    let mut archive = TestArchive::new();
    let versions = several(&mut archive);
    let snapshots = snapshots(&archive, versions);
    assert_eq!(target(&snapshots, "by-time"), ".backstore/by-time");
    let hub = ".backstore/by-time";
    let listed = |path: &str| names(&snapshots, find(&snapshots, path).unwrap().ino);
    assert_eq!(listed(hub), ["1970", "1971"]);
    assert_eq!(listed(&format!("{hub}/1970")), ["1970-01"]);
    assert_eq!(listed(&format!("{hub}/1970/1970-01")), ["1970-01-12", "1970-01-13"]);
    let day = format!("{hub}/1970/1970-01/1970-01-12");
    assert_eq!(listed(&day), ["14-46-50", "14-47-00"]);
    assert_eq!(target(&snapshots, &format!("{day}/14-47-00")), "../../../../../1970-01-12_14-47-00");
    for path in ["1969", "1970/1970-02", "1970/1970-01/1970-01-11", "1970/1970-01/1970-01-12/14-46-51"] {
        assert!(matches!(find(&snapshots, &format!("{hub}/{path}")), Err(Problem::NotFoundYet)), "{path}");
    }
}

#[test]
fn ids_and_times_of_greenwich_lead_to_versions() {
    let mut archive = TestArchive::new();
    let mut versions = several(&mut archive);
    // Another of the same second.
    versions.push(Version { sequence: 6, ..versions[4].clone() });
    let snapshots = snapshots(&archive, versions.clone());
    let listed = |path: &str| names(&snapshots, find(&snapshots, path).unwrap().ino);
    let ids: Vec<_> = versions.iter().rev().map(id_of).collect();
    assert_eq!(listed(".backstore/ids"), ids);
    let id = format!(".backstore/ids/{}", id_of(&versions[0]));
    assert_eq!(target(&snapshots, &id), "../../1970-01-12_14-46-50");
    assert_eq!(target(&snapshots, &id[..id.len() - 50]), "../../1970-01-12_14-46-50");
    let gmt = listed(".backstore/gmt");
    assert_eq!(gmt.len(), 5, "one for each second");
    assert!(gmt.is_sorted_by(|a, b| a > b), "Samba takes them as they come: {gmt:?}");
    assert_eq!(gmt[4], "@GMT-1970.01.12-13.46.50");
    assert_eq!(target(&snapshots, &format!(".backstore/gmt/{}", gmt[4])), "../../1970-01-12_14-46-50");
    assert_eq!(target(&snapshots, &format!(".backstore/gmt/{}", gmt[0])), "../../1971-04-09_00-06-40_2");
}

#[test]
fn only_versions_are_real_directories() {
    let mut archive = TestArchive::new();
    let versions = several(&mut archive);
    let snapshots = snapshots(&archive, versions);
    let listed = list(&snapshots, Ino::ROOT);
    let is_version = |name: &[u8]| name.starts_with(b"197");
    for (name, attributes) in &listed {
        let kind = if is_version(name) { FileKind::Directory } else { FileKind::Symlink };
        assert_eq!(attributes.kind, kind, "{}", name.escape_ascii());
    }
    assert_eq!(listed.iter().filter(|(name, _)| is_version(name)).count(), 5);
    assert!(listed.iter().all(|(name, _)| name != b".backstore"), "whoever walks must not enter it");
}

#[test]
fn what_is_in_the_hub_is_found_above_it() {
    let mut archive = TestArchive::new();
    let versions = several(&mut archive);
    let snapshots = snapshots(&archive, versions);
    let hub = find(&snapshots, ".backstore").unwrap().ino;
    let names: Vec<_> = list(&snapshots, hub).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| name == b"tags"), "{names:?}");
    for name in names {
        let name = String::from_utf8(name).unwrap();
        assert_eq!(target(&snapshots, &name), format!(".backstore/{name}"));
    }
    // Without an index there is no past.
    assert!(find(&snapshots, "history").is_err());
}

#[test]
fn listings_of_views_continue_anywhere() {
    let mut archive = TestArchive::new();
    let root = archive.finish();
    let versions = (1..=300).map(|sequence| at(sequence * 1000, root)).collect();
    let snapshots = snapshots(&archive, versions);
    let day = ".backstore/by-time/1970/1970-01/1970-01-12";
    for path in ["", ".backstore", ".backstore/ids", ".backstore/gmt", ".backstore/by-time", day] {
        let ino = if path.is_empty() { Ino::ROOT } else { find(&snapshots, path).unwrap().ino };
        let whole = list(&snapshots, ino);
        assert!(!whole.is_empty(), "{path}");
        for at_once in [1, 3, 7] {
            assert_eq!(list_in_steps(&snapshots, ino, at_once).unwrap(), whole, "{path}");
        }
        for (name, attributes) in &whole {
            assert_eq!(snapshots.lookup(ino, name, WAIT).unwrap().attributes, *attributes, "{path}");
            assert_eq!(snapshots.attributes(attributes.ino, WAIT).unwrap(), *attributes, "{path}");
        }
    }
}

#[test]
fn the_folder_says_what_it_is() {
    let mut archive = TestArchive::new();
    let versions = several(&mut archive);
    let snapshots = snapshots(&archive, versions);
    assert_eq!(target(&snapshots, "README.txt"), ".backstore/README.txt");
    let text = |path: &str| {
        let found = find(&snapshots, path).unwrap();
        let bytes = content(&snapshots, found.ino).unwrap();
        assert_eq!((found.kind, found.size), (FileKind::File, bytes.len() as u64), "{path}");
        assert!(snapshots.read(found.ino, found.size, 10, WAIT).unwrap().runs.is_empty());
        assert!(matches!(snapshots.seek_data(found.ino, found.size), Err(Problem::NothingThere)));
        String::from_utf8(bytes).unwrap()
    };
    assert!(text(".backstore/README.txt").contains("cp -a latest"));
    let status: serde_json::Value = serde_json::from_str(&text(".backstore/status.json")).unwrap();
    assert_eq!((&status["set"], &status["versions"]), (&"main".into(), &5.into()));
    assert_eq!(status["newest"]["name"], "1971-04-09_00-06-40");
    assert_eq!((&status["requests"]["reads"], &status["objects"]["sealed_bytes"]), (&0.into(), &0.into()));
    let all: serde_json::Value = serde_json::from_str(&text(".backstore/versions.json")).unwrap();
    assert_eq!(all["versions"].as_array().unwrap().len(), 5);
    assert_eq!(all["versions"][4]["started_at"], "1970-01-12T13:46:50.250Z");
    assert_eq!(text(".metadata_never_index"), "");
    let before = find(&snapshots, ".backstore/status.json").unwrap().ino;
    snapshots.set_versions(Vec::new());
    assert_ne!(find(&snapshots, ".backstore/status.json").unwrap().ino, before, "another text, another file");
}

#[test]
fn versions_are_named_in_utc_if_asked_for() {
    let mut archive = TestArchive::new();
    let versions = several(&mut archive);
    let reader = ObjectReader::new(archive.source(), archive.keys(), &ReaderOptions::default()).unwrap();
    let snapshots = Snapshots::new(&reader, FolderOptions { utc: true, ..options_of_folder() }).unwrap();
    snapshots.set_versions(versions);
    assert_eq!(snapshots.version_names()[4], "1970-01-12_13-46-50Z");
    let day = ".backstore/by-time/1970/1970-01/1970-01-12";
    assert_eq!(names(&snapshots, find(&snapshots, day).unwrap().ino), ["13-46-50Z", "13-47-00Z"]);
    // Wall times stay those of the set.
    assert_eq!(target(&snapshots, "1970-01-12_14-46"), "1970-01-12_13-46-50Z");
}

#[test]
fn made_up_directories_that_somebody_knows_have_changed() {
    let mut archive = TestArchive::new();
    let versions = several(&mut archive);
    let snapshots = snapshots(&archive, versions);
    let ids = find(&snapshots, ".backstore/ids").unwrap().ino;
    let changed = snapshots.set_versions(Vec::new()).directories;
    assert!(changed.contains(&Ino::ROOT) && changed.contains(&ids));
    assert!(names(&snapshots, ids).is_empty());
}
