//! The control state: a small key-value store for what a server or agent has to remember, as safe as snapshots.

use std::ops::ControlFlow;
use std::sync::Arc;

use backstore_protocol::ids::{DeviceId, ObjectId};
use bytes::Bytes;

use crate::core::Core;
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
    loop {
        let refusals = core.state().refusals();
        if let Some(receipt) = core.enqueue(vec![record(false), record(true)], refusals)? {
            return Ok(receipt);
        }
    }
}
