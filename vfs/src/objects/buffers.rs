//! Memory that opened data objects live in, used again and again: the first touch of a fresh page costs more than
//! decrypting into it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::sync::lock;

/// Free buffers, up to a sum of bytes.
pub(super) struct Buffers {
    free: Mutex<Free>,
    bytes_max: usize,
}

#[derive(Default)]
struct Free {
    by_capacity: BTreeMap<usize, Vec<Vec<u8>>>,
    bytes: usize,
}

/// Capacities are multiples of this, so that buffers of similar objects fit each other.
const GRAIN: usize = 32 * 1024;

impl Buffers {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), bytes_max })
    }

    /// An empty buffer with room for `length` bytes and not much more.
    pub(super) fn take(self: &Arc<Self>, length: usize) -> Buffer {
        let wanted = length.next_multiple_of(GRAIN);
        if length == 0 {
            return Buffer { bytes: Vec::new(), home: Arc::clone(self) };
        }
        let bytes = self.take_free(wanted, wanted + wanted / 2 + GRAIN);
        Buffer { bytes: bytes.unwrap_or_else(|| Vec::with_capacity(wanted)), home: Arc::clone(self) }
    }

    fn take_free(&self, least: usize, most: usize) -> Option<Vec<u8>> {
        let mut free = lock(&self.free);
        let capacity = *free.by_capacity.range(least..=most).next()?.0;
        let buffers = free.by_capacity.get_mut(&capacity)?;
        let buffer = buffers.pop();
        if buffers.is_empty() {
            free.by_capacity.remove(&capacity);
        }
        free.bytes -= buffer.as_ref().map_or(0, Vec::capacity);
        buffer
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = lock(&self.free);
        if buffer.capacity() > 0 && free.bytes + buffer.capacity() <= self.bytes_max {
            free.bytes += buffer.capacity();
            free.by_capacity.entry(buffer.capacity()).or_default().push(buffer);
        }
    }
}

/// A buffer that goes back to where it came from when its last reader drops it.
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl Buffer {
    /// Its bytes, to be shared from now on.
    pub(super) fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_the_last_reader_is_gone() {
        let buffers = Buffers::new(1 << 20);
        let mut buffer = buffers.take(100_000);
        buffer.bytes.extend_from_slice(&[7; 100_000]);
        let address = buffer.bytes.as_ptr();
        let shared = buffer.share();
        let part = shared.slice(10..20);
        drop(shared);
        assert_ne!(buffers.take(100_000).bytes.as_ptr(), address, "still read");
        drop(part);
        let again = buffers.take(100_000);
        assert!(again.bytes.is_empty() && again.bytes.capacity() >= 100_000);
    }

    #[test]
    fn free_memory_is_bounded_and_never_much_too_large() {
        let buffers = Buffers::new(3 * GRAIN);
        let held: Vec<_> = (0..10).map(|_| buffers.take(GRAIN)).collect();
        drop(held);
        assert_eq!(buffers.free.lock().unwrap().bytes, 3 * GRAIN);
        drop(buffers.take(3 * GRAIN));
        assert!(buffers.take(1).bytes.capacity() <= 2 * GRAIN);
    }
}
