//! Locks that go on after a panic: what they protect is whole after every statement.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// Locks `mutex`.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks `mutex` for reading.
pub(crate) fn read<T>(mutex: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    mutex.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks `mutex` for writing.
pub(crate) fn write<T>(mutex: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    mutex.write().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `condvar` is notified.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits while `condition` holds, for `patience` at most.
pub(crate) fn wait_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    patience: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    condvar.wait_timeout_while(guard, patience, condition).unwrap_or_else(PoisonError::into_inner).0
}
