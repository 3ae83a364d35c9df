//! Enrolling with a server: what a device without an account may say.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Mutex;

use super::connect::Connecting;
use super::keeper::{Runtime, block_on, goodbye, hello, runtime_gone};
use super::link::{QuicLink, QuicStream};
use super::lists::split_list;
use crate::ids::{FactorId, InviteToken};
use crate::store::StoreError;
use crate::wire::{
    Account, Control, Enrol, Invite, KeyBlobs, Log, LogEntries, Message, Offer, Prove, Register, Registered,
    Released,
};

/// A connection on which a device enrols. One attempt; an error ends it.
pub struct Enrolment {
    connecting: Connecting,
    link: QuicLink,
    control: Arc<Mutex<Control<QuicStream>>>,
    enrolled: Option<Account>,
    runtime: Runtime,
}

impl Drop for Enrolment {
    fn drop(&mut self) {
        let link = self.link.clone();
        // Nothing if the thread has ended, and the connection with it.
        let _ = block_on(&self.runtime.handle, async move { goodbye(&link).await });
    }
}

impl Enrolment {
    /// Connects to a server.
    pub fn connect(connecting: Connecting, agent_version: &str) -> Result<Self, StoreError> {
        let runtime = Runtime::start()?;
        let server = connecting.server.to_string();
        let (to, version) = (connecting.clone(), agent_version.to_owned());
        let connected = block_on(&runtime.handle, async move {
            let link = to.connect().await?;
            let greeted = Control::open(&link, &hello(&version))
                .await
                .map_err(|error| error.into_store_error(&to.server.to_string()))?;
            Ok::<_, StoreError>((link, greeted))
        });
        let (link, (control, welcome)) = connected.ok_or_else(|| runtime_gone(&server))??;
        Ok(Self {
            connecting,
            link,
            control: Arc::new(Mutex::new(control)),
            enrolled: welcome.account,
            runtime,
        })
    }

    /// The account and device this key already belongs to.
    pub fn enrolled(&self) -> Option<Account> {
        self.enrolled
    }

    /// What a proof of the password has to sign.
    pub fn channel_binding(&self) -> [u8; 32] {
        self.link.channel_binding()
    }

    /// Shows the invitation.
    pub fn invite(&self, account: &str, token: InviteToken) -> Result<Offer, StoreError> {
        self.ask(Invite { account: account.to_owned(), token }, Bytes::new()).map(|(offer, _)| offer)
    }

    /// Makes the account, with this device as its first.
    pub fn register(&self, log: &[Vec<u8>], keys: KeyBlobs) -> Result<Account, StoreError> {
        let message = Register { entries: log.len() as u32, keys };
        let (registered, _): (Registered, _) = self.ask(message, list(log))?;
        Ok(registered.account)
    }

    /// Proves the password of an account that exists; releases what it opens.
    pub fn prove(&self, factor: FactorId, signature: [u8; 64]) -> Result<KeyBlobs, StoreError> {
        let (released, _): (Released, _) =
            self.ask(Prove { factor, signature: signature.to_vec() }, Bytes::new())?;
        Ok(released.keys)
    }

    /// A page of the account log from an entry on, after the proof; and whether more follow.
    pub fn log(&self, from: u64) -> Result<(Vec<Bytes>, bool), StoreError> {
        let (page, tail): (LogEntries, _) = self.ask(Log { from }, Bytes::new())?;
        Ok((split_list(tail), page.more))
    }

    /// Adds this device.
    pub fn enrol(&self, entry: Vec<u8>) -> Result<Account, StoreError> {
        let (registered, _): (Registered, _) = self.ask(Enrol { entries: 1 }, list(&[entry]))?;
        Ok(registered.account)
    }

    fn ask<Q, A>(&self, question: Q, tail: Bytes) -> Result<(A, Bytes), StoreError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Send + 'static,
    {
        let server = self.connecting.server.to_string();
        let control = Arc::clone(&self.control);
        let asked =
            block_on(&self.runtime.handle, async move { control.lock().await.ask(&question, &[tail]).await });
        asked.ok_or_else(|| runtime_gone(&server))?.map_err(|error| error.into_store_error(&server))
    }
}

/// A tail of u32 lengths and bytes.
fn list(entries: &[Vec<u8>]) -> Bytes {
    let mut tail = BytesMut::new();
    for entry in entries {
        tail.put_u32_le(entry.len() as u32);
        tail.extend_from_slice(entry);
    }
    tail.freeze()
}
