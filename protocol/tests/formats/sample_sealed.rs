//! Samples of envelopes: one of each class, whole objects, sealed boxes, and what lies inside an envelope.

use backstore_protocol::envelope::{self, Class, Compression};
use backstore_protocol::ids::ObjectId;
use backstore_protocol::object::{ObjectKind, body_id, data_id, node_id};
use backstore_protocol::seal_box::{BoxKey, Boxed, seal_to};
use backstore_protocol::tree::encode_leaf;

use crate::fixtures::noise;
use crate::golden::Sample;
use crate::recode::{
    ACCOUNT, CLASSES, ENVELOPE_ID, EPHEMERAL, RECIPIENT, entry_before, fixture_keyring, label, seal_keys,
};

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples: Vec<_> = CLASSES.into_iter().flat_map(envelopes).collect();
    samples.extend(objects());
    samples.extend(boxes());
    samples.extend(inners());
    samples
}

fn envelopes(class: Class) -> Vec<Sample> {
    let text = b"the quick brown fox jumps over the lazy dog\n".repeat(30);
    let forms = [
        ("", b"hello, backup".to_vec(), Compression::None),
        ("-empty", Vec::new(), Compression::None),
        ("-zstd", text, Compression::Zstd(3)),
    ];
    let samples = forms.map(|(form, plain, compression)| {
        let mut encoded = Vec::new();
        envelope::seal(&seal_keys(), label(class), &ENVELOPE_ID, &plain, compression, &mut encoded);
        let name = format!("envelope/{class:?}{form}").to_lowercase();
        let mut sample = Sample::new(name, encoded, move |bytes| {
            let mut opened = Vec::new();
            envelope::open(&seal_keys(), label(class), &ENVELOPE_ID, bytes, &mut opened).unwrap();
            assert_eq!(opened, plain);
        });
        sample.is_canonical = compression == Compression::None;
        sample
    });
    samples.into()
}

fn objects() -> Vec<Sample> {
    let ids = fixture_keyring().keys().ids;
    let leaf = encode_leaf(&[entry_before()]);
    let leaf_id = leaf.id(&ids);
    let map_id = node_id(&ids, ObjectKind::Map, 1, &[ObjectId::ZERO], b"payload");
    let data = |name, plain: Vec<u8>| (name, Class::Data, ObjectKind::Data, data_id(&ids, &plain), plain);
    // A bundle is its members' bytes and nothing else.
    let bundle = [noise("first file", 600), noise("second file", 700), noise("third file", 513)].concat();
    let objects = [
        data("chunk", noise("chunk", 5000)),
        data("bundle", bundle),
        data("xattr", noise("large xattr", 4097)),
        ("leaf", Class::Node, ObjectKind::Tree, leaf_id, leaf.payload),
        ("map", Class::Node, ObjectKind::Map, map_id, b"payload".to_vec()),
        ("body", Class::Body, ObjectKind::Body, body_id(&ids, b"body"), b"body".to_vec()),
    ];
    let samples = objects.map(|(name, class, kind, id, plain)| {
        let mut sealed = Vec::new();
        fixture_keyring().keys().seal(
            class,
            kind as u8,
            id.as_bytes(),
            &plain,
            Compression::None,
            &mut sealed,
        );
        let encoded = [id.as_bytes(), &sealed[..]].concat();
        Sample::new(format!("object/{name}"), encoded, move |bytes| {
            let (stored_id, sealed) = bytes.split_at(32);
            assert_eq!(ObjectId::from_slice(stored_id), Some(id));
            let mut opened = Vec::new();
            fixture_keyring().keys().open(class, kind as u8, id.as_bytes(), sealed, &mut opened).unwrap();
            assert_eq!(opened, plain);
        })
    });
    samples.into()
}

fn boxes() -> Vec<Sample> {
    let recipient = BoxKey::from_bytes(RECIPIENT).public_key();
    let contents = [
        ("keyring", Boxed::Keyring, fixture_keyring().encode().to_vec()),
        ("authority", Boxed::Authority, noise("authority", 32)),
    ];
    let samples = contents.map(|(name, what, plain)| {
        let encoded = seal_to(&recipient, ACCOUNT, what, &plain, EPHEMERAL).unwrap();
        Sample::new(format!("box/{name}"), encoded, move |bytes| {
            assert_eq!(BoxKey::from_bytes(RECIPIENT).open(ACCOUNT, what, bytes).unwrap()[..], plain);
        })
    });
    samples.into()
}

fn inners() -> Vec<Sample> {
    let text = b"the quick brown fox jumps over the lazy dog\n".repeat(30);
    let mut compressed = Vec::new();
    // This frame is written out here by hand, as a raw block, so that it is the same whatever zstd makes of the text.
    compressed.extend_from_slice(&[0x28, 0xb5, 0x2f, 0xfd, 0x60]);
    compressed.extend_from_slice(&(text.len() as u16 - 256).to_le_bytes());
    compressed.extend_from_slice(&((text.len() as u32) << 3 | 1).to_le_bytes()[..3]);
    compressed.extend_from_slice(&text);
    let kind = label(Class::Node).kind;
    let forms = [
        ("plain", 0u8, b"hello, backup".to_vec(), 13),
        ("zstd", 1, compressed, text.len()),
        ("empty", 0, Vec::new(), 0),
    ];
    let samples = forms.map(|(name, compression, stored, plain_length)| {
        let mut encoded = vec![compression, kind, 0, 0];
        encoded.extend_from_slice(&(plain_length as u32).to_le_bytes());
        encoded.extend_from_slice(&(stored.len() as u32).to_le_bytes());
        encoded.extend_from_slice(&[0; 4]);
        encoded.extend_from_slice(&stored);
        encoded.resize(envelope::sealed_length(Class::Node, stored.len()) - 88, 0);
        // The envelope around it is made, and opened, by `recode`.
        Sample::new(format!("inner/{name}"), encoded, |bytes| assert!(bytes.len() >= 424))
    });
    samples.into()
}
