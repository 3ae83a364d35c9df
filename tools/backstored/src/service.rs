//! What all connections share: the vault, its registry, and limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use backstore_platform::machine::Machine;
use backstore_protocol::wire::ErrorCode;
use backstore_vault::registry::{Registry, RegistryError};
use backstore_vault::{AccountNumber, Vault, VaultError};
use tokio::sync::{Semaphore, watch};

/// The server's state.
pub struct Service {
    /// The vault; another one after its index was made anew.
    vault: RwLock<Arc<Vault>>,
    /// Held while that happens, and for good once the server stops.
    is_stopping: Mutex<bool>,
    /// Time and randomness.
    pub machine: Arc<dyn Machine>,
    /// Memory for what is on its way between network and vault.
    pub budget: Budget,
    /// Commits of each account, so that mounts learn of them.
    changes: Mutex<HashMap<AccountNumber, watch::Sender<u64>>>,
    /// Attempts to log in by address and account.
    attempts: Mutex<HashMap<String, Attempts>>,
}

/// Bytes that batches and answers may take in memory, all connections together.
pub struct Budget(Semaphore);

/// Bytes of one permit.
const PERMIT_BYTES: usize = 64 * 1024;

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self(Semaphore::new((bytes / PERMIT_BYTES).max(256)))
    }

    /// Takes `bytes`, waiting until there are so many; given back when dropped.
    pub async fn take(&self, bytes: usize) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let permits = bytes.div_ceil(PERMIT_BYTES).max(1);
        self.0.acquire_many(u32::try_from(permits).ok()?).await.ok()
    }
}

struct Attempts {
    failures: u32,
    /// No further attempt before this moment.
    not_before: i64,
}

/// Addresses and accounts whose failures are remembered.
const ATTEMPTS_MAX: usize = 65_536;
/// Failures before waiting begins.
const FREE_FAILURES: u32 = 5;
/// The longest wait.
const WAIT_MS_MAX: i64 = 15 * 60 * 1000;

impl Service {
    /// A server over an open vault.
    pub fn new(vault: Vault, machine: Arc<dyn Machine>, budget_bytes: usize) -> Self {
        Self {
            vault: RwLock::new(Arc::new(vault)),
            is_stopping: Mutex::new(false),
            machine,
            budget: Budget::new(budget_bytes),
            changes: Mutex::default(),
            attempts: Mutex::default(),
        }
    }

    /// The vault as it is now. What was opened before the index was made anew is closed; whoever meets that asks the client to try again.
    pub fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vault.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes the vault, makes its index anew and goes on with it; not if the server is stopping.
    ///
    /// # Errors
    ///
    /// As [`Vault::open`]; the vault stays closed then.
    pub fn open_again(&self) -> Result<bool, VaultError> {
        let is_stopping = self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_stopping {
            return Ok(false);
        }
        let opened = self.vault().open_again()?;
        *self.vault.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(opened);
        Ok(true)
    }

    /// Closes the vault for good; requests that still run are told so.
    ///
    /// # Errors
    ///
    /// As [`Vault::close`].
    pub fn close(&self) -> Result<(), VaultError> {
        *self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.vault().shut()
    }

    /// Who may use the vault.
    pub fn registry(&self) -> Registry {
        Registry::new(&self.vault())
    }

    /// Tells who watches an account that something was committed.
    pub fn changed(&self, account: AccountNumber) {
        self.change(account).send_modify(|count| *count += 1);
    }

    /// News of an account's commits.
    pub fn watch(&self, account: AccountNumber) -> watch::Receiver<u64> {
        self.change(account).subscribe()
    }

    fn change(&self, account: AccountNumber) -> watch::Sender<u64> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.entry(account).or_insert_with(|| watch::Sender::new(1)).clone()
    }

    /// Whether another attempt to log in is allowed now. `who` is an address or an account.
    pub fn may_try(&self, who: &str) -> bool {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.get(who).is_none_or(|attempts| attempts.not_before <= self.machine.now_ms())
    }

    /// Remembers how an attempt ended: after some failures the next has to wait, twice as long each time.
    pub fn tried(&self, who: &str, is_success: bool) {
        let now = self.machine.now_ms();
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if is_success {
            attempts.remove(who);
            return;
        }
        if attempts.len() >= ATTEMPTS_MAX {
            attempts.retain(|_, attempts| attempts.not_before > now);
        }
        let entry = attempts.entry(who.to_owned()).or_insert(Attempts { failures: 0, not_before: 0 });
        entry.failures = entry.failures.saturating_add(1);
        let over = entry.failures.saturating_sub(FREE_FAILURES).min(20);
        if over > 0 {
            entry.not_before = now + (1000_i64 << over).min(WAIT_MS_MAX);
        }
    }
}

/// Why the server does not do what a client asks.
#[derive(Debug)]
pub struct Refused {
    /// By number.
    pub code: ErrorCode,
    /// For people; never anything of another account.
    pub detail: String,
    /// The ids concerned.
    pub ids: Vec<backstore_protocol::ids::ObjectId>,
}

impl Refused {
    /// Without more to say.
    pub fn new(code: ErrorCode) -> Self {
        Self { code, detail: String::new(), ids: Vec::new() }
    }

    /// With more to say.
    pub fn because(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), ids: Vec::new() }
    }
}

impl From<VaultError> for Refused {
    fn from(error: VaultError) -> Self {
        use backstore_protocol::ids::ObjectId;
        let detail = error.to_string();
        let (code, ids) = match error {
            VaultError::Missing { ids } => (ErrorCode::Missing, ids),
            VaultError::Damaged { id } => (ErrorCode::Damaged, vec![id]),
            VaultError::Conflict { head } => (
                ErrorCode::Conflict,
                head.map(|head| ObjectId::from_bytes(*head.as_bytes())).into_iter().collect(),
            ),
            VaultError::NotFound { .. } => (ErrorCode::NotFound, Vec::new()),
            VaultError::BadObject { .. } => (ErrorCode::BadObject, Vec::new()),
            VaultError::TooLarge { .. } => (ErrorCode::TooLarge, Vec::new()),
            VaultError::Quota { .. } => (ErrorCode::Quota, Vec::new()),
            VaultError::Full => (ErrorCode::StorageFull, Vec::new()),
            VaultError::Fenced { .. } => (ErrorCode::Fenced, Vec::new()),
            VaultError::LogMoved { .. } => (ErrorCode::Busy, Vec::new()),
            // The index is made anew, or the server stops: whoever comes again finds a vault, and what was durable in it.
            VaultError::Index { .. } | VaultError::Closed => return Self::new(ErrorCode::Busy),
            VaultError::Failed { source } if source.is_of_index() => return Self::new(ErrorCode::Busy),
            VaultError::FolderMissing { .. }
            | VaultError::NotAVault { .. }
            | VaultError::AlreadyAVault { .. }
            | VaultError::FolderNotEmpty { .. }
            | VaultError::SuperblockDamaged { .. }
            | VaultError::Locked { .. }
            | VaultError::TooManyReaders
            | VaultError::Newer { .. }
            | VaultError::Registry { .. }
            | VaultError::ReadOnly
            | VaultError::Failed { .. }
            | VaultError::Interrupted
            | VaultError::Disk { .. } => {
                // Paths and system errors are the operator's business.
                tracing::error!(error = %detail, "the vault failed");
                return Self::new(ErrorCode::StorageFailed);
            }
        };
        Self { code, detail, ids }
    }
}

impl From<RegistryError> for Refused {
    fn from(error: RegistryError) -> Self {
        let code = match error {
            RegistryError::Vault(error) => return error.into(),
            RegistryError::BadInvitation | RegistryError::NoAccount { .. } => ErrorCode::BadInvitation,
            RegistryError::WrongPassword => ErrorCode::WrongPassword,
            RegistryError::Enrolled { .. }
            | RegistryError::Log(_)
            | RegistryError::Incomplete(_)
            | RegistryError::Name { .. } => ErrorCode::NotEnrolled,
        };
        Self::because(code, error.to_string())
    }
}
