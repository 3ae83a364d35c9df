//! Enrolling devices, right and wrong.

use backstore_protocol::account_log::{AccountState, DeviceKeys, What};
use backstore_protocol::ids::{BoxPublicKey, DeviceId};
use backstore_protocol::seal_box::{BoxKey, KdfProfile, PasswordKeys, SigningKey};

use super::*;
use crate::testing::TestMachine;
use crate::{Access, OpenOptions};

const NOW: i64 = 1_000_000;

/// A vault of its own for each test; the folder goes with it.
fn vault() -> (tempfile::TempDir, Vault) {
    let dir = tempfile::tempdir().unwrap();
    let machine = TestMachine::new(1);
    Vault::create(&dir.path().join("vault"), &*machine).unwrap();
    let options =
        OpenOptions::folder(dir.path().join("vault"), dir.path().join("index"), Access::Write, machine);
    (dir, Vault::open(options).unwrap())
}

struct Person {
    authority: SigningKey,
    password: PasswordKeys,
    log: AccountState,
    factor: FactorId,
}

impl Person {
    fn new() -> Self {
        let factor = FactorId::from_bytes([4; 16]);
        let password = PasswordKeys::derive(b"right", &[1; 16], KdfProfile::Floor, factor).unwrap();
        Self { authority: SigningKey::from_seed(&[1; 32]), password, log: AccountState::default(), factor }
    }

    fn append(&mut self, what: What) -> Vec<u8> {
        let entry = self.log.next(&self.authority, NOW, what);
        self.log.append(&entry).unwrap();
        entry
    }

    fn device(&mut self, number: u8) -> Vec<u8> {
        self.append(What::DeviceAdd(DeviceKeys {
            device: DeviceId::from_bytes([number; 16]),
            tls: tls(number),
            sign: SigningPublicKey::ZERO,
            seal: BoxPublicKey::ZERO,
            name: format!("laptop {number}"),
        }))
    }

    fn first_log(&mut self) -> (Vec<Vec<u8>>, KeyBlobs) {
        let key = BoxKey::from_bytes([7; 32]);
        let genesis = What::Genesis {
            account: AccountId::from_bytes([9; 16]),
            authority: self.authority.public_key(),
            key_check: [0; 32],
            mode: 1,
        };
        let factor = What::FactorPut {
            factor: self.factor,
            public: key.public_key(),
            profile: KdfProfile::Floor as u8,
            salt: [1; 16],
            proof: self.password.proof_public_key(),
        };
        let log = vec![self.append(genesis), self.append(factor), self.device(1)];
        let keys = KeyBlobs {
            factor: self.factor,
            public: key.public_key(),
            proof: self.password.proof_public_key(),
            wrapped: self.password.wrap(&key),
            keyring: vec![1],
            authority: vec![2],
        };
        (log, keys)
    }
}

fn tls(number: u8) -> SigningPublicKey {
    SigningPublicKey::from_bytes([number; 32])
}

fn token(number: u8) -> InviteToken {
    InviteToken::from_bytes([number; 20])
}

fn slices(log: &[Vec<u8>]) -> Vec<&[u8]> {
    log.iter().map(|entry| &entry[..]).collect()
}

#[test]
fn two_devices_enrol_with_an_invitation_each() {
    let (_dir, opened) = vault();
    let registry = Registry::new(&opened);
    let number = registry.create_account("alice", NOW).unwrap();
    assert_eq!(registry.create_account("alice", NOW).unwrap(), number);
    registry.invite("alice", token(1), NOW + 10).unwrap();
    registry.invite("alice", token(2), NOW + 10).unwrap();
    assert_eq!(registry.check_invitation("alice", &token(1), NOW).unwrap(), number);
    let mut person = Person::new();
    let (log, keys) = person.first_log();
    let first = registry.register("alice", Some(&token(1)), &tls(1), &slices(&log), Some(&keys)).unwrap();
    assert_eq!(registry.device(&tls(1)).unwrap(), Some(first));
    let used = registry.check_invitation("alice", &token(1), NOW);
    assert!(matches!(used, Err(RegistryError::BadInvitation)), "an invitation is good once");
    let again = registry.register("alice", None, &tls(1), &slices(&log), Some(&keys));
    assert!(matches!(again, Err(RegistryError::Enrolled { is_enrolled: true })));

    let signature = person.password.prove(b"challenge");
    assert_eq!(registry.prove(number, person.factor, b"challenge", &signature).unwrap(), keys);
    let entry = person.device(2);
    let second = registry.enrol(number, Some(&token(2)), &tls(2), &entry).unwrap();
    assert_eq!(second.account, first.account);
    assert_eq!(registry.devices(number).unwrap().len(), 2);
    assert_eq!(registry.state(number).unwrap().devices.len(), 2);
    let accounts = registry.accounts(NOW).unwrap();
    assert_eq!((accounts.len(), accounts[0].invitations), (1, 0));

    assert!(registry.revoke(&tls(1)).unwrap());
    assert_eq!(registry.device(&tls(1)).unwrap(), Some(DeviceInfo { is_revoked: true, ..first }));
    assert_eq!(registry.device(&tls(2)).unwrap(), Some(second), "the other one is none the worse");
    assert!(!registry.revoke(&tls(3)).unwrap());
}

#[test]
fn who_is_not_invited_or_wrong_is_refused() {
    let (_dir, opened) = vault();
    let registry = Registry::new(&opened);
    let number = registry.create_account("alice", NOW).unwrap();
    registry.create_account("bob", NOW).unwrap();
    registry.invite("alice", token(1), NOW + 10).unwrap();
    for (name, token, now) in [
        ("alice", token(2), NOW),
        ("bob", token(1), NOW),
        ("carol", token(1), NOW),
        ("alice", token(1), NOW + 10),
    ] {
        let refused = registry.check_invitation(name, &token, now);
        assert!(matches!(refused, Err(RegistryError::BadInvitation)), "{name} at {now}");
    }
    assert!(matches!(registry.invite("carol", token(1), NOW), Err(RegistryError::NoAccount { .. })));
    let mut person = Person::new();
    let (log, keys) = person.first_log();
    let another_key = registry.register("alice", None, &tls(9), &slices(&log), Some(&keys));
    assert!(matches!(another_key, Err(RegistryError::Incomplete(_))));
    let half = registry.register("alice", None, &tls(1), &slices(&log[..2]), Some(&keys));
    assert!(matches!(half, Err(RegistryError::Incomplete(_))));
    let no_factor = KeyBlobs { factor: FactorId::ZERO, ..keys.clone() };
    let unnamed = registry.register("alice", None, &tls(1), &slices(&log), Some(&no_factor));
    assert!(matches!(unnamed, Err(RegistryError::Incomplete(_))));
    assert!(registry.account("alice").unwrap().unwrap().1.is_none(), "nothing was kept of what was refused");

    registry.register("alice", None, &tls(1), &slices(&log), Some(&keys)).unwrap();
    let wrong = PasswordKeys::derive(b"wrong", &[1; 16], KdfProfile::Floor, person.factor).unwrap();
    for (factor, signature) in
        [(person.factor, wrong.prove(b"challenge")), (FactorId::ZERO, person.password.prove(b"challenge"))]
    {
        let refused = registry.prove(number, factor, b"challenge", &signature);
        assert!(matches!(refused, Err(RegistryError::WrongPassword)));
    }
    let replayed = person.password.prove(b"another connection");
    assert!(registry.prove(number, person.factor, b"challenge", &replayed).is_err());
    let mut stranger =
        Person { authority: SigningKey::from_seed(&[2; 32]), log: person.log.clone(), ..Person::new() };
    let forged = stranger.log.next(
        &stranger.authority,
        NOW,
        What::DeviceAdd(DeviceKeys {
            device: DeviceId::from_bytes([2; 16]),
            tls: tls(2),
            sign: SigningPublicKey::ZERO,
            seal: BoxPublicKey::ZERO,
            name: "x".into(),
        }),
    );
    stranger.log = AccountState::default();
    assert!(matches!(registry.enrol(number, None, &tls(2), &forged), Err(RegistryError::Log(_))));
    assert_eq!(registry.devices(number).unwrap().len(), 1);
}

#[test]
fn names_that_are_none_are_refused() {
    let (_dir, opened) = vault();
    let registry = Registry::new(&opened);
    for name in ["", " ", "a b", "a/b", "a#b", ".a", "-a", "é", &"x".repeat(65)] {
        assert!(matches!(registry.create_account(name, NOW), Err(RegistryError::Name { .. })), "{name:?}");
    }
    for name in ["a", "alice@example.org", "A-1_b.c"] {
        registry.create_account(name, NOW).unwrap();
    }
}
