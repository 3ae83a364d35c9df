//! What is open, by the number that the system knows it by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::Problem;
use crate::sync::lock;

/// Number of an open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// Files and directories that may be open at once.
const OPEN_MAX: usize = 1 << 16;

/// Open things of one kind.
pub(super) struct Handles<T> {
    open: Mutex<HashMap<Handle, Arc<T>>>,
    next: AtomicU64,
}

impl<T> Handles<T> {
    pub(super) fn new() -> Self {
        Self { open: Mutex::default(), next: AtomicU64::new(1) }
    }

    pub(super) fn add(&self, thing: T) -> Result<Handle, Problem> {
        let mut open = lock(&self.open);
        if open.len() >= OPEN_MAX {
            return Err(Problem::TooManyOpen);
        }
        let handle = Handle(self.next.fetch_add(1, Ordering::Relaxed));
        open.insert(handle, Arc::new(thing));
        Ok(handle)
    }

    pub(super) fn get(&self, handle: Handle) -> Result<Arc<T>, Problem> {
        lock(&self.open).get(&handle).cloned().ok_or(Problem::BadHandle)
    }

    pub(super) fn remove(&self, handle: Handle) {
        lock(&self.open).remove(&handle);
    }
}
