//! Rows in memory: those that a store has not yet written.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Row;

/// Rows that are newer than those of a store below: a value, or none where the row is gone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Rows {
    /// What these rows say of a key, if anything.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.rows.get(key)
    }

    pub(crate) fn insert(&mut self, (key, value): Row) {
        let size = key.len() + value.as_ref().map_or(0, Vec::len) + ROW_OVERHEAD;
        let key_size = key.len();
        self.bytes += size;
        if let Some(before) = self.rows.insert(key, value) {
            self.bytes -= key_size + before.map_or(0, |value| value.len()) + ROW_OVERHEAD;
        }
    }

    /// Bytes of memory they take, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> {
        self.rows.iter()
    }

    /// Rows whose keys start with `prefix` and are not below `from`.
    pub(crate) fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        from: &'a [u8],
    ) -> impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)> {
        let start = from.max(prefix);
        self.rows
            .range::<[u8], _>((Bound::Included(start), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    pub(crate) fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        rows.into_iter().for_each(|row| self.insert(row));
    }
}

/// What a row costs besides its bytes, about.
const ROW_OVERHEAD: usize = 80;
