//! What sessions ask of a connection, and frames over its streams.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use bytes::{Buf, Bytes};

use super::frame::{Frame, FrameError, PREFIX};
use super::message::Message;

/// Why a connection or stream is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The other side gave the stream up.
    #[error("stream ended early")]
    StreamEnded,
    /// The other side sent something that is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// A connection: opens bidirectional streams.
pub trait Link: Send + Sync + 'static {
    /// Its streams.
    type Stream: Stream;

    /// Opens a stream; waits while the other side allows no more of them.
    fn open(&self) -> impl Future<Output = Result<Self::Stream, LinkError>> + Send;
}

/// Bytes in both directions, in order.
pub trait Stream: Send + 'static {
    /// Sends bytes; waits while the other side takes no more.
    fn send(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Says that nothing more will be sent.
    fn finish(&mut self) -> Result<(), LinkError>;

    /// The next bytes, some at a time; nothing once the other side has finished.
    fn receive(&mut self) -> impl Future<Output = Result<Option<Bytes>, LinkError>> + Send;

    /// Waits until the other side wants nothing more, or is gone.
    fn given_up(&mut self) -> impl Future<Output = ()> + Send;
}

/// Frames over a stream.
pub struct Frames<S> {
    stream: S,
    /// Received, but not yet part of a frame that was handed out.
    ahead: Bytes,
}

impl<S: Stream> Frames<S> {
    /// Frames over `stream`, of which nothing has been read.
    pub fn new(stream: S) -> Self {
        Self { stream, ahead: Bytes::new() }
    }

    /// Sends a message and its tail.
    pub async fn send<M: Message>(&mut self, message: &M, tail: &[Bytes]) -> Result<(), LinkError> {
        let start = Frame::start(message, tail.iter().map(Bytes::len).sum());
        self.stream.send(start).await?;
        for part in tail {
            if !part.is_empty() {
                self.stream.send(part.clone()).await?;
            }
        }
        Ok(())
    }

    /// Says that no more frames will be sent.
    pub fn finish(&mut self) -> Result<(), LinkError> {
        self.stream.finish()
    }

    /// Waits until the other side wants nothing more, or is gone.
    pub async fn given_up(&mut self) {
        self.stream.given_up().await;
    }

    /// The next frame; nothing if the other side has finished between two frames.
    pub async fn receive(&mut self) -> Result<Option<Frame>, LinkError> {
        let mut prefix = [0; PREFIX];
        let mut filled = 0;
        while filled < PREFIX {
            if self.ahead.is_empty() && !self.refill().await? {
                return if filled == 0 { Ok(None) } else { Err(LinkError::StreamEnded) };
            }
            let count = self.ahead.len().min(PREFIX - filled);
            self.ahead.copy_to_slice(&mut prefix[filled..filled + count]);
            filled += count;
        }
        let (kind, header, tail) = Frame::parse_prefix(&prefix)?;
        let mut bytes = self.exactly(header + tail).await?;
        let header = bytes.split_to(header);
        Ok(Some(Frame { kind, header, tail: bytes }))
    }

    /// The next frame, which has to come.
    pub async fn expect(&mut self) -> Result<Frame, LinkError> {
        self.receive().await?.ok_or(LinkError::StreamEnded)
    }

    /// `length` bytes in one piece. The length has been checked; fresh memory is taken only as bytes arrive, beyond the first 64 KiB.
    async fn exactly(&mut self, length: usize) -> Result<Bytes, LinkError> {
        if self.ahead.len() >= length {
            return Ok(self.ahead.split_to(length));
        }
        let mut room = Room::take(length);
        let bytes = &mut room.0;
        while bytes.len() < length {
            if self.ahead.is_empty() && !self.refill().await? {
                return Err(LinkError::StreamEnded);
            }
            if bytes.len() == bytes.capacity() {
                // The other side has shown that it means it: take the rest at once.
                bytes.reserve_exact(length - bytes.len());
            }
            let count = self.ahead.len().min(length - bytes.len());
            bytes.extend_from_slice(&self.ahead.split_to(count));
        }
        Ok(Bytes::from_owner(room))
    }

    async fn refill(&mut self) -> Result<bool, LinkError> {
        loop {
            match self.stream.receive().await? {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => {
                    self.ahead = bytes;
                    return Ok(true);
                }
                None => return Ok(false),
            }
        }
    }
}

/// Memory of a frame. That of large ones is used again: the first touch of fresh memory is dear.
struct Room(Vec<u8>);

/// Rooms of large frames that wait for the next one.
static LARGE_ROOMS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
const LARGE_ROOMS_MAX: usize = 4;
const LARGE_BYTES: std::ops::RangeInclusive<usize> = 512 * 1024..=4 << 20;
/// Taken before the other side has sent anything of the frame.
const FIRST_BYTES_MAX: usize = 64 * 1024;

impl Room {
    fn take(length: usize) -> Self {
        let used = LARGE_BYTES
            .contains(&length)
            .then(|| LARGE_ROOMS.lock().unwrap_or_else(PoisonError::into_inner).pop())
            .flatten();
        Self(used.unwrap_or_else(|| Vec::with_capacity(length.min(FIRST_BYTES_MAX))))
    }
}

impl AsRef<[u8]> for Room {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if LARGE_BYTES.contains(&self.0.capacity()) {
            let mut rooms = LARGE_ROOMS.lock().unwrap_or_else(PoisonError::into_inner);
            if rooms.len() < LARGE_ROOMS_MAX {
                self.0.clear();
                rooms.push(std::mem::take(&mut self.0));
            }
        }
    }
}
