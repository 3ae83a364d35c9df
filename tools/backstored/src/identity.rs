//! The server's own key and what else lies beside its vault.

use std::path::{Path, PathBuf};

use backstore_platform::machine::Machine;
use backstore_platform::private_file::{PrivateFileError, read_secret, write_secret};
use backstore_protocol::quic::Identity;
use zeroize::Zeroizing;

/// The file of the server's secret key.
pub fn key_path(dir: &Path) -> PathBuf {
    dir.join("server.key")
}

/// The socket by which commands reach a running server.
pub fn socket_path(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// Makes the server's key. Clients pin it: losing it means that every device has to enrol again.
pub fn create(dir: &Path, machine: &dyn Machine) -> Result<Identity, PrivateFileError> {
    let mut seed = Zeroizing::new([0; 32]);
    machine.random(&mut seed[..]);
    let _written = write_secret(&key_path(dir), &seed[..])?;
    Ok(Identity::from_seed(&seed))
}

/// Reads the server's key.
pub fn load(dir: &Path) -> Result<Identity, PrivateFileError> {
    let path = key_path(dir);
    let secret = read_secret(&path, 32)?;
    match <&[u8; 32]>::try_from(&secret[..]) {
        Ok(seed) => Ok(Identity::from_seed(seed)),
        Err(_) => Err(PrivateFileError::File {
            action: "use the key in",
            path,
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, "it has not 32 bytes"),
        }),
    }
}
