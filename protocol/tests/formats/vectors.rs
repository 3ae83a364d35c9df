//! Agreement with the second implementation in `tests/second/`, which follows PROTOCOL.md and shares no code with this one.
//!
//! What it made has to open here, and the same inputs have to give the same bytes here.

use backstore_protocol::account_log::{AccountState, DeviceKeys, What};
use backstore_protocol::chunker::ChunkerConfig;
use backstore_protocol::content_hash::{ContentHasher, chunk_hash};
use backstore_protocol::envelope::{self, Class, Compression, Label, sealed_length};
use backstore_protocol::ids::{
    AccountId, BoxPublicKey, DeviceId, DomainId, FactorId, LineageId, LogHash, ObjectId, SigningPublicKey,
    SnapshotId,
};
use backstore_protocol::keys::{Keyring, SealKeys};
use backstore_protocol::object::{ObjectKind, body_id, data_id, node_id};
use backstore_protocol::seal_box::{
    BoxKey, Boxed, KdfProfile, PasswordKeys, SigningKey, seal_to, verify_proof,
};
use backstore_protocol::snapshot::{Header, SeenHead};
use backstore_protocol::tree::{Boundaries, Root};
use serde_json::Value;

use crate::fixtures::{from_hex, noise};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../fixtures/vectors.json")).expect("the vectors are JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn bytes(value: &Value) -> Vec<u8> {
    from_hex(value.as_str().expect("hexadecimal text"))
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().expect("bytes of the right number")
}

fn keyring() -> Keyring {
    Keyring::decode(&bytes(&vectors()["keyrings"][0]["encoded"])).expect("a keyring")
}

fn class(value: &Value) -> Class {
    let classes = [
        Class::Data,
        Class::Body,
        Class::SealedBox,
        Class::Factor,
        Class::DeviceKeys,
        Class::Node,
        Class::LocalCache,
    ];
    classes.into_iter().find(|class| *class as u64 == number(value)).expect("a class")
}

#[test]
fn keyrings_and_what_is_derived_from_them() {
    let vectors = vectors();
    for vector in list(&vectors["keyrings"]) {
        let keyring = Keyring::decode(&bytes(&vector["encoded"])).unwrap();
        assert_eq!(keyring.encode()[..], bytes(&vector["encoded"]));
        assert_eq!(keyring.domain(), DomainId::from_bytes(array(&vector["domain"])));
        assert_eq!(u64::from(keyring.generation()), number(&vector["generation"]));
        assert_eq!(keyring.check_value(), array(&vector["check_value"]));
        let ids = keyring.keys().ids;
        let ours = [
            ("data", ids.data),
            ("tree", ids.tree),
            ("body", ids.body),
            ("content", ids.content),
            ("layout", ids.layout),
            ("table", ids.table),
            ("bundle", ids.bundle),
            ("chunk", ids.chunk),
            ("boundary", ids.boundary),
            ("map", ids.map),
            ("tags", ids.tags),
        ];
        assert_eq!(vector["ids"].as_object().unwrap().len(), ours.len());
        for (name, key) in ours {
            assert_eq!(key, array(&vector["ids"][name]), "{name}");
        }
    }
    let first = &vectors["keyrings"][0];
    let new = Keyring::new(keyring().domain(), array(&first["root"]), array(&first["epochs"][0]));
    assert_eq!(new.check_value(), array(&first["check_value"]));
}

#[test]
fn ids_and_hashes() {
    let vectors = vectors();
    let keys = keyring().keys().ids;
    for vector in list(&vectors["data_ids"]) {
        let plain = bytes(&vector["plain"]);
        assert_eq!(data_id(&keys, &plain), ObjectId::from_bytes(array(&vector["data"])));
        assert_eq!(body_id(&keys, &plain), ObjectId::from_bytes(array(&vector["body"])));
        assert_eq!(*chunk_hash(&keys, &plain).as_bytes(), array(&vector["chunk"]));
    }
    for vector in list(&vectors["node_ids"]) {
        let kind = ObjectKind::from_number(number(&vector["kind"]) as u8).unwrap();
        let references: Vec<_> =
            list(&vector["references"]).iter().map(|id| ObjectId::from_bytes(array(id))).collect();
        let id =
            node_id(&keys, kind, number(&vector["level"]) as u8, &references, &bytes(&vector["payload"]));
        assert_eq!(id, ObjectId::from_bytes(array(&vector["id"])));
    }
    for vector in list(&vectors["content_hashes"]) {
        let mut hasher = ContentHasher::new(&keys);
        for run in list(&vector["runs"]) {
            match run {
                Value::Number(_) => hasher.hole(number(run)),
                _ => hasher.data(&bytes(run)),
            }
        }
        assert_eq!(*hasher.finish().as_bytes(), array(&vector["hash"]), "{}", vector["runs"]);
    }
}

#[test]
fn where_nodes_and_chunks_end() {
    let vectors = vectors();
    let keys = keyring().keys().ids;
    let boundaries = Boundaries::new(&keys);
    let ends = |at: &u64| {
        let key = noise(&format!("key {at}"), 1 + *at as usize % 40);
        boundaries.ends_after((at % 3) as u8, &key)
    };
    let hits: Vec<_> = (0..number(&vectors["boundaries"]["keys"])).filter(ends).collect();
    assert!(hits.len() > 1);
    assert_eq!(hits, list(&vectors["boundaries"]["hits"]).iter().map(number).collect::<Vec<_>>());

    for vector in list(&vectors["chunkers"]) {
        let parameter = |name| number(&vector[name]) as u32;
        let (min, average, max) = (parameter("min"), parameter("average"), parameter("max"));
        let chunker = ChunkerConfig::FastCdcKeyed { min, average, max }.chunker(&keys).unwrap();
        let data = noise(vector["noise"].as_str().unwrap(), number(&vector["length"]) as usize);
        let mut rest = &data[..];
        for cut in list(&vector["cuts"]) {
            let length = chunker.cut(rest);
            assert_eq!(length as u64, number(cut), "{} bytes before the end", rest.len());
            rest = &rest[length..];
        }
        assert_eq!(rest, b"");
    }
}

#[test]
fn lengths_of_sealed_objects() {
    for vector in list(&vectors()["lengths"]) {
        let length = sealed_length(class(&vector["class"]), number(&vector["stored"]) as usize);
        assert_eq!(length as u64, number(&vector["sealed"]), "{vector}");
    }
}

/// Offset and length of each field of an envelope: PROTOCOL.md section 7.
fn envelope_fields(length: usize) -> [(&'static str, usize, usize); 9] {
    [
        ("magic", 0, 4),
        ("suite", 4, 1),
        ("class", 5, 1),
        ("reserved", 6, 2),
        ("epoch", 8, 4),
        ("generation", 12, 4),
        ("salt", 16, 24),
        ("commitment", 40, 32),
        ("ciphertext and tag", 72, length - 72),
    ]
}

/// Asserts that `open` refuses `sealed` with any byte of a field changed; of a long field some bytes from all over it.
fn refuses_changed_fields(sealed: &[u8], from: usize, open: impl Fn(&[u8]) -> bool) {
    assert!(open(sealed));
    for (name, start, length) in envelope_fields(sealed.len() - from) {
        for at in (0..length).step_by(length.div_ceil(64)).chain([length - 1]) {
            let mut changed = sealed.to_vec();
            changed[from + start + at] ^= 1 << (at % 8);
            assert!(!open(&changed), "{name}, byte {at}");
        }
    }
    for cut in [from, from + 71, sealed.len() - 1] {
        assert!(!open(&sealed[..cut]), "cut at {cut}");
    }
    assert!(!open(&[sealed, b"\0"].concat()), "a byte more");
}

#[test]
fn envelopes_of_objects() {
    let keys = keyring().keys();
    for vector in list(&vectors()["envelopes"]) {
        let class = class(&vector["class"]);
        let kind = number(&vector["kind"]) as u8;
        let epoch = number(&vector["epoch"]) as u32;
        let (id, plain, sealed) = (array(&vector["id"]), bytes(&vector["plain"]), bytes(&vector["sealed"]));
        let mut opened = Vec::new();
        keys.open(class, kind, &id, &sealed, &mut opened).unwrap();
        assert_eq!(opened, plain);
        if vector["compressed"] == false {
            let label = Label { class, kind, epoch, generation: keys.generation() };
            let mut again = Vec::new();
            let seal_keys = keys.seal_keys(class, epoch).unwrap();
            envelope::seal(seal_keys, label, &id, &plain, Compression::None, &mut again);
            assert_eq!(again, sealed);
        }
        refuses_changed_fields(&sealed, 0, |sealed| {
            keys.open(class, kind, &id, sealed, &mut Vec::new()).is_ok()
        });
        let other_id = [id[0] ^ 1; 32];
        assert!(keys.open(class, kind, &other_id, &sealed, &mut opened).is_err());
        assert!(keys.open(class, kind + 1, &id, &sealed, &mut opened).is_err());
    }
}

#[test]
fn envelopes_of_device_keys() {
    let vectors = vectors();
    let vector = &vectors["device_envelope"];
    let keys = SealKeys::new(vector["purpose"].as_str().unwrap(), &bytes(&vector["material"]));
    let label = Label { class: Class::DeviceKeys, kind: 0, epoch: 0, generation: 0 };
    let id = array(&vector["id"]);
    let sealed = bytes(&vector["sealed"]);
    let mut again = Vec::new();
    envelope::seal(&keys, label, &id, &bytes(&vector["plain"]), Compression::None, &mut again);
    assert_eq!(again, sealed);
    refuses_changed_fields(&sealed, 0, |sealed| {
        envelope::open(&keys, label, &id, sealed, &mut Vec::new()).is_ok()
    });
}

#[test]
fn factors() {
    let vectors = vectors();
    let vector = &vectors["factor"];
    let profile = KdfProfile::from_number(number(&vector["profile"]) as u8).unwrap();
    let factor = FactorId::from_bytes(array(&vector["factor"]));
    let password =
        PasswordKeys::derive(&bytes(&vector["password"]), &array(&vector["salt"]), profile, factor).unwrap();
    let key = BoxKey::from_bytes(array(&vector["private"]));
    let public = BoxPublicKey::from_bytes(array(&vector["public"]));
    let wrapped = bytes(&vector["wrapped"]);
    assert_eq!(key.public_key(), public);
    assert_eq!(password.wrap(&key), wrapped);
    assert_eq!(password.unwrap(&public, &wrapped).unwrap().to_bytes(), key.to_bytes());
    refuses_changed_fields(&wrapped, 0, |wrapped| password.unwrap(&public, wrapped).is_ok());

    let proof_public = SigningPublicKey::from_bytes(array(&vector["proof_public"]));
    let challenge = bytes(&vector["challenge"]);
    assert_eq!(password.proof_public_key(), proof_public);
    assert_eq!(password.prove(&challenge), array(&vector["proof"]));
    assert!(verify_proof(&proof_public, &challenge, &bytes(&vector["proof"])));
}

#[test]
fn sealed_boxes() {
    for vector in list(&vectors()["boxes"]) {
        let recipient = BoxKey::from_bytes(array(&vector["recipient_private"]));
        let account = AccountId::from_bytes(array(&vector["account"]));
        let what = if vector["kind"] == 1 { Boxed::Keyring } else { Boxed::Authority };
        let (plain, sealed) = (bytes(&vector["plain"]), bytes(&vector["sealed"]));
        assert_eq!(*recipient.public_key().as_bytes(), array(&vector["recipient"]));
        assert_eq!(recipient.open(account, what, &sealed).unwrap()[..], plain);
        let again = seal_to(&recipient.public_key(), account, what, &plain, array(&vector["ephemeral"]));
        assert_eq!(again, Some(sealed.clone()));
        refuses_changed_fields(&sealed, 32, |sealed| recipient.open(account, what, sealed).is_ok());
        for at in 0..32 {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(recipient.open(account, what, &changed).is_err(), "ephemeral key, byte {at}");
        }
    }
}

fn header(fields: &Value) -> Header {
    let time = |name: &str| fields[name].as_i64().expect("a time");
    Header {
        is_partial: fields["partial"].as_bool().unwrap(),
        account: AccountId::from_bytes(array(&fields["account"])),
        device: DeviceId::from_bytes(array(&fields["device"])),
        lineage: LineageId::from_bytes(array(&fields["lineage"])),
        generation: number(&fields["generation"]) as u32,
        epoch: number(&fields["epoch"]) as u32,
        sequence: number(&fields["sequence"]),
        fencing: number(&fields["fencing"]),
        previous: SnapshotId::from_bytes(array(&fields["previous"])),
        parent: SnapshotId::from_bytes(array(&fields["parent"])),
        root: Root {
            node: ObjectId::from_bytes(array(&fields["root"])),
            level: number(&fields["level"]) as u8,
        },
        body: ObjectId::from_bytes(array(&fields["body"])),
        started_at: time("started"),
        finished_at: time("finished"),
        account_log_head: LogHash::from_bytes(array(&fields["log_head"])),
        domain: DomainId::from_bytes(array(&fields["domain"])),
        entries: number(&fields["entries"]),
        bytes: number(&fields["bytes"]),
        seen_heads: list(&fields["seen"])
            .iter()
            .map(|seen| SeenHead {
                lineage: LineageId::from_bytes(array(&seen["lineage"])),
                sequence: number(&seen["sequence"]),
                snapshot: SnapshotId::from_bytes(array(&seen["snapshot"])),
            })
            .collect(),
    }
}

#[test]
fn snapshot_headers() {
    for vector in list(&vectors()["headers"]) {
        let key = SigningKey::from_seed(&array(&vector["seed"]));
        let public = SigningPublicKey::from_bytes(array(&vector["public"]));
        let expected = header(&vector["fields"]);
        let stored = bytes(&vector["stored"]);
        assert_eq!(key.public_key(), public);
        assert_eq!(Header::decode(&stored), Ok(expected.clone()), "{}", vector["name"]);
        assert_eq!(expected.verify(&stored, &public), Ok(()));
        assert_eq!(expected.sign(&key), stored);
        assert_eq!(*Header::id(&stored).as_bytes(), array(&vector["id"]));
        for at in 0..stored.len() {
            let mut changed = stored.clone();
            changed[at] ^= 1;
            let read = Header::decode(&changed).map(|header| header.verify(&changed, &public));
            assert!(!matches!(read, Ok(Ok(()))), "byte {at}");
        }
    }
}

#[test]
fn account_logs() {
    let vectors = vectors();
    let vector = &vectors["account_log"];
    let key = SigningKey::from_seed(&array(&vector["seed"]));
    let stored: Vec<_> = list(&vector["stored"]).iter().map(bytes).collect();
    let state = AccountState::replay(stored.iter().map(|entry| &entry[..])).unwrap();
    assert_eq!(*state.head.as_bytes(), array(&vector["head"]));

    let factor = &vectors["factor"];
    let said = [
        What::Genesis {
            account: AccountId::from_bytes(noise("account", 16).try_into().unwrap()),
            authority: SigningPublicKey::from_bytes(array(&vector["authority"])),
            key_check: keyring().check_value(),
            mode: 1,
        },
        What::DeviceAdd(DeviceKeys {
            device: DeviceId::from_slice(&noise("device", 16)).unwrap(),
            tls: SigningPublicKey::from_slice(&noise("device tls", 32)).unwrap(),
            sign: SigningPublicKey::from_slice(&noise("device sign", 32)).unwrap(),
            seal: BoxPublicKey::from_slice(&noise("device seal", 32)).unwrap(),
            name: "Änne's laptop".to_owned(),
        }),
        What::FactorPut {
            factor: FactorId::from_bytes(array(&factor["factor"])),
            public: BoxPublicKey::from_bytes(array(&factor["public"])),
            profile: number(&factor["profile"]) as u8,
            salt: array(&factor["salt"]),
            proof: SigningPublicKey::from_bytes(array(&factor["proof_public"])),
        },
    ];
    let mut state = AccountState::default();
    for (at, what) in said.into_iter().enumerate() {
        let ours = state.next(&key, 1_795_000_000_000 + at as i64, what);
        assert_eq!(ours, stored[at], "entry {at}");
        for byte in 0..ours.len() {
            let mut changed = ours.clone();
            changed[byte] ^= 1;
            assert!(state.clone().append(&changed).is_err(), "entry {at}, byte {byte}");
        }
        state.append(&ours).unwrap();
    }
}
