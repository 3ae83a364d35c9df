//! A vault whose index is found damaged while it is served: it is closed, its index made anew from the packs, and served again.
//!
//! Meanwhile clients are told to try again, which they do. Nothing that was acknowledged depends on an index. A disk that damages one index after the
//! other is not fit to serve from: the second time in short order ends the server.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use backstore_vault::VaultError;

use crate::service::Service;

/// Damage that comes again before this time has passed ends the server.
const HEALTHY_MIN: Duration = Duration::from_secs(600);

/// Why a server ends by itself.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GaveUp {
    /// Soon after an index was made anew.
    #[error("the index was damaged again, {} s after it was made anew: look at the disk under it ({detail})", after.as_secs())]
    Again {
        /// How soon.
        after: Duration,
        /// What was found.
        detail: String,
    },
    /// The vault could not be opened.
    #[error("the index was damaged and could not be made anew")]
    Open(#[source] VaultError),
}

/// Stays with a server until it stops; `give_up` is told why it has to.
///
/// # Errors
///
/// When the system gives no thread.
pub fn start(service: &Arc<Service>, give_up: impl FnOnce(GaveUp) + Send + 'static) -> std::io::Result<()> {
    let service = Arc::clone(service);
    thread::Builder::new().name("healing".into()).spawn(move || {
        if let Err(reason) = heal(&service) {
            tracing::error!(%reason, "giving up");
            give_up(reason);
        }
    })?;
    Ok(())
}

/// Makes the index anew whenever it is damaged, until the vault is closed.
fn heal(service: &Service) -> Result<(), GaveUp> {
    let mut healed_at: Option<Duration> = None;
    while let Some(detail) = service.vault().wait_for_damage() {
        let now = service.machine.monotonic();
        if let Some(after) = healed_at.map(|at| now.saturating_sub(at)).filter(|after| *after < HEALTHY_MIN) {
            return Err(GaveUp::Again { after, detail });
        }
        tracing::error!(%detail, "the index is damaged; it is made anew from the packs, and clients wait");
        if !service.open_again().map_err(GaveUp::Open)? {
            return Ok(());
        }
        healed_at = Some(service.machine.monotonic());
        tracing::info!(report = ?service.vault().report(), "serving again");
    }
    Ok(())
}
