//! The account's archive at its destination, opened with this device's keys: what every command but `login` starts from.

mod server;
mod snapshots;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use backstore_platform::machine::Machine;
use backstore_protocol::account_log::{AccountState, LogError};
use backstore_protocol::ids::{AccountId, DeviceId, DomainId, LogHash};
use backstore_protocol::keys::Keys;
use backstore_protocol::quic::QuicDestination;
use backstore_protocol::snapshot::HeaderError;
use backstore_protocol::store::{Destination, Overview, Source, StoreError};
use backstore_vault::{Access, AccountNumber, FolderDestination, OpenOptions, Vault, VaultError};
use backstore_vfs::objects::{ObjectReader, ReadError, ReaderOptions, Recovery};
use bytes::Bytes;

pub use snapshots::{LineageSummary, Lineages, OpenedSnapshot, Snapshots};

use server::{connect, with_cache};

use crate::cached::{CachedDestination, Keep};
use crate::home::{AccountFile, Config, DeviceSecrets, Home, HomeError, SetConfig};

/// The archive of this device's account.
pub struct Archive {
    /// Reads snapshots and objects.
    pub source: Arc<dyn Source>,
    /// Writes them; nothing when it was opened to read.
    pub destination: Option<Arc<dyn Destination>>,
    /// The account's keys.
    pub keys: Arc<Keys>,
    /// The account.
    pub account: AccountId,
    /// Scope of its ids.
    pub domain: DomainId,
    /// This device.
    pub device: DeviceId,
    /// Its secrets.
    pub secrets: DeviceSecrets,
    /// Who may sign what, as far as is known.
    log: RwLock<Arc<AccountState>>,
    /// The destination as people know it.
    pub place: String,
    /// The folder of the vault, if it is in one.
    pub folder: Option<PathBuf>,
    /// Opened objects.
    pub reader: Arc<ObjectReader>,
    vault: Option<Arc<Vault>>,
    cache: Option<Arc<CachedDestination>>,
    snapshots_at_once: usize,
    /// What was learnt with the account log, for the first who asks for lineages.
    overview: Mutex<Option<Overview>>,
    _connection: Option<Connection>,
}

/// Ends the connection to the server with the archive, whoever else still knows the server then.
struct Connection(Arc<QuicDestination>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.goodbye();
    }
}

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file of the agent's own.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The destination.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The account log does not hold.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The destination has gone back to an older state of the account.
    #[error(
        "{place} shows an older or another history of this account than it did before: it has lost data or is not to be trusted"
    )]
    RolledBack {
        /// The destination.
        place: String,
    },
    /// Another vault is in the folder.
    #[error("{} holds another vault than the one this computer was enrolled with", path.display())]
    AnotherVault {
        /// The folder.
        path: PathBuf,
    },
    /// A snapshot is not what it should be.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A snapshot was made by a device the account does not know.
    #[error("a snapshot was made by device {0}, which the account does not know")]
    UnknownDevice(DeviceId),
    /// Something of the archive cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing has been backed up yet.
    #[error("nothing has been backed up yet")]
    Empty,
    /// Threads could not be started.
    #[error("cannot start threads")]
    Threads(#[source] std::io::Error),
}

impl ArchiveError {
    /// Whether it is of one snapshot or lineage, and others can be read.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Read(error) => error.recovery() == Recovery::SkipIt,
            Self::Store(error) => matches!(error, StoreError::Damaged { .. }),
            Self::Header(_) | Self::UnknownDevice(_) => true,
            Self::Home(_)
            | Self::Log(_)
            | Self::RolledBack { .. }
            | Self::AnotherVault { .. }
            | Self::Empty
            | Self::Threads(_) => false,
        }
    }
}

impl From<VaultError> for ArchiveError {
    fn from(error: VaultError) -> Self {
        Self::Store(error.into())
    }
}

/// What an archive is opened for.
#[derive(Debug, Clone)]
pub struct ArchiveOptions {
    /// To write or to read.
    pub access: Access,
    /// How objects are read.
    pub reader: ReaderOptions,
    /// A server that cannot be reached is tried for no longer than this, whatever the configuration says.
    pub patience_max: Duration,
    /// Snapshots that come with the list of sets where there is only one: one to know what it is called, more for whoever shows them all.
    pub snapshots_at_once: usize,
    /// What of that which a server gives is kept on this computer's disk.
    pub keep: Keep,
}

impl ArchiveOptions {
    /// For reading much.
    pub fn read() -> Self {
        Self {
            access: Access::Read,
            reader: ReaderOptions::default(),
            patience_max: Duration::MAX,
            snapshots_at_once: 1,
            keep: Keep::Nodes,
        }
    }

    /// For a backup, which reads little but nodes.
    pub fn write() -> Self {
        Self { access: Access::Write, reader: ReaderOptions::small(), ..Self::read() }
    }
}

/// Sets of this computer that are asked for before it is known that they are there.
const EXPECTED_MAX: usize = 16;

impl Archive {
    /// Opens the archive that this computer is enrolled with.
    pub fn open(
        home: &Home,
        machine: &Arc<dyn Machine>,
        options: &ArchiveOptions,
    ) -> Result<Self, ArchiveError> {
        let file = AccountFile::load(home)?.ok_or(HomeError::NotEnrolled)?;
        let secrets = DeviceSecrets::load(home)?.ok_or(HomeError::NotEnrolled)?;
        let account = file.account_id(home)?;
        let keyring = secrets.load_keyring(home, account)?;
        let keys = Arc::new(keyring.keys());
        let mut vault = None;
        let mut folder = None;
        let mut cache = None;
        let mut connection = None;
        let (source, destination): (Arc<dyn Source>, Option<Arc<dyn Destination>>) =
            if let Some((path, id, number)) = file.destination.as_folder(home)? {
                home.prepare()?;
                let index = home.index_path();
                let opened = Vault::open(OpenOptions::folder(
                    path.clone(),
                    index,
                    options.access,
                    Arc::clone(machine),
                ))?;
                if opened.id() != id {
                    return Err(ArchiveError::AnotherVault { path });
                }
                let opened = Arc::new(opened);
                let number = AccountNumber::new(number).unwrap_or(AccountNumber::FIRST);
                let destination =
                    Arc::new(FolderDestination::new(Arc::clone(&opened), number, secrets.device()));
                vault = Some(opened);
                folder = Some(path);
                let writes = options.access == Access::Write;
                (destination.clone(), writes.then_some(destination as Arc<dyn Destination>))
            } else {
                let server = Arc::new(connect(home, &file, &secrets, options.patience_max)?);
                connection = Some(Connection(Arc::clone(&server)));
                let destination: Arc<dyn Destination> = server;
                let domain = keyring.domain().to_string();
                let source: Arc<dyn Source>;
                (source, cache) = with_cache(home, &domain, &destination, options);
                let cached = cache.clone().map(|cache| cache as Arc<dyn Destination>);
                (source, Some(cached.unwrap_or(destination)))
            };
        let reader = ObjectReader::new(Arc::clone(&source), (*keys).clone(), &options.reader)
            .map_err(ArchiveError::Threads)?;
        let place = file.destination.to_string();
        let overview = match options.access {
            Access::Read => {
                let sets = Config::load(home).unwrap_or_default().sets;
                let own: Vec<_> = sets.iter().take(EXPECTED_MAX).map(SetConfig::lineage_id).collect();
                let count = if own.len() == 1 { options.snapshots_at_once } else { 1 };
                source.overview(&own, count)?
            }
            Access::Write => Overview { log: source.account_log(0)?, ..Overview::default() },
        };
        let log = Self::replay_log(home, &overview.log, file, &place)?;
        let overview = (options.access == Access::Read).then_some(overview);
        Ok(Self {
            overview: Mutex::new(overview),
            snapshots_at_once: options.snapshots_at_once,
            source,
            destination,
            keys,
            account,
            domain: keyring.domain(),
            device: secrets.device(),
            secrets,
            log: RwLock::new(Arc::new(log)),
            place,
            folder,
            reader,
            vault,
            cache,
            _connection: connection,
        })
    }

    /// Newest entry of the account log.
    pub fn log_head(&self) -> LogHash {
        self.log().head
    }

    /// Who may sign what, as far as is known.
    pub fn log(&self) -> Arc<AccountState> {
        Arc::clone(&self.log.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Learns of devices that came to the account since it was opened.
    pub fn renew_log(&self, home: &Home) -> Result<(), ArchiveError> {
        let file = AccountFile::load(home)?.ok_or(HomeError::NotEnrolled)?;
        let log = Self::replay_log(home, &self.source.account_log(0)?, file, &self.place)?;
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(log);
        Ok(())
    }

    /// Closes it; a vault in a folder is then ready to be read at once by whoever opens it next.
    pub fn close(self) -> Result<(), ArchiveError> {
        let Self { vault, source, destination, reader, cache, .. } = self;
        if let Some(cache) = &cache {
            cache.tidy();
        }
        drop((source, destination, reader, cache));
        match vault.map(Arc::try_unwrap) {
            Some(Ok(vault)) => Ok(vault.close()?),
            // Somebody still reads; nothing that was acknowledged depends on closing.
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// What the account log comes to, compared with what was seen of it before.
    fn replay_log(
        home: &Home,
        stored: &[Bytes],
        mut file: AccountFile,
        place: &str,
    ) -> Result<AccountState, ArchiveError> {
        let mut log = AccountState::default();
        let mut is_known = file.log_length == 0;
        for entry in stored {
            log.append(entry)?;
            is_known |= log.length == file.log_length && log.head.to_string() == file.log_head;
        }
        if !is_known {
            return Err(ArchiveError::RolledBack { place: place.to_owned() });
        }
        if log.length > file.log_length {
            (file.log_length, file.log_head) = (log.length, log.head.to_string());
            file.save(home)?;
        }
        Ok(log)
    }
}
