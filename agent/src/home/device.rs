//! Who this computer is: three secret keys and a name, and the keyring sealed to them.

use backstore_platform::machine::Machine;
use backstore_platform::private_file::{PrivateFileError, read_secret, write_secret};
use backstore_protocol::account_log::DeviceKeys;
use backstore_protocol::codec::{from_postcard, to_postcard};
use backstore_protocol::ids::{AccountId, DeviceId};
use backstore_protocol::keys::Keyring;
use backstore_protocol::quic::Identity;
use backstore_protocol::seal_box::{BoxKey, Boxed, SigningKey, seal_to};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Home, HomeError};

/// The secrets of this device.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct DeviceSecrets {
    #[zeroize(skip)]
    device: DeviceId,
    name: String,
    tls: [u8; 32],
    sign: [u8; 32],
    seal: [u8; 32],
}

const FILE: &str = "device";
const KEYRING_FILE: &str = "keyring";
const BYTES_MAX: u64 = 64 * 1024;

/// The name a computer has unless told otherwise.
pub fn device_name() -> String {
    let name = backstore_platform::system::host_name();
    if name.is_empty() { "computer".to_owned() } else { name.chars().take(60).collect() }
}

impl DeviceSecrets {
    /// New secrets.
    pub fn new(name: String, machine: &dyn Machine) -> Self {
        let mut random = Zeroizing::new([0; 112]);
        machine.random(&mut random[..]);
        let array = |at: usize| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(&random[at..at + 32]);
            bytes
        };
        let device = DeviceId::from_slice(&random[96..]).expect("112 bytes hold three keys and an id");
        Self { device, name, tls: array(0), sign: array(32), seal: array(64) }
    }

    /// The secrets that are kept; nothing if there are none.
    pub fn load(home: &Home) -> Result<Option<Self>, HomeError> {
        let path = home.state_path(FILE);
        let bytes = match read_secret(&path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(PrivateFileError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let secrets = from_postcard(&bytes, "device keys");
        secrets.map(Some).map_err(|error| HomeError::Unusable { path, problem: error.to_string() })
    }

    /// Keeps them.
    pub fn save(&self, home: &Home) -> Result<(), HomeError> {
        let bytes = Zeroizing::new(to_postcard(self));
        let _written = write_secret(&home.state_path(FILE), &bytes)?;
        Ok(())
    }

    /// The device's id.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its identity on the wire.
    pub fn identity(&self) -> Identity {
        Identity::from_seed(&self.tls)
    }

    /// Its key for snapshots.
    pub fn signing(&self) -> SigningKey {
        SigningKey::from_seed(&self.sign)
    }

    /// What the account log says of it.
    pub fn public(&self) -> DeviceKeys {
        DeviceKeys {
            device: self.device,
            tls: self.identity().public_key(),
            sign: self.signing().public_key(),
            seal: self.box_key().public_key(),
            name: self.name.clone(),
        }
    }

    /// Keeps the keyring, sealed to this device.
    pub fn save_keyring(
        &self,
        home: &Home,
        account: AccountId,
        keyring: &Keyring,
        machine: &dyn Machine,
    ) -> Result<(), HomeError> {
        let mut ephemeral = [0; 32];
        machine.random(&mut ephemeral);
        let sealed =
            seal_to(&self.box_key().public_key(), account, Boxed::Keyring, &keyring.encode(), ephemeral);
        let sealed = sealed.expect("the device's own key is one");
        let _written = write_secret(&home.state_path(KEYRING_FILE), &sealed)?;
        Ok(())
    }

    /// The keyring that is kept.
    pub fn load_keyring(&self, home: &Home, account: AccountId) -> Result<Keyring, HomeError> {
        let path = home.state_path(KEYRING_FILE);
        let sealed = read_secret(&path, BYTES_MAX)?;
        let unusable = |problem: String| HomeError::Unusable { path: path.clone(), problem };
        let plain = self
            .box_key()
            .open(account, Boxed::Keyring, &sealed)
            .map_err(|error| unusable(error.to_string()))?;
        Keyring::decode(&plain).map_err(|error| unusable(error.to_string()))
    }

    fn box_key(&self) -> BoxKey {
        BoxKey::from_bytes(self.seal)
    }
}
