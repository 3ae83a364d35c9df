//! A vault that is read while another process writes to it: what came since is taken over in place.

use std::sync::PoisonError;
use std::time::Duration;

use crate::error::VaultError;
use crate::options::Access;
use crate::recover::{Obstacle, Recovered, catch_up, rebuild_index};
use crate::vault::Vault;

/// The shortest time between two looks at the packs.
const LOOK_EVERY_MIN: Duration = Duration::from_secs(1);
/// Looking takes this part of the time at most.
const LOOK_SHARE: u32 = 100;

impl Vault {
    /// Looks at the packs again and again, until a snapshot has come.
    pub(crate) fn watch_packs(&self, seen: u64, patience: Duration) -> Result<u64, VaultError> {
        let core = self.core();
        let start = core.machine.monotonic();
        loop {
            let begun = core.machine.monotonic();
            self.catch_up()?;
            let count = core.watch.wait(seen, Duration::ZERO);
            let now = core.machine.monotonic();
            let left = patience.saturating_sub(now.saturating_sub(start));
            if count != seen || left.is_zero() {
                return Ok(count);
            }
            let pause = LOOK_EVERY_MIN.max(LOOK_SHARE * now.saturating_sub(begun));
            let count = core.watch.wait(seen, pause.min(left));
            if count != seen {
                return Ok(count);
            }
        }
    }

    /// Takes over what the packs gained since they were looked at last, if the vault is only read; one that is written knows it all.
    ///
    /// # Errors
    ///
    /// A failed system call, [`VaultError::Newer`], or [`VaultError::Index`] if not even a new index can be used.
    pub fn catch_up(&self) -> Result<(), VaultError> {
        let core = self.core();
        if core.access == Access::Write {
            return Ok(());
        }
        let _one = self.catching_up.lock().unwrap_or_else(PoisonError::into_inner);
        let recovered = match catch_up(&core.packs, &core.index) {
            Ok(recovered) => recovered,
            Err(Obstacle::Error(error)) => return Err(error),
            Err(Obstacle::Rebuild(reason)) => self.make_anew(reason)?,
        };
        *core.damaged.write().unwrap_or_else(PoisonError::into_inner) = recovered.damaged;
        if recovered.snapshots > 0 {
            core.watch.changed();
        }
        if core.index.unflushed_bytes() <= core.memtable_bytes {
            return Ok(());
        }
        // A full disk leaves the rows where they are.
        match core.index.flush() {
            Ok(()) | Err(VaultError::Full) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the index of one who reads anew; whoever asks it meanwhile is told that it is closed.
    fn make_anew(&self, reason: String) -> Result<Recovered, VaultError> {
        let core = self.core();
        let Some(held) = &self.held else {
            return Err(VaultError::Index { path: core.index.folder().to_owned(), detail: reason });
        };
        core.index.close_and_wait();
        core.packs.forget();
        let (index, mut recovered) = rebuild_index(&core.packs, &held.slot, Access::Read, reason)?;
        core.index.replace(&index);
        // Whatever was known may have gone.
        recovered.snapshots = recovered.snapshots.max(1);
        Ok(recovered)
    }
}
