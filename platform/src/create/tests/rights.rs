//! Owners, modes, access lists and flags: what is set, what is not, and what is said about it.

use std::sync::Arc;

use backstore_protocol::entry::{Entry, Kind, Principal, PrincipalId, Time};
use proptest::prelude::*;
use rustix::fs::{XattrFlags, lsetxattr};

use super::super::*;
use super::{PRIVILEGED, USUAL, entry, folders, mode, parts, wanted};
use crate::metadata::{PrincipalIds, Subject, XattrReader};
use crate::testing::{is_ordinary_user, is_root, skip};
use crate::walk::stat_file;

#[test]
fn what_needs_privilege_is_left_out_unless_asked_for() {
    let (_folder, target) = folders();
    let mut ids = PrincipalIds::default();
    for kind in [Kind::CharacterDevice, Kind::BlockDevice] {
        let left_out = target.create_special(b"device", kind, (1, 3), &USUAL).unwrap().expect("not made");
        assert_eq!(parts(&[left_out]), [(Part::Device, "not asked")]);
        assert!(target.stat(b"device").unwrap().is_none());
    }
    let file = target.create_file(b"file").unwrap();
    let all_bits = entry(Kind::File, 0o7755);
    let xattrs = [
        (&b"security.capability"[..], &b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]),
        (b"trusted.t", b"t"),
    ];
    let left_out = finish_file(&file, &Wanted { entry: &all_bits, xattrs: &xattrs }, &USUAL, &mut ids);
    let expected = [
        (Part::SpecialMode, "not asked"),
        (Part::PrivilegedXattr, "not asked"),
        (Part::PrivilegedXattr, "not asked"),
    ];
    assert_eq!(parts(&left_out), expected);
    assert_eq!(mode(&file), 0o755);
    // Asked for, but the owner is not the archived one: a file that acts for its owner would act for the wrong one.
    let wrong_owner = Policy { owners: Owners::Current, ..PRIVILEGED };
    let left_out = finish_file(&file, &wanted(&all_bits), &wrong_owner, &mut ids);
    assert_eq!(parts(&left_out), [(Part::SpecialMode, "not permitted")]);
    assert_eq!(mode(&file), 0o1755);
    // Sticky protects what is in a directory that all may write to, so it stays.
    let directory = target.make_directory(b"tmp").unwrap();
    assert!(
        finish_directory(&directory, &wanted(&entry(Kind::Directory, 0o1777)), &USUAL, &mut ids).is_empty()
    );
    assert_eq!(target.stat(b"tmp").unwrap().unwrap().mode, 0o1777);
    let left_out = finish_directory(&directory, &wanted(&entry(Kind::Directory, 0o3777)), &USUAL, &mut ids);
    assert_eq!(parts(&left_out), [(Part::SpecialMode, "not asked")]);
}

#[test]
fn an_ordinary_user_gets_what_it_may_have() {
    if !is_ordinary_user("create::tests::rights::an_ordinary_user_gets_what_it_may_have") {
        return;
    }
    let (_folder, target) = folders();
    let roots = Arc::new(Principal { id: PrincipalId::Unix(0), name: b"root"[..].into() });
    let archived = Entry { owner: roots.clone(), group: roots, ..entry(Kind::File, 0o6750) };
    let file = target.create_file(b"file").unwrap();
    let xattrs = [(&b"trusted.t"[..], &b"t"[..])];
    let left_out = finish_file(
        &file,
        &Wanted { entry: &archived, xattrs: &xattrs },
        &PRIVILEGED,
        &mut PrincipalIds::default(),
    );
    let expected = [
        (Part::Owner, "not permitted"),
        (Part::Group, "not permitted"),
        (Part::SpecialMode, "not permitted"),
        (Part::PrivilegedXattr, "not permitted"),
    ];
    let mut found = parts(&left_out);
    found.sort_unstable();
    if cfg!(target_os = "linux") {
        assert_eq!(found, expected);
        let device = target
            .create_special(b"device", Kind::BlockDevice, (8, 0), &PRIVILEGED)
            .unwrap()
            .expect("not made");
        assert_eq!(parts(&[device]), [(Part::Device, "not permitted")]);
    }
    assert_eq!(mode(&file), 0o750);
    assert_eq!(stat_file(&file).unwrap().mtime, archived.mtime);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Whatever is archived and asked for, nobody gets a right that the archive does not give.
    #[test]
    fn no_mode_is_broader_than_archived(
        archived in 0u16..=0o7777, is_directory in any::<bool>(), mask in 0u16..=0o777, masked in any::<bool>(),
        privileged in any::<bool>(), existing in 0u16..=0o777,
    ) {
        let (_folder, target) = folders();
        let policy = Policy { modes: if masked { Modes::Masked(mask) } else { Modes::Archived }, privileged, ..USUAL };
        let expected = if masked { archived & 0o777 & !mask } else { archived & 0o777 };
        let kind = if is_directory { Kind::Directory } else { Kind::File };
        let entry = entry(kind, archived);
        let found = if is_directory {
            let directory = target.make_directory(b"x").unwrap();
            rustix::fs::fchmod(&directory, rustix::fs::Mode::from_raw_mode(existing.into())).unwrap();
            finish_directory(&directory, &wanted(&entry), &policy, &mut PrincipalIds::default());
            directory.as_directory().full_stat_self().unwrap().basic.mode
        } else {
            let file = target.create_file(b"x").unwrap();
            prop_assert_eq!(mode(&file), 0o1600, "before it is finished");
            prop_assert!(is_unfinished(&stat_file(&file).unwrap()));
            finish_file(&file, &wanted(&entry), &policy, &mut PrincipalIds::default());
            mode(&file)
        };
        prop_assert_eq!(found & !archived, 0);
        prop_assert_eq!(found & 0o777, expected);
        // So that the folder can be removed.
        rustix::fs::chmodat(&target, "x", rustix::fs::Mode::RWXU, rustix::fs::AtFlags::empty()).unwrap();
    }
}

#[test]
fn owners_are_found_by_name_or_number() {
    if !is_root() {
        return;
    }
    let (_folder, target) = folders();
    let mut ids = PrincipalIds::default();
    let principal = |id, name: &[u8]| Arc::new(Principal { id: PrincipalId::Unix(id), name: name.into() });
    let mut check = |owner: &Arc<Principal>, owners, expected: u32| {
        let archived =
            Entry { owner: owner.clone(), group: principal(4_321, b""), ..entry(Kind::File, 0o640) };
        let file = target.create_file(b"file").unwrap();
        let policy = Policy { owners, ..USUAL };
        assert!(finish_file(&file, &wanted(&archived), &policy, &mut ids).is_empty());
        let stat = stat_file(&file).unwrap();
        assert_eq!(stat.owner, Some(expected), "{owner:?} {owners:?}");
        assert_eq!(stat.group, Some(if owners == Owners::Current { 0 } else { 4_321 }));
        assert_eq!(stat.mode, 0o640);
        target.remove_file(b"file").unwrap();
    };
    let daemon = PrincipalIds::default().user(b"daemon").expect("every Unix has a daemon");
    check(&principal(7_777, b"daemon"), Owners::ByName, daemon);
    check(&principal(7_777, b"daemon"), Owners::ById, 7_777);
    check(&principal(7_777, b"daemon"), Owners::Current, 0);
    check(&principal(7_777, b"nobody here has this name"), Owners::ByName, 7_777);
    check(&Arc::default(), Owners::ByName, 0);
}

#[test]
fn a_time_the_file_system_cannot_keep_is_said() {
    let (folder, target) = folders();
    for seconds in [i64::from(u32::MAX) + 1, 20_000_000_000, 1 << 40, -1, -(1 << 32), -(1 << 40)] {
        let file = target.create_file(b"file").unwrap();
        let archived = Entry { mtime: Time { seconds, nanoseconds: 1 }, ..entry(Kind::File, 0o600) };
        let left_out = finish_file(&file, &wanted(&archived), &USUAL, &mut PrincipalIds::default());
        let kept = stat_file(&file).unwrap().mtime;
        match &left_out[..] {
            [] => assert_eq!(kept, archived.mtime),
            [LeftOut { part: Part::Times, reason: Reason::Clamped { kept: said }, .. }] => {
                assert!(*said == kept && kept.seconds != seconds, "{said:?} {kept:?}");
            }
            others => panic!("{seconds} on {}: {others:?}", folder.path().display()),
        }
        target.remove_file(b"file").unwrap();
    }
}

#[test]
fn what_is_not_asked_for_stays() {
    let (_folder, target) = folders();
    let nothing = Policy {
        modes: Modes::Masked(0o077),
        owners: Owners::Current,
        xattrs: false,
        times: false,
        attributes: false,
        privileged: false,
    };
    let file = target.create_file(b"file").unwrap();
    let before = stat_file(&file).unwrap();
    let archived = Entry { attributes: u32::MAX, ..entry(Kind::File, 0o7777) };
    let wanted = Wanted { entry: &archived, xattrs: &[(b"user.x", b"1")] };
    prepare_file(&file, &wanted, &nothing);
    let left_out = finish_file(&file, &wanted, &nothing, &mut PrincipalIds::default());
    assert_eq!(parts(&left_out), [(Part::Xattr, "not asked")]);
    assert_eq!(left_out[0].name.as_deref(), Some(&b"user.x"[..]));
    let after = stat_file(&file).unwrap();
    assert_eq!((after.mtime, after.mode, after.owner), (before.mtime, 0o700, before.owner));

    let implied = target.make_directory(b"implied").unwrap();
    let entry = entry(Kind::ImpliedDirectory, 0o755);
    assert!(
        finish_directory(
            &implied,
            &Wanted { entry: &entry, xattrs: &[] },
            &PRIVILEGED,
            &mut PrincipalIds::default()
        )
        .is_empty()
    );
    let found = target.stat(b"implied").unwrap().unwrap();
    assert!(found.mode == 0o1700 && is_unfinished(&found));
}

#[test]
fn an_existing_directory_becomes_as_archived() {
    let (folder, target) = folders();
    let directory = target.make_directory(b"directory").unwrap();
    let path = folder.path().join("target/directory");
    if lsetxattr(&path, "user.stray", b"x", XattrFlags::empty()).is_err() {
        return skip(&format!("{} has no extended attributes", path.display()));
    }
    lsetxattr(&path, "user.both", b"old", XattrFlags::empty()).unwrap();
    let entry = entry(Kind::Directory, 0o750);
    let wanted = Wanted { entry: &entry, xattrs: &[(b"user.both", b"new")] };
    assert!(finish_directory(&directory, &wanted, &USUAL, &mut PrincipalIds::default()).is_empty());
    let found = XattrReader::default().read(Subject::Directory(directory.as_directory())).found;
    assert_eq!((found.len(), &*found[0].name, &*found[0].value), (1, &b"user.both"[..], &b"new"[..]));
}
