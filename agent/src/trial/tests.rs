//! Places are made and removed, and nothing else is.

use std::fs;

use backstore_platform::lock::Lock;
use backstore_platform::process::Interrupts;

use super::*;

#[test]
fn a_place_is_beside_the_folder_and_goes_away() {
    let area = tempfile::tempdir().unwrap();
    let folder = area.path().join("docs");
    fs::create_dir(&folder).unwrap();
    let place = TrialPlace::make(&folder, None, &area.path().join("cache")).unwrap();
    assert_eq!(place.path(), area.path().join(".docs.backstore-try"));
    assert!(place.mount_point().is_dir());
    fs::create_dir_all(place.vault().join("packs")).unwrap();
    fs::write(place.vault().join("packs/x"), "x").unwrap();
    let path = place.path().to_owned();
    assert!(matches!(TrialPlace::make(&folder, None, area.path()), Err(TrialError::Running(_))));
    assert!(path.join("vault/packs/x").is_file(), "a second one removes nothing of the first");
    place.remove().unwrap();
    assert!(!path.exists());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn what_a_killed_trial_left_is_removed() {
    let area = tempfile::tempdir().unwrap();
    let folder = area.path().join("docs");
    fs::create_dir(&folder).unwrap();
    let place = TrialPlace::make(&folder, None, area.path()).unwrap();
    let left = area.path().join("left");
    fs::create_dir_all(place.vault()).unwrap();
    fs::create_dir_all(place.mount_point()).unwrap();
    // As after kill -9: everything stays but the lock.
    fs::create_dir(&left).unwrap();
    for name in ["made-by-backstore-try", "lock"] {
        fs::copy(place.path().join(name), left.join(name)).unwrap();
    }
    fs::create_dir_all(left.join("vault/packs")).unwrap();
    let path = place.path().to_owned();
    drop(place);
    fs::rename(&left, &path).unwrap();
    let place = TrialPlace::make(&folder, None, area.path()).unwrap();
    assert!(!place.vault().exists());
    assert!(Lock::acquire(&path.join("lock")).is_err());
}

#[test]
fn foreign_folders_are_left_alone() {
    let area = tempfile::tempdir().unwrap();
    let folder = area.path().join("docs");
    fs::create_dir(&folder).unwrap();
    let own = area.path().join(".docs.backstore-try");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("precious"), "x").unwrap();
    assert!(matches!(TrialPlace::make(&folder, None, area.path()), Err(TrialError::Taken { .. })));
    assert!(own.join("precious").is_file());
}

#[test]
fn nothing_is_made_in_the_folder() {
    let area = tempfile::tempdir().unwrap();
    let folder = area.path().join("docs");
    fs::create_dir(&folder).unwrap();
    let inside = folder.join("inside");
    assert!(matches!(TrialPlace::make(&folder, Some(&inside), area.path()), Err(TrialError::Inside { .. })));
    let root = std::path::Path::new("/");
    assert!(matches!(TrialPlace::make(root, None, area.path()), Err(TrialError::Nowhere { .. })));
    let elsewhere = area.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let place = TrialPlace::make(&folder, Some(&elsewhere), area.path()).unwrap();
    assert!(place.path().starts_with(&elsewhere));
}

#[test]
fn an_estimate_counts_what_is_there() {
    let area = tempfile::tempdir().unwrap();
    fs::create_dir_all(area.path().join("a/b")).unwrap();
    fs::write(area.path().join("a/x"), vec![1; 10_000]).unwrap();
    fs::write(area.path().join("a/b/y"), vec![1; 5_000]).unwrap();
    let found = estimate(area.path(), &Interrupts::none()).unwrap();
    assert_eq!(found.files, 2);
    assert!(found.bytes <= 15_000, "{found:?}");
    assert!(estimate(&area.path().join("none"), &Interrupts::none()).is_err());
}
