//! The control state: a small key-value store for what a server or agent has to remember, as safe as snapshots.

use std::ops::ControlFlow;
use std::sync::Arc;

use backstore_protocol::ids::{DeviceId, ObjectId};
use bytes::Bytes;

use crate::core::{Core, State};
use crate::error::VaultError;
use crate::ids::{AccountNumber, Sequence};
use crate::index::rows::{self, ControlRow};
use crate::pack::control::ControlBatch;
use crate::pack::record::{Flags, RecordHeader, RecordKind, content_hash};
use crate::receipt::Receipt;
use crate::writer::{NewRecord, Payload};

/// The control state of an open vault. Of several values of a key the last one counts.
#[derive(Clone)]
pub struct Control {
    core: Arc<Core>,
}

impl Control {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Sets a key to a value, or removes it; durable when it returns.
    ///
    /// # Errors
    ///
    /// As [`Control::put_all`].
    pub fn put(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), VaultError> {
        self.put_all([(key.to_vec(), value.map(<[u8]>::to_vec))])
    }

    /// Makes several changes at once, all or none; durable when it returns.
    ///
    /// # Errors
    ///
    /// [`VaultError::TooLarge`] beyond [`crate::CONTROL_KEY_BYTES_MAX`], [`crate::CONTROL_VALUE_BYTES_MAX`] or
    /// [`crate::CONTROL_BATCH_BYTES_MAX`], [`VaultError::Full`], [`VaultError::ReadOnly`], or [`VaultError::Failed`] when writing has ended.
    pub fn put_all(
        &self,
        changes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<(), VaultError> {
        let own = changes.into_iter().map(|(key, value)| (user_key(&key), value));
        put(&self.core, own)?.wait()
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// [`VaultError::Index`] when the index is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        let row = self.core.index.read(&rows::control_key(&user_key(key)), ControlRow::decode)?;
        Ok(row.and_then(|row| row.value))
    }

    /// Keys that start with `prefix` and their values, in the order of keys, until `each` breaks.
    ///
    /// # Errors
    ///
    /// [`VaultError::Index`] when the index is damaged.
    pub fn scan(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), VaultError> {
        let prefix = rows::control_key(&user_key(prefix));
        self.core.index.scan_rows(
            &prefix,
            &[],
            |key, value| Some((key.get(2..)?.to_vec(), ControlRow::decode(value)?)),
            |(key, row)| row.value.map_or(ControlFlow::Continue(()), |value| each(&key, &value)),
        )
    }
}

/// Keys of the vault's own state start with 0.
fn user_key(key: &[u8]) -> Vec<u8> {
    [&[1], key].concat()
}

/// Queues changes of the control state.
pub(crate) fn put(
    core: &Arc<Core>,
    changes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
) -> Result<Receipt, VaultError> {
    core.check_writable()?;
    let records = records(core, changes)?;
    loop {
        let refusals = core.state().refusals();
        if let Some(receipt) = core.enqueue(records.clone(), refusals)? {
            return Ok(receipt);
        }
    }
}

/// Writes the value of a key again, in two copies. It may be any key, also one of the vault's own.
pub(crate) fn put_again(core: &Arc<Core>, key: &[u8]) -> Result<(), VaultError> {
    loop {
        let (refusals, changes) = {
            let state = core.state();
            (state.refusals(), state.control_changes())
        };
        core.sync()?;
        let Some(row) = core.index.read(&rows::control_key(key), ControlRow::decode)? else { return Ok(()) };
        let records = records(core, [(key.to_vec(), row.value)])?;
        // A change that came meanwhile must not be undone.
        let is_newest = |state: &State| state.control_changes() == changes;
        if let Some(receipt) = core.enqueue_if(records, refusals, is_newest)? {
            return receipt.wait();
        }
    }
}

/// The record of a batch of changes, and its second copy.
fn records(
    core: &Core,
    changes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
) -> Result<Vec<NewRecord>, VaultError> {
    let batch = Arc::new(ControlBatch::new(changes)?);
    let content = Bytes::from(batch.encode());
    let received_at = core.machine.now_ms();
    let record = |second_copy| NewRecord {
        header: RecordHeader {
            kind: RecordKind::Control,
            level: 0,
            flags: Flags { second_copy, again: false },
            account: AccountNumber::VAULT,
            device: DeviceId::ZERO,
            received_at,
            sequence: Sequence(0),
            id: ObjectId::ZERO,
            references: 0,
            length: content.len() as u32,
            content_hash: content_hash(&[], &content),
            durable: Sequence(0),
        },
        references: Bytes::new(),
        content: content.clone(),
        payload: Payload::Control(Arc::clone(&batch)),
    };
    Ok(vec![record(false), record(true)])
}
