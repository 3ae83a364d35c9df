//! Samples of the tree: entries, leaves, inner nodes and map nodes.

use std::sync::Arc;

use backstore_protocol::entry::{
    Content, Entry, Extent, Kind, ObjectRef, Principal, PrincipalId, Time, Xattr,
};
use backstore_protocol::ids::{ChunkHash, ContentHash, ObjectId};
use backstore_protocol::map::{Chunk, MapNode, Piece, encode_map};
use backstore_protocol::object::{NodeBytes, ObjectKind};
use backstore_protocol::path::ArchivePath;
use backstore_protocol::tree::{Child, Items, Node, encode_inner, encode_leaf};

use crate::fixtures::noise_array;
use crate::golden::Sample;
use crate::recode::{encode_entry, entry_before, node_message, one_entry};

pub(crate) fn samples() -> Vec<Sample> {
    let single = entries().into_iter().map(|(name, entry)| {
        let expected = encode_entry(entry.clone());
        let node = vec![entry_before(), (b"/\0\0b".to_vec(), entry)];
        Sample::new(format!("entry/{name}"), expected, move |bytes| {
            assert!(one_entry(bytes).is_some());
            // A leaf with these bytes in it has this entry.
            let leaf = encode_leaf(&node);
            assert!(leaf.payload.windows(bytes.len()).any(|window| window == bytes));
            assert_eq!(read_leaf(&leaf), node);
        })
    });
    single
        .chain(leaves().into_iter().map(|(name, items)| leaf(name, items)))
        .chain(inner_nodes())
        .chain(maps())
        .collect()
}

fn leaf(name: &str, items: Vec<(Vec<u8>, Entry)>) -> Sample {
    let message = node_message(&encode_leaf(&items));
    Sample::new(format!("node/{name}"), message, move |bytes| assert_eq!(read_leaf(&parts(bytes)), items))
}

/// The node that a message was made of.
fn parts(message: &[u8]) -> NodeBytes {
    let count = u32::from_le_bytes(message[2..6].try_into().unwrap()) as usize;
    let (references, payload) = message[6..].split_at(32 * count);
    NodeBytes {
        kind: ObjectKind::from_number(message[0]).unwrap(),
        level: message[1],
        references: references.chunks(32).map(|id| ObjectId::from_slice(id).unwrap()).collect(),
        payload: payload.to_vec(),
    }
}

fn parse(node: &NodeBytes) -> Arc<Node> {
    assert_eq!(node.kind, ObjectKind::Tree);
    let node = Node::parse(node.level, &node.references, node.payload.clone().into()).unwrap();
    let node = Arc::new(node);
    node.validate().unwrap();
    node
}

fn read_leaf(node: &NodeBytes) -> Vec<(Vec<u8>, Entry)> {
    let mut items = Items::start(parse(node));
    let mut entries = Vec::new();
    while let Some(entry) = items.read_entry().unwrap() {
        entries.push((items.key().to_vec(), entry));
    }
    entries
}

/// The entry that samples vary.
fn base(kind: Kind) -> Entry {
    let (_, before) = entry_before();
    Entry { owner: before.owner, group: before.group, inode: 78, mtime: before.mtime, ..Entry::new(kind) }
}

fn file(content: Content, size: u64) -> Entry {
    let has_hash = Entry::has_content_hash(&content);
    let content_hash = has_hash.then(|| ContentHash::from_bytes(noise_array("content hash")));
    Entry {
        mode: 0o644,
        ctime: Time { seconds: 1_795_000_001, nanoseconds: 0 },
        size,
        content,
        content_hash,
        ..base(Kind::File)
    }
}

fn inline(bytes: &[u8]) -> Entry {
    file(Content::Inline(bytes.into()), bytes.len() as u64)
}

fn extents<const N: usize>(extents: [Extent; N]) -> Entry {
    let size = extents.iter().map(Extent::length).sum();
    file(Content::Extents(extents.into()), size)
}

/// One entry each: every kind, every form of content, every field at its edges. They refer to what [`entry_before`] refers to.
fn entries() -> Vec<(&'static str, Entry)> {
    let (_, before) = entry_before();
    let Content::Extents(known) = &before.content else { unreachable!("the entry before has extents") };
    let [first, last] = [known[0].object().unwrap(), known[1].object().unwrap()];
    let Content::Map(map) = before.xattrs[0].value else { unreachable!("its xattr is a map") };
    let data = |object, offset, length| Extent::Data { object, offset, length };
    let hole = |length| Extent::Hole { length };
    let device = |kind| Entry { device: (8, u32::MAX), mode: 0o660, ..base(kind) };
    let symlink = |target: &[u8]| Entry { kind: Kind::Symlink, mode: 0o777, ..inline(target) };
    let edge = |seconds| Time { seconds, nanoseconds: 999_999_999 };
    let xattr = |name: &[u8], value: &[u8]| Xattr {
        name: name.into(),
        size: value.len() as u64,
        value: Content::Inline(value.into()),
    };
    let large = Xattr {
        name: b"user.zlarge".as_slice().into(),
        size: 1000,
        value: Content::Extents([data(first, 0, 1000)].into()),
    };
    vec![
        ("file-empty", inline(b"")),
        ("file-inline", inline(b"hello")),
        ("file-inline-longest", inline(&[0xff; 512])),
        ("file-extents", extents([data(first, 1, 999)])),
        ("file-extents-continued", extents([data(last, 0, 2000)])),
        ("file-extents-holes", extents([hole(1 << 40), data(first, 0, 10), data(last, 10, 10), hole(1)])),
        ("file-extents-most", extents([data(first, 0, 1); 16])),
        ("file-hole", extents([hole(u64::MAX)])),
        ("file-map", file(Content::Map(map), 1 << 40)),
        ("file-unread", file(Content::Unread, 12_345)),
        ("file-changing", Entry { changing: true, ..inline(b"x") }),
        ("file-stale", Entry { stale: true, attributes: u32::MAX, ..inline(b"x") }),
        ("directory", Entry { mode: 0o7777, nlink: 2, ..base(Kind::Directory) }),
        ("implied-directory", Entry { mtime: Time::default(), inode: 0, ..base(Kind::ImpliedDirectory) }),
        ("symlink", symlink(b"../\xff")),
        ("symlink-longest", symlink(&[b'l'; 32 * 1024])),
        ("fifo", base(Kind::Fifo)),
        ("socket", base(Kind::Socket)),
        ("character-device", device(Kind::CharacterDevice)),
        ("block-device", device(Kind::BlockDevice)),
        (
            "times-earliest",
            Entry {
                mtime: edge(i64::MIN),
                ctime: edge(i64::MAX),
                btime: Some(edge(i64::MIN)),
                ..inline(b"")
            },
        ),
        (
            "times-latest",
            Entry {
                mtime: edge(i64::MAX),
                ctime: edge(i64::MAX),
                btime: Some(edge(i64::MAX)),
                ..inline(b"")
            },
        ),
        ("times-epoch", Entry { mtime: Time::default(), ctime: Time::default(), btime: None, ..inline(b"") }),
        ("numbers-largest", Entry { nlink: u32::MAX, mount: u32::MAX, inode: u64::MAX, ..inline(b"") }),
        (
            "xattrs",
            Entry {
                xattrs: vec![
                    xattr(b"system.posix_acl_access", &[2, 0, 0, 0]),
                    xattr(b"user.A\xff", b""),
                    large,
                ],
                ..base(Kind::Directory)
            },
        ),
    ]
}

fn principal(id: PrincipalId, name: &[u8]) -> Arc<Principal> {
    Arc::new(Principal { id, name: name.into() })
}

fn key(names: &[&[u8]]) -> Vec<u8> {
    names.iter().fold(ArchivePath::unix_root(), |path, name| path.join(name).unwrap()).key()
}

fn object(number: u8, length: u32) -> ObjectRef {
    ObjectRef { id: ObjectId::from_bytes(noise_array(&format!("object {number}"))), length }
}

/// Keys and entries of a leaf, in order.
type Entries = Vec<(Vec<u8>, Entry)>;

fn leaves() -> Vec<(&'static str, Entries)> {
    let every = entries().into_iter().map(|(name, entry)| (key(&[name.as_bytes()]), entry));
    let mut every: Vec<_> = every.collect();
    every.sort_by(|a, b| a.0.cmp(&b.0));
    let names: [&[u8]; 6] = [b"\x01", b" ", b"a\xff\xfe", "ä".as_bytes(), b"\xed\xa0\x80", &[0xff; 1024]];
    let names = names.map(|name| (key(&[name]), inline(name.get(..9).unwrap_or(name))));
    let sid = PrincipalId::Sid([1, 5, 0, 0, 0, 0, 0, 5, 21].into());
    let owners = [
        (PrincipalId::None, &b""[..]),
        (PrincipalId::Unix(0), b"root"),
        (PrincipalId::Unix(0), b"toor"),
        (PrincipalId::Unix(u32::MAX), b""),
        (sid, b"DOMAIN\\alice"),
        (PrincipalId::Unix(0), b"root"),
    ];
    let owners = owners.into_iter().enumerate().map(|(at, (id, name))| {
        let entry = Entry { owner: principal(id, name), group: Arc::default(), ..inline(b"") };
        (key(&[&[b'a' + at as u8]]), entry)
    });
    let bundle = object(1, 40 * 600);
    let bundled = (0..40u8).map(|at| {
        let extent = Extent::Data { object: bundle, offset: 600 * u32::from(at), length: 600 };
        (
            key(&[b"dir", format!("{at:02}").as_bytes()]),
            Entry { inode: 1000 + u64::from(at), ..extents([extent]) },
        )
    });
    let mut deep = vec![(b"\0/".to_vec(), base(Kind::ImpliedDirectory))];
    deep.extend((1..6).map(|depth| (key(&vec![&b"d"[..]; depth]), base(Kind::Directory))));
    let windows = ArchivePath::root(b"C:").unwrap().join("Größe".as_bytes()).unwrap().key();
    let share = ArchivePath::root(b"UNC\\server\\share").unwrap().join(b"f").unwrap().key();
    vec![
        ("leaf-empty", Vec::new()),
        ("leaf-every-entry", every),
        ("leaf-names", names.into()),
        ("leaf-owners", owners.collect()),
        ("leaf-bundled-blocks", bundled.collect()),
        ("leaf-deep", deep),
        ("leaf-windows", vec![(windows, inline(b"w")), (share, inline(b"s"))]),
    ]
}

fn inner_nodes() -> Vec<Sample> {
    let child =
        |at: u8| Child { node: object(at, 0).id, entries: u64::from(at) * 300, bytes: u64::MAX >> at };
    let few = [1u8, 15].map(|level| {
        let items: Vec<_> = (0..3).map(|at| (key(&[&[b'a' + at]]), child(at))).collect();
        (level, items)
    });
    // The same node twice, and more than two blocks.
    let many: Vec<_> =
        (0..40).map(|at| (key(&[b"home", format!("user-{at:03}").as_bytes()]), child(at / 2))).collect();
    let named = ["inner-level-1", "inner-level-15", "inner-blocks"]
        .into_iter()
        .zip(few.into_iter().chain([(1, many)]));
    let samples = named.map(|(name, (level, items))| {
        let message = node_message(&encode_inner(level, &items));
        Sample::new(format!("node/{name}"), message, move |bytes| {
            let node = parts(bytes);
            assert_eq!(node.level, level);
            let mut read = Items::start(parse(&node));
            for (key, expected) in &items {
                assert_eq!(read.read_child().unwrap(), Some(*expected));
                assert_eq!(read.key(), key);
            }
            assert_eq!(read.read_child().unwrap(), None);
        })
    });
    samples.collect()
}

fn maps() -> Vec<Sample> {
    let chunk = |number: u8, offset: u32, length: u32| {
        let hash = ChunkHash::from_bytes(noise_array(&format!("chunk {number} {offset}")));
        Piece::Chunk(Chunk { object: object(number, 1 << 21), offset, length, hash })
    };
    let leaf = vec![
        Piece::Hole(u64::MAX >> 1),
        chunk(1, 0, 65_536),
        chunk(1, 65_536, 70_000),
        Piece::Hole(1),
        chunk(2, 5, 1),
        chunk(1, 0, 65_536),
        chunk(2, 2_000_000, 97_000),
    ];
    let inner = |level| {
        (0..3)
            .map(|at| Piece::Child { node: object(at, 0).id, length: u64::from(at + level) << 40 })
            .collect()
    };
    let one = vec![chunk(3, 1_000_000, 1)];
    let named = [
        ("map-leaf", 0, leaf),
        ("map-one-chunk", 0, one),
        ("map-level-1", 1, inner(1)),
        ("map-level-15", 15, inner(15)),
    ];
    let samples = named.map(|(name, level, pieces): (_, u8, Vec<Piece>)| {
        Sample::new(format!("node/{name}"), node_message(&encode_map(level, &pieces)), move |bytes| {
            let node = parts(bytes);
            let read = MapNode::parse(node.level, &node.references, &node.payload.into()).unwrap();
            assert_eq!(read.level(), level);
            assert!(read.from_offset(0).iter().map(|(_, piece)| piece).eq(&pieces));
        })
    });
    samples.into()
}
