//! What `put` returns: the promise that a batch becomes durable, and the means to wait for it.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::core::Core;
use crate::error::VaultError;
use crate::ids::Sequence;

type Callback = Box<dyn FnOnce(Result<(), VaultError>) + Send>;

/// Told once, when a batch is durable or never will be.
#[derive(Default)]
pub(crate) struct Ticket {
    state: Mutex<TicketState>,
    settled: Condvar,
}

#[derive(Default)]
struct TicketState {
    outcome: Option<Result<(), VaultError>>,
    callbacks: Vec<Callback>,
}

impl Ticket {
    /// Tells all who wait, and those who will. Only the first outcome counts.
    pub(crate) fn settle(&self, outcome: Result<(), VaultError>) {
        let callbacks = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.outcome.is_some() {
                return;
            }
            state.outcome = Some(outcome.clone());
            std::mem::take(&mut state.callbacks)
        };
        self.settled.notify_all();
        callbacks.into_iter().for_each(|callback| callback(outcome.clone()));
    }

    /// The outcome, if there is one yet.
    pub(crate) fn outcome(&self) -> Option<Result<(), VaultError>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).outcome.clone()
    }

    fn wait(&self) -> Result<(), VaultError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(outcome) = &state.outcome {
                return outcome.clone();
            }
            state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn when_settled(&self, callback: Callback) {
        let outcome = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match &state.outcome {
                None => {
                    state.callbacks.push(callback);
                    return;
                }
                Some(outcome) => outcome.clone(),
            }
        };
        callback(outcome);
    }
}

/// A batch that was received. Dropping it gives up knowing when the batch is durable; it will be all the same.
#[must_use = "a batch that was received is not yet durable"]
pub struct Receipt {
    pub(crate) core: Arc<Core>,
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) last: Sequence,
}

impl Receipt {
    /// Waits until everything put up to here is durable.
    ///
    /// # Errors
    ///
    /// [`VaultError::Full`] if this batch and those behind it were refused for want of space; [`VaultError::Failed`] if writing
    /// has ended.
    pub fn wait(self) -> Result<(), VaultError> {
        self.core.want(self.last);
        self.ticket.wait()
    }

    /// Calls `callback` when everything put up to here is durable, or will not be; at once if that is known. It runs on a
    /// thread of the vault and must not wait for the vault.
    pub fn on_durable(self, callback: impl FnOnce(Result<(), VaultError>) + Send + 'static) {
        self.ticket.when_settled(Box::new(callback));
        self.core.want(self.last);
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("last", &self.last).field("outcome", &self.ticket.outcome()).finish()
    }
}
