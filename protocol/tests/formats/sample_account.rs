//! Samples of an account: its keyring and its log.

use backstore_protocol::account_log::{AccountState, DeviceKeys, What};
use backstore_protocol::ids::{BoxPublicKey, DeviceId, FactorId, SigningPublicKey};
use backstore_protocol::keys::Keyring;
use backstore_protocol::seal_box::{KdfProfile, SigningKey};

use crate::fixtures::noise_array;
use crate::golden::Sample;
use crate::recode::{ACCOUNT, SEED, fixture_keyring, genesis};

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = log();
    samples.extend(keyrings());
    samples
}

fn keyrings() -> Vec<Sample> {
    // The second has three epochs and a later generation; no method of a keyring adds those yet, so it is written out.
    let mut later = [&[1; 16][..], &[0x80, 0x01], &[2; 32], &[3]].concat();
    for epoch in 1..=3 {
        later.push(epoch);
        later.extend_from_slice(&[epoch + 10; 32]);
    }
    let first = Sample::new("keyring/first", fixture_keyring().encode().to_vec(), |bytes| {
        let keyring = Keyring::decode(bytes).unwrap();
        assert!(keyring == fixture_keyring());
        assert_eq!(keyring.keys().epoch(), 1);
    });
    let later = Sample::new("keyring/epochs", later, |bytes| {
        let keyring = Keyring::decode(bytes).unwrap();
        assert_eq!((keyring.generation(), keyring.keys().epoch()), (128, 3));
        assert_eq!(keyring.domain(), fixture_keyring().domain());
    });
    vec![first, later]
}

fn log() -> Vec<Sample> {
    let key = SigningKey::from_seed(&SEED);
    let mut known = AccountState::default();
    known.append(&genesis()).unwrap();
    let device = DeviceKeys {
        device: DeviceId::from_bytes(noise_array("device")),
        tls: SigningPublicKey::from_bytes(noise_array("tls")),
        sign: SigningPublicKey::from_bytes(noise_array("sign")),
        seal: BoxPublicKey::from_bytes(noise_array("seal")),
        name: "Änne's laptop".to_owned(),
    };
    let factor = What::FactorPut {
        factor: FactorId::from_bytes(noise_array("factor")),
        public: BoxPublicKey::from_bytes(noise_array("factor public")),
        profile: KdfProfile::Floor as u8,
        salt: noise_array("salt"),
        proof: SigningPublicKey::from_bytes(noise_array("proof")),
    };
    let added = known.next(&key, i64::MIN, What::DeviceAdd(device.clone()));
    let put = known.next(&key, 1_795_000_000_001, factor);
    let after = known.clone();
    let genesis = Sample::new("log/genesis", genesis(), |bytes| {
        let state = AccountState::replay([bytes]).unwrap();
        assert_eq!((state.account, state.length, state.key_check), (Some(ACCOUNT), 1, [8; 32]));
        assert_eq!(state.authority, Some(SigningKey::from_seed(&SEED).public_key()));
    });
    let added = Sample::new("log/device-add", added, move |bytes| {
        let mut state = known.clone();
        state.append(bytes).unwrap();
        assert_eq!(state.devices, std::slice::from_ref(&device));
    });
    let put = Sample::new("log/factor-put", put, move |bytes| {
        let mut state = after.clone();
        state.append(bytes).unwrap();
        let factor = state.factors[0];
        assert_eq!((factor.profile, factor.salt), (KdfProfile::Floor, noise_array("salt")));
        assert_eq!(*factor.public.as_bytes(), noise_array("factor public"));
        assert_eq!(*factor.proof.as_bytes(), noise_array("proof"));
        assert_eq!(*factor.factor.as_bytes(), noise_array("factor"));
    });
    vec![genesis, added, put]
}
