//! Random trees of files, and what they hold: what the tests compare the filesystem with.

use std::collections::BTreeMap;
use std::sync::Arc;

use backstore_protocol::entry::{Entry, Kind, Principal, PrincipalId, Time};
use backstore_protocol::path::{ArchivePath, check_name};
use backstore_protocol::tree::Root;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::test_archive::{Part, TestArchive};

/// A path with its attributes and content.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: ArchivePath,
    pub(crate) entry: Entry,
    pub(crate) parts: Vec<Part>,
}

impl File {
    /// Its bytes, holes as zeroes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.parts
            .iter()
            .flat_map(|part| match part {
                Part::Data(bytes) => bytes.clone(),
                Part::Hole(length) => vec![0; *length as usize],
            })
            .collect()
    }
}

/// Files in key order, with a directory above each, all below `/`.
pub(crate) fn any_tree() -> impl Strategy<Value = Vec<File>> {
    let name = prop_oneof![
        3 => prop_oneof![Just(b"a".to_vec()), Just(b"b".to_vec()), Just(b"b.c".to_vec()), Just("ä".as_bytes().to_vec())],
        1 => vec(any::<u8>(), 1..9).prop_filter("a name", |name| check_name(name).is_ok()),
        1 => Just(vec![0xff; 255]),
    ];
    let file = (vec(name, 1..5), any_entry(), any_parts());
    vec(file, 0..40).prop_map(|files| {
        let mut tree = BTreeMap::new();
        for (names, entry, parts) in files {
            insert(&mut tree, &names, entry, parts);
        }
        tree.into_values().collect()
    })
}

fn insert(tree: &mut BTreeMap<Vec<u8>, File>, names: &[Vec<u8>], entry: Entry, parts: Vec<Part>) {
    let mut path = ArchivePath::unix_root();
    for name in names {
        tree.entry(path.key()).and_modify(become_directory).or_insert_with(|| File {
            path: path.clone(),
            entry: Entry::new(Kind::ImpliedDirectory),
            parts: Vec::new(),
        });
        path = path.join(name).expect("a short path");
    }
    tree.entry(path.key()).or_insert(File { path, entry, parts });
}

fn become_directory(file: &mut File) {
    if !file.entry.kind.is_directory() {
        file.entry = Entry { mode: 0o755, ..Entry::new(Kind::Directory) };
        file.parts.clear();
    }
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![6 => Just(Kind::File), 1 => (1..8u8).prop_map(|number| Kind::from_number(number).expect("a kind"))];
    let time = (any::<i64>().prop_map(|seconds| seconds >> 28), 0..1_000_000_000u32);
    let numbers =
        (0..0o10000u16, prop_oneof![Just(1000u32), any::<u32>()], any::<u32>(), any::<(u16, u16)>());
    (kind, time.clone(), time, numbers).prop_map(|(kind, mtime, ctime, (mode, owner, group, device))| {
        let mut entry = Entry::new(kind);
        entry.mode = mode;
        let unix = |id| Arc::new(Principal { id: PrincipalId::Unix(id), name: Box::default() });
        (entry.owner, entry.group) = (unix(owner), unix(group));
        entry.mtime = Time { seconds: mtime.0, nanoseconds: mtime.1 };
        entry.ctime = Time { seconds: ctime.0, nanoseconds: ctime.1 };
        if kind.is_device() {
            entry.device = (u32::from(device.0), u32::from(device.1));
        }
        entry
    })
}

/// Parts of a file; what they are for other kinds is decided by [`build`].
fn any_parts() -> impl Strategy<Value = Vec<Part>> {
    let data = prop_oneof![
        4 => vec(any::<u8>(), 1..1500),
        2 => (1..30_000usize, any::<u8>()).prop_map(|(length, byte)| (0..length).map(|at| byte.wrapping_add((at / 7) as u8)).collect()),
        1 => (1..60_000usize, any::<u64>()).prop_map(|(length, seed)| noise(length, seed)),
    ];
    let part = prop_oneof![5 => data.prop_map(Part::Data), 1 => (1..9000u64).prop_map(Part::Hole)];
    prop_oneof![4 => vec(part.clone(), 0..2), 1 => vec(part, 0..40)]
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Puts `files` into a snapshot. Contents of anything but files are made to fit their kind.
pub(crate) fn build(archive: &mut TestArchive, files: &mut [File]) -> Root {
    for file in files.iter_mut() {
        match file.entry.kind {
            Kind::File => {}
            Kind::Symlink => file.parts = vec![Part::Data(b"../target of a link".to_vec())],
            Kind::Directory
            | Kind::ImpliedDirectory
            | Kind::Fifo
            | Kind::Socket
            | Kind::CharacterDevice
            | Kind::BlockDevice => file.parts.clear(),
        }
        archive.add(&file.path, file.entry.clone(), &file.parts);
    }
    archive.finish()
}
