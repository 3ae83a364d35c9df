//! What differs between operating systems: one folder for each capability.
//!
//! In each folder `mod.rs` is the contract, with what callers may rely on; one file for each system keeps it. What a system cannot
//! do, or what is not written for it yet, is said by the result ([`Unsupported`], or a variant of the result's own type), never
//! passed over: README.md beside `src` has the table. Elsewhere in the project only `vfs/src/host/` may ask which system it runs on.

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
compile_error!("BackStore runs on Linux, macOS and Windows");

pub mod create;
pub mod durable;
pub mod local_socket;
pub mod lock;
pub mod machine;
pub mod metadata;
pub mod mounts;
pub mod paths;
pub mod private_file;
pub mod process;
pub mod space;
pub mod sparse;
pub mod system;
#[cfg(all(test, unix))]
mod testing;
pub mod walk;

use std::io;

/// A capability that this system does not have, or that is not written for it yet.
///
/// As an [`io::Error`] it has the kind [`io::ErrorKind::Unsupported`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not supported on {}", system::NAME)]
pub struct Unsupported {
    /// What was asked for: a noun phrase without article.
    pub what: &'static str,
}

impl From<Unsupported> for io::Error {
    fn from(unsupported: Unsupported) -> Self {
        Self::new(io::ErrorKind::Unsupported, unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_is_told_apart_from_failures() {
        let error = io::Error::from(Unsupported { what: "a mount table" });
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert_eq!(error.to_string(), format!("a mount table is not supported on {}", system::NAME));
    }
}
