//! One account of a vault. It sees its own objects and snapshots and no others; there is no other way to any.

mod commit;
mod lineages;
mod log;
mod memory;
mod put;
mod read;

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use backstore_protocol::ids::ObjectId;

use crate::core::Core;
use crate::error::VaultError;
use crate::ids::AccountNumber;
use crate::index::rows::{self, Usage};
use crate::limits::DAMAGED_MAX;

pub use commit::Commit;
pub(crate) use commit::snapshot_records;
pub(crate) use put::is_kept_twice;

/// One account of an open vault.
#[derive(Clone)]
pub struct Account {
    core: Arc<Core>,
    number: AccountNumber,
}

impl Account {
    pub(crate) fn new(core: Arc<Core>, number: AccountNumber) -> Self {
        Self { core, number }
    }

    /// Which account it is.
    pub fn number(&self) -> AccountNumber {
        self.number
    }

    /// Which objects the account holds undamaged. What was received in this process counts, though it may not be durable yet.
    ///
    /// # Errors
    ///
    /// [`VaultError::Index`] when the index is damaged.
    pub fn have(&self, ids: &[ObjectId]) -> Result<Vec<bool>, VaultError> {
        let mut held: Vec<bool> = {
            let state = self.core.state();
            ids.iter().map(|id| state.object(self.number, id).is_some()).collect()
        };
        for (held, id) in held.iter_mut().zip(ids).filter(|(held, _)| !**held) {
            *held = self.holds(id)?;
        }
        Ok(held)
    }

    /// Whether the index has an object undamaged.
    fn holds(&self, id: &ObjectId) -> Result<bool, VaultError> {
        Ok(self.core.index.object(self.number, id)?.is_some_and(|row| !row.is_damaged))
    }

    /// Objects that are damaged or lost, sorted, at most [`DAMAGED_MAX`]. Putting one again heals it.
    ///
    /// # Errors
    ///
    /// [`VaultError::Index`] when the index is damaged.
    pub fn damaged(&self) -> Result<Vec<ObjectId>, VaultError> {
        let mut ids = Vec::new();
        if !self.may_have_damage() {
            return Ok(ids);
        }
        let prefix = rows::account_prefix(rows::DAMAGE, self.number);
        self.core.index.scan_rows(
            &prefix,
            &[],
            |key, _| ObjectId::from_slice(rows::split_account_key(key)?.1),
            |id| {
                ids.push(id);
                if ids.len() < DAMAGED_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            },
        )?;
        Ok(ids)
    }

    /// False if it surely has none.
    fn may_have_damage(&self) -> bool {
        self.core.damaged.read().unwrap_or_else(PoisonError::into_inner).contains(&self.number)
    }

    /// What the account holds durably.
    ///
    /// # Errors
    ///
    /// [`VaultError::Index`] when the index is damaged.
    pub fn usage(&self) -> Result<Usage, VaultError> {
        Ok(self.core.index.read(&rows::usage_key(self.number), Usage::decode)?.unwrap_or_default())
    }

    /// From now on, until the vault is closed, [`Account::put`] refuses what would make the account hold more bytes than `quota`.
    pub fn set_quota(&self, quota: Option<u64>) {
        let mut quotas = self.core.quotas.write().unwrap_or_else(PoisonError::into_inner);
        match quota {
            Some(quota) => quotas.insert(self.number, quota),
            None => quotas.remove(&self.number),
        };
    }
}
