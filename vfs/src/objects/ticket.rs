//! Waiting for an object that was asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use backstore_protocol::entry::ObjectRef;
use bytes::Bytes;

use super::flight::Flight;
use super::threads::Shared;
use super::{Opened, ReadError};

/// An object that was asked for.
pub(crate) enum Ticket {
    Here(Opened),
    Flying(Waiter),
}

/// Somebody's place among those who wait for a flight.
pub(crate) struct Waiter {
    flight: Arc<Flight>,
    shared: Arc<Shared>,
    gives_up: bool,
}

impl Ticket {
    /// Waits for data.
    pub(crate) fn data(&self, object: ObjectRef) -> Result<Bytes, ReadError> {
        self.wait()?.data(object)
    }

    /// The data, if it is in memory.
    pub(crate) fn data_now(&mut self, object: ObjectRef) -> Result<Bytes, ReadError> {
        self.now_or_later()?.data(object)
    }

    /// Waits, for the reader's deadline at most.
    pub(super) fn wait(&self) -> Result<Opened, ReadError> {
        let waiter = match self {
            Self::Here(opened) => return Ok(opened.clone()),
            Self::Flying(waiter) => waiter,
        };
        if let Some(result) = waiter.flight.result() {
            return result;
        }
        let shared = &waiter.shared;
        shared.waits.fetch_add(1, Ordering::Relaxed);
        shared.flights.hurry(&waiter.flight);
        let timeout = ReadError::Timeout { id: waiter.flight.want.id(), waited: shared.deadline };
        waiter.flight.wait(shared.deadline).unwrap_or(Err(timeout))
    }

    /// The object, if it is in memory; if not, it goes on being fetched.
    pub(super) fn now(mut self) -> Result<Opened, ReadError> {
        self.now_or_later()
    }

    fn now_or_later(&mut self) -> Result<Opened, ReadError> {
        match self {
            Self::Here(opened) => Ok(opened.clone()),
            Self::Flying(waiter) => {
                // It goes on being fetched: the caller comes again and waits.
                waiter.gives_up = false;
                waiter.flight.result().unwrap_or(Err(ReadError::NotInMemory))
            }
        }
    }
}

impl Waiter {
    pub(super) const fn new(flight: Arc<Flight>, shared: Arc<Shared>) -> Self {
        Self { flight, shared, gives_up: true }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.gives_up && self.flight.result().is_none() {
            self.shared.flights.give_up(&self.flight);
        }
    }
}
