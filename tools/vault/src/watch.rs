//! Waiting for new snapshots.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A number that goes up with every change, and those who wait for that.
#[derive(Default)]
pub(crate) struct Watch {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Watch {
    /// Something changed.
    pub(crate) fn changed(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// The number; waits, for `patience` at most, until it is not `seen`.
    pub(crate) fn wait(&self, seen: u64, patience: Duration) -> u64 {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(count, patience, |count| *count == seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
