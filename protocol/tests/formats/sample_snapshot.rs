//! Samples of snapshots, and of the names in them: headers, bodies, keys and paths.

use backstore_protocol::chunker::ChunkerConfig;
use backstore_protocol::ids::{DeviceId, DomainId, LineageId, LogHash, ObjectId, SnapshotId};
use backstore_protocol::path::ArchivePath;
use backstore_protocol::seal_box::SigningKey;
use backstore_protocol::snapshot::{
    Body, Changes, Counts, Cursor, FileError, Header, Mount, SeenHead, Totals,
};
use backstore_protocol::tree::Root;

use crate::fixtures::{noise, noise_array};
use crate::golden::Sample;
use crate::recode::{ACCOUNT, SEED};

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = headers();
    samples.extend(bodies());
    samples.extend(paths());
    samples
}

/// The header of a complete first snapshot.
pub(crate) fn header() -> Header {
    Header {
        is_partial: false,
        account: ACCOUNT,
        device: DeviceId::from_bytes(noise_array("device")),
        lineage: LineageId::from_bytes(noise_array("lineage")),
        generation: 1,
        epoch: 1,
        sequence: 1,
        fencing: 0,
        previous: SnapshotId::ZERO,
        parent: SnapshotId::ZERO,
        root: Root { node: ObjectId::from_bytes(noise_array("root")), level: 0 },
        body: ObjectId::from_bytes(noise_array("body")),
        started_at: 1_795_000_000_000,
        finished_at: 1_795_000_012_345,
        account_log_head: LogHash::from_bytes(noise_array("log head")),
        domain: DomainId::from_bytes(noise_array("domain")),
        entries: 3,
        bytes: 5,
        seen_heads: Vec::new(),
    }
}

fn headers() -> Vec<Sample> {
    let mut seen: Vec<_> = (0..64)
        .map(|at| SeenHead {
            lineage: LineageId::from_bytes(noise_array(&format!("lineage {at}"))),
            sequence: at,
            snapshot: SnapshotId::from_bytes(noise_array(&format!("head {at}"))),
        })
        .collect();
    seen.sort_by_key(|seen| seen.lineage);
    let later = Header {
        sequence: 2,
        fencing: 1,
        previous: SnapshotId::from_bytes(noise_array("previous")),
        parent: SnapshotId::from_bytes(noise_array("parent")),
        ..header()
    };
    let largest = Header {
        generation: u32::MAX,
        epoch: u32::MAX,
        sequence: u64::MAX,
        fencing: u64::MAX,
        root: Root { level: 15, ..header().root },
        started_at: i64::MIN,
        finished_at: i64::MAX,
        entries: u64::MAX,
        bytes: u64::MAX,
        seen_heads: seen.clone(),
        ..later.clone()
    };
    let partial = Header { is_partial: true, seen_heads: seen[..1].to_vec(), ..later.clone() };
    let named =
        [("complete-first", header()), ("complete-later", later), ("partial", partial), ("largest", largest)];
    let samples = named.map(|(name, header)| {
        let key = SigningKey::from_seed(&SEED);
        Sample::new(format!("header/{name}"), header.sign(&key), move |bytes| {
            assert_eq!(Header::decode(bytes), Ok(header.clone()));
            assert_eq!(header.verify(bytes, &key.public_key()), Ok(()));
        })
    });
    samples.into()
}

fn bodies() -> Vec<Sample> {
    let small = Body {
        set: "home".to_owned(),
        system: "linux".to_owned(),
        host: "laptop".to_owned(),
        zone: "Asia/Tokyo".to_owned(),
        agent_version: "0.1.0".to_owned(),
        roots: vec![b"/\0home\0\xff".to_vec()],
        mounts: Vec::new(),
        chunker: ChunkerConfig::default(),
        tags: Vec::new(),
        totals: Totals::default(),
        changes: Changes::default(),
        errors: Vec::new(),
        cursor: None,
        scan_started_ns: 1_795_000_000_000_000_000,
    };
    let mount =
        |ordinal, path: &[u8], kind: &str| Mount { ordinal, path: path.to_vec(), kind: kind.to_owned() };
    let full = Body {
        mounts: vec![mount(0, b"/", "ext4"), mount(u32::MAX, b"/m\xff", "btrfs")],
        chunker: ChunkerConfig::FastCdcKeyed { min: 64, average: 256, max: 1024 },
        tags: vec!["before-upgrade".to_owned(), "日本".to_owned()],
        totals: Totals { files: 300_000, directories: 2, others: 3, bytes: u64::MAX, errors: 1, excluded: 7 },
        changes: Changes {
            new: Counts { files: 1, directories: 2, others: 3 },
            changed: Counts { files: 400, directories: 5, others: 6 },
            removed: Counts { files: 7, directories: u64::MAX, others: 8 },
            bytes: 70_000,
            bytes_new: u64::MAX,
            bytes_stored: 9,
        },
        errors: vec![FileError { key: b"/\0\0a".to_vec(), what: "permission denied".to_owned() }],
        cursor: Some(Cursor { key: b"/\0\0b".to_vec() }),
        scan_started_ns: i64::MIN,
        ..small.clone()
    };
    let samples = [("smallest", small), ("partial", full)].map(|(name, body)| {
        Sample::new(format!("body/{name}"), body.encode(), move |bytes| {
            assert_eq!(Body::decode(bytes), Ok(body.clone()))
        })
    });
    samples.into()
}

fn paths() -> Vec<Sample> {
    let root = |component: &[u8]| ArchivePath::root(component).unwrap();
    let join =
        |path: ArchivePath, names: &[&[u8]]| names.iter().fold(path, |path, name| path.join(name).unwrap());
    let named = [
        ("unix-root", root(b"/")),
        ("unix", join(root(b"/"), &[b"home", b"a\xffb", b"..."])),
        ("unix-deepest", join(root(b"/"), &[&b"d"[..]; 2048])),
        ("unix-longest-name", join(root(b"/"), &[&[b'n'; 1024]])),
        ("windows-drive", join(root(b"C:"), &["Größe".as_bytes(), b"\xed\xa0\x80"])),
        ("windows-share", join(root(b"UNC\\server\\share"), &[b"f"])),
    ];
    let mut samples = Vec::new();
    for (name, path) in named {
        let expected = path.clone();
        samples.push(Sample::new(format!("key/{name}"), path.key(), move |bytes| {
            assert_eq!(ArchivePath::from_key(bytes), Ok(expected.clone()));
        }));
        samples.push(Sample::new(format!("joined/{name}"), path.joined().to_vec(), move |bytes| {
            assert_eq!(ArchivePath::from_joined(bytes), Ok(path.clone()));
        }));
    }
    let token = noise("token", 20);
    let text = backstore_protocol::base32::encode(&token).into_bytes();
    samples.push(Sample::new("base32/token", text, move |bytes| {
        let text = std::str::from_utf8(bytes).unwrap();
        assert_eq!(backstore_protocol::base32::decode(text).as_ref(), Some(&token));
    }));
    samples
}
