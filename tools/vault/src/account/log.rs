//! The account log, as far as a vault keeps it: stored entries by number, in the control state.

use std::ops::ControlFlow;

use backstore_protocol::limits::{LOG_ENTRIES_MAX, LOG_ENTRY_BYTES_MAX};
use bytes::Bytes;

use super::Account;
use crate::control::Control;
use crate::error::VaultError;

impl Account {
    /// Stored entries of the account log from number `from` on.
    ///
    /// # Errors
    ///
    /// [`VaultError::Index`] when the index is damaged.
    pub fn log(&self, from: u64) -> Result<Vec<Bytes>, VaultError> {
        let mut entries = Vec::new();
        Control::new(self.core.clone()).scan(&self.log_prefix(), |key, value| {
            let number = key.last_chunk().map(|number| u64::from_be_bytes(*number));
            if number >= Some(from) {
                entries.push(Bytes::copy_from_slice(value));
            }
            ControlFlow::Continue(())
        })?;
        Ok(entries)
    }

    /// Appends entries to the account log, all or none; durable when it returns. `first` is the number of the first of them, and how many
    /// there are before: who does not know the newest entry cannot append.
    ///
    /// # Errors
    ///
    /// [`VaultError::LogMoved`] if there are more or fewer entries, [`VaultError::TooLarge`], or what
    /// [`crate::Control::put_all`] returns.
    pub fn append_log(&self, first: u64, entries: &[&[u8]]) -> Result<(), VaultError> {
        self.append_log_with(first, entries, Vec::new())
    }

    /// The same together with other changes of the control state, all or none.
    pub(crate) fn append_log_with(
        &self,
        first: u64,
        entries: &[&[u8]],
        changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<(), VaultError> {
        let _guard = self.core.lock_commits();
        let length = self.log(0)?.len() as u64;
        if length != first {
            return Err(VaultError::LogMoved { length });
        }
        let bound = |what, size: usize, max: usize| {
            let (size, max) = (size as u64, max as u64);
            if size <= max { Ok(()) } else { Err(VaultError::TooLarge { what, size, max }) }
        };
        bound("the account log, in entries,", length as usize + entries.len(), LOG_ENTRIES_MAX)?;
        for entry in entries {
            bound("an entry of the account log, in bytes,", entry.len(), LOG_ENTRY_BYTES_MAX)?;
        }
        let numbered = (first..).zip(entries).map(|(number, entry)| {
            let key = [self.log_prefix(), number.to_be_bytes().to_vec()].concat();
            (key, Some(entry.to_vec()))
        });
        Control::new(self.core.clone()).put_all(changes.into_iter().chain(numbered))
    }

    fn log_prefix(&self) -> Vec<u8> {
        [b"account-log\0".as_slice(), &self.number.get().to_be_bytes()].concat()
    }
}
