//! Ugly trees come back as they were.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::testing::{describe, set_mtime};

/// Something in a tree.
#[derive(Debug, Clone)]
enum Thing {
    File(usize, u8),
    Sparse(u64),
    Empty,
    Directory,
    Link(Vec<u8>),
    /// One more name of the file made before.
    HardLink,
    Fifo,
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-c]{1,2}".prop_map(String::into_bytes),
        1 => vec(any::<u8>().prop_filter("a name", |byte| *byte != 0 && *byte != b'/'), 1..20)
            .prop_filter("a name", |name| name != b"." && name != b".."),
        1 => Just(vec![0xfe; 255]),
        1 => Just("name with\nnewline \u{1b}[31m".as_bytes().to_vec()),
    ]
}

fn any_thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        4 => (1usize..3000, any::<u8>()).prop_map(|(length, seed)| Thing::File(length, seed)),
        1 => (1_000_000usize..2_500_000, any::<u8>()).prop_map(|(length, seed)| Thing::File(length, seed)),
        1 => (1u64..40).prop_map(|megabytes| Thing::Sparse(megabytes << 20)),
        1 => Just(Thing::Empty),
        2 => Just(Thing::Directory),
        2 => any_name().prop_map(Thing::Link),
        2 => Just(Thing::HardLink),
        1 => Just(Thing::Fifo),
    ]
}

type Spec = (Vec<Vec<u8>>, Thing, u16, i64, u32, bool);

fn any_spec() -> impl Strategy<Value = Spec> {
    let seconds = prop_oneof![3 => 0i64..2_000_000_000, 1 => -2_000_000_000i64..0, 1 => 4_300_000_000i64..15_000_000_000];
    (vec(any_name(), 1..5), any_thing(), 0u16..=0o777, seconds, 0u32..1_000_000_000, any::<bool>())
}

fn make(root: &Path, specs: &[Spec]) {
    let mut last_file = None;
    let mut made = Vec::new();
    for (names, thing, mode, seconds, nanoseconds, has_xattr) in specs {
        let mut path = root.to_path_buf();
        for name in &names[..names.len() - 1] {
            path.push(OsStr::from_bytes(name));
            if fs::create_dir(&path).is_ok() {
                made.push((path.clone(), 0o755, 1_000_000_000, 1));
            }
        }
        path.push(OsStr::from_bytes(&names[names.len() - 1]));
        if !path.parent().unwrap().is_dir() || fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        match thing {
            Thing::File(length, seed) => {
                let bytes: Vec<u8> =
                    (0..*length).map(|at| (at as u8).wrapping_mul(*seed) ^ (at >> 8) as u8).collect();
                fs::write(&path, bytes).unwrap();
                last_file = Some(path.clone());
            }
            Thing::Sparse(length) => {
                let file = fs::File::create(&path).unwrap();
                file.set_len(*length).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, b"island", length / 2).unwrap();
            }
            Thing::Empty => fs::write(&path, "").unwrap(),
            Thing::Directory => fs::create_dir(&path).unwrap(),
            Thing::Link(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), &path).unwrap(),
            Thing::HardLink => {
                let Some(file) = &last_file else { continue };
                fs::hard_link(file, &path).unwrap();
                continue;
            }
            Thing::Fifo => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
        }
        if *has_xattr && !matches!(thing, Thing::Link(_) | Thing::Fifo) {
            // Not every file system has them.
            let _ = rustix_free_xattr(&path);
        }
        made.push((path, *mode, *seconds, *nanoseconds));
    }
    for (path, mode, seconds, nanoseconds) in made.iter().rev() {
        if !fs::symlink_metadata(path).unwrap().is_symlink() {
            let mode = if is_root() { *mode } else { *mode | 0o700 };
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode.into())).unwrap();
        }
        set_mtime(path, *seconds, *nanoseconds);
    }
}

fn is_root() -> bool {
    backstore_platform::process::is_privileged() == Some(true)
}

/// Sets an attribute as a restore would.
fn rustix_free_xattr(path: &Path) -> std::io::Result<()> {
    use backstore_platform::create::{Wanted, finish_file};
    use backstore_protocol::entry::{Entry, Kind};
    let file = fs::File::open(path)?;
    let nothing = Policy { modes: Modes::Masked(0), owners: Owners::Current, times: false, ..USUAL };
    let entry = Entry { mode: 0o700, ..Entry::new(Kind::File) };
    let wanted = Wanted { entry: &entry, xattrs: &[(b"user.note", b"ugly \xff\0 value")] };
    finish_file(&file, &wanted, &nothing, &mut Default::default());
    Ok(())
}

/// One computer, since enrolling one takes longer than the rest; each tree is backed up after the one before.
#[test]
fn what_is_restored_is_what_was_backed_up() {
    let computer = Computer::new();
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, ..ProptestConfig::default() });
    let checked = runner.run(&vec(any_spec(), 0..40), |specs| {
        for folder in ["source", "target"] {
            let _ = fs::remove_dir_all(computer.path(folder));
        }
        fs::create_dir(computer.path("source")).unwrap();
        make(&computer.path("source"), &specs);
        let expected = describe(&computer.path("source"));
        let (report, told) = there_and_back(&computer, &How::default());
        prop_assert_eq!(told, Vec::<String>::new());
        prop_assert_eq!((report.errors, report.unlinked, report.renamed), (0, 0, 0));
        prop_assert_eq!(describe(&computer.path("target/source")), expected);
        let (again, _) = there_and_back(&computer, &How::default());
        prop_assert_eq!(
            (again.files, again.others, again.renamed),
            (0, 0, 0),
            "the second time nothing is left to do"
        );
        Ok(())
    });
    checked.unwrap_or_else(|failed| panic!("{failed}"));
}

/// Longer than any path a system call takes.
#[test]
fn paths_beyond_the_limit_of_the_system() {
    let computer = Computer::new();
    let script =
        "for i in $(seq 30); do n=$(printf 'd%.0s' $(seq 250)); mkdir $n && cd $n; done; echo deep > file";
    let made =
        Command::new("bash").arg("-c").arg(script).current_dir(computer.path("source")).status().unwrap();
    assert!(made.success());
    let (report, told) = there_and_back(&computer, &How::default());
    assert_eq!((report.files, report.directories, told.len()), (1, 31, 0), "{told:?}");
    assert_eq!(describe(&computer.path("target/source")), describe(&computer.path("source")));
}

#[test]
fn rights_of_the_current_user() {
    use std::os::unix::fs::PermissionsExt;
    let computer = Computer::new();
    fs::write(computer.path("source/file"), "1").unwrap();
    fs::set_permissions(computer.path("source/file"), fs::Permissions::from_mode(0o666)).unwrap();
    let policy = Policy { modes: Modes::Masked(0o027), owners: Owners::Current, ..USUAL };
    let (report, _) = there_and_back(&computer, &How { policy, ..How::default() });
    assert_eq!(report.files, 1);
    let mode = fs::metadata(computer.path("target/source/file")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
}
