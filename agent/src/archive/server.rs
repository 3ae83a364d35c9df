//! A server, and what of it is kept on this computer.

use std::sync::Arc;
use std::time::Duration;

use backstore_protocol::quic::{ClientOptions, Connecting, QuicDestination};
use backstore_protocol::store::{Destination, Source};
use backstore_vault::Access;

use super::{ArchiveError, ArchiveOptions};
use crate::cached::{CacheOptions, CachedDestination, CachedSource, Keep, ObjectCache};
use crate::home::{AccountFile, Config, DeviceSecrets, Home, HomeError};

/// A server with what of it is on this computer before it: for a backup the nodes, for whoever reads what was read before.
pub(super) fn with_cache(
    home: &Home,
    domain: &str,
    server: &Arc<dyn Destination>,
    options: &ArchiveOptions,
) -> (Arc<dyn Source>, Option<Arc<CachedDestination>>) {
    match options.access {
        Access::Write => match CachedDestination::new(Arc::clone(server), &home.node_cache_path(domain)) {
            Some(cached) => {
                let cached = Arc::new(cached);
                (cached.clone(), Some(cached))
            }
            None => (server.clone(), None),
        },
        Access::Read => match kept_objects(home, domain, options.keep) {
            Some(kept) => (Arc::new(CachedSource::new(server.clone(), Arc::new(kept), options.keep)), None),
            None => (server.clone(), None),
        },
    }
}

/// The cache of what is read from a server, if there is to be one.
fn kept_objects(home: &Home, domain: &str, keep: Keep) -> Option<ObjectCache> {
    if keep == Keep::Nothing {
        return None;
    }
    let folder = home.object_cache_path(domain);
    let bytes_max = Config::load(home).unwrap_or_default().cache.bytes_max();
    if bytes_max == 0 {
        ObjectCache::remove(&folder);
        return None;
    }
    // Without its thread there is none.
    ObjectCache::open(folder, CacheOptions::new(bytes_max)).ok()
}

/// The server, which is connected to when it is needed.
pub(super) fn connect(
    home: &Home,
    file: &AccountFile,
    secrets: &DeviceSecrets,
    patience_max: Duration,
) -> Result<QuicDestination, ArchiveError> {
    let (server, fingerprint) = file.destination.as_server(home)?.ok_or(HomeError::NotEnrolled)?;
    let patience = Config::load(home).map_or(60, |config| config.upload.retry_seconds);
    let connecting = Connecting { server, fingerprint, identity: secrets.identity() };
    let options = ClientOptions {
        connecting,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        patience: Duration::from_secs(patience).min(patience_max),
    };
    Ok(QuicDestination::new(options)?)
}
