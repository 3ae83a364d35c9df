//! The content of a control record, a batch of changes of the control state: FORMAT.md section 6.

use super::Fields;
use crate::error::VaultError;
use crate::limits::{CONTROL_BATCH_BYTES_MAX, CONTROL_KEY_BYTES_MAX, CONTROL_VALUE_BYTES_MAX};

/// Changes that are taken over together or not at all: sorted by key, no key twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlBatch(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl ControlBatch {
    /// Of several changes of one key the last one counts.
    ///
    /// # Errors
    ///
    /// [`VaultError::TooLarge`] when a key, a value or the batch is.
    pub(crate) fn new(
        changes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<Self, VaultError> {
        let changes: std::collections::BTreeMap<_, _> = changes.into_iter().collect();
        let batch = Self(changes.into_iter().collect());
        let bound = |what, size: usize, max: usize| {
            let (size, max) = (size as u64, max as u64);
            if size <= max { Ok(()) } else { Err(VaultError::TooLarge { what, size, max }) }
        };
        for (key, value) in &batch.0 {
            bound("a key of the control state, in bytes,", key.len(), CONTROL_KEY_BYTES_MAX)?;
            let size = value.as_ref().map_or(0, Vec::len);
            bound("a value of the control state, in bytes,", size, CONTROL_VALUE_BYTES_MAX)?;
        }
        bound("a batch of the control state, in changes,", batch.0.len(), usize::from(u16::MAX))?;
        bound("a batch of the control state, in bytes,", batch.size(), CONTROL_BATCH_BYTES_MAX)?;
        Ok(batch)
    }

    /// The changes: a key and its new value, or none if it is removed.
    pub(crate) fn changes(&self) -> &[(Vec<u8>, Option<Vec<u8>>)] {
        &self.0
    }

    fn size(&self) -> usize {
        let change =
            |(key, value): &(Vec<u8>, Option<Vec<u8>>)| 7 + key.len() + value.as_ref().map_or(0, Vec::len);
        2 + self.0.iter().map(change).sum::<usize>()
    }

    /// The content of its record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        bytes.extend((self.0.len() as u16).to_le_bytes());
        for (key, value) in &self.0 {
            bytes.extend((key.len() as u16).to_le_bytes());
            bytes.push(u8::from(value.is_some()));
            let value = value.as_deref().unwrap_or_default();
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend(key);
            bytes.extend(value);
        }
        bytes
    }

    /// The batch in the content of a record.
    pub(crate) fn decode(content: &[u8]) -> Option<Self> {
        let mut fields = Fields(content);
        let count = fields.u16()?;
        let mut changes = Vec::new();
        for _ in 0..count {
            let key_length = usize::from(fields.u16()?);
            let is_set = match fields.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            };
            let value_length = fields.u32()? as usize;
            let key = fields.slice(key_length)?.to_vec();
            let value = fields.slice(value_length)?.to_vec();
            if !is_set && !value.is_empty() {
                return None;
            }
            changes.push((key, is_set.then_some(value)));
        }
        fields.end()?;
        let is_sorted = changes.is_sorted_by(|(a, _), (b, _)| a < b);
        if is_sorted { Self::new(changes).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn any_changes() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
        vec((vec(any::<u8>(), 0..8), proptest::option::of(vec(any::<u8>(), 0..20))), 0..10)
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(changes in any_changes()) {
            let batch = ControlBatch::new(changes).expect("small");
            prop_assert_eq!(ControlBatch::decode(&batch.encode()), Some(batch));
        }

        #[test]
        fn accepted_bytes_are_canonical(changes in any_changes(), at: prop::sample::Index, value: u8) {
            let mut bytes = ControlBatch::new(changes).expect("small").encode();
            let at = at.index(bytes.len());
            bytes[at] = value;
            if let Some(batch) = ControlBatch::decode(&bytes) {
                prop_assert_eq!(batch.encode(), bytes);
            }
        }
    }

    #[test]
    fn limits_are_kept() {
        let check = |key: usize, value: usize, count: usize| {
            let change = |n: usize| {
                let mut bytes = vec![0; key];
                bytes[..2].copy_from_slice(&(n as u16).to_le_bytes());
                (bytes, Some(vec![0; value]))
            };
            ControlBatch::new((0..count).map(change)).is_ok()
        };
        assert!(check(CONTROL_KEY_BYTES_MAX, CONTROL_VALUE_BYTES_MAX, 1));
        assert!(!check(CONTROL_KEY_BYTES_MAX + 1, 0, 1));
        assert!(!check(2, CONTROL_VALUE_BYTES_MAX + 1, 1));
        assert!(!check(2, CONTROL_VALUE_BYTES_MAX, 16));
        assert!(check(2, CONTROL_VALUE_BYTES_MAX, 15));
    }
}
